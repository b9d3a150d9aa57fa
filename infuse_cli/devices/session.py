"""What the commands of the two APIs share: clients, look-ups by name or id, effects sent once and
put on record.

A command opens a session, which takes base URLs, credential and defaults from profile and
environment as `provision` does; both are optional where the command names everything itself.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from infuse_cli.cli import context
from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.effects.results import RESULTS, TOKEN_FILES, Results
from infuse_cli.effects.send_once import SendOnce
from infuse_cli.errors import CloudError, Interrupted, ProfileError, UsageError
from infuse_cli.files import create_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.cli.context import Invocation
    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.cloud.registry_api import RegistryClient
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.types import Secret

T = TypeVar("T")

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONFLICT: Final = 409


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


class Session:
    """The two APIs as this invocation reaches them; clients are made at their first use."""

    def __init__(
        self,
        settings: Invocation,
        *,
        profile: prof.Profile | None = None,
        clock: RunClock | None = None,
    ) -> None:
        """`profile` instead of the one that the settings name; a stop of `clock` ends every
        wait.
        """
        self.settings: Final = settings
        self.profile: Final = profile or _profile(settings)
        self.cloud_section: Final = self.profile.cloud if self.profile else _bare_cloud(settings)
        self.clock: Final = clock or RunClock()
        self.once: Final = SendOnce(self.clock, self.cloud_section.lost_answer_grace_s)
        self._open: Final[list[InfuseClient | RegistryClient]] = []

    @property
    def soc(self) -> str | None:
        """The profile's soc."""
        return self.profile.board.soc if self.profile else None

    @cached_property
    def cloud(self) -> InfuseClient:
        """The Infuse IoT API. Raises CredentialError, ProfileError."""
        from infuse_cli.cloud.build import connect

        client = connect(self.cloud_section, self._credential(), self.clock.between_tries)
        self._open.append(client)
        return client

    @cached_property
    def registry(self) -> RegistryClient:
        """The device registry.

        Raises ProfileError profile.invalid where none is named, CredentialError.
        """
        from infuse_cli.cloud.build import connect_registry
        from infuse_cli.keys.credentials import registry_credential

        section, own = self.registry_section, registry_credential(self.settings.env)
        credential = (
            None
            if own is not None or section.auth not in {"same", "same-host"}
            else self._credential()
        )
        client = connect_registry(
            section, credential, self.clock.between_tries, cloud=self.cloud_section, own=own
        )
        self._open.append(client)
        return client

    @property
    def has_registry(self) -> bool:
        """Whether profile or environment name a registry."""
        return bool(
            (self.profile and self.profile.registry) or self.settings.env.get("INFUSE_REGISTRY_URL")
        )

    @property
    def registry_section(self) -> prof.Registry:
        """The profile's registry section, else one of INFUSE_REGISTRY_URL."""
        if self.profile is not None and self.profile.registry is not None:
            return self.profile.registry
        url = self.settings.env.get("INFUSE_REGISTRY_URL")
        if not url:
            raise ProfileError(
                "profile.invalid",
                "no device registry is named",
                hint=(
                    "Set registry.base_url in the profile that --profile names, or"
                    " INFUSE_REGISTRY_URL."
                ),
            )
        return prof.Registry(base_url=url)

    def close(self) -> None:
        """Close all connections."""
        for client in self._open:
            client.close()

    def organisation(self, text: str | None) -> api.Organisation:
        """By name or id, else the profile's, else the only one that the credential can see."""
        spec = self.cloud_section.organisation
        if text is None and spec.id is not None:
            found = self.cloud.organisation(id=spec.id)
        elif text is None:
            found = self.cloud.organisation(name=spec.name)
        else:
            found = (
                self.cloud.organisation(id=text)
                if is_id(text)
                else self.cloud.organisation(name=text)
            )
            # A name may look like an id, and an id like a name.
            found = found or pick(self.cloud.organisations(), text, "organisation")
        if found is None:
            raise CloudError(
                "cloud.not-found", f"the cloud knows no organisation {spec.id or spec.name or ''!r}"
            )
        return found

    def board(
        self, text: str | None, organisation: Callable[[], api.Organisation]
    ) -> api.CloudBoard:
        """A cloud board by name or id, else the profile's."""
        spec = self.cloud_section.board
        named = text or spec.id or spec.name
        if named is None:
            raise UsageError(
                "usage.bad-option",
                "no board was named, and no profile names one",
                hint="Give --board NAME|ID, or a profile with cloud.board.",
            )
        if is_id(named) and (found := self.cloud.board(named)) is not None:
            return found
        return pick(self.cloud.boards(organisation().id), named, "board")

    def registry_device(self, text: str) -> api.RegistryDevice:
        """A registry device by name or registryDeviceId."""
        if is_id(text) and (found := self.registry.device(text)) is not None:
            return found
        found = self.registry.device_by_name(text) or self.registry.device(text)
        if found is None:
            raise CloudError(
                "cloud.not-found",
                f"the registry knows no device {text!r}",
                hint="`infuse registry device list` shows them.",
            )
        return found

    def _credential(self) -> Secret:
        from infuse_cli.keys.credentials import credential_host, find_credential

        section, settings = self.cloud_section, self.settings
        return find_credential(
            credential_host(section.base_url),
            env=settings.env,
            token_file=section.auth.token_file,
            home=settings.home,
        ).secret


