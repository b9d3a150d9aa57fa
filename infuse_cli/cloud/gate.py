"""One gate per host: when a server asks to wait, every thread of the program waits, and a pace is kept by all together."""

from __future__ import annotations

import threading
import time
from typing import Final
from weakref import WeakValueDictionary

_HOLD_S: Final = 1.0
_HOLD_NEAR_S: Final = 3.0
_HOLD_LONG_S: Final = 30.0
_NEAR: Final = 1.03
_ENOUGH: Final = 10
_SHARE: Final = 0.28
_LEAST: Final = 5.0
_LESS: Final = (0.95, 0.9, 0.7, 0.5)
"""What is left of a rate that was taken before and is refused now, once, twice… in a row; after the last of them pacing ends."""


class Learning:
    """Finds the rate at which a host takes requests from where it begins to refuse them with 429.

    Unpaced until it refuses a good part of what it is asked. From there the rate grows for as long as it is used and nothing is refused, doubling at
    first, then half-way to the lowest rate that was refused. A host that refuses at rates which it took before limits
    something else; then pacing would only be slow, and it ends. Times are seconds of the monotonic clock, rates requests a second.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._good = self._bad = 0.0
        self._sent = self._refused = self._strikes = 0
        self._first = self._since = 0.0
        self._used = self._found = self._over = False

    def held_back(self) -> None:
        """The pace made a request wait, so the rate is in use."""
        self._used = True

    def sent(self, now: float) -> None:
        """A request goes out."""
        self._first = self._first or now
        self._sent += 1
        if self.rate and self._used and now - self._since >= self._hold_s():
            self._good, self._strikes, self._since, self._used = self.rate, 0, now, False
            self.rate = self._next_rate()

    def refused(self, now: float, wait_s: float, *, first: bool) -> None:
        """A 429 that asks to wait; `first` since the host was asked again, and not one of those that were under way with it."""
        self._refused += 1
        if self._over or not first:
            return
        if not self.rate:
            # A few refusals among many requests come from something else than how often it is asked.
            if self._refused >= _ENOUGH and self._refused >= _SHARE * self._sent:
                self.rate = self._good = max(_LEAST, (self._sent - self._refused) / (now - self._first + wait_s))
        elif self.rate > self._good:
            self._bad, self.rate = self.rate, self._good
        else:
            self._strike()
        self._since, self._used = now + wait_s, False

    def _strike(self) -> None:
        self._over = self._strikes == len(_LESS)
        if self._over:
            self.rate = 0.0
            return
        self._bad, self._good = self.rate, max(_LEAST, self.rate * _LESS[self._strikes])
        self.rate, self._strikes = self._good, self._strikes + 1

    def _settled(self) -> bool:
        return bool(self._bad) and self._bad <= self._good * _NEAR

    def _hold_s(self) -> float:
        self._found = self._found or self._settled()
        return _HOLD_LONG_S if self._found else _HOLD_NEAR_S if self._bad else _HOLD_S

    def _next_rate(self) -> float:
        if not self._bad:
            return self._good * 2
        if self._settled():
            self._bad = self._good * _NEAR * _NEAR
            return self._good * _NEAR
        return (self._good + self._bad) / 2


class Gate:
    """Closed until a moment on the monotonic clock; shared by the threads and by both APIs of one host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._interval_s = 0.0
        self._next = self._last = 0.0
        self._learning: Learning | None = None

    def close_for(self, seconds: float, *, limited: bool = False) -> None:
        """Keep everybody out for `seconds` from now; a shorter wish never opens a longer one. `limited`: there were too many requests."""
        with self._lock:
            now = time.monotonic()
            if limited and self._learning is not None:
                self._learning.refused(now, seconds, first=now >= self._until)
                self._follow(self._learning)
            self._until = max(self._until, now + seconds)

    def learn(self) -> None:
        """Find the host's rate limit from its refusals, and keep to it."""
        with self._lock:
            self._learning = self._learning or Learning()

    def _follow(self, learning: Learning) -> None:
        self._interval_s = 1.0 / learning.rate if learning.rate else 0.0

    def pace(self, rate: float) -> None:
        """Let at most `rate` requests a second through from now on, at even distances."""
        with self._lock:
            self._interval_s = 1.0 / rate

    def turn_s(self, most_s: float | None = None) -> float:
        """Take the next place in the pace; seconds until it comes, 0 without a pace.

        With `most_s` it comes once the gate is open, and is not taken where it is so many seconds away or more.
        """
        if not self._interval_s:
            return 0.0
        with self._lock:
            now = time.monotonic()
            mine = max(now, self._next, 0.0 if most_s is None else self._until)
            if most_s is not None and mine - now >= most_s:
                return mine - now
            self._next = mine + self._interval_s
            if mine > now and self._learning is not None:
                self._learning.held_back()
            return mine - now

    def gap_s(self) -> float:
        """Seconds until the next request may go out: those whose place is past, on a busy machine, go at twice the pace at most."""
        if not self._interval_s:
            return 0.0
        with self._lock:
            now = time.monotonic()
            mine = max(now, self._last + self._interval_s / 2)
            self._last = mine
            return mine - now

    def sent(self) -> None:
        """A request goes out now."""
        if self._learning is not None:
            with self._lock:
                self._learning.sent(time.monotonic())
                self._follow(self._learning)

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
