"""`infuse auth login|logout|status|exchange`: the API credential, which is stored and named but
never shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.config.model import Cloud
    from infuse_cli.keys.credentials import Survey
    from infuse_cli.types import Secret

app = typer.Typer(
    help="The API credential: login, logout, status, exchange.",
    no_args_is_help=True,
    add_completion=False,
)

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Base URL of the API, instead of the profile's."),
]
Check = Annotated[
    bool, typer.Option("--check", help="Ask the cloud whether it takes the credential.")
]


@app.command()
def login(
    url: Url = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Read the credential from a 0600 file; - is standard input.",
        ),
    ] = None,
    token_fd: Annotated[
        int | None,
        typer.Option(
            "--token-fd", metavar="N", help="Read the credential from an open file descriptor."
        ),
    ] = None,
    check: Check = False,
) -> None:
    """Store the API credential in the keyring, else in a 0600 file."""
    from infuse_cli.cli.context import current
    from infuse_cli.cloud.scheme import check_credential
    from infuse_cli.keys.credentials import credential_host, store_credential

    cloud = _cloud(url)
    secret = _read_credential(token_file, token_fd)
    check_credential(secret, cloud.auth.scheme)
    names = _organisations(cloud, secret) if check else None
    host = credential_host(cloud.base_url)
    kept = store_credential(host, secret, current().home)
    notes = [*kept.notes, *_overriding(cloud)]
    data = {
        "host": host,
        "scheme": cloud.auth.scheme,
        "source": kept.source.value,
        "where": kept.where,
        "notes": notes,
        "organisations": names,
    }
    lines = [
        f"Credential for {host} stored in: {kept.where}",
        *_checked(names),
        *(f"Note: {note}." for note in notes),
    ]
    _finish("auth login", data, lines)


@app.command()
def logout(url: Url = None) -> None:
    """Forget the stored credential of the API's host."""
    from infuse_cli.cli.context import current
    from infuse_cli.keys.credentials import credential_host, forget_credential

    cloud = _cloud(url)
    host = credential_host(cloud.base_url)
    gone = [kept.where for kept in forget_credential(host, current().home)]
    notes = _overriding(cloud)
    lines = [f"Credential for {host} removed from: {where}" for where in gone] or [
        f"No credential for {host} was stored."
    ]
    _finish(
        "auth logout",
        {"host": host, "removed": gone, "notes": notes},
        [*lines, *(f"Note: {note}." for note in notes)],
    )


@app.command()
def status(url: Url = None, check: Check = False) -> None:
    """Say which credential is used and where it was found."""
    from infuse_cli.cli.context import current
    from infuse_cli.cloud.scheme import check_credential
    from infuse_cli.keys.credentials import credential_host, survey_credentials

    cloud = _cloud(url)
    settings = current()
    host = credential_host(cloud.base_url)
    survey = survey_credentials(
        host, env=settings.env, token_file=cloud.auth.token_file, home=settings.home
    )
    data = _status_data(cloud, host, survey)
    if not survey.found:
        _finish_without(host, data)
    check_credential(survey.found[0].secret, cloud.auth.scheme)
    data["organisations"] = _organisations(cloud, survey.found[0].secret) if check else None
    _finish("auth status", data, _status_lines(data))


@app.command()
def exchange(
    url: Url = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Read the IAM key from a 0600 file; - is standard input.",
        ),
    ] = None,
    token_fd: Annotated[
        int | None,
        typer.Option(
            "--token-fd", metavar="N", help="Read the IAM key from an open file descriptor."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the token to this file (0600), in one step.",
            show_default=False,
        ),
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the token, on a terminal only.")
    ] = False,
) -> None:
    """Exchange an IAM key (ik_…) for a short-lived bearer token, for those APIs that take one.

    The Infuse IoT API takes neither today: it wants the legacy organisation admin token. Where the
    profile says cloud.auth.scheme: exchanged, every command exchanges the stored key by itself and
    renews the token in time.
    """
    from infuse_cli.cli.options import check_secret_output
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.keys import exchanged
    from infuse_cli.devices.keys import exchange_iam_key

    cloud = _cloud(url)
    check_secret_output(out, reveal=reveal, needed="the bearer token")
    stored = cloud.auth.scheme == "exchanged" and token_file is None and token_fd is None
    key = _stored(cloud) if stored else _read_credential(token_file, token_fd)
    finish(exchanged(exchange_iam_key(cloud, key, out), reveal=reveal))


def _cloud(url: str | None) -> Cloud:
    """The profile's cloud section, or the default one; `--url` beats the profile and the
    environment.
    """
    import msgspec

    from infuse_cli.cli.context import current
    from infuse_cli.cloud.urls import parse_base_url
    from infuse_cli.devices.session import bare_cloud

    settings = current()
    if settings.profile:
        from infuse_cli.config.source import load

        cloud = load(settings.profile, settings.env).profile.cloud
    else:
        cloud = bare_cloud(settings.env)
    base = parse_base_url(url or cloud.base_url, "--url" if url else "cloud.base_url")
    return msgspec.structs.replace(cloud, base_url=base.url)


