"""What the use cases of the two APIs share: clients, look-ups by name or id, effects sent once
and recorded in the journal.

A use case opens a session, which takes base URLs, credential and defaults from profile and
environment as `provision` does; both are optional where the caller names everything itself.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.effects.send_once import SendOnce
from infuse_cli.errors import CloudError, ProfileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from infuse_cli import api_types as api
    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.cloud.registry_api import RegistryClient
    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.settings import Settings
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
    """The two APIs as the settings reach them; clients are made at their first use."""

    def __init__(
        self,
        settings: Settings,
        *,
        profile: prof.Profile | None = None,
        clock: RunClock | None = None,
    ) -> None:
        """`profile` instead of the one that the settings name; a stop of `clock` ends every
        wait.
        """
        self.settings: Final = settings
        self.profile: Final = profile or _profile(settings)
        self.cloud_section: Final = self.profile.cloud if self.profile else bare_cloud(settings.env)
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
def opened(settings: Settings, clock: RunClock | None = None) -> Iterator[Session]:
    """A session that is closed in the end; `clock` as for Session."""
    session = Session(settings, clock=clock)
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
def journal_run(session: Session, command: str) -> Iterator[CommandRun]:
    """A run of the journal for a command that leaves something behind in the cloud."""
    from infuse_cli.effects.journal_run import command_run

    facts = {"apiHost": session.cloud_section.base_url}
    with command_run(session.settings.home, command, profile=session.profile, facts=facts) as run:
        yield run


@contextmanager
def stored_journal(session: Session) -> Iterator[SqliteJournal]:
    """The journal, to be read. Raises JournalError journal.not-found where there is none."""
    from infuse_cli.config.bench import login_name
    from infuse_cli.journal.store import open_journal

    with open_journal(session.settings.home, operator=login_name(), create=False) as journal:
        yield journal


def _profile(settings: Settings) -> prof.Profile | None:
    if settings.profile is None:
        return None
    from infuse_cli.config.source import load

    return load(settings.profile, settings.env).profile


def bare_cloud(env: Mapping[str, str]) -> prof.Cloud:
    """The cloud section where no profile says otherwise."""
    bundle = env.get("INFUSE_CA_BUNDLE")
    return prof.Cloud(
        base_url=env.get("INFUSE_BASE_URL") or prof.Cloud().base_url,
        ca_bundle=str(Path(bundle).expanduser().absolute()) if bundle else None,
    )
