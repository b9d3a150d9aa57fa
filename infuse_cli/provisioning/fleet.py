"""Many boards: a thread a slot, each on a port of its own.

One slow or dead board delays no other.

Guaranteed: `docs/reference/guarantees.md#which-boards-a-run-takes`.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import Exit, InfuseError
from infuse_cli.provisioning.engine import BoardResult, Engine, bug
from infuse_cli.types import Event, Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from infuse_cli.ports import Board, BoardSource
    from infuse_cli.provisioning.context import Deps

_PAUSE_AFTER: Final = 5
"""Equal ERRORs in a row that pause the run."""

_OTHERS_WORK: Final = frozenset({"serial.busy", "board.in-use"})
"""Errors that say that another program is at these boards; they say nothing about this line."""

_STOPS: Final = frozenset({"journal.moved"})
"""Errors after which no further board is begun: nothing would be recorded."""

_HEAR_S: Final = 0.1
"""How long the main thread waits at a time: short, so that it keeps hearing signals."""


@dataclass(slots=True)
class Tally:
    """Results so far, and whether they say that something common is wrong; shared by the slots."""

    results: list[BoardResult] = field(default_factory=list)
    paused: bool = False
    _row: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: BoardResult) -> None:
        """Count a board; five equal ERRORs in a row pause the run for good."""
        with self._lock:
            self.results.append(result)
            if (
                result.outcome is Outcome.ERROR
                and result.error is not None
                and result.error.code not in _OTHERS_WORK
            ):
                self._row.append(result.error.code)
            else:
                self._row.clear()
            if result.error is not None and result.error.code in _STOPS:
                self.paused = True
            last = self._row[-_PAUSE_AFTER:]
            self.paused |= len(last) == _PAUSE_AFTER and len(set(last)) == 1


def totals(results: Sequence[BoardResult]) -> dict[str, int]:
    """Count boards by outcome (boards, not attempts)."""
    return {
        outcome.value.lower(): sum(result.outcome is outcome for result in results)
        for outcome in Outcome
    }


def exit_code(results: Sequence[BoardResult], *, interrupted: bool) -> Exit:
    """Exit code of a run: one board its own, several with any not PASS 11, a stop by a
    person 130.
    """
    if interrupted:
        return Exit.INTERRUPTED
    errors = [
        result.error
        for result in results
        if result.error is not None and result.error.exit is not Exit.OK
    ]
    if not errors:
        return Exit.OK
    return errors[0].exit if len(results) == 1 else Exit.SOME_FAILED


def status(results: Sequence[BoardResult]) -> str:
    """Status of the envelope: ok = all PASS, partial = some, error = none; a stop at
    --until is what was asked.
    """
    good = sum(
        result.outcome in {Outcome.PASS, None}
        or (result.error is not None and result.error.exit is Exit.OK)
        for result in results
    )
    if results and good == len(results):
        return "ok"
    return "partial" if good else "error"


class Fleet:
    """Runs boards through one engine, at most `slots` at a time."""

    def __init__(self, deps: Deps, source: BoardSource, *, slots: int | None = None) -> None:
        self.deps = deps
        self.source = source
        self.engine = Engine(deps)
        self.slots = slots
        self.tally = Tally()
        self._stop_told = False

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
                thread.join(_HEAR_S)
                self.tell_of_stop()
        return sorted(self.tally.results, key=lambda result: result.slot)

    def tell_of_stop(self) -> None:
        """Say once that the run is being stopped, so that nobody stops it harder for want of an
        answer.
        """
        if not self._stop_told and self.deps.clock.wait(0):
            self._stop_told = True
            self.deps.events.emit(
                Event(ts=self.deps.clock.now(), run=self.deps.run, event="run-stopping")
            )

    def _slot(self, work: queue.SimpleQueue[tuple[int, str]], only: Collection[str] | None) -> None:
        while not self.tally.paused and not self.deps.clock.wait(0):
            try:
                slot, port = work.get_nowait()
            except queue.Empty:
                return
            result = self._board(slot, port, only)
            if result is not None:
                self.tally.add(result)
                self.ended(result)

    def _board(self, slot: int, port: str, only: Collection[str] | None) -> BoardResult | None:
        link = self.opened(slot, port)
        return link if isinstance(link, BoardResult) else self.worked(link, slot, only=only)

    def opened(self, slot: int, port: str) -> Board | BoardResult:
        """The open port of a slot, or how that went wrong."""
        started = time.monotonic()
        try:
            return self.source.open(port)
        except InfuseError as error:
            return self._unopened(slot, port, error, started)
        except Exception as error:  # noqa: BLE001 - one port's surprise must not end the line
            return self._unopened(slot, port, bug(error), started)

    def worked(
        self, link: Board, slot: int, *, only: Collection[str] | None = None, close: bool = True
    ) -> BoardResult | None:
        """Take the board on an open port to its result; never raises.

        `close` gives the port up afterwards.
        """
        started = time.monotonic()
        try:
            return self.engine.board(link, slot, only=only)
        except Exception as error:  # noqa: BLE001 - a board that was begun is never without a result
            return self._unopened(slot, link.port, bug(error), started)
        finally:
            if close:
                link.close()

    def _unopened(self, slot: int, port: str, error: InfuseError, started: float) -> BoardResult:
        ms = (time.monotonic() - started) * 1000
        return BoardResult(
            slot=slot, port=port, outcome=error.info.outcome, ms=ms, failed_step="open", error=error
        )

    def ended(self, result: BoardResult) -> None:
        """Tell of a board's result."""
        shown = result.as_json()
        self.deps.events.emit(
            Event(
                ts=self.deps.clock.now(),
                run=self.deps.run,
                event="board-ended",
                slot=result.slot,
                board=None if result.identity is None else result.identity.uuid,
                step=result.failed_step,
                state=shown["result"],
                ms=result.ms,
                error=shown["error"],
                data=shown,
            )
        )
