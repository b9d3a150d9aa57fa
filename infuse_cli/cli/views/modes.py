"""Boards whose functional mode `infuse resume` restored, beside what else it went on with."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Final

from infuse_cli.serial_tools.restore_modes import ModeState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.serial_tools.restore_modes import RestoredMode

_WORDS: Final = {
    ModeState.RESTORED: (
        "functional mode {mode.mode} restored, which `infuse {mode.command}` had found"
    ),
    ModeState.OTHER: (
        "no longer in the flight mode that `infuse {mode.command}` left it in; nothing to restore"
    ),
    ModeState.ABSENT: (
        "left in flight mode by `infuse {mode.command}`, and not seen: {mode.why}. A board that"
        " lost its power has left that mode by itself"
    ),
    ModeState.FAILED: (
        "left in flight mode by `infuse {mode.command}`, and functional mode {mode.mode} could not"
        " be brought back: {mode.why}"
    ),
}


def with_modes(result: OperationResult, modes: Sequence[RestoredMode]) -> OperationResult:
    """What `resume` ended with, with these boards in its data and their troubles among its
    errors.
    """
    if not modes:
        return result
    rows = [
        {
            "board": mode.board,
            "port": mode.port,
            "mode": mode.mode,
            "command": mode.command,
            "state": mode.state.value,
            "why": mode.why,
        }
        for mode in modes
    ]
    made = dataclasses.replace(
        result, data={**result.data, "modes": rows}, human=_shown(modes, result.human)
    )
    errors = [error for mode in modes for error in mode.errors]
    if not errors:
        return made
    done = bool(result.data["boards"]) or any(mode.state.is_settled for mode in modes)
    return dataclasses.replace(
        made,
        status="partial" if done else "error",
        errors=[*result.errors, *(error.as_json() for error in errors)],
        exit_code=result.exit_code or int(errors[0].exit),
    )


def _shown(
    modes: Sequence[RestoredMode], rest: Callable[[Console], None] | str | None
) -> Callable[[Console], None]:
    """These boards, and what else there was to go on with."""
    lines = [f"Board {mode.board}: {_WORDS[mode.state].format(mode=mode)}.\n" for mode in modes]

    def show(console: Console) -> None:
        sys.stdout.write("".join(lines))
        if callable(rest):
            rest(console)

    return show
