"""One board on one port: what it says it is, what its modem holds, what the journal has of it."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.config.model import BoardSection
from infuse_cli.dialect import commands, operations
from infuse_cli.errors import BoardError, InfuseError
from infuse_cli.journal.manual_changes import changes, digests
from infuse_cli.provisioning import slots
from infuse_cli.types import Command

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from infuse_cli.config.model import Profile
    from infuse_cli.journal.manual_changes import ManualChange, Place
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import BoardLink, ChipIds
    from infuse_cli.records import AttemptRecord, BoardRecord, CertificateRecord
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings
    from infuse_cli.types import BoardIdentity, Reply, StoredCredential

_SOC: Final = "nRF9151"
"""Whose id is read where no profile says otherwise: the boards that this tool is for."""

LAST_TAG: Final = 2147483647
"""Higher sec_tags are the modem's own: they are listed, and cannot be written or deleted."""


@dataclass(frozen=True, slots=True)
class IdentifiedBoard:
    """What a board answered; `identity` has an mcuId where the profile's source gave one, else
    `mcu_id_problem` says why not.
    """

    port: str
    dialect: str
    identity: BoardIdentity
    mcu_id_problem: InfuseError | None = None

    @property
    def uuid(self) -> str:
        """The key of the board in the journal."""
        return self.identity.uuid


@dataclass(frozen=True, slots=True)
class BoardHistory:
    """What the journal of this bench has of a board; `board` is None when no run took it.

    `certificates` are the issued ones. `pending_mode` is the functional mode that a stopped manual
    change found and did not restore. `manual_digests` are those of what was last put into each
    place by a person.
    """

    board: BoardRecord | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    certificates: tuple[CertificateRecord, ...] = ()
    manual_changes: tuple[ManualChange, ...] = ()
    manual_digests: Mapping[Place, frozenset[str]] = dataclasses.field(default_factory=dict)
    pending_mode: int | None = None


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential in a modem; `attempt` is the newest one in the journal that put it there.

    `manual`: it is what a person last put into this place.
    """

    entry: StoredCredential
    attempt: str | None
    manual: bool


@dataclass(frozen=True, slots=True)
class BoardReport:
    """A board beside what the journal has of it."""

    board: IdentifiedBoard
    history: BoardHistory


@dataclass(frozen=True, slots=True)
class CredentialList:
    """The credentials in a modem; `built_in` are keys of the modem itself."""

    board: IdentifiedBoard
    credentials: tuple[CredentialRow, ...]
    built_in: tuple[StoredCredential, ...]


def probe(target: BoardPort) -> str:
    """The dialect in which a board answers. Raises BoardError serial.* within 2 s."""
    with open_board(target) as link:
        return link.dialect


def report(settings: Settings, target: BoardPort) -> BoardReport:
    """Who the board is, and what the journal has of it; nothing is written to the board.

    Raises BoardError serial.*, JournalError.
    """
    with open_board(target) as link:
        board = identify(settings, link, target.profile)
    with existing_journal(settings.home) as journal:
        return BoardReport(board, history(journal, board))


def list_credentials(settings: Settings, target: BoardPort, sec_tag: int | None) -> CredentialList:
    """The credentials under one sec_tag or all. Raises BoardError, ProfileError, JournalError."""
    with open_board(target) as link:
        board = identify(settings, link, None)
        entries = list_entries(link, sec_tag)
    with existing_journal(settings.home) as journal:
        rows = credential_rows(writable(entries), history(journal, board))
    return CredentialList(board, rows, tuple(row for row in entries if row.sec_tag > LAST_TAG))


@contextmanager
def open_board(target: BoardPort) -> Iterator[BoardLink]:
    """The board on a port, opened exclusively and in step. Raises BoardError serial.*."""
    from infuse_cli.keys.frames import board_cipher
    from infuse_cli.link.source import SerialSource

    section = BoardSection() if target.profile is None else target.profile.board
    source = SerialSource(
        section, [target.port], threading.Event(), cipher=board_cipher(section.serial)
    )
    link = source.open(target.port)
    try:
        yield link
    finally:
        link.close()


@contextmanager
def existing_journal(home: Path) -> Iterator[SqliteJournal | None]:
    """The journal for reading, None where there is none yet: then no board is known."""
    from infuse_cli import home as names

    if not (home / names.JOURNAL).exists():
        yield None
        return
    from infuse_cli.journal.store import open_journal

    with open_journal(home, create=False) as journal:
        yield journal


def chip_ids(settings: Settings) -> ChipIds:
    """The reader of chips through debug probes, with the probes of this bench."""
    from infuse_cli.config.bench import load_bench
    from infuse_cli.link.nrfutil import ProbeReader

    return ProbeReader(load_bench(settings.home).probes)


def soc_of(profile: Profile | None) -> str:
    """The chip of a product."""
    return _SOC if profile is None else profile.board.soc or _SOC


def identify(settings: Settings, link: BoardLink, profile: Profile | None) -> IdentifiedBoard:
    """Ask the board who it is; an mcuId that cannot be read is no failure here.

    mcuId is read where a profile names its source. Raises BoardError serial.*.
    """
    from infuse_cli.provisioning.steps.identify import McuIds, mcu_id

    ops, soc = operations(link.dialect), soc_of(profile)
    seen = _read_identity(link, profile)
    source = None if profile is None else profile.board.mcu_id
    if source is None:
        return IdentifiedBoard(link.port, link.dialect, seen)
    try:
        if source.source == "scan":
            found = _scanned_before(settings, seen.uuid)
        else:
            ids = McuIds(source, chips=chip_ids(settings), soc=soc)
            found = mcu_id(link, ops, source, ids, seen)
    except InfuseError as error:
        if error.code.startswith("serial."):
            raise
        return IdentifiedBoard(link.port, link.dialect, seen, error)
    return IdentifiedBoard(link.port, link.dialect, dataclasses.replace(seen, mcu_id=found))


def uuid_on(target: BoardPort) -> str:
    """The key of the board that is on a port now. Raises BoardError serial.*."""
    with open_board(target) as link:
        return _read_identity(link, target.profile).uuid


def _read_identity(link: BoardLink, profile: Profile | None) -> BoardIdentity:
    from infuse_cli.provisioning.steps.identify import known

    return known(link.run(operations(link.dialect).identify()), soc_of(profile))


def _scanned_before(settings: Settings, uuid: str) -> str:
    with existing_journal(settings.home) as journal:
        board = None if journal is None else journal.board(uuid)
    if board is None or board.mcu_id is None:
        raise BoardError(
            "board.no-mcu-id",
            "mcuId comes from a scan, and nothing is scanned here",
            hint="Look the board up by its IMEI or UUID.",
        )
    return board.mcu_id


def read_uuid() -> Generator[Command, Reply, str | None]:
    """The board's UUID for the journal, None where the firmware has none."""
    command = commands.device_uuid()
    reply = yield Command(command.text, command.timeout_s, command.info)
    value = commands.value(command, reply) if reply.ok else None
    return None if value is None else value.lower()


