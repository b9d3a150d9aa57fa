"""The virtual bench: every board behind a pseudo-terminal, all served by one loop in one thread.

The wire is modelled, not throttled: bytes are taken from the pty at once, but count as arrived when
they would have at `baud` (8N1, ten bits a byte), and answers are put on the pty in pieces when they
would come out. The loop sleeps in select with microseconds, because milliseconds of a poll would
add up over a conversation.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import pty
import select
import sys
import threading
import time
import tty
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from infuse_cli.sim.board import Active, Reaction, Send, Unplug, VirtualBoard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

BITS_A_BYTE: Final = 10
PIECE: Final = 128
"""Bytes of an answer that are put on the wire together: 11 ms at 115200."""
_AGAIN_S: Final = 0.005
_PULLED: Final = 32
"""Port numbers that a slot keeps to itself after its cable was pulled."""
_READ: Final = 4096


def _never_wait(descriptor: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError("virtual boards need pseudo-terminals")
    os.set_blocking(descriptor, False)


class OnChange(Protocol):
    """Called when a board may have left the air."""

    def __call__(self, board: VirtualBoard, /, *, powered: bool) -> None:
        """`powered` is False once its cable is out."""


class _Line:
    """One slot's pty: `master` is the board's end, `slave` is kept open so that a client may come
    and go.

    The slave of a pulled cable stays open too: until then the kernel gives the port's number to
    nobody else, and a client that still looks for its board under the old name finds nothing there,
    not some other program's board.
    """

    def __init__(self, board: VirtualBoard) -> None:
        self.board: Final = board
        self.master = self.slave = -1
        self.port: str | None = None
        self.generation = 0
        self._pulled: Final[deque[int]] = deque()
        self.rx_free_at = self.tx_free_at = 0.0

    def open(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("virtual boards need pseudo-terminals")
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        _never_wait(self.master)
        self.port = os.ttyname(self.slave)
        self.rx_free_at = self.tx_free_at = 0.0

    def close(self) -> None:
        # First unlisted, then closed: whoever sees the port go away doesn't find it here any more.
        self.port = None
        self.generation += 1
        if self.slave < 0:
            return
        os.close(self.master)
        self._pulled.append(self.slave)
        self.master = self.slave = -1
        if len(self._pulled) > _PULLED:
            os.close(self._pulled.popleft())

    def release(self) -> None:
        """Give every number back: nobody plugs anything in any more."""
        self.close()
        while self._pulled:
            os.close(self._pulled.popleft())


class Bench:
    """Boards on ptys.

    `baud` None: as fast as the machine. `on_active(board)` is called in the loop's thread
    `attach_s` seconds after a board went on the air, `on_change(board, powered=…)` after all that
    may have taken it off.
    """

    def __init__(
        self,
        boards: Sequence[VirtualBoard],
        *,
        baud: int | None = 115200,
        attach_s: float = 0.05,
        on_active: Callable[[VirtualBoard], None] | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        self._lines: Final = {board.slot: _Line(board) for board in boards}
        self._byte_s: Final = BITS_A_BYTE / baud if baud else 0.0
        self._attach_s: Final = attach_s
        self._on_active: Final = on_active
        self._on_change: Final = on_change
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order: Final = itertools.count()
        self._calls: list[Callable[[], None]] = []
        self._wake_out, self._wake_in = os.pipe()
        _never_wait(self._wake_in)
        self._stopping = False
        self._thread: Final = threading.Thread(target=self._loop, name="sim-bench", daemon=True)

    def start(self) -> None:
        """Plug every board in and serve."""
        for line in self._lines.values():
            line.open()
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close every pty; safe to call twice."""
        if self._stopping:
            return
        self._stopping = True
        self._wake()
        self._thread.join(timeout=5)
        for line in self._lines.values():
            line.release()
        os.close(self._wake_in)
        os.close(self._wake_out)

    @property
    def ports(self) -> dict[int, str]:
        """Device path of every slot that is plugged in."""
        return {slot: line.port for slot, line in self._lines.items() if line.port is not None}

    @property
    def boards(self) -> list[VirtualBoard]:
        """The boards in slot order; to be touched only inside `call`."""
        return [line.board for line in self._lines.values()]

    def call(self, function: Callable[[], T], timeout_s: float = 5.0) -> T:
        """Run a function in the loop's thread, where boards may be touched, and return what it
        gives.
        """
        if threading.current_thread() is self._thread:
            return function()
        future: Future[T] = Future()
        self.post(lambda: _settle(future, function))
        return future.result(timeout=timeout_s)

    def post(self, function: Callable[[], None]) -> None:
        """Run a function in the loop's thread soon, without waiting for it."""
        self._calls.append(function)
        self._wake()

    def later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Run a function after a time; only from the loop's thread."""
        self._at(time.monotonic() + delay_s, function)

    def board(self, slot: int) -> VirtualBoard:
        """The board in a slot; to be touched only inside `call`."""
        return self._lines[slot].board

    def unplug(self, slot: int) -> None:
        """Pull the cable of a slot: the client sees its port go away."""
        self.call(lambda: self._unplug(self._lines[slot]))

    def plug(self, slot: int) -> str:
        """Plug the board of a slot in again: it boots. Returns its (new) port."""
        return self.call(lambda: self._plug(self._lines[slot]))

    def reset(self, slot: int) -> None:
        """Press the reset button of a board."""
        self.call(
            lambda: self._react(
                self._lines[slot], self._lines[slot].board.reset(), time.monotonic()
            )
        )

    def exchange(self, slot: int) -> None:
        """Put another board into a jig whose port stays."""
        self.call(
            lambda: self._react(
                self._lines[slot], self._lines[slot].board.exchange(), time.monotonic()
            )
        )

    def _plug(self, line: _Line) -> str:
        if line.port is None:
            line.open()
            self._react(line, line.board.reset(), time.monotonic())
        return str(line.port)

    def _unplug(self, line: _Line) -> None:
        if line.port is not None:
            line.close()
            self._changed(line)

    def _changed(self, line: _Line) -> None:
        if self._on_change is not None:
            self._on_change(line.board, powered=line.port is not None)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_in, b"!")

    def _at(self, when: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._order), function))

    def _loop(self) -> None:
        while not self._stopping:
            masters = {line.master: line for line in self._lines.values() if line.port is not None}
            for fd in self._wait([self._wake_out, *masters]):
                if fd == self._wake_out:
                    os.read(fd, _READ)
                elif masters[fd].master == fd:
                    self._readable(masters[fd])
            self._run_due()

    def _wait(self, fds: Iterable[int]) -> list[int]:
        timeout = None if not self._timers else max(0.0, self._timers[0][0] - time.monotonic())
        if self._calls:
            timeout = 0.0
        return select.select(list(fds), [], [], timeout)[0]

    def _run_due(self) -> None:
        while self._calls:
            self._calls.pop(0)()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _readable(self, line: _Line) -> None:
        try:
            data = os.read(line.master, _READ)
        except BlockingIOError:
            return
        except OSError:
            self._unplug(line)
            return
        start = max(time.monotonic(), line.rx_free_at)
        line.rx_free_at = start + len(data) * self._byte_s
        if echo := line.board.echo(data):
            self._transmit(line, echo, start)
        arrived = line.rx_free_at
        self._guarded(line, arrived, lambda: self._react(line, line.board.receive(data), arrived))

    def _guarded(self, line: _Line, when: float, function: Callable[[], None]) -> None:
        """Do it then, unless the board was unplugged meanwhile."""
        generation = line.generation
        self._at(
            when,
            lambda: function() if line.generation == generation and line.port is not None else None,
        )

    def _react(self, line: _Line, reactions: Sequence[Reaction], now: float) -> None:
        self._changed(line)
        # `now` is the time of arrival, so that a late loop doesn't add to the board's own delays.
        for reaction in reactions:
            match reaction:
                case Send(data, delay_s):
                    self._transmit(line, data, now + delay_s)
                case Active(delay_s):
                    self._guarded(
                        line, now + delay_s + self._attach_s, lambda: self._announce(line)
                    )
                case Unplug(back_s):
                    self._unplug(line)
                    if back_s is not None:
                        self._at(now + back_s, lambda: _forget(self._plug(line)))

    def _announce(self, line: _Line) -> None:
        if self._on_active is not None and line.board.modem.active:
            self._on_active(line.board)

    def _transmit(self, line: _Line, data: bytes, start: float) -> None:
        start = max(start, line.tx_free_at)
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            self._guarded(
                line,
                start + (at + len(piece)) * self._byte_s,
                lambda piece=piece: self._put(line, piece),  # type: ignore[misc]
            )
        line.tx_free_at = start + len(data) * self._byte_s

    def _put(self, line: _Line, piece: bytes) -> None:
        try:
            sent = os.write(line.master, piece)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unplug(line)
            return
        if sent < len(piece):
            self._guarded(line, time.monotonic() + _AGAIN_S, lambda: self._put(line, piece[sent:]))


def _forget(_: str) -> None:
    return


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except Exception as error:  # noqa: BLE001 - it belongs to whoever called
        future.set_exception(error)
