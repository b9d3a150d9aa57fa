"""`infuse doctor --bundle`: what support needs in one file, with every secret this bench knows of
taken out.

Nothing is copied as it lies on the disk: each part is made anew from values, and the text of all of
them goes through one scrubber, which knows the bench's secrets in every form they may be written
in, and what secrets look like.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import platform
import re
import tarfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from infuse_cli._version import __version__
from infuse_cli.config import model as prof
from infuse_cli.errors import InfuseError, UsageError
from infuse_cli.text import json_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.maintenance.doctor import Finding, Subject
    from infuse_cli.records import AttemptRecord

MASK: Final = "***"
_MOST_RUNS: Final = 20
_MOST_ATTEMPTS: Final = 50
_SHORTEST: Final = 4
_PARTS: Final = (
    "typer",
    "rich",
    "httpx",
    "cryptography",
    "pyserial",
    "PyYAML",
    "keyring",
    "msgspec",
    "cbor2",
    "SQLAlchemy",
    "prompt_toolkit",
)
_SECRET_NAME: Final = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL", re.IGNORECASE)
# What secrets look like, wherever they may have come from: the group that is kept, then what is
# masked.
_LOOKS: Final = (
    re.compile(
        r"()-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY-----.*?(?:-----END (?:[A-Z ]+ )?PRIVATE"
        r" KEY-----|\Z)",
        re.DOTALL,
    ),
    re.compile(r"()\bik_[\w.-]{6,}"),
    re.compile(r"()\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"),
    re.compile(r"((?:Bearer|ApiKey) +)[\w.~+/=-]{6,}", re.IGNORECASE),
    re.compile(r"(://[^/\s:@\"']*:)[^/\s@\"']+(?=@)"),
    re.compile(r"(AT%CMNG=0, *\d+, *[2-9], *\\?\")[^\"\\]+", re.IGNORECASE),
)


class Scrubber:
    """Takes secrets out of text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        self._known: Final = sorted(forms, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text with every known secret, and all that looks like one, masked."""
        for form in self._known:
            text = text.replace(form, MASK)
        for looks in _LOOKS:
            text = looks.sub(rf"\g<1>{MASK}", text)
        return text


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written: as it is, in JSON, in a URL, in hex as it goes to a modem, in
    base64.
    """
    data = secret.encode()
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")
    yield data.hex()
    yield data.hex().upper()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")


def make(out: Path, subject: Subject, findings: Sequence[Finding]) -> list[str]:
    """Write the bundle, 0600 and never over another file; the names in it. Raises UsageError."""
    from infuse_cli.files import create_private

    if not out.absolute().parent.is_dir():
        raise UsageError(
            "usage.bad-option", f"--bundle {out} cannot be written: its folder does not exist"
        )
    scrubber = Scrubber(known_secrets(subject))
    parts = {name: scrubber.clean(text) for name, text in _texts(subject, findings)}
    try:
        made = create_private(out, _packed(parts))
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"--bundle {out} cannot be written: {error.strerror}"
        ) from error
    if not made:
        raise UsageError(
            "usage.bad-option", f"--bundle {out} exists already", hint="Name another file."
        )
    return sorted(parts)


def known_secrets(subject: Subject) -> list[str]:
    """Every secret of this bench that can be read without a person: what cannot be read is
    encrypted, and is in no part.
    """
    from infuse_cli.config.bench import load_bench
    from infuse_cli.keys.credentials import credential_host, survey_credentials
    from infuse_cli.keys.seal import bench_keys

    found = [
        value
        for name, value in subject.env.items()
        if name.startswith("INFUSE_") and _SECRET_NAME.search(name) and not _is_path(value)
    ]
    found += _contents(subject.home / "credentials.json", subject.passphrase_file)
    profile = subject.profile
    cloud = prof.Cloud() if profile is None else profile.cloud
    try:
        survey = survey_credentials(
            credential_host(cloud.base_url),
            env=subject.env,
            token_file=cloud.auth.token_file,
            home=subject.home,
        )
        found += [credential.secret.reveal() for credential in survey.found]
    except InfuseError:
        found += _contents(None if cloud.auth.token_file is None else Path(cloud.auth.token_file))
    try:
        bench = load_bench(subject.home)
        keys = bench_keys(
            subject.home,
            {"key_file": bench.sealing.key_file, "keyring": bench.sealing.keyring},
            subject.env,
        )
        found += _contents(keys.key_file)
    except InfuseError:
        pass
    if profile is not None and profile.identity.passphrase.file:
        found += _contents(Path(profile.identity.passphrase.file).expanduser())
    return found


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~", ".")) or Path(value).exists()


