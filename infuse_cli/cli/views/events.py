"""A run's events as lines: for logs, for programs, or none. `boards_live` draws them on a terminal.

An output that fails (a closed pipe) goes quiet: it never stops a line.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from infuse_cli.cli.result import json_line, output_lost
from infuse_cli.cli.views.boards_model import (
    STOPPING,
    Boards,
    SlotRow,
    action,
    board_label,
    header_lines,
    hub_lost,
    scanned,
    silent,
)
from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.types import Event

_TOLD: Final[dict[str, Callable[[Event], str]]] = {
    "run-stopping": lambda _: STOPPING,
    "hub-lost": hub_lost,
    "scan-bound": scanned,
    "scan-refused": scanned,
    "slot-silent": silent,
    "board-left": lambda event: f"slot {event.slot} is free",
}
"""Events that are one line whatever the slots look like."""

_WITH_DATA: Final = (
    "run-started",
    "run-ended",
    "row-ended",
    "hub-lost",
    "scan-bound",
    "scan-refused",
    "slot-silent",
)


class Renderer(Protocol):
    """A subscriber of events (`ports.Events`) that is closed once, at the end of the run.

    `leaves_errors` says that the errors of boards stay on the screen, with cause and what to do.
    """

    leaves_errors: bool

    def emit(self, event: Event) -> None:
        """Show one event; safe to call from any thread; never raises."""

    def close(self) -> None:
        """Leave the output as it shall stay; safe to call twice."""


class Silent:
    """Shows nothing: the envelope at the end says it all."""

    leaves_errors = False

    def emit(self, event: Event) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Lines:
    """Writes lines until the reader goes away."""

    leaves_errors = False

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._dead = False

    def _write(self, *lines: str) -> None:
        with self._lock:
            if self._dead:
                return
            try:
                self._out.writelines(f"{line}\n" for line in lines)
                self._out.flush()
            except (OSError, ValueError) as error:
                self._dead = True
                if isinstance(error, OSError) and self._out is sys.stdout:
                    output_lost(error)

    def close(self) -> None:
        """Every line is already out."""


class JsonLines(_Lines):
    """One event a line; the last one is `run-ended` with the totals."""

    def emit(self, event: Event) -> None:
        """Write one event."""
        self._write(json_line(event_object(event)))


def event_object(event: Event) -> dict[str, Any]:
    """An event as its JSON object; `data` only where it belongs to the whole run."""
    line = {
        "ts": event.ts,
        "run": event.run,
        "slot": event.slot,
        "board": event.board,
        "event": event.event,
        "step": event.step,
        "state": event.state,
        "ms": None if event.ms is None else round(event.ms, 1),
        "error": event.error,
    }
    return {**line, "data": event.data} if event.event in _WITH_DATA else line


class PlainLines(_Lines):
    """Lines for a log or a pipe; `begun` adds a line at the beginning of each step."""

    def __init__(self, out: TextIO, *, begun: bool = False) -> None:
        super().__init__(out)
        self._begun = begun
        self._boards = Boards()
        self._model_lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Write the lines of one event."""
        with self._model_lock:
            self._boards.apply(event, time.monotonic())
            lines = self._lines(event)
        stamp = event.ts.astimezone().strftime("%H:%M:%S")
        self._write(*(f"{stamp} {line}" for line in lines))

    def _lines(self, event: Event) -> list[str]:  # noqa: PLR0911 - a table of events
        row = self._boards.rows.get(event.slot) if event.slot is not None else None
        where = f"slot {event.slot} board {row.board or '?'}" if row is not None else ""
        match event.event:
            case "run-started":
                return header_lines(event.data)
            case told if told in _TOLD:
                return [_TOLD[told](event)]
            case "run-ended":
                return [self._boards.totals.line()]
            case "board-found":
                return [
                    (
                        f"slot {event.slot} board {board_label(event) or '?'} found on"
                        f" {event.data.get('port', '?')}"
                    )
                ]
            case "step-begun" if self._begun and row is not None:
                return [f"{where} {_step(row)} begun"]
            case "step-done" if row is not None:
                return [f"{where} {_step_of(event)} done{_took(event.ms)}"]
            case "board-waiting" if row is not None:
                return [f"{where} waiting: {row.why}"]
            case "board-ended" if row is not None:
                return _ended(where, row)
            case _:
                return []


def _step(row: SlotRow) -> str:
    return f"{row.step} {row.index}/{row.steps}" if row.steps else row.step


def _step_of(event: Event) -> str:
    """The event's own step: the row may already be at the next one, since two steps can share a
    commit.
    """
    index, steps = event.data.get("index"), event.data.get("steps")
    return f"{event.step} {index}/{steps}" if index and steps else str(event.step)


def _took(ms: float | None) -> str:
    return "" if ms is None else f", {seconds(ms)}"


def _ended(where: str, row: SlotRow) -> list[str]:
    already = " (already)" if row.already else ""
    first = f"{where} {row.state}{already}{_took(row.ended_ms)}"
    if row.error is None or row.state == Outcome.PASS.value:
        return [first]
    error = row.error
    at_step = f" at {row.step}" if row.step else ""
    told = action(row.state, error)
    return [
        f"{first}{at_step}: {error['code']}: {error['message']}",
        f"{where} {told}: {error['hint']}",
    ]


def seconds(ms: float) -> str:
    """A time in milliseconds for people: 312 ms, 3.2 s, 4 min 05 s."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, left = divmod(round(ms / 1000), 60)
    return f"{minutes} min {left:02d} s"
