"""Boards that a manual change left in flight mode come back from it: a part of `infuse resume`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.config import model as prof
from infuse_cli.dialect import operations
from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.effects.journal_run import command_run
from infuse_cli.errors import BoardError
from infuse_cli.serial_tools.board import existing_journal, identify, open_board
from infuse_cli.serial_tools.credentials import restore_mode
from infuse_cli.serial_tools.ports import BoardPort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import BoardLink
    from infuse_cli.records.modes import OwedMode
    from infuse_cli.settings import Settings


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


def restore_modes(settings: Settings, ports: Sequence[str]) -> list[RestoredMode]:
    """Look for the boards whose mode is to be restored on these ports (none: where each was).

    A board that is not there is no error: whoever unplugged it ended its flight mode.
    """
    with existing_journal(settings.home) as journal:
        if journal is None:
            return []
        pending = [(owed, _profile(journal, owed)) for owed in journal.modes_owed()]
    return [
        _restore(settings, owed, [BoardPort(port, profile) for port in ports or [owed.port]])
        for owed, profile in pending
    ]


def _restore(settings: Settings, owed: OwedMode, targets: Sequence[BoardPort]) -> RestoredMode:
    state, why = ModeState.ABSENT, None
    errors: list[BoardError] = []
    for target in targets:
        state, why, error = _on_port(settings, owed, target)
        errors += [] if error is None else [error]
        if state is not ModeState.ABSENT:
            break
    return RestoredMode(owed.board, owed.port, owed.mode, owed.command, state, why, tuple(errors))


def _profile(journal: SqliteJournal, owed: OwedMode) -> Profile | None:
    """The profile of the command that is to blame, as its run recorded it."""
    start = journal.run(owed.run).start
    return prof.from_json(start.profile) if start.profile else None


def _on_port(
    settings: Settings, owed: OwedMode, target: BoardPort
) -> tuple[ModeState, str | None, BoardError | None]:
    try:
        with open_board(target) as link:
            board = identify(settings, link, None)
            if board.uuid != owed.board:
                return ModeState.ABSENT, f"board {board.uuid} is on {target.port}", None
            in_flight_mode = board.identity.functional_mode == FLIGHT_MODE
            return _put_back(settings, owed, target, link, needed=in_flight_mode)
    except BoardError as error:
        return ModeState.ABSENT, error.message, None


def _put_back(
    settings: Settings, owed: OwedMode, target: BoardPort, link: BoardLink, *, needed: bool
) -> tuple[ModeState, str | None, BoardError | None]:
    board = link, operations(link.dialect), owed.board
    about = {"port": target.port, "board": owed.board}
    with command_run(settings.home, "resume", profile=target.profile, about=about) as run:
        try:
            restore_mode(run, board, owed.mode, needed=needed)
        except BoardError as error:
            return ModeState.FAILED, error.message, error
    return (ModeState.RESTORED if needed else ModeState.OTHER), None, None
