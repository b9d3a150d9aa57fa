"""Bars for work that takes a while: on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from infuse_cli.cli import context

if TYPE_CHECKING:
    from rich.progress import Progress


class SigningBar:
    """How many certificates of a batch are signed; it appears with the first of them, so that
    nothing of it is copied into a process that the work forks.
    """

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, done: int, total: int) -> None:
        """Show that so many of so many are done."""
        if context.current().output != "human" or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = _started(total)
        self._bar.update(self._bar.task_ids[0], completed=done)


def _started(total: int) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("signing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=context.current().no_color or None),
    )
    bar.add_task("signing", total=total)
    bar.start()
    return bar