@contextmanager
def opened(clock: RunClock | None = None) -> Iterator[Session]:
    """A session of this invocation; `clock` as for Session."""
    session = Session(context.current(), clock=clock)
    try:
        yield session
    finally:
        session.close()


def is_id(text: str) -> bool:
    """Whether a text has the form of the clouds' ids (UUID)."""
    return _UUID.fullmatch(text) is not None


def pick(rows: Sequence[N], text: str, what: str) -> N:
    """The row of this id, else of this name.

    Raises CloudError cloud.ambiguous with the candidates, or cloud.not-found.
    """
    by_id = [row for row in rows if row.id == text]
    found = by_id or [row for row in rows if row.name == text]
    if len(found) > 1:
        raise CloudError(
            "cloud.ambiguous",
            f"{len(found)} {what}s are named {text!r}: {', '.join(row.id for row in found)}",
        )
    if not found:
        near = get_close_matches(text, [row.name for row in rows], n=1)
        hint = (
            f"The nearest name is {near[0]!r}."
            if near
            else f"There are {len(rows)} to choose from; names and ids are taken."
        )
        raise CloudError("cloud.not-found", f"the cloud knows no {what} {text!r}", hint=hint)
    return found[0]


def named(rows: Sequence[N], name: str, what: str) -> N | None:
    """The row of exactly this name, None without one. Raises CloudError cloud.ambiguous."""
    return pick(rows, name, what) if any(row.name == name for row in rows) else None


def exists(what: str, name: str, id_: str, hint: str) -> CloudError:
    """The error of a `create` that finds its thing there already."""
    return CloudError(
        "cloud.refused", f"{what} {name!r} exists already: {id_}", status=_CONFLICT, hint=hint
    )


@contextmanager
def on_record(session: Session, command: str) -> Iterator[CommandRun]:
    """A run of the journal for a command that leaves something behind in the cloud."""
    from infuse_cli.effects.journal_run import command_run

    facts = {"apiHost": session.cloud_section.base_url}
    with command_run(session.settings.home, command, profile=session.profile, facts=facts) as run:
        yield run