def _stored(cloud: Cloud) -> Secret:
    from infuse_cli.cli.context import current
    from infuse_cli.keys.credentials import credential_host, find_credential

    settings = current()
    return find_credential(
        credential_host(cloud.base_url),
        env=settings.env,
        token_file=cloud.auth.token_file,
        home=settings.home,
    ).secret


def _read_credential(token_file: str | None, token_fd: int | None) -> Secret:
    from infuse_cli.errors import UsageError
    from infuse_cli.keys.credentials import read_token_file
    from infuse_cli.types import Secret

    if token_file is not None and token_fd is not None:
        raise UsageError("usage.bad-option", "--token-file and --token-fd cannot both be given")
    if token_fd is not None:
        return Secret(_read_descriptor(token_fd))
    if token_file == "-":  # noqa: S105 - the usual name of standard input
        return Secret(sys.stdin.read().strip())
    if token_file is not None:
        return read_token_file(Path(token_file))
    if not sys.stdin.isatty():
        raise UsageError(
            "usage.no-terminal",
            "the credential would have to be asked for, but there is no terminal",
            hint="Give it with --token-file FILE, --token-file - or --token-fd N.",
        )
    return Secret(
        str(typer.prompt("API credential (not shown)", hide_input=True, err=True)).strip()
    )


def _read_descriptor(descriptor: int) -> str:
    from infuse_cli.errors import UsageError

    try:
        with os.fdopen(descriptor, "r", encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError, OverflowError) as error:
        raise UsageError("usage.bad-option", f"--token-fd {descriptor} cannot be read") from error


def _organisations(cloud: Cloud, secret: Secret) -> list[str]:
    """Names of the organisations that the credential sees, asked of the cloud."""
    import threading

    import msgspec

    from infuse_cli.cloud.build import connect

    # Somebody is waiting for the answer: no patience for an outage.
    patience_s = min(cloud.deadline_s, 5.0)
    hasty = msgspec.structs.replace(
        cloud, timeout_s=min(cloud.timeout_s, patience_s), deadline_s=patience_s
    )
    client = connect(hasty, secret, threading.Event().wait)
    try:
        return [organisation.name for organisation in client.organisations()]
    finally:
        client.close()


def _checked(names: Sequence[str] | None) -> list[str]:
    match names:
        case None:
            return []
        case []:
            return ["The cloud takes it, but it sees no organisation."]
        case _:
            return [f"The cloud takes it; it sees: {', '.join(names)}"]


def _overriding(cloud: Cloud) -> list[str]:
    """What would be used instead of a stored credential."""
    from infuse_cli.keys.credentials import TOKEN_VARIABLE

    notes = []
    if os.environ.get(TOKEN_VARIABLE):
        notes.append(f"{TOKEN_VARIABLE} is set and beats a stored credential")
    if cloud.auth.token_file:
        notes.append(
            "the profile names a token file, which beats a stored credential:"
            f" {cloud.auth.token_file}"
        )
    return notes


def _status_data(cloud: Cloud, host: str, survey: Survey) -> dict[str, Any]:
    from datetime import UTC, datetime

    from infuse_cli.expiry import expires_at, warning

    found = survey.found
    ending = warning(found[0].secret, datetime.now(UTC)) if found else None
    return {
        "host": host,
        "baseUrl": cloud.base_url,
        "scheme": cloud.auth.scheme,
        "found": bool(found),
        "source": found[0].source.value if found else None,
        "where": found[0].where if found else None,
        "expiresAt": expires_at(found[0].secret) if found else None,
        "shadows": [one.where for one in found[1:]],
        "notes": [*survey.notes, *([ending] if ending else [])],
        "organisations": None,
    }


def _status_lines(data: dict[str, Any]) -> list[str]:
    lines = [
        f"Host:       {data['host']}",
        f"Credential: {data['where']}",
        f"Scheme:     {data['scheme']}",
    ]
    if data["expiresAt"] is not None:
        lines.append(f"Expires:    {data['expiresAt']:%Y-%m-%d %H:%M} UTC")
    lines += [f"Shadowed:   {where}" for where in data["shadows"]]
    lines += _checked(data["organisations"])
    return lines + [f"Note: {note}." for note in data["notes"]]


def _finish(command: str, data: dict[str, Any], lines: Sequence[str]) -> NoReturn:
    from infuse_cli.cli.result import OperationResult, finish

    finish(OperationResult(command=command, data=data, human="\n".join(lines)))


def _finish_without(host: str, data: dict[str, Any]) -> NoReturn:
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.errors import CredentialError, Exit

    error = CredentialError("credential.missing", f"no credential for {host} was found")
    lines = [f"No credential for {host}.", *(f"Note: {note}." for note in data["notes"])]
    finish(
        OperationResult(
            command="auth status",
            data=data,
            status="error",
            errors=[error.as_json()],
            exit_code=Exit.CREDENTIAL,
            human="\n".join(lines),
        )
    )
