"""Boards that a manual change left in flight mode come back from it: a part of `infuse resume`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.config import model as prof
from infuse_cli.dialect import operations
from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.errors import BoardError
from infuse_cli.records.modes import mode_facts
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.serial_tools.manual_log import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Board
    from infuse_cli.records.modes import OwedMode


class ModeState(enum.Enum):
    """What became of a board's functional mode."""

    RESTORED = "restored"
    OTHER = "other"  # no longer in flight mode
    ABSENT = "absent"
    FAILED = "failed"

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do."""
        return self in {ModeState.RESTORED, ModeState.OTHER}


@dataclass(frozen=True, slots=True)
class RestoredMode:
    """A board whose functional mode `mode` a manual change by `command` left changed on `port`.

    `why` says what kept it from being restored; `errors` are what the ports that were tried raised
    while the board was on them.
    """

    board: str
    port: str
    mode: int
    command: str
    state: ModeState
    why: str | None = None
    errors: tuple[BoardError, ...] = ()


def restore_modes(ports: Sequence[str]) -> list[RestoredMode]:
    """Look for the boards whose mode is to be restored on these ports (none: where each was).

    A board that is not there is no error: whoever unplugged it ended its flight mode.
    """
    with serial_board.record() as journal:
        pending = [] if journal is None else list(journal.modes_owed())
        profiles = {} if journal is None else {one.board: _profile(journal, one) for one in pending}
    return [_restore(owed, profiles[owed.board], ports or [owed.port]) for owed in pending]


def _restore(owed: OwedMode, profile: Profile | None, ports: Sequence[str]) -> RestoredMode:
    state, why = ModeState.ABSENT, None
    errors: list[BoardError] = []
    for port in ports:
        state, why, error = _on_port(port, owed, profile)
        errors += [] if error is None else [error]
        if state is not ModeState.ABSENT:
            break
    return RestoredMode(owed.board, owed.port, owed.mode, owed.command, state, why, tuple(errors))


def _profile(journal: SqliteJournal, owed: OwedMode) -> Profile | None:
    """The profile of the command that is to blame, as its run recorded it."""
    start = journal.run(owed.run).start
    return prof.from_json(start.profile) if start.profile else None


def _on_port(
    port: str, owed: OwedMode, profile: Profile | None
) -> tuple[ModeState, str | None, BoardError | None]:
    try:
        with serial_board.opened(port, profile) as link:
            found = serial_board.identify(link, None).identity
            if found.uuid != owed.board:
                return ModeState.ABSENT, f"board {found.uuid} is on {port}", None
            return _put_back(link, owed, profile, found.functional_mode)
    except BoardError as error:
        return ModeState.ABSENT, error.message, None


def _put_back(
    link: Board, owed: OwedMode, profile: Profile | None, found: int | None
) -> tuple[ModeState, str | None, BoardError | None]:
    ops = operations(link.dialect)
    with Notes("resume", profile, link.port, owed.board) as notes:
        try:
            if found == FLIGHT_MODE:
                link.run(ops.same_board(owed.board))
                link.run(ops.restore(owed.mode))
        except BoardError as error:
            notes.note(
                NoteKind.FUNCTIONAL_MODE,
                **{**mode_facts(owed.mode, restored=False), "answer": error.code},
            )
            return ModeState.FAILED, error.message, error
        notes.note(NoteKind.FUNCTIONAL_MODE, **mode_facts(owed.mode, restored=True))
    return (ModeState.RESTORED if found == FLIGHT_MODE else ModeState.OTHER), None, None
