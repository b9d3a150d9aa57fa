"""The part of `infuse resume` that is about changes by hand: boards that one of them left in flight
mode come back.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.config import model as prof
from infuse_cli.dialect import operations
from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.errors import BoardError
from infuse_cli.records.modes import MODE, mode_facts
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.serial_tools.manual_log import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.config.model import Profile
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Board
    from infuse_cli.records.modes import OwedMode

_WORDS: Final = {
    "restored": "functional mode {mode} restored, which `infuse {command}` had found",
    "other": "no longer in the flight mode that `infuse {command}` left it in; nothing to restore",
    "absent": (
        "left in flight mode by `infuse {command}`, and not seen: {why}. A board that lost its"
        " power has left that mode by itself"
    ),
    "failed": (
        "left in flight mode by `infuse {command}`, and functional mode {mode} could not be brought"
        " back: {why}"
    ),
}
_SETTLED: Final = frozenset({"restored", "other"})


def restore(ports: Sequence[str]) -> tuple[list[dict[str, Any]], list[BoardError]]:
    """Look for the boards that are owed their mode on these ports (none: where each of them was); a
    row each, and what went wrong.

    A board that is not there is no error: whoever unplugged it ended its flight mode.
    """
    rows: list[dict[str, Any]] = []
    errors: list[BoardError] = []
    with serial_board.record() as journal:
        owed = (
            {}
            if journal is None
            else {one.board: (one, _profile(journal, one)) for one in journal.modes_owed()}
        )
    for one, profile in owed.values():
        state: str = "absent"
        why: str | None = None
        for port in ports or [one.port]:
            state, why, error = _on_port(port, one, profile)
            errors += [] if error is None else [error]
            if state != "absent":
                break
        rows.append(
            {
                "board": one.board,
                "port": one.port,
                "mode": one.mode,
                "command": one.command,
                "state": state,
                "why": why,
            }
        )
    return rows, errors


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line a board, for people."""
    return [f"Board {row['board']}: {_WORDS[row['state']].format(**row)}." for row in rows]


def told(
    result: OperationResult, rows: list[dict[str, Any]], errors: Sequence[BoardError]
) -> OperationResult:
    """What `resume` ended with, with these boards in its data and their troubles among its
    errors.
    """
    if not rows:
        return result
    made = dataclasses.replace(
        result, data={**result.data, "modes": rows}, human=_shown(rows, result.human)
    )
    if not errors:
        return made
    done = bool(result.data["boards"]) or any(row["state"] in _SETTLED for row in rows)
    return dataclasses.replace(
        made,
        status="partial" if done else "error",
        errors=[*result.errors, *(error.as_json() for error in errors)],
        exit_code=result.exit_code or int(errors[0].exit),
    )


def _shown(
    rows: Sequence[dict[str, Any]], rest: Callable[[Console], None] | str | None
) -> Callable[[Console], None]:
    """These boards, and what else there was to go on with."""

    def show(console: Console) -> None:
        sys.stdout.write("".join(f"{line}\n" for line in lines(rows)))
        if callable(rest):
            rest(console)

    return show


def _profile(journal: SqliteJournal, one: OwedMode) -> Profile | None:
    """The profile of the command that is to blame, as its run recorded it."""
    start = journal.run(one.run).start
    return prof.from_json(start.profile) if start.profile else None


def _on_port(
    port: str, one: OwedMode, profile: Profile | None
) -> tuple[str, str | None, BoardError | None]:
    try:
        with serial_board.opened(port, profile) as link:
            found = serial_board.identify(link, None).identity
            if found.uuid != one.board:
                return "absent", f"board {found.uuid} is on {port}", None
            return _back(link, one, profile, found.functional_mode)
    except BoardError as error:
        return "absent", error.message, None


def _back(
    link: Board, one: OwedMode, profile: Profile | None, found: int | None
) -> tuple[str, str | None, BoardError | None]:
    ops = operations(link.dialect)
    with Notes("resume", profile, link.port, one.board) as notes:
        try:
            if found == FLIGHT_MODE:
                link.run(ops.same_board(one.board))
                link.run(ops.restore(one.mode))
        except BoardError as error:
            notes.note(MODE, **{**mode_facts(one.mode, restored=False), "answer": error.code})
            return "failed", error.message, error
        notes.note(MODE, **mode_facts(one.mode, restored=True))
    return ("restored" if found == FLIGHT_MODE else "other"), None, None
