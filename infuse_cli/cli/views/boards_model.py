"""What the slots of a run look like right now, built from its events; renderers draw it.

Pure, no clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from infuse_cli.text import plural
from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from infuse_cli.types import Event

WAITING: Final = "waiting"
WORKING: Final = "working"
READY: Final = "ready"
LOST: Final = "hub lost"
LOOKED_AT: Final = "looked at"
"""States of a slot beside the four outcomes; `ready` is a slot without a board, `looked at` the end
of a dry run.
"""

NOBODY: Final = "No board seen, waiting. Plug one in, or look at `infuse serial ports`."
ENDS: Final = "q ends the shift."
ENDS_SCANNING: Final = "q and Enter end the shift."
LOUD: Final = ("CALL ENGINEER", "LEAVE BOARD", "REMOVE BOARD")
"""What an operator has to see from across the room, the most urgent first."""

STOPPING: Final = "Stopping: the step in hand is finished first. Once more stops at once."
"""What a person reads after the first Ctrl-C."""

_PARKED: Final = frozenset({"run.interrupted", "run.until"})
"""A person stopped these: the board stays what it is, and goes on when the run does."""

_RATE_AFTER_S: Final = 60.0

_ENGINEER: Final = ("internal.", "journal.", "ca.")

_HEADER: Final = (
    ("profile", ""),
    ("organisation", ""),
    ("cloudBoard", ""),
    ("apiHost", ""),
    ("registryHost", "registry "),
    ("issuer", "CA "),
    ("mode", ""),
    ("station", "station "),
    ("operator", "operator "),
    ("lot", "lot "),
)
"""Keys of a run-started event's data in the order they are shown, each with the word
before it.
"""


@dataclass(frozen=True, slots=True)
class SlotRow:
    """One slot.

    `at` is when the board in it was found and `ended_ms` how long it took, in seconds and
    milliseconds.
    """

    slot: int
    board: str = ""
    port: str = ""
    step: str = ""
    index: int = 0
    done: int = 0
    steps: int = 0
    state: str = READY
    why: str = ""
    at: float = 0.0
    ended_ms: float | None = None
    error: dict[str, Any] | None = None
    already: bool = False

    @property
    def ended(self) -> bool:
        """Whether the board in this slot has its result."""
        return self.state in Outcome.__members__


@dataclass(slots=True)
class Totals:
    """Boards, not attempts: a board that is tried again counts with its newest result."""

    results: dict[str, str] = field(default_factory=dict)

    def add(self, board: str | None, slot: int, state: str) -> None:
        """Count a result; what answered nothing is known by its slot, until a board does there."""
        if board is not None:
            self.results.pop(f"slot {slot}", None)
        self.results[board or f"slot {slot}"] = state

    def count(self, outcome: Outcome) -> int:
        """Boards that ended so."""
        return sum(1 for result in self.results.values() if result == outcome.value)

    def line(self, an_hour: float | None = None) -> str:
        """The totals in one line, with the yield: the share of PASS among boards that were not
        aborted; and boards an hour.
        """
        words = "  ".join(f"{self.count(outcome)} {outcome.value}" for outcome in Outcome)
        judged = len(self.results) - self.count(Outcome.ABORTED)
        share = f"   yield {100 * self.count(Outcome.PASS) / judged:.0f} %" if judged else ""
        rate = "" if an_hour is None else f"   {an_hour:.0f} an hour"
        return f"{plural(len(self.results), 'board')}: {words}{share}{rate}"


@dataclass(slots=True)
class Boards:
    """The run so far.

    `apply` takes events in any order of slots; `now` is any monotonic time in seconds.
    """

    header: dict[str, Any] = field(default_factory=dict)
    rows: dict[int, SlotRow] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    over: bool = False
    stopping: bool = False
    notice: str = ""
    watching: bool = False
    since: float | None = None

    def an_hour(self, now: float) -> float | None:
        """Boards an hour since the first one came, once that says something."""
        if not self.watching or self.since is None or now - self.since < _RATE_AFTER_S:
            return None
        return 3600 * len(self.totals.results) / (now - self.since)

    def apply(self, event: Event, now: float) -> SlotRow | None:
        """Take in one event; the row that a new board pushes out of its slot is returned."""
        match event.event:
            case "run-started":
                self.header = event.data
                self.watching = bool(event.data.get("watch"))
                for slot in range(1, int(event.data.get("slots") or 0) + 1):
                    self.rows.setdefault(slot, SlotRow(slot))
            case "run-stopping":
                self.stopping = True
            case "run-ended":
                self.over = True
            case "hub-lost":
                self._lost(event)
            case "scan-bound" | "scan-refused":
                self.notice = scanned(event)
            case "board-left" if event.slot is not None:
                return self._left(event.slot)
            case "slot-silent" if event.slot is not None:
                self._silent(event, event.slot)
            case _ if event.slot is not None:
                return self._slot(event, event.slot, now)
        return None

    def _lost(self, event: Event) -> None:
        self.notice = hub_lost(event)
        for slot in event.data.get("slots") or ():
            before = self.rows.get(slot, SlotRow(slot))
            if not before.ended:
                self.rows[slot] = replace(before, state=LOST, why="goes on when it is back")

    def _silent(self, event: Event, slot: int) -> None:
        self.notice = silent(event)
        row = self.rows.get(slot, SlotRow(slot))
        if row.state == READY:
            self.rows[slot] = replace(row, why="no answer" if event.data.get("heard") else "silent")

    def _left(self, slot: int) -> SlotRow | None:
        before = self.rows.get(slot)
        self.rows[slot] = SlotRow(slot)
        return before if before is not None and before.ended else None

    def _slot(self, event: Event, slot: int, now: float) -> SlotRow | None:
        self.since = now if self.since is None else self.since
        before = self.rows.get(slot, SlotRow(slot))
        pushed = before if before.ended and event.event == "board-found" else None
        if (before.ended and event.event in {"board-found", "step-begun"}) or (
            before.state in {LOST, READY} and event.event == "board-found"
        ):
            before = SlotRow(slot)
        self.rows[slot] = _after(before, event, now)
        if event.event == "board-ended" and event.state:
            self.totals.add(event.board, slot, event.state)
        return pushed


def _step_count(steps: object) -> int:
    """How many steps a plan has: events of steps give the number, a dry run's end the names."""
    if isinstance(steps, list | tuple):
        return len(steps)
    return steps if isinstance(steps, int) else 0