@contextmanager
def kept(session: Session) -> Iterator[SqliteJournal]:
    """The journal, to be read. Raises JournalError journal.not-found where there is none."""
    from infuse_cli.config.bench import login_name
    from infuse_cli.journal.store import open_journal

    with open_journal(session.settings.home, operator=login_name(), create=False) as journal:
        yield journal


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed.

    Raises UsageError usage.no-terminal without --yes and terminal, Interrupted on no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "usage.no-terminal",
            f"{question} There is no terminal to ask on",
            hint="--yes says so in advance.",
        )
    import typer

    if not typer.confirm(question, err=True):
        raise Interrupted(
            "not confirmed, so nothing was changed", hint="Run again and say yes, or give --yes."
        )


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """KEY=VALUE texts; the value may be empty. Raises UsageError usage.bad-option."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError("usage.bad-option", f"{option} takes KEY=VALUE, not {text!r}")
        if key.strip() in found:
            raise UsageError("usage.bad-option", f"{option} gives {key.strip()!r} twice")
        found[key.strip()] = value
    return found


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """A JSON object given on the command line, None where none was.

    Raises UsageError usage.bad-option.
    """
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            "usage.bad-option",
            f"{option} is no JSON object",
            hint=f"For example {option} '{{\"key\": 1}}'.",
        )
    return found


class Destination:
    """Where a secret goes: a private file, or the terminal.

    Checked before anything is asked of the cloud.
    """

    def __init__(self, out: Path | None, *, reveal: bool, needed: str | None = None) -> None:
        """Raise UsageError for a place that cannot take it, and where `needed` names a secret that
        would get lost.
        """
        self.out: Final = out
        self.reveal: Final = reveal
        if reveal and not (context.current().output == "human" and sys.stdout.isatty()):
            raise UsageError(
                "usage.no-terminal",
                "--reveal shows a secret on a terminal, and standard output is none",
                hint="--out FILE writes it to a private file.",
            )
        if out is not None:
            Results(context.current().settings).check(out, replaces=RESULTS | TOKEN_FILES)
            if out.is_dir() or not out.absolute().parent.is_dir():
                raise UsageError(
                    "usage.bad-option", f"--out {out} is a folder, or in one that does not exist"
                )
        if needed is not None and out is None and not reveal:
            raise UsageError(
                "usage.bad-option",
                f"{needed} is shown this once and would be lost",
                hint="Give --out FILE (made 0600), or --reveal on a terminal.",
            )

    def reserve(self) -> None:
        """Make the file, empty and private, so that what comes next cannot be lost.

        Raises UsageError where it holds something.
        """
        if self.out is None or self._written(lambda: create_private(Path(self.out or ""), b"")):
            return
        # An empty one is what an earlier run left that died before it had something to write.
        if not self.out.is_file() or self.out.stat().st_size:
            raise UsageError(
                "usage.bad-option",
                f"--out {self.out} exists already",
                hint="Name another file: one secret must not replace another.",
            )

    def give_back(self) -> None:
        """Remove a file that was reserved and got nothing."""
        if self.out is not None and self.out.is_file() and not self.out.stat().st_size:
            self.out.unlink()

    def take(self, secret: Secret) -> None:
        """Write the secret and a line end to the file, 0600, in one step."""
        if self.out is not None:
            self._written(
                lambda: write_private(Path(self.out or ""), f"{secret.reveal()}\n".encode())
            )

    def shown(self, secret: Secret, name: str) -> list[str]:
        """Lines for a person: the secret only with --reveal."""
        lines = [f"{name} written to {self.out} (0600)"] if self.out is not None else []
        return [*lines, secret.reveal()] if self.reveal else lines

    def _written(self, write: Callable[[], T]) -> T:
        try:
            return write()
        except OSError as error:
            raise UsageError(
                "usage.bad-option", f"--out {self.out} cannot be written: {error.strerror}"
            ) from error


def _profile(settings: Invocation) -> prof.Profile | None:
    if settings.profile is None:
        return None
    from infuse_cli.config.source import load

    return load(settings.profile, settings.env).profile


def _bare_cloud(settings: Invocation) -> prof.Cloud:
    return bare_cloud(settings.env)


def bare_cloud(env: Mapping[str, str]) -> prof.Cloud:
    """The cloud section where no profile says otherwise."""
    bundle = env.get("INFUSE_CA_BUNDLE")
    return prof.Cloud(
        base_url=env.get("INFUSE_BASE_URL") or prof.Cloud().base_url,
        ca_bundle=str(Path(bundle).expanduser().absolute()) if bundle else None,
    )
