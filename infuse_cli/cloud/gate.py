"""One gate per host: when a server asks to wait, every thread of the program waits, and a pace is kept by all together."""

from __future__ import annotations

import threading
import time
from weakref import WeakValueDictionary


class Gate:
    """Closed until a moment on the monotonic clock; shared by the threads and by both APIs of one host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._interval_s = 0.0
        self._next = 0.0

    def close_for(self, seconds: float) -> None:
        """Keep everybody out for `seconds` from now; a shorter wish never opens a longer one."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def pace(self, rate: float) -> None:
        """Let at most `rate` requests a second through from now on, at even distances."""
        with self._lock:
            self._interval_s = 1.0 / rate

    def turn_s(self) -> float:
        """Take the next place in the pace; seconds until it comes, 0 without a pace. What was not used is not caught up on."""
        if not self._interval_s:
            return 0.0
        with self._lock:
            now = time.monotonic()
            mine = max(now, self._next, self._until)
            self._next = mine + self._interval_s
            return mine - now

    def remaining_s(self) -> float:
        """Seconds until the gate is open, 0 when it is."""
        return max(0.0, self._until - time.monotonic())


_gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()
_gates_lock = threading.Lock()


def gate_for(netloc: str) -> Gate:
    """The gate of `host[:port]`: the same object for every caller as long as one of them keeps it."""
    with _gates_lock:
        gate = _gates.get(netloc)
        if gate is None:
            gate = _gates[netloc] = Gate()
        return gate