def _after(row: SlotRow, event: Event, now: float) -> SlotRow:
    data = event.data
    board = str(data.get("serialNumber") or "") or row.board or board_label(event)
    new: dict[str, Any] = {
        "board": board,
        "port": data.get("port") or row.port,
        "steps": _step_count(data.get("steps")) or row.steps,
        "at": row.at or now,
    }
    match event.event:
        case "board-found":
            new |= {"state": WORKING}
        case "step-begun" | "step-done":
            # Two steps may share a commit, and then the first is done after the second was begun:
            # never step back.
            index = data.get("index") or row.index
            done = max(row.done, index - (event.event == "step-begun"))
            step = (event.step or row.step) if index >= row.index else row.step
            new |= {
                "state": WORKING,
                "why": "",
                "step": step,
                "index": max(index, row.index),
                "done": done,
            }
        case "step-failed":
            new |= {"step": event.step or row.step, "error": event.error}
        case "board-waiting":
            new |= {"state": WAITING, "why": str(data.get("why") or "")}
        case "board-ended":
            error = (
                event.error
                or data.get("error")
                or (None if event.state == Outcome.PASS.value else row.error)
            )
            new |= {
                "state": event.state or LOOKED_AT,
                "why": "",
                "ended_ms": event.ms,
                "error": error,
                "already": bool(data.get("already")),
            }
    return replace(row, **new)


def board_label(event: Event) -> str:
    """What a person reads on the board: its serial number where it is known, else the last four of
    its UUID.
    """
    serial = event.data.get("serialNumber")
    if serial:
        return str(serial)
    return f"…{event.board[-4:]}" if event.board else ""


def action(state: str, error: dict[str, Any] | None) -> str:
    """What the operator does with a board that ended so."""
    if state == Outcome.PASS.value or error is None:
        return ""
    if error.get("code") in _PARKED:
        return "PARKED"
    if str(error.get("code", "")).startswith(_ENGINEER):
        return "CALL ENGINEER"
    if not error.get("boardSafe", False):
        return "LEAVE BOARD"
    return "REMOVE BOARD and try it again" if state == Outcome.ERROR.value else "REMOVE BOARD"


def loudest(rows: Iterable[SlotRow]) -> tuple[str, list[SlotRow]]:
    """What has to be done first, in two words, and the slots where; nothing where all is well."""
    asked: dict[str, list[SlotRow]] = {}
    for row in rows:
        if row.ended:
            asked.setdefault(" ".join(action(row.state, row.error).split()[:2]), []).append(row)
    word = next((word for word in LOUD if word in asked), "")
    return word, asked.get(word, []) if word else []


def header_lines(data: dict[str, Any]) -> list[str]:
    """What every run opens with: the run's place and means, what was overridden, what is
    unfinished.
    """
    shown = {
        key: _host(value) if key.endswith("Host") else value
        for key, word in _HEADER
        if (value := data.get(key))
    }
    shown.setdefault(
        "issuer", data.get("ca")
    )  # the signing certificate's name, else the CA's folder or name
    if shown.get("registryHost") == shown.get("apiHost"):
        shown.pop("registryHost", None)
    parts = [f"{word}{shown[key]}" for key, word in _HEADER if shown.get(key)]
    lines = [" · ".join(parts)] if parts else []
    if data.get("overridden"):
        lines.append("overridden: " + ", ".join(map(str, data["overridden"])))
    if data.get("unfinished"):
        lines.append(
            "unfinished from earlier runs: "
            + ", ".join(_unfinished(one) for one in data["unfinished"])
        )
    if data.get("watch"):
        lines.append("Boards are taken as they are plugged in: in, PASS, out, next.")
    if data.get("dryRun"):
        lines.append("dry run: nothing is written")
    return [*lines, *map(str, data.get("notes") or ())]


def scanned(event: Event) -> str:
    """What a person reads of a scan."""
    return (
        f"{'Scanned' if event.event == 'scan-bound' else 'SCAN REFUSED'} ·"
        f" {event.data.get('text', '')}"
    )


def silent(event: Event) -> str:
    """What a person reads of a slot in which nothing answers."""
    return f"Slot {event.slot}: {event.data.get('why', 'nothing answers')}"


def hub_lost(event: Event) -> str:
    """What a person reads when several ports went at once."""
    slots = ", ".join(map(str, event.data.get("slots") or ()))
    return (
        f"Slots {slots} went away together: check the hub's cable and supply. Boards in hand go on"
        " when they are back."
    )


def _unfinished(one: object) -> str:
    if not isinstance(one, dict):
        return str(one)
    return (
        f"…{str(one.get('board', '?'))[-4:]} ({one.get('state', 'open')}, last on"
        f" {one.get('port', '?')})"
    )


def _host(value: object) -> str:
    text = str(value)
    return urlsplit(text).netloc or text
