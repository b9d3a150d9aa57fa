"""One rate limiter per host: when a server asks to wait, every thread of the program waits, and all
keep to one pace together.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

_CONFIRM_S: Final = 1.0
_CONFIRM_NEAR_S: Final = (3.0, 10.0)
_CONFIRM_SETTLED_S: Final = 30.0
_SETTLED_RATIO: Final = 1.03
_LOWEST_RATE: Final = 5.0
_FEWEST_REFUSALS: Final = 3
_MOST_SHARE: Final = 0.6
_MANY_SHARE: Final = 0.4
_ENOUGH_REFUSALS: Final = 8
"""From these shares of what was under way together on, refusals come from how often the host is
asked, and not by chance: most at once, or many of enough.
"""

_BELOW_ESTIMATE: Final = 0.96
_ABOVE_ESTIMATE: Final = 1.05
"""How far beside an estimate the limit is looked for."""

_BACKOFF_FACTORS: Final = (0.95, 0.9, 0.7, 0.5)
"""What is left of a rate that was taken before and is refused now, once, twice… in a row; after the
last of them pacing ends.
"""


class _Sample(NamedTuple):
    """Requests that a host took in so many seconds, from a moment when it was rested to its first
    refusal.
    """

    taken: float
    seconds: float


class _RateEstimate(NamedTuple):
    """What is known from refusals: a rate to ask at (0: unpaced), one that was taken, one that was
    refused (0: none yet).
    """

    rate: float = 0.0
    good: float = 0.0
    bad: float = 0.0
    strikes: int = 0
    first: _Sample | None = None
    over: bool = False

    def after(self, sample: _Sample, wait_s: float) -> _RateEstimate:
        """What a refusal adds, that asks to wait."""
        if not self.rate:
            return self._first_estimate(sample, wait_s)
        limit = self._limit_from(sample)
        if self.rate <= self.good:
            return self._lowered(limit)
        if self.good < limit < self.rate:
            return self._replace(
                rate=max(self.good, limit * _BELOW_ESTIMATE),
                bad=min(self.rate, limit * _ABOVE_ESTIMATE),
            )
        return self._replace(rate=max(self.good, self.rate / 2), bad=self.rate)

    def _first_estimate(self, sample: _Sample, wait_s: float) -> _RateEstimate:
        """The limit lies between what was taken with the wait and without it: nearer to the former,
        for a refusal costs more than a slow start.
        """
        slow, fast = sample.taken / (sample.seconds + wait_s), sample.taken / sample.seconds
        return self._replace(
            rate=max(_LOWEST_RATE, slow, math.sqrt(slow * fast) / 2),
            good=_LOWEST_RATE,
            first=sample,
        )

    def _limit_from(self, sample: _Sample) -> float:
        """The limit if the host lets a burst through before it counts: that of the first sample is
        in this one too. 0: cannot be told.
        """
        first = self.first
        if first is None or sample.seconds < 1.5 * first.seconds:
            return 0.0
        return max(0.0, sample.taken - first.taken) / (sample.seconds - first.seconds)

    def _lowered(self, limit: float) -> _RateEstimate:
        """A rate is refused that was taken before.

        A host that does so again and again limits something else.
        """
        if self.strikes == len(_BACKOFF_FACTORS):
            return self._replace(rate=0.0, over=True)
        less = max(_LOWEST_RATE, self.rate * _BACKOFF_FACTORS[self.strikes])
        good = limit * 0.985 if less * 0.97 < limit < self.rate else less
        return self._replace(rate=good, good=good, bad=self.rate, strikes=self.strikes + 1)

    def confirmed(self) -> _RateEstimate:
        """Its rate was used for long enough, and not refused: the next one to try."""
        good = self.rate
        if not self.bad:
            return self._replace(rate=good * 2, good=good, strikes=0)
        if self.is_settled(good):
            return self._replace(
                rate=good * _SETTLED_RATIO,
                good=good,
                bad=good * _SETTLED_RATIO * _SETTLED_RATIO,
                strikes=0,
            )
        return self._replace(rate=(good + self.bad) / 2, good=good, strikes=0)

    def is_settled(self, good: float) -> bool:
        """Whether what is taken and what is refused lie so near that asking for more is seldom
        worth it.
        """
        return bool(self.bad) and self.bad <= good * _SETTLED_RATIO


class RateLearner:
    """Finds the rate at which a host takes requests from where it begins to refuse them with 429.

    Unpaced until it refuses most of what is under way at once. From there the rate grows for as
    long as it is used and nothing is refused, doubling at first, then half-way to the lowest rate
    that was refused, or to what the requests that were taken until a refusal say of the limit. A
    host that refuses at rates which it took before limits something else; then pacing would only be
    slow, and it ends. Times are seconds of the monotonic clock, rates requests a second.
    """

    def __init__(self) -> None:
        self._estimate = self._before = _RateEstimate()
        self._sent = self._answered = 0
        self._refused = self._under_way = self._all_refused = self._all_under_way = 0
        self._rested: tuple[float, float] | None = None  # since when, and after how many requests
        self._since = 0.0
        self._is_used = self._is_settled = False
        self._sample = _Sample(0.0, 0.0)

    @property
    def rate(self) -> float:
        """Requests a second; 0 without a pace."""
        return self._estimate.rate

    def mark_used(self) -> None:
        """The pace made a request wait, so the rate is in use."""
        self._is_used = True

    def sent(self, now: float, ahead_s: float = 0.0) -> None:
        """A request goes out; places of the present pace are given away for `ahead_s` from now."""
        if self._rested is None or (not self._estimate.first and self._sent == self._answered):
            # Nothing is under way: what came before was not all that may come.
            self._rested = (now, self._sent)
        self._sent += 1
        if self.rate and self._is_used and now - self._since >= self._confirm_s():
            self._since, self._is_used, self._rested = (
                now + ahead_s,
                False,
                (now + ahead_s, self._sent + ahead_s * self.rate),
            )
            self._estimate = self._estimate.confirmed()

    def answered(self) -> None:
        """A request has come to its end, whatever that is."""
        self._answered += 1

    def refused(self, now: float, wait_s: float, *, first: bool) -> None:
        """A 429, told of by `answered` too, that asks to wait; `first` since the host was asked
        again, and not one of those that were under way with it.
        """
        if self._estimate.over:
            return
        if first or self._rested is None:
            since, before = self._rested or (now, self._sent)
            self._before, self._refused, self._since = self._estimate, 0, now + wait_s
            self._sample = _Sample(self._sent - before, max(now - since, 0.005))
            self._rested, self._is_used, self._under_way = (
                (self._since, self._sent),
                False,
                self._sent - self._answered + 1,
            )
            self._all_under_way += self._under_way
        self._refused += 1
        self._all_refused += 1
        if not self._before.rate and not self._is_by_rate():
            return
        # Those that were under way are refused one by one, and then were not taken after all.
        taken = max(1.0, self._sample.taken - self._refused)
        self._estimate = self._before.after(self._sample._replace(taken=taken), wait_s)

    def _is_by_rate(self) -> bool:
        if self._refused >= max(_FEWEST_REFUSALS, self._under_way * _MOST_SHARE):
            return True
        return self._all_refused >= max(_ENOUGH_REFUSALS, self._all_under_way * _MANY_SHARE)

    def _confirm_s(self) -> float:
        self._is_settled = self._is_settled or self._estimate.is_settled(self._estimate.good)
        if self._is_settled:
            return _CONFIRM_SETTLED_S
        return self._confirm_near_s() if self._estimate.bad else _CONFIRM_S

    def _confirm_near_s(self) -> float:
        """Until a burst that the host lets through before it counts could not hide that the rate is
        too high by `_SETTLED_RATIO`.
        """
        burst = self._estimate.first.taken if self._estimate.first else 0.0
        least, most = _CONFIRM_NEAR_S
        return min(max(least, burst / (self.rate * (_SETTLED_RATIO - 1))), most)


class RateLimiter:
    """Closed until a moment on the monotonic clock; shared by the threads and by both APIs of one
    host.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._interval_s = 0.0
        self._next = self._last = 0.0
        self._learner: RateLearner | None = None

    def pause_for(self, seconds: float, *, limited: bool = False) -> None:
        """Keep everybody out for `seconds` from now; a shorter wish never opens a longer one.

        `limited`: there were too many requests.
        """
        with self._lock:
            now = time.monotonic()
            if limited and self._learner is not None:
                self._learner.refused(now, seconds, first=now >= self._until)
                self._follow(self._learner)
            self._until = max(self._until, now + seconds)

    def learn(self) -> None:
        """Find the host's rate limit from its refusals, and keep to it."""
        with self._lock:
            self._learner = self._learner or RateLearner()

    def _follow(self, learning: RateLearner) -> None:
        self._interval_s = 1.0 / learning.rate if learning.rate else 0.0

    def pace(self, rate: float) -> None:
        """Let at most `rate` requests a second through from now on, at even distances."""
        with self._lock:
            self._interval_s = 1.0 / rate

    def reserve_s(self, most_s: float | None = None) -> float:
        """Take the next place in the pace; seconds until it comes, 0 without a pace.

        With `most_s` it comes once the gate is open, and is not taken where it is so many seconds
        away or more.
        """
        if not self._interval_s:
            return 0.0
        with self._lock:
            now = time.monotonic()
            place = max(now, self._next, 0.0 if most_s is None else self._until)
            if most_s is not None and place - now >= most_s:
                return place - now
            self._next = place + self._interval_s
            if place > now and self._learner is not None:
                self._learner.mark_used()
            return place - now

    def spacing_s(self) -> float:
        """Seconds until the next request may go out: those whose place is past, on a busy machine,
        go at twice the pace at most.
        """
        if not self._interval_s:
            return 0.0
        with self._lock:
            now = time.monotonic()
            place = max(now, self._last + self._interval_s / 2)
            self._last = place
            return place - now

    def answered(self) -> None:
        """A request has come to its end."""
        if self._learner is not None:
            with self._lock:
                self._learner.answered()

    def sent(self) -> None:
        """A request goes out now."""
        if self._learner is not None:
            with self._lock:
                now = time.monotonic()
                self._learner.sent(now, max(0.0, self._next - now))
                self._follow(self._learner)

    def pause_left_s(self) -> float:
        """Seconds until the gate is open, 0 when it is."""
        return max(0.0, self._until - time.monotonic())


_limiters: WeakValueDictionary[str, RateLimiter] = WeakValueDictionary()
_limiters_lock = threading.Lock()


def limiter_for(netloc: str) -> RateLimiter:
    """The gate of `host[:port]`: the same object for every caller as long as one of them
    keeps it.
    """
    with _limiters_lock:
        gate = _limiters.get(netloc)
        if gate is None:
            gate = _limiters[netloc] = RateLimiter()
        return gate
