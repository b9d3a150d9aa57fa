"""Many boards: a thread a slot, each on a port of its own. One slow or dead board delays no other.

Guaranteed: `docs/reference/guarantees.md#the-run`.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import InfuseError, internal_error
from infuse_cli.provisioning.board_runner import BoardRunner
from infuse_cli.provisioning.results import BoardResult
from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from infuse_cli.ports import BoardLink, BoardSource
    from infuse_cli.provisioning.context import RunContext

_PAUSE_AFTER: Final = 5
"""Equal ERRORs in a row that pause the run."""

_OTHERS_WORK: Final = frozenset({"serial.busy", "board.in-use"})
"""Errors that say that another program is at these boards; they say nothing about this line."""

_STOPS: Final = frozenset({"journal.moved"})
"""Errors after which no further board is begun: nothing would be recorded."""

_JOIN_S: Final = 0.1
"""How long the main thread waits at a time: short, so that it goes on receiving signals."""


@dataclass(slots=True)
class Tally:
    """Results so far, and whether they say that something common is wrong; shared by the slots.

    `paused`: no further board is begun. `five_equal`: that is because of equal errors in a row.
    """

    results: list[BoardResult] = field(default_factory=list)
    paused: bool = False
    five_equal: bool = False
    _row: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: BoardResult) -> None:
        """Count a board; five equal ERRORs in a row pause the run for good."""
        code = result.code
        with self._lock:
            self.results.append(result)
            if result.outcome is Outcome.ERROR and code is not None and code not in _OTHERS_WORK:
                self._row.append(code)
            else:
                self._row.clear()
            last = self._row[-_PAUSE_AFTER:]
            self.five_equal |= len(last) == _PAUSE_AFTER and len(set(last)) == 1
            self.paused |= self.five_equal or code in _STOPS


class Fleet:
    """Runs boards through one runner, at most `slots` at a time."""

    def __init__(
        self, context: RunContext, source: BoardSource, *, slots: int | None = None
    ) -> None:
        self.context: Final = context
        self.slots: Final = slots
        self.tally: Final = Tally()
        self._source: Final = source
        self._runner: Final = BoardRunner(context)
        self._stop_announced = False

    def once(
        self,
        ports: Sequence[str],
        *,
        only: Collection[str] | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> list[BoardResult]:
        """Take the boards on these ports, once each; slots count from 1 in this order, or have the
        numbers that are given.
        """
        work: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        for index, port in enumerate(ports, start=1):
            work.put(((numbers or {}).get(port, index), port))
        count = min(len(ports), self.slots or len(ports))
        threads = [
            threading.Thread(
                target=self._slot, args=(work, only), name=f"slot-{index + 1}", daemon=True
            )
            for index in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_JOIN_S)
                self.announce_stop()
        return sorted(self.tally.results, key=lambda result: result.slot)

    def announce_stop(self) -> None:
        """Say once that the run is being stopped, so that nobody stops it harder for want of an
        answer.
        """
        if not self._stop_announced and self.context.clock.wait(0):
            self._stop_announced = True
            self.context.emit("run-stopping")

    def _slot(self, work: queue.SimpleQueue[tuple[int, str]], only: Collection[str] | None) -> None:
        while not self.tally.paused and not self.context.clock.wait(0):
            try:
                slot, port = work.get_nowait()
            except queue.Empty:
                return
            result = self.take_port(slot, port, only)
            if result is not None:
                self.tally.add(result)
                self.announce(result)

    def take_port(
        self, slot: int, port: str, only: Collection[str] | None = None
    ) -> BoardResult | None:
        """Take the board on a port to its result."""
        link = self.open(slot, port)
        return link if isinstance(link, BoardResult) else self.work(link, slot, only=only)

    def open(self, slot: int, port: str) -> BoardLink | BoardResult:
        """The open port of a slot, or how that went wrong."""
        started = time.monotonic()
        try:
            return self._source.open(port)
        except InfuseError as error:
            return _unopened(slot, port, error, started)
        except Exception as error:  # noqa: BLE001 - one port's surprise must not end the line
            return _unopened(slot, port, internal_error(error), started)

    def work(
        self, link: BoardLink, slot: int, *, only: Collection[str] | None = None, close: bool = True
    ) -> BoardResult | None:
        """Take the board on an open port to its result; never raises.

        `close` gives the port up afterwards.
        """
        started = time.monotonic()
        try:
            return self._runner.board(link, slot, only=only)
        except Exception as error:  # noqa: BLE001 - a board that was begun is never without a result
            return _unopened(slot, link.port, internal_error(error), started)
        finally:
            if close:
                link.close()

    def announce(self, result: BoardResult) -> None:
        """Emit a board's result."""
        shown = result.as_json()
        self.context.emit(
            "board-ended",
            slot=result.slot,
            board=result.board,
            step=result.failed_step,
            state=shown["result"],
            ms=result.ms,
            error=result.error,
            data=shown,
        )


def _unopened(slot: int, port: str, error: InfuseError, started: float) -> BoardResult:
    return BoardResult(
        slot=slot,
        port=port,
        outcome=error.info.outcome,
        ms=(time.monotonic() - started) * 1000,
        failed_step="open",
        error=error,
    )
