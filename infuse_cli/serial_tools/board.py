"""One board on one port, by hand: what it says it is, what its modem holds, and what the journal
knows of it.
"""

from __future__ import annotations

import dataclasses
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import composition as wire
from infuse_cli.cli import context
from infuse_cli.config.model import BoardSection
from infuse_cli.dialect import commands, operations
from infuse_cli.errors import BoardError, InfuseError
from infuse_cli.journal.board_json import brief, word
from infuse_cli.journal.manual_changes import changes, is_by_hand
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.steps.expect import kind_name
from infuse_cli.provisioning.steps.identify import McuIds, known, mcu_id
from infuse_cli.types import Command

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Board
    from infuse_cli.records import AttemptRecord, EventRecord
    from infuse_cli.types import BoardIdentity, Reply, StoredCredential

_SOC: Final = "nRF9151"
"""Whose id is read where no profile says otherwise: the boards that this tool is for."""

LAST_TAG: Final = 2147483647
"""What has a higher sec_tag is the modem's own: it is shown in lists, and cannot be written or
deleted.
"""

_MODES: Final = {
    0: "off",
    1: "normal",
    2: "receive only",
    4: "flight mode",
    20: "LTE off",
    21: "LTE on",
    30: "GNSS off",
    31: "GNSS on",
    40: "receive only",
    41: "flight mode with SIM",
    44: "flight mode, SIM kept",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a board answered: `identity` with mcuId where the profile names a source that gave one,
    else why not.
    """

    port: str
    dialect: str
    identity: BoardIdentity
    mcu_id_problem: InfuseError | None = None

    def as_json(self) -> dict[str, Any]:
        """The board as JSON values."""
        seen, problem = self.identity, self.mcu_id_problem
        mode = seen.functional_mode
        return {
            "port": self.port,
            "dialect": self.dialect,
            "board": {"uuid": seen.uuid, "imei": seen.imei, "mcuId": seen.mcu_id},
            "model": seen.model,
            "modemFirmware": seen.modem_firmware,
            "iccid": seen.iccid,
            "functionalMode": mode,
            "functionalModeName": None if mode is None else _MODES.get(mode, "another mode"),
            "mcuIdProblem": None if problem is None else problem.as_json(),
        }


@contextmanager
def opened(port: str, profile: Profile | None) -> Iterator[Board]:
    """The board on a port, opened exclusively and in step. Raises BoardError serial.*."""
    from infuse_cli.link.source import SerialSource

    section = BoardSection() if profile is None else profile.board
    board = SerialSource(section, [port], threading.Event(), cipher=wire.cipher(section)).open(port)
    try:
        yield board
    finally:
        board.close()


@contextmanager
def record() -> Iterator[SqliteJournal | None]:
    """The journal for reading, None where there is none yet: then no board is known."""
    from infuse_cli.journal.database import FILE
    from infuse_cli.journal.store import open_journal

    home = context.current().home
    if not (home / FILE).exists():
        yield None
        return
    with open_journal(home, create=False) as journal:
        yield journal


def identify(link: Board, profile: Profile | None) -> Found:
    """Ask the board who it is; an mcuId that cannot be read is no failure here, but its reason is
    kept.
    """
    from infuse_cli.config.bench import load_bench

    ops = operations(link.dialect)
    soc = _SOC if profile is None else profile.board.soc or _SOC
    seen = known(link.run(ops.identify()), soc)
    source = None if profile is None else profile.board.mcu_id
    if profile is None or source is None:
        return Found(link.port, link.dialect, seen)
    if source.source == "scan":
        with record() as journal:
            known_board = None if journal is None else journal.board(seen.uuid)
        if known_board is not None and known_board.mcu_id is not None:
            return Found(
                link.port, link.dialect, dataclasses.replace(seen, mcu_id=known_board.mcu_id)
            )
        problem = BoardError(
            "board.no-mcu-id",
            "mcuId comes from a scan, and nothing is scanned here",
            hint="Look the board up by its IMEI or UUID.",
        )
        return Found(link.port, link.dialect, seen, problem)
    ids = McuIds(source, chips=wire.chip_ids(load_bench(context.current().home)), soc=soc)
    try:
        return Found(
            link.port,
            link.dialect,
            dataclasses.replace(seen, mcu_id=mcu_id(link, ops, source, ids, seen)),
        )
    except InfuseError as error:
        if error.code.startswith("serial."):
            raise
        return Found(link.port, link.dialect, seen, error)


def who() -> Generator[Command, Reply, str | None]:
    """The board's UUID for the record, None where the firmware has none."""
    command = commands.device_uuid()
    reply = yield Command(command.text, command.timeout_s, command.info)
    found = commands.value(command, reply) if reply.ok else None
    return None if found is None else found.lower()


def stored(link: Board, sec_tag: int | None) -> tuple[StoredCredential, ...]:
    """The credentials in the modem, under one sec_tag or all; the keys that it was born with are
    left out.
    """
    return parted(listed(link, sec_tag))[0]


def parted(
    entries: Sequence[StoredCredential],
) -> tuple[tuple[StoredCredential, ...], list[dict[str, Any]]]:
    """What people put there, and as JSON values what is the modem's own."""
    own = [
        {"secTag": row.sec_tag, "type": row.type, "sha256": row.sha256}
        for row in entries
        if row.sec_tag > LAST_TAG
    ]
    return tuple(row for row in entries if row.sec_tag <= LAST_TAG), own


def listed(link: Board, sec_tag: int | None) -> tuple[StoredCredential, ...]:
    """All that the modem lists."""
    return link.run(operations(link.dialect).list_credentials(sec_tag))


def history(journal: SqliteJournal | None, uuid: str) -> Sequence[AttemptRecord]:
    """All attempts of a board, oldest first."""
    return () if journal is None else journal.attempts(uuid)


def mode_owed(journal: SqliteJournal | None, found: Found) -> int | None:
    """The functional mode that a board in flight mode was in before a change by hand that was
    stopped.
    """
    owed = (
        ()
        if journal is None or found.identity.functional_mode != commands.FLIGHT_MODE
        else journal.modes_owed(found.identity.uuid)
    )
    return owed[0].mode if owed else None


def on_record(journal: SqliteJournal | None, uuid: str) -> dict[str, Any] | None:
    """What the journal knows of a board, None when it was never begun here."""
    board = None if journal is None else journal.board(uuid)
    if journal is None or board is None:
        return None
    attempts = journal.attempts(uuid)
    newest = attempts[-1] if attempts else None
    certificates = [row for row in journal.certificates(board=uuid) if row.state == "issued"]
    return {
        "imei": board.imei,
        "mcuId": board.mcu_id,
        "attempts": len(attempts),
        "newest": None if newest is None else {**brief(newest), "word": word(newest)},
        "certificates": [
            {
                "serial": row.serial,
                "sha256": row.sha256,
                "notAfter": row.not_after,
                "deviceId": row.device_id,
            }
            for row in certificates
        ],
    }


def by_hand(journal: SqliteJournal | None, uuid: str) -> list[EventRecord]:
    """The events of a board, which tell what was done to it by hand."""
    return [] if journal is None or not uuid else list(journal.events(board=uuid))


def journalled(journal: SqliteJournal | None, found: Found) -> dict[str, Any]:
    """What the journal knows of a board, how many changes by hand are on record, and the mode that
    one of them owes it.
    """
    uuid = found.identity.uuid
    return {
        "record": on_record(journal, uuid),
        "byHand": len(changes(by_hand(journal, uuid))),
        "functionalModeOwed": mode_owed(journal, found),
    }


def credential_rows(
    entries: Sequence[StoredCredential],
    attempts: Sequence[AttemptRecord],
    events: Sequence[EventRecord] = (),
) -> list[dict[str, Any]]:
    """A row a credential; `attempt` is the newest attempt on record that put it there, `known`
    whether there is one.

    `byHand`: by the board's `events` it is what a person put there last.
    """
    return [
        {**_credential(entry, attempts), "byHand": is_by_hand(entry, events)}
        for entry in sorted(entries, key=lambda entry: (entry.sec_tag, entry.type))
    ]


def _credential(entry: StoredCredential, attempts: Sequence[AttemptRecord]) -> dict[str, Any]:
    owner = next((one.attempt for one in reversed(attempts) if slots.is_ours(entry, (one,))), None)
    return {
        "secTag": entry.sec_tag,
        "type": entry.type,
        "typeName": kind_name(entry.type),
        "sha256": entry.sha256,
        "known": owner is not None,
        "attempt": owner,
    }
