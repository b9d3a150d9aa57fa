"""A shift: boards come and go, and each is taken when it is there.

The main thread watches the ports and counts the results; a thread takes each board. Where the port
goes with its board, a port that appears is a board. In a fixture whose port stays, the board is
asked for, gently: who answers is there, and another DEVICEUUID is another board. What went away in
the middle goes on when it is back, on whatever port.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.provisioning.fixture import FixturePoller
from infuse_cli.provisioning.results import BoardResult

if TYPE_CHECKING:
    from infuse_cli.ports import BoardLink, PortMonitor
    from infuse_cli.provisioning.fleet import Fleet
    from infuse_cli.types import AttachedPort

LOOK_S: Final = 0.2
"""How often the ports are looked at, and how long a stop may take to be noticed."""

_TOGETHER_S: Final = 1.0
"""Ports that go within this time went together: that is the hub, not the boards."""

_SETTLE_S: Final = 3.0
_AGAIN_S: Final = 0.2
_SETTLING: Final = frozenset({"serial.denied", "serial.busy", "serial.no-port", "serial.unplugged"})
"""A port that has just appeared may still be getting its permissions, or be looked at by
ModemManager.
"""

_AWAY: Final = frozenset({"serial.no-port", "serial.unplugged"})


@dataclass(frozen=True, slots=True)
class _SlotReport:
    """What a slot's thread did with a board; `port_ended`: the thread has ended too.

    No result: the board was gone before it was begun.
    """

    slot: int
    result: BoardResult | None
    port_ended: bool = True


@dataclass(slots=True)
class LatestResults:
    """Results by board, the newest counts; what answered nothing is known by its slot until a board
    does there.
    """

    results: dict[str, BoardResult] = field(default_factory=dict)

    def add(self, result: BoardResult) -> None:
        """Count a result instead of what was counted for this board."""
        slot = f"slot {result.slot}"
        if result.identity is not None:
            self.results.pop(slot, None)
        key = result.board or slot
        self.results.pop(key, None)
        self.results[key] = result

    @property
    def finished(self) -> int:
        """Boards that came to their end; one that was pulled in the middle has not."""
        return sum(result.code not in _AWAY for result in self.results.values())


class HotPlugLoop:
    """Takes boards as they come until a person stops it, `count` boards are finished, or the run is
    paused.

    `by_answer`: the port stays when its board goes. `interrupted` says afterwards whether a board
    was in hand at the stop.
    """

    def __init__(
        self,
        fleet: Fleet,
        monitor: PortMonitor,
        *,
        count: int | None = None,
        by_answer: bool = False,
    ) -> None:
        self.interrupted = False
        self._fleet: Final = fleet
        self._context: Final = fleet.context
        self._monitor: Final = monitor
        self._count: Final = count
        self._by_answer: Final = by_answer
        self._reports: Final[queue.SimpleQueue[_SlotReport]] = queue.SimpleQueue()
        self._latest: Final = LatestResults()
        self._present: dict[int, AttachedPort] = {}
        self._ready: dict[int, str] = {}
        self._busy: set[int] = set()
        self._in_hand: list[int] = []
        self._lock: Final = threading.Lock()
        self._left: dict[int, float] = {}
        self._pulled: dict[int, BoardResult] = {}
        self._hub_lost: set[int] = set()
        self._stopped = self._closed = False

    @property
    def results(self) -> list[BoardResult]:
        """One result a board, in the order of their ends."""
        return list(self._latest.results.values())

    def run(self) -> list[BoardResult]:
        """Work until the shift is over; what was pulled and did not come back counts at the end."""
        while not self._is_over():
            self._watch_ports()
            self._begin()
            self._take_reports()
            self._judge_pulled()
        for result in list(self._pulled.values()):
            self._add(result)
        return self.results

    def _is_over(self) -> bool:
        """Whether nothing more is to come; a board in hand is always waited for."""
        if self._context.clock.wait(0) and not self._stopped:
            self._stopped = True
            with self._lock:
                self.interrupted = bool(self._in_hand)
            if self.interrupted:
                self._fleet.announce_stop()
        enough = self._count is not None and self._latest.finished >= self._count
        with self._lock:
            ending = self._stopped or enough or self._fleet.tally.paused
            self._closed = ending and not self._in_hand
            return self._closed

    # -- the ports ---------------------------------------------------------------------------------

    def _watch_ports(self) -> None:
        now, present = self._context.clock.monotonic(), self._monitor.poll()
        for slot, plugged in list(self._present.items()):
            if present.get(slot) != plugged:
                self._remove(slot, now)
        for slot, plugged in present.items():
            if slot not in self._present:
                self._present[slot] = plugged
                self._ready[slot] = plugged.port

    def _remove(self, slot: int, now: float) -> None:
        del self._present[slot]
        self._ready.pop(slot, None)
        self._left[slot] = now
        if slot not in self._busy:
            self._free(slot)

    def _begin(self) -> None:
        for slot, port in list(self._ready.items()):
            if slot in self._busy or not self._wants_more():
                continue
            del self._ready[slot]
            self._busy.add(slot)
            work = self._poll_fixture if self._by_answer or "://" in port else self._take_board
            threading.Thread(
                target=work, args=(slot, port), name=f"slot-{slot}", daemon=True
            ).start()

    def _wants_more(self) -> bool:
        if self._context.clock.wait(0) or self._fleet.tally.paused:
            return False
        if self._by_answer:
            return True
        under_way = len(self._busy)
        room = self._fleet.slots is None or under_way < self._fleet.slots
        return room and (self._count is None or self._latest.finished + under_way < self._count)

    # -- a slot's thread ---------------------------------------------------------------------------

    def _take_board(self, slot: int, port: str) -> None:
        """A board whose port goes with it."""
        clock = self._context.clock
        give_up = clock.monotonic() + _SETTLE_S
        while True:
            link = self._fleet.open(slot, port)
            settling = isinstance(link, BoardResult) and link.code in _SETTLING
            if not settling or clock.monotonic() >= give_up or clock.wait(_AGAIN_S):
                break
        if isinstance(link, BoardResult):
            nothing = link.code in _AWAY or clock.wait(0)
            self._reports.put(_SlotReport(slot, None if nothing else link))
        else:
            self._reports.put(_SlotReport(slot, self.take(link, slot, close=True)))

    def _poll_fixture(self, slot: int, port: str) -> None:
        """Boards that come and go on a port that stays."""
        FixturePoller(
            self._fleet,
            slot,
            port,
            take=self.take,
            report=lambda result: self._reports.put(_SlotReport(slot, result, port_ended=False)),
            left=lambda: self._free(slot),
        ).run()
        self._reports.put(_SlotReport(slot, None))

    def take(self, link: BoardLink, slot: int, *, close: bool) -> BoardResult | None:
        """Take a board in hand, unless the shift is over."""
        with self._lock:
            in_hand = len(self._in_hand)
            refused = (
                self._closed
                or (self._count is not None and self._latest.finished + in_hand >= self._count)
                or (self._fleet.slots is not None and in_hand >= self._fleet.slots)
                or self._fleet.tally.paused
                or self._context.clock.wait(0)
            )
            if not refused:
                self._in_hand.append(slot)
        if refused:
            if close:
                link.close()
            return None
        return self._fleet.work(link, slot, close=close)

    # -- the results -------------------------------------------------------------------------------

    def _take_reports(self) -> None:
        try:
            report = self._reports.get(timeout=LOOK_S)
        except queue.Empty:
            return
        while True:
            self._settle(report)
            if self._reports.empty():
                return
            report = self._reports.get()

    def _settle(self, report: _SlotReport) -> None:
        result, slot = report.result, report.slot
        code = None if result is None else result.code
        again = code == "board.in-use" and result is not None and self._is_ours(result)
        if report.port_ended:
            self._busy.discard(slot)
            if result is None or again or code in _AWAY:
                self._present.pop(slot, None)  # what is there at the next look is a board that came
        if result is None:
            return
        with self._lock:
            if slot in self._in_hand:
                self._in_hand.remove(slot)
        if again or (code in _AWAY and result.identity is None):
            return  # nothing was done to it
        if code in _AWAY:
            self._hold_pulled(result)
        else:
            if self._context.labels is not None:
                self._context.labels.ended(slot)
            self._add(result)

    def _hold_pulled(self, result: BoardResult) -> None:
        """A board went away in the middle: hold its result until it is known whether it
        went alone.
        """
        before = self._pulled.get(result.slot)
        self._forget_pulled(result.slot)
        if before is not None and not _same_board(before, result):
            self._add(before)
        if result.slot in self._present or result.slot not in self._left:
            self._left[result.slot] = self._context.clock.monotonic()
        self._pulled[result.slot] = result
        if self._context.labels is not None:
            self._context.labels.torn(result.slot)

    def _is_ours(self, result: BoardResult) -> bool:
        """Whether the board moved to another socket while its old slot has not yet noticed: it is
        taken again then.
        """
        board = None if result.board is None else self._context.journal.board(result.board)
        return board is not None and board.open is not None and board.open.run == self._context.id

    def _add(self, result: BoardResult) -> None:
        """Count a result and announce it."""
        for slot, pulled in list(self._pulled.items()):
            if _same_board(pulled, result):
                self._forget_pulled(slot)
        with self._lock:
            self._latest.add(result)
        if result.code not in _AWAY:  # who pulls boards too early is no common cause
            self._fleet.tally.add(result)
        self._fleet.announce(result)
        if result.slot not in self._present and result.slot not in self._busy:
            self._free(result.slot)

    def _forget_pulled(self, slot: int) -> None:
        self._pulled.pop(slot, None)
        self._hub_lost.discard(slot)

    def _judge_pulled(self) -> None:
        """Ports that went together are one event; a board that was pulled alone has its result."""
        now = self._context.clock.monotonic()
        for slot, result in list(self._pulled.items()):
            at = self._left.get(slot, now)
            settled = slot not in self._pulled or slot in self._hub_lost or slot in self._busy
            if settled or now - at < _TOGETHER_S:
                continue
            together = sorted(
                other for other, left in self._left.items() if abs(left - at) <= _TOGETHER_S
            )
            if len(together) < 2:
                self._forget_pulled(slot)
                self._add(result)
                continue
            self._hub_lost |= set(together)
            self._context.emit("hub-lost", data={"slots": together})

    def _free(self, slot: int) -> None:
        if self._context.labels is not None:
            self._context.labels.left(slot)
        if slot not in self._pulled:
            self._context.emit("board-left", slot=slot)


def _same_board(first: BoardResult, second: BoardResult) -> bool:
    return first.board is not None and first.board == second.board
