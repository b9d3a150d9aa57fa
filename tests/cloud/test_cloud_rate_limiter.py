"""What a gate learns of a host's limit: fed with times, no clock."""

from __future__ import annotations

import random

import pytest

from infuse_cli.cloud.rate_limiter import RateLearner, RateLimiter


def run(
    limit: float, seconds: float, *, burst: float = 10.0, demand: float = 800.0
) -> tuple[float, int]:
    """A token bucket that refuses with Retry-After 1, asked as fast as the pace lets: the share of
    the limit used, and refusals.
    """
    learning, now, tokens, taken, refused = RateLearner(), 0.0, burst, 0, 0
    while now < seconds:
        paced = bool(learning.rate)
        step = 1 / min(learning.rate or demand, demand)
        if paced:
            learning.mark_used()
        learning.sent(now)
        now, tokens = now + step, min(burst, tokens + step * limit)
        learning.answered()
        if tokens >= 1:
            tokens, taken = tokens - 1, taken + 1
            continue
        refused += 1
        learning.refused(now, 1.0, first=True)
        for _ in range(0 if paced else 15):  # those that were under way
            learning.sent(now)
            learning.answered()
            learning.refused(now, 1.0, first=False)
        now, tokens = now + 1.0, min(burst, tokens + limit)
    return taken / (limit * seconds), refused


def test_a_limit_is_found_and_kept() -> None:
    for limit in (5.0, 30.0, 100.0, 300.0):
        share, refused = run(limit, 200.0)
        assert share > 0.92, (limit, share, refused)
        assert refused < 30, (limit, share, refused)


def test_without_refusals_nothing_is_paced() -> None:
    share, refused = run(10_000.0, 5.0)
    assert (round(share * 10_000), refused) == (800, 0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.7])
def test_refusals_that_no_rate_explains_end_the_pacing(share: float) -> None:
    dice, learning, now, paced = random.Random(7), RateLearner(), 0.0, 0
    for _ in range(3000):
        if learning.rate:
            paced += 1
            learning.mark_used()
        learning.sent(now)
        now += 1 / (learning.rate or 50)
        if dice.random() < share:
            learning.refused(now, 1.0, first=True)
            now += 1.0
    assert learning.rate == 0.0
    assert paced < 200


def test_a_place_too_far_ahead_is_left_to_others() -> None:
    gate = RateLimiter()
    gate.pace(0.5)
    assert gate.reserve_s() == 0
    assert all(gate.reserve_s(1.0) > 1.0 for _ in range(100))
    assert gate.reserve_s() <= 2.0
