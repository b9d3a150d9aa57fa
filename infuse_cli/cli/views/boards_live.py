"""The boards of a run on a terminal: one line a slot, in words and colours, for light and dark
backgrounds.
"""

from __future__ import annotations

import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from infuse_cli.cli.views.big_letters import HEIGHT, big
from infuse_cli.cli.views.boards_model import (
    ENDS,
    ENDS_SCANNING,
    LOST,
    NOBODY,
    READY,
    STOPPING,
    WAITING,
    WORKING,
    Boards,
    SlotRow,
    action,
    header_lines,
    loudest,
)
from infuse_cli.cli.views.events import seconds
from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import ConsoleOptions, RenderResult

    from infuse_cli.types import Event

STYLES: Final = {
    Outcome.PASS.value: "bold white on green",
    Outcome.FAIL.value: "bold white on red",
    Outcome.ERROR.value: "bold white on magenta",
    Outcome.ABORTED.value: "bold reverse",
    WAITING: "bold black on yellow",
    WORKING: "bold",
    READY: "dim",
    LOST: "bold black on yellow",
}
"""Words carry the meaning; each colour has its own background, so it can be read on light and dark
terminals.
"""

BARS: Final = {
    Outcome.PASS.value: "green",
    Outcome.FAIL.value: "red",
    Outcome.ERROR.value: "magenta",
    WAITING: "yellow",
}

_WIDE: Final = 120
_REFRESH: Final = 8
_IDLE_S: Final = 5.0
_TROUBLE_LINES: Final = 5
_LEAST_ROOM: Final = 8
_GIVE_WAY: Final = (
    READY,
    Outcome.PASS.value,
    WORKING,
    Outcome.ABORTED.value,
    WAITING,
    LOST,
    Outcome.FAIL.value,
    Outcome.ERROR.value,
)
"""States in the order in which their slots are left out when the terminal is too low."""


class LiveBoards:
    """Draws the boards in place; a result that a next board pushes out of its slot scrolls up and
    stays.
    """

    leaves_errors = True

    def __init__(self, *, no_color: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(
            file=sys.stderr, no_color=no_color or None, highlight=False
        )
        self._boards = Boards()
        self._lock = threading.Lock()
        self._live = Live(
            _View(self),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="visible",
        )
        self._closed = False
        self._over = threading.Event()
        self._changed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="live", daemon=True)

    def emit(self, event: Event) -> None:
        """Show one event; the terminal going away is not the line's trouble."""
        with self._lock:
            pushed = self._boards.apply(event, time.monotonic())
        self._changed.set()
        try:
            if event.event == "run-started":
                self._open()
            if pushed is not None:
                self._console.print(
                    *row_lines(pushed, self._console, time.monotonic(), whole=True), sep="\n"
                )
        except (OSError, ValueError):
            self._closed = True

    def _open(self) -> None:
        for line in header_lines(self._boards.header):
            self._console.print(Text(line, overflow="fold"))
        self._live.start()
        self._ticker.start()

    def _tick(self) -> None:
        """Draw while clocks run; a bench on which nothing happens is drawn when something does, and
        costs nothing meanwhile.
        """
        while not self._over.wait(1 / _REFRESH):
            with self._lock:
                busy = any(row.state in {WORKING, WAITING} for row in self._boards.rows.values())
            if not busy:
                self._changed.wait(_IDLE_S)
            self._changed.clear()
            try:
                self._live.refresh()
            except (OSError, ValueError):
                return

    def close(self) -> None:
        """Draw the last state and leave it standing."""
        if self._closed:
            return
        self._closed = True
        self._over.set()
        self._changed.set()
        if self._ticker.is_alive():
            self._ticker.join(1)
        try:
            self._live.stop()
        except (OSError, ValueError):
            return

    def lines(self, room: int) -> list[Text]:
        """The lines to draw now, at most about `room` slots."""
        now = time.monotonic()
        with self._lock:
            rows = [self._boards.rows[slot] for slot in sorted(self._boards.rows)]
            totals = self._boards.totals.line(self._boards.an_hour(now))
            foot = [Text(line, overflow="fold") for line in self._foot(rows)]
            stopping = self._boards.stopping and not self._boards.over
        banner = self._banner(rows, room)
        shown = rows if self._closed else visible(rows, max(1, room - len(banner) - len(foot)))
        lines = [
            line for row in shown for line in row_lines(row, self._console, now, whole=self._closed)
        ]
        if hidden := len(rows) - len(shown):
            lines.append(Text(f"    and {hidden} more", style="dim"))
        lines = [*banner, *lines, *foot]
        if stopping:
            lines.append(Text(STOPPING, no_wrap=True, overflow="crop"))
        return [*lines, Text(totals, no_wrap=True, overflow="crop", style="bold")]

    def _foot(self, rows: Sequence[SlotRow]) -> list[str]:
        """What a watching run says below its slots."""
        boards = self._boards
        if not boards.watching or boards.over or self._closed:
            return []
        seen = any(row.state != READY for row in rows)
        ends = ENDS_SCANNING if boards.header.get("scans") else ENDS
        return [*([boards.notice] if boards.notice else []), ends if seen else f"{NOBODY} {ends}"]

    def _banner(self, rows: Sequence[SlotRow], room: int) -> list[Text]:
        """What has to be done, in letters that are read from across the room, and in which
        slots.
        """
        word, where = loudest(rows)
        if not (self._boards.watching and word) or self._closed:
            return []
        block = "#" if self._console.options.ascii_only else "█"
        style, width = STYLES[where[0].state], self._console.width - 1
        several = len(rows) > 1
        drawn = big(f"{where[0].slot} {word}" if several else word, width - 1, block=block) or big(
            word, width - 1, block=block
        )
        slots = ", ".join(str(row.slot) for row in where)
        caption = f" {word}: slot{'s' if len(where) > 1 else ''} {slots} "
        if not drawn or room < HEIGHT + _LEAST_ROOM:
            return [Text(caption.ljust(width), style=style, no_wrap=True, overflow="crop")]
        colour = BARS.get(where[0].state, "")
        return [
            *(
                Text(f" {line}", style=f"bold {colour}", no_wrap=True, overflow="crop")
                for line in drawn
            ),
            Text(caption.ljust(width), style=style),
        ]


