"""`infuse auth login|logout|status|exchange`: the API credential, which is stored and named but
never shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.auth import logged_in
    from infuse_cli.devices import api_credential as work

    settings = current().settings
    cloud = work.cloud_section(settings, url)
    secret = _read_credential(token_file, token_fd)
    finish(logged_in(work.log_in(settings, cloud, secret, check=check)))


@app.command()
def logout(url: Url = None) -> None:
    """Forget the stored credential of the API's host."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.auth import logged_out
    from infuse_cli.devices import api_credential as work

    settings = current().settings
    finish(logged_out(work.log_out(settings, work.cloud_section(settings, url))))


@app.command()
def status(url: Url = None, check: Check = False) -> None:
    """Say which credential is used and where it was found."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.auth import credential_shown
    from infuse_cli.devices import api_credential as work

    settings = current().settings
    cloud = work.cloud_section(settings, url)
    finish(credential_shown(work.credential_status(settings, cloud, check=check)))


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
    from infuse_cli.cli.context import current
    from infuse_cli.cli.options import check_secret_output
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views.keys import exchanged
    from infuse_cli.devices import api_credential as work
    from infuse_cli.devices.keys import exchange_iam_key

    settings = current().settings
    cloud = work.cloud_section(settings, url)
    check_secret_output(out, reveal=reveal, needed="the bearer token")
    if cloud.auth.scheme == "exchanged" and token_file is None and token_fd is None:
        key = work.stored_credential(settings, cloud)
    else:
        key = _read_credential(token_file, token_fd)
    finish(exchanged(exchange_iam_key(cloud, key, out), reveal=reveal))


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
