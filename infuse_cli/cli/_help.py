"""Help pages for a terminal: Typer's plain ones, as wide as is good to read, with headings and
names coloured.

rich would draw boxes around them, and takes longer to import than all the rest of `--help`
together.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any, Final

from typer._click.formatting import HelpFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDEST: Final = 120
_BOLD, _DIM, _CYAN, _YELLOW, _END = ("\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[0m")
_META: Final = re.compile(r"(?<= )(<[^>]*>|\[[^\]]*\]|[A-Z][A-Z0-9_|=.-]*)$")
_NAME: Final = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
_COMMAND: Final = re.compile(r"`([^`]+)`")


def width() -> int:
    """Columns that help pages take on this terminal."""
    return max(60, min(shutil.get_terminal_size((80, 24)).columns, _WIDEST))


class Coloured(HelpFormatter):
    """What Typer writes, with colours; widths are measured without them."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line that says how a command is called."""
        super().write_usage(f"{_BOLD}{prog}{_END}", args, f"{_YELLOW}{prefix or 'Usage: '}{_END}")

    def write_heading(self, heading: str) -> None:
        """Heading of a list."""
        self.write(f"{'':>{self.current_indent}}{_BOLD}{_YELLOW}{heading}:{_END}\n")

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """A list of names and what they mean."""
        super().write_dl(
            [(_coloured(first), second) for first, second in rows], col_max, col_spacing
        )

    def getvalue(self) -> str:
        """The page; what is to be typed stands out."""
        return _COMMAND.sub(rf"{_CYAN}\1{_END}", super().getvalue())


def _coloured(name: str) -> str:
    if not name.startswith("-"):
        return f"{_CYAN}{name}{_END}"
    return _NAME.sub(rf"{_CYAN}\1{_END}", _META.sub(rf"{_DIM}\1{_END}", name))


def use(context: Any) -> None:
    """Have every help page of this process written so; `context` is Typer's class of contexts."""
    context.formatter_class = Coloured