class _View:
    def __init__(self, boards: LiveBoards) -> None:
        self._owner = boards

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(*self._owner.lines(max(4, (options.height or console.height) - 3)))


def visible(rows: Sequence[SlotRow], room: int) -> list[SlotRow]:
    """The rows that fit into `room` lines: empty slots and passed boards give way first, trouble
    last.
    """
    over = sum(_height(row) for row in rows) - room
    dropped: set[int] = set()
    for state in _GIVE_WAY:
        for row in rows:
            if over <= 0:
                break
            if row.state == state:
                dropped.add(row.slot)
                over -= _height(row)
    return [row for row in rows if row.slot not in dropped]


def _height(row: SlotRow) -> int:
    return 1 if row.error is None or not row.ended else _TROUBLE_LINES


def row_lines(row: SlotRow, console: Console, now: float, *, whole: bool = False) -> list[Text]:
    """A slot's line, and for a board in trouble the cause and what to do below it: `whole`, or two
    lines of each.
    """
    lines = [_line(row, console, now)]
    if row.ended and row.error is not None and row.state != Outcome.PASS.value:
        width, most = max(20, console.width - 5), None if whole else 2
        cause = textwrap.wrap(
            f"{row.error['code']}: {row.error['message']}", width, max_lines=most, placeholder=" …"
        )
        lines += [Text(f"    {line}", no_wrap=True, overflow="crop") for line in cause]
        told = textwrap.wrap(
            f"{action(row.state, row.error)}: {row.error['hint']}",
            width,
            max_lines=most,
            placeholder=" …",
        )
        lines += [Text(f"    {line}", style="bold", no_wrap=True, overflow="crop") for line in told]
    return lines


def _line(row: SlotRow, console: Console, now: float) -> Text:
    wide = console.width >= _WIDE
    board_width, bar_width, step_width = (20, 30, 18) if wide else (10, 10, 12)
    place = f"{row.index}/{row.steps}" if row.steps else ""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{row.slot:>3} {_cut(row.board, board_width):<{board_width}} ")
    line.append(
        _bar(row, bar_width, ascii_only=console.options.ascii_only), style=BARS.get(row.state, "")
    )
    line.append(f" {place:>5} {_cut(row.step, step_width):<{step_width}} {_elapsed(row, now):>8}  ")
    line.append(f" {row.state} ", style=STYLES.get(row.state, ""))
    note = _note(row)
    if note:
        line.append(f" {note}")
    line.truncate(console.width - 1, overflow="ellipsis")
    return line


def _note(row: SlotRow) -> str:
    if row.state in {WAITING, LOST}:
        return row.why
    if row.state == READY:
        return row.why or "no board yet"
    if row.already:
        return "already"
    return ""


def _elapsed(row: SlotRow, now: float) -> str:
    if row.state == READY:
        return ""
    return seconds(row.ended_ms if row.ended_ms is not None else max(0.0, now - row.at) * 1000)


def _bar(row: SlotRow, width: int, *, ascii_only: bool) -> str:
    done = row.steps if row.state == Outcome.PASS.value else row.done
    full = (
        round(width * done / row.steps)
        if row.steps
        else (width if row.state == Outcome.PASS.value else 0)
    )
    filled, empty = ("#", "-") if ascii_only else ("█", "░")
    return filled * full + empty * (width - full)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[-(width - 1) :]}"
