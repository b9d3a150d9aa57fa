"""A shift: boards come and go, and each is taken when it is there.

The main thread looks at the ports and keeps the books; a thread takes each board. Where the port
goes with its board, a port that appears is a board. In a jig whose port stays, the board is asked
for, gently: who answers is there, and another DEVICEUUID is another board. What went away in the
middle goes on when it is back, on whatever port.

Guaranteed: `docs/reference/guarantees.md#which-boards-a-run-takes`.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.provisioning.engine import BoardResult
from infuse_cli.provisioning.fixture import Jig
from infuse_cli.types import Event

if TYPE_CHECKING:
    from infuse_cli.ports import Board, Lookout
    from infuse_cli.provisioning.fleet import Fleet
    from infuse_cli.types import Plugged

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
class Done:
    """A slot's thread is through with a board; `over`: and with its port.

    No result: the board was gone before it was begun.
    """

    slot: int
    result: BoardResult | None
    over: bool = True


@dataclass(slots=True)
class Books:
    """Results by board, the newest counts; what answered nothing is known by its slot
    until a board does there.
    """

    results: dict[str, BoardResult] = field(default_factory=dict)

    def add(self, result: BoardResult) -> None:
        """Count a result instead of what is on the books for this board."""
        slot = f"slot {result.slot}"
        if result.identity is not None:
            self.results.pop(slot, None)
        key = slot if result.identity is None else result.identity.uuid
        self.results.pop(key, None)
        self.results[key] = result

    @property
    def finished(self) -> int:
        """Boards that came to their end; one that was pulled in the middle has not."""
        return sum(
            result.error is None or result.error.code not in _AWAY
            for result in self.results.values()
        )


class Shift:
    """Takes boards as they come until a person stops it, `count` boards are finished, or the run is
    paused.

    `by_answer`: the port stays when its board goes. `interrupted` says afterwards whether a board
    was in hand at the stop.
    """

    def __init__(
        self, fleet: Fleet, lookout: Lookout, *, count: int | None = None, by_answer: bool = False
    ) -> None:
        self.interrupted = False
        self._fleet: Final = fleet
        self._deps: Final = fleet.deps
        self._lookout: Final = lookout
        self._count: Final = count
        self._by_answer: Final = by_answer
        self._inbox: Final[queue.SimpleQueue[Done]] = queue.SimpleQueue()
        self._books: Final = Books()
        self._here: dict[int, Plugged] = {}
        self._ready: dict[int, str] = {}
        self._busy: set[int] = set()
        self._in_hand: list[int] = []
        self._lock: Final = threading.Lock()
        self._left: dict[int, float] = {}
        self._torn: dict[int, BoardResult] = {}
        self._lost: set[int] = set()
        self._stopped = self._closed = False

    @property
    def results(self) -> list[BoardResult]:
        """One result a board, in the order of their ends."""
        return list(self._books.results.values())

    def run(self) -> list[BoardResult]:
        """Work until the shift is over; what was torn off and did not come back is told at
        the end.
        """
        while not self._over():
            self._look()
            self._begin()
            self._hear()
            self._judge()
        for result in list(self._torn.values()):
            self._count_in(result)
        return self.results

    def _over(self) -> bool:
        """Whether nothing more is to come; a board in hand is always waited for."""
        if self._deps.clock.wait(0) and not self._stopped:
            self._stopped = True
            with self._lock:
                self.interrupted = bool(self._in_hand)
            if self.interrupted:
                self._fleet.tell_of_stop()
        enough = self._count is not None and self._books.finished >= self._count
        with self._lock:
            self._closed = (
                self._stopped or enough or self._fleet.tally.paused
            ) and not self._in_hand
            return self._closed

    # -- the ports ---------------------------------------------------------------------------------

    def _look(self) -> None:
        now, here = self._deps.clock.monotonic(), self._lookout.look()
        for slot in [slot for slot, plugged in self._here.items() if here.get(slot) != plugged]:
            self._gone(slot, now)
        for slot, plugged in here.items():
            if slot not in self._here:
                self._here[slot] = plugged
                self._ready[slot] = plugged.port

    def _gone(self, slot: int, now: float) -> None:
        del self._here[slot]
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
            work = self._jig if self._by_answer or "://" in port else self._board
            threading.Thread(
                target=work, args=(slot, port), name=f"slot-{slot}", daemon=True
            ).start()

    def _wants_more(self) -> bool:
        if self._deps.clock.wait(0) or self._fleet.tally.paused:
            return False
        if self._by_answer:
            return True
        under_way = len(self._busy)
        room = self._fleet.slots is None or under_way < self._fleet.slots
        return room and (self._count is None or self._books.finished + under_way < self._count)

    # -- a slot's thread ---------------------------------------------------------------------------

    def _board(self, slot: int, port: str) -> None:
        """A board whose port goes with it."""
        clock = self._deps.clock
        give_up = clock.monotonic() + _SETTLE_S
        while True:
            link = self._fleet.opened(slot, port)
            settling = (
                isinstance(link, BoardResult)
                and link.error is not None
                and link.error.code in _SETTLING
            )
            if not settling or clock.monotonic() >= give_up or clock.wait(_AGAIN_S):
                break
        if isinstance(link, BoardResult):
            gone = link.error is not None and link.error.code in _AWAY
            self._inbox.put(Done(slot, None if gone or clock.wait(0) else link))
        else:
            self._inbox.put(Done(slot, self.take(link, slot, close=True)))

    def _jig(self, slot: int, port: str) -> None:
        """Boards that come and go on a port that stays."""
        Jig(
            self._fleet,
            slot,
            port,
            take=self.take,
            tell=lambda result: self._inbox.put(Done(slot, result, over=False)),
            left=lambda: self._free(slot),
        ).run()
        self._inbox.put(Done(slot, None))

    def take(self, link: Board, slot: int, *, close: bool) -> BoardResult | None:
        """Take a board in hand, unless the shift is over."""
        with self._lock:
            full = (
                self._count is not None and self._books.finished + len(self._in_hand) >= self._count
            )
            room = self._fleet.slots is None or len(self._in_hand) < self._fleet.slots
            if (
                self._closed
                or full
                or not room
                or self._fleet.tally.paused
                or self._deps.clock.wait(0)
            ):
                if close:
                    link.close()
                return None
            self._in_hand.append(slot)
        return self._fleet.worked(link, slot, close=close)

    # -- the books ---------------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            done = self._inbox.get(timeout=LOOK_S)
        except queue.Empty:
            return
        while True:
            self._settle(done)
            if self._inbox.empty():
                return
            done = self._inbox.get()

    def _settle(self, done: Done) -> None:
        result, slot = done.result, done.slot
        code = None if result is None or result.error is None else result.error.code
        again = code == "board.in-use" and result is not None and self._is_ours(result)
        if done.over:
            self._busy.discard(slot)
        if done.over and (result is None or again or code in _AWAY):
            self._here.pop(slot, None)  # what is there at the next look is a board that came
        if result is None:
            return
        with self._lock:
            if slot in self._in_hand:
                self._in_hand.remove(slot)
        if again or (code in _AWAY and result.identity is None):
            return  # nothing was done to it
        if code in _AWAY:
            self._tear(result)
        else:
            if self._deps.labels is not None:
                self._deps.labels.ended(slot)
            self._count_in(result)

    def _tear(self, result: BoardResult) -> None:
        """A board went away in the middle: hold its result until it is known whether it
        went alone.
        """
        before = self._torn.get(result.slot)
        self._mended(result.slot)
        if before is not None and not _same(before, result):
            self._count_in(before)
        if result.slot in self._here or result.slot not in self._left:
            self._left[result.slot] = self._deps.clock.monotonic()
        self._torn[result.slot] = result
        if self._deps.labels is not None:
            self._deps.labels.torn(result.slot)

    def _is_ours(self, result: BoardResult) -> bool:
        """Whether the board moved to another socket while its old slot has not yet noticed: it is
        taken again then.
        """
        board = None if result.identity is None else self._deps.journal.board(result.identity.uuid)
        return board is not None and board.open is not None and board.open.run == self._deps.run

    def _count_in(self, result: BoardResult) -> None:
        for slot in [slot for slot, one in self._torn.items() if _same(one, result)]:
            self._mended(slot)
        with self._lock:
            self._books.add(result)
        if (
            result.error is None or result.error.code not in _AWAY
        ):  # who pulls boards too early is no common cause
            self._fleet.tally.add(result)
        self._fleet.ended(result)
        if result.slot not in self._here and result.slot not in self._busy:
            self._free(result.slot)

    def _mended(self, slot: int) -> None:
        self._torn.pop(slot, None)
        self._lost.discard(slot)

    def _judge(self) -> None:
        """Ports that went together are one event; a board that was pulled alone is told as such."""
        now = self._deps.clock.monotonic()
        for slot, result in list(self._torn.items()):
            at = self._left.get(slot, now)
            if (
                slot not in self._torn
                or slot in self._lost
                or slot in self._busy
                or now - at < _TOGETHER_S
            ):
                continue
            together = sorted(
                other for other, left in self._left.items() if abs(left - at) <= _TOGETHER_S
            )
            if len(together) < 2:
                self._mended(slot)
                self._count_in(result)
                continue
            self._lost |= set(together)
            self._tell("hub-lost", None, {"slots": together})

    def _free(self, slot: int) -> None:
        if self._deps.labels is not None:
            self._deps.labels.left(slot)
        if slot not in self._torn:
            self._tell("board-left", slot)

    def _tell(self, event: str, slot: int | None, data: dict[str, Any] | None = None) -> None:
        self._deps.events.emit(
            Event(
                ts=self._deps.clock.now(),
                run=self._deps.run,
                event=event,
                slot=slot,
                data=data or {},
            )
        )


def _same(one: BoardResult, other: BoardResult) -> bool:
    return (
        one.identity is not None
        and other.identity is not None
        and one.identity.uuid == other.identity.uuid
    )