def _contents(*paths: Path | None) -> list[str]:
    """What such files hold: of JSON its texts without their names, else each line."""
    found: list[str] = []
    for path in paths:
        try:
            text = "" if path is None else path.read_bytes()[:65536].decode("utf-8", "replace")
        except OSError:
            continue
        try:
            found += _leaves(json.loads(text))
        except ValueError:
            found += [line.strip() for line in text.splitlines()]
    return found


def _leaves(value: object) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from _leaves(inner)
        case list():
            for inner in value:
                yield from _leaves(inner)
        case None | bool():
            return
        case _:
            yield str(value)


def _texts(subject: Subject, findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    yield "README.txt", _ABOUT
    yield "doctor.json", _json([finding.as_json() for finding in findings])
    yield "versions.json", _json(_versions(subject))
    if subject.profile is not None:
        yield "profile.json", _json(prof.to_json(subject.profile))
    yield from _of_bench(subject)
    yield from _of_journal(subject)


def _versions(subject: Subject) -> dict[str, Any]:
    parts: dict[str, str | None] = {}
    for name in _PARTS:
        try:
            parts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            parts[name] = None
    names = sorted(name for name in subject.env if name.startswith("INFUSE_"))
    return {
        "infuse": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": parts,
        "environment": names,
    }


def _of_bench(subject: Subject) -> Iterator[tuple[str, str]]:
    from dataclasses import asdict

    from infuse_cli.config.bench import load_bench
    from infuse_cli.link.discover import explain
    from infuse_cli.serial_tools.ports import describe

    try:
        yield "bench.json", _json(asdict(load_bench(subject.home)))
    except InfuseError as error:
        yield "bench.json", _json({"error": error.as_json()})
    rules = () if subject.profile is None else subject.profile.board.usb
    yield (
        "ports.json",
        _json(
            [
                describe(port, holder=subject.machine.holder).as_json()
                for port in explain(subject.machine.ports(), rules)
            ]
        ),
    )


def _of_journal(subject: Subject) -> Iterator[tuple[str, str]]:
    from infuse_cli.journal.database import FILE
    from infuse_cli.journal.store import open_journal

    if not (subject.home / FILE).exists():
        return
    try:
        with open_journal(subject.home, create=False, busy_s=2.0) as journal:
            yield from _recorded(journal)
    except InfuseError as error:
        yield "journal.json", _json({"error": error.as_json()})


def _recorded(journal: SqliteJournal) -> Iterator[tuple[str, str]]:
    from infuse_cli.journal.queries import newest_attempts

    runs = list(journal.runs())[-_MOST_RUNS:]
    yield (
        "runs.json",
        _json(
            [
                {
                    "run": run.start.run,
                    "command": run.start.command,
                    "profile": run.start.profile_name,
                    "profileHash": run.start.profile_hash,
                    "simulated": run.start.simulated,
                    "facts": run.start.facts,
                    "station": run.station,
                    "toolVersion": run.tool_version,
                    "started": run.started,
                    "ended": run.ended,
                    "alive": run.alive,
                    "totals": run.totals,
                }
                for run in runs
            ]
        ),
    )
    failed = [attempt for attempt in newest_attempts(journal) if attempt.outcome != "PASS"][
        :_MOST_ATTEMPTS
    ]
    yield "boards.json", _json([_attempt(attempt) for attempt in failed])
    for attempt in failed:
        if text := attempt.facts.get("transcript"):
            yield f"transcripts/{attempt.board}-{attempt.attempt[:8]}.txt", str(text)


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "run": attempt.run,
        "board": attempt.board,
        "state": attempt.state,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "port": attempt.port,
        "plan": attempt.plan,
        "opened": attempt.opened,
        "ended": attempt.ended,
        "facts": {key: value for key, value in attempt.facts.items() if key != "transcript"},
        "steps": [
            {
                "step": step.step,
                "state": step.state,
                "error": step.error,
                "ms": step.ms,
                "tries": step.tries,
            }
            for step in attempt.steps.values()
        ],
    }


def _json(value: object) -> str:
    return json.dumps(json.loads(json_line(value)), indent=1, ensure_ascii=False) + "\n"


def _packed(parts: dict[str, str]) -> bytes:
    """A gzipped tar whose bytes depend on its content alone."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in sorted(parts.items()):
            data = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"infuse-doctor/{name}")
            entry.size, entry.mode = len(data), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


_ABOUT: Final = """What `infuse doctor --bundle` packed for support.

Credentials, passphrases, tokens and keys are taken out (***); what stays are names and numbers of
boards, ports, hosts and files. Look through it before you send it.

doctor.json: the checks. versions.json: program, packages, names of variables.
profile.json: the product, resolved. bench.json, ports.json: this bench.
runs.json: the newest runs. boards.json, transcripts/: boards that did not PASS.
"""
