"""What a command ends with, and how it is shown.

Results go to stdout: the envelope for `--output json` and `jsonl`, text otherwise. Errors of a
result go to stderr.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from infuse_cli.cli import context
from infuse_cli.text import json_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

__all__ = [
    "OperationResult",
    "console",
    "envelope",
    "error_line",
    "finish",
    "json_line",
    "output_lost",
    "show",
    "tell",
]

_HELD = "\x1f"

Status = Literal["ok", "partial", "error"]


@dataclass(frozen=True, slots=True)
class OperationResult:
    """A command's result.

    `data` holds JSON values, dates, paths, enums or dataclasses, never a secret. `errors` are error
    objects as `InfuseError.as_json` makes them. `human` is the text for people, or what prints it
    on a console. `streamed` is for commands whose `jsonl` output already went out line by line: no
    envelope follows it. `told` is how many of the first errors a person has on the screen already,
    so that they are not said twice.
    """

    command: str
    data: dict[str, Any]
    status: Status = "ok"
    errors: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int = 0
    human: Callable[[Console], None] | str | None = None
    streamed: bool = False
    told: int = 0


def envelope(result: OperationResult) -> dict[str, Any]:
    """The JSON envelope of a result, version 1."""
    return {
        "infuse": 1,
        "command": result.command,
        "status": result.status,
        "data": result.data,
        "errors": result.errors,
    }


def finish(result: OperationResult) -> NoReturn:
    """Show a result and leave with its exit code (typer.Exit)."""
    import typer

    show(result)
    raise typer.Exit(int(result.exit_code))


_lost: list[OSError] = []


def output_lost(error: OSError) -> None:
    """Remember that lines for a program did not reach standard output: `show` says so once the work
    is done.
    """
    if not isinstance(error, BrokenPipeError):
        _lost.append(error)


def show(result: OperationResult) -> None:
    """Show a result on stdout in the output mode of this invocation, and go on.

    Raises OSError where stdout took not all.
    """
    settings = context.current()
    if result.streamed and _lost:
        raise _lost[0]
    if settings.output == "human":
        _show_human(result)
    elif settings.output == "json" or not result.streamed:
        sys.stdout.write(json_line(envelope(result)) + "\n")
    sys.stdout.flush()


def error_line(error: dict[str, Any]) -> str:
    """One line for a person: code, cause, what to do, whether the board may be pulled where there
    can be one.
    """
    safe = (
        " The board is safe to unplug." if error["boardSafe"] else " LEAVE BOARD: do not unplug it."
    )
    return (
        f"error {error['code']}: {_sentence(error['message'])}"
        f" {_sentence(error['hint'])}{safe if context.boards_at_hand() else ''}"
    )


def console() -> Console:
    """A rich console on stdout that obeys --no-color, NO_COLOR and pipes."""
    from rich.console import Console

    return Console(no_color=context.current().no_color or None, highlight=False)


def _show_human(result: OperationResult) -> None:
    if isinstance(result.human, str):
        sys.stdout.write(result.human.rstrip("\n") + "\n")
    elif result.human is not None:
        result.human(console())
    sys.stdout.flush()
    for error in result.errors[result.told :]:
        tell(error_line(error))


def tell(text: str) -> None:
    """Write a line of prose to stderr; on a terminal it is folded between words, and never within a
    command in backquotes.

    Raises BrokenPipeError; a stderr that takes nothing more is given up silently.
    """
    columns = _columns()
    if 0 < columns < len(text):
        import re
        import textwrap

        held = re.sub(r"`[^`]*`", lambda found: found[0].replace(" ", _HELD), text)
        text = textwrap.fill(held, columns, break_long_words=False, break_on_hyphens=False).replace(
            _HELD, " "
        )
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except (
        OSError
    ):  # a full disk: nobody can be told of that either, and the exit code has to stay what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):  # a stream that is no file
        return 0


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
