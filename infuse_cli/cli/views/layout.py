"""How views lay text out on a console: fields one below the other, and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

_STYLES: Final = {
    "PASS": "green",
    "done": "green",
    "FAIL": "red",
    "failed": "red",
    "conflict": "red",
    "ERROR": "magenta",
    "ABORTED": "yellow",
    "interrupted": "yellow",
    "unknown": "yellow",
    "at work": "cyan",
}


def fields(console: Console, values: dict[str, Any]) -> None:
    """A name and its value a line; what is None is left out."""
    for name, value in values.items():
        if value is not None:
            console.print(
                f"{name:<16} {value}", soft_wrap=True, markup=False, style=_STYLES.get(str(value))
            )


def columns(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns as wide as they need to be; never cut, so that a pipe gets whole
    values.
    """
    if not rows:
        return
    from rich.text import Text

    widths = [max(len(row[index]) for row in (titles, *rows)) for index in range(len(titles))]
    for row in (titles, *rows):
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append(cell.ljust(width), style="bold" if row is titles else _STYLES.get(cell, ""))
            line.append("  ")
        line.rstrip()
        console.print(line, soft_wrap=True)
