"""How a batch is shown while it runs: a bar on a terminal, lines in a log, an event a row for
programs.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TextIO

from infuse_cli.cli.views.boards_model import header_lines
from infuse_cli.cli.views.events import JsonLines, Renderer, Silent, _Lines
from infuse_cli.records.rows import RowOutcome
from infuse_cli.text import plural

if TYPE_CHECKING:
    from infuse_cli.cli.context import Invocation
    from infuse_cli.types import Event

STOPPING: Final = "stopping: what is under way is finished first; once more stops at once"
_EVERY_S: Final = 5.0
_MOST_NAMED: Final = 20
"""Rows in trouble that are named while the batch runs; the report has them all."""

_GOOD: Final = frozenset({RowOutcome.CREATED.value, RowOutcome.EXISTED.value})


def make_events(settings: Invocation) -> Renderer:
    """The renderer of this invocation; how many rows there are comes with `run-started`."""
    if settings.output == "jsonl":
        return JsonLines(sys.stdout)
    if settings.output == "json":
        return Silent()
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}:
        return Bar(no_color=settings.no_color)
    return BatchLines(sys.stderr)


class Progress:
    """Rows counted as their events come: how far, how fast, how long still."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: Final[Counter[str]] = Counter()
        self._named = 0
        self._began = time.monotonic()

    @property
    def done(self) -> int:
        """Rows that ended."""
        return sum(self.counts.values())

    @property
    def rate(self) -> float:
        """Rows a second since the beginning."""
        return self.done / max(time.monotonic() - self._began, 1e-3)

    def count(self, event: Event) -> list[str]:
        """Count a row; a line for one in trouble, as long as they are few."""
        self.counts[event.state or ""] += 1
        if event.state in _GOOD or self._named > _MOST_NAMED:
            return []
        self._named += 1
        if self._named > _MOST_NAMED:
            return ["further rows in trouble are in the report"]
        return [row_line(event.data)]

    def words(self) -> str:
        """`created 980 existed 20`."""
        return " ".join(
            f"{outcome.value} {self.counts[outcome.value]}"
            for outcome in RowOutcome
            if self.counts[outcome.value]
        )


def row_line(row: dict[str, Any]) -> str:
    """A row for people."""
    field = f" ({row['field']})" if row["field"] else ""
    return f"line {row['line']} mcuId {row['mcuId']} {row['outcome']}{field}: {row['message']}"


class BatchLines(_Lines):
    """Lines for a log: how it goes every few seconds, and each row in trouble."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._progress: Final = Progress()
        self._next = time.monotonic() + _EVERY_S

    def emit(self, event: Event) -> None:
        """Write the lines of one event."""
        stamp = event.ts.astimezone().strftime("%H:%M:%S")
        self._write(*(f"{stamp} {line}" for line in self._lines_of(event)))

    def _lines_of(self, event: Event) -> list[str]:
        progress = self._progress
        match event.event:
            case "run-started":
                progress.total = event.data["rows"]
                return [*header_lines(event.data), f"{plural(progress.total, 'row')} to register"]
            case "row-ended":
                lines = progress.count(event)
                if time.monotonic() < self._next:
                    return lines
                self._next = time.monotonic() + _EVERY_S
                return [
                    *lines,
                    (
                        f"{progress.done} of {progress.total}, {progress.rate:.0f} a second:"
                        f" {progress.words()}"
                    ),
                ]
            case "run-stopping":
                return [STOPPING]
            case _:
                return []


class Bar:
    """A bar with rate and time left on a terminal; rows in trouble scroll up above it."""

    leaves_errors = False

    def __init__(self, *, no_color: bool = False) -> None:
        from rich import progress as bars
        from rich.console import Console

        self._console: Final = Console(file=sys.stderr, no_color=no_color or None, highlight=False)
        self._progress: Final = Progress()
        self._lock: Final = threading.Lock()
        self._bar: Final = bars.Progress(
            bars.TextColumn("{task.completed:.0f} of {task.total:.0f}"),
            bars.BarColumn(bar_width=24),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeRemainingColumn(compact=True),
            bars.TextColumn("{task.fields[words]}"),
            console=self._console,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: Final = self._bar.add_task(
            "", total=None, rate="", words="reading what the cloud has"
        )
        self._closed = False

    def emit(self, event: Event) -> None:
        """Show one event; the terminal going away is not the batch's trouble."""
        try:
            with self._lock:
                self._show(event)
        except (OSError, ValueError):
            self._closed = True

    def _show(self, event: Event) -> None:
        match event.event:
            case "run-started":
                self._print(header_lines(event.data))
                self._progress.total = event.data["rows"]
                self._bar.update(self._task, total=self._progress.total)
                self._bar.start()
            case "row-ended":
                self._print(self._progress.count(event))
                self._bar.update(
                    self._task,
                    completed=self._progress.done,
                    rate=f"{self._progress.rate:.0f}/s",
                    words=self._progress.words(),
                )
            case "run-stopping":
                self._print([STOPPING])
            case "run-ended":
                self.close()
            case _:
                pass

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it stands; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._bar.stop()