def list_entries(link: BoardLink, sec_tag: int | None) -> tuple[StoredCredential, ...]:
    """All that the modem lists, under one sec_tag or all."""
    return link.run(operations(link.dialect).list_credentials(sec_tag))


def writable(entries: Sequence[StoredCredential]) -> tuple[StoredCredential, ...]:
    """Of these entries what people put there, without the modem's own keys."""
    return tuple(entry for entry in entries if entry.sec_tag <= LAST_TAG)


def history(journal: SqliteJournal | None, board: IdentifiedBoard) -> BoardHistory:
    """What the journal has of a board. Raises JournalError."""
    if journal is None:
        return BoardHistory()
    uuid = board.uuid
    events = journal.events(board=uuid) if uuid else ()
    in_flight_mode = board.identity.functional_mode == commands.FLIGHT_MODE
    pending = journal.modes_owed(uuid) if in_flight_mode else ()
    issued = [row for row in journal.certificates(board=uuid) if row.state == "issued"]
    return BoardHistory(
        board=journal.board(uuid),
        attempts=tuple(journal.attempts(uuid)),
        certificates=tuple(issued),
        manual_changes=changes(events),
        manual_digests=digests(events),
        pending_mode=pending[0].mode if pending else None,
    )


def credential_rows(
    entries: Sequence[StoredCredential], history: BoardHistory
) -> tuple[CredentialRow, ...]:
    """A row a credential, in the order of the places."""
    return tuple(
        CredentialRow(entry, _attempt(entry, history.attempts), _is_manual(entry, history))
        for entry in sorted(entries, key=lambda entry: (entry.sec_tag, entry.type))
    )


def _attempt(entry: StoredCredential, attempts: Sequence[AttemptRecord]) -> str | None:
    ours = (attempt.attempt for attempt in reversed(attempts) if slots.is_ours(entry, (attempt,)))
    return next(ours, None)


def _is_manual(entry: StoredCredential, history: BoardHistory) -> bool:
    return entry.sha256 in history.manual_digests.get((entry.sec_tag, entry.type), ())
