"""What a gate learns of a host's limit: fed with times, no clock."""

from __future__ import annotations

from infuse_cli.cloud.gate import Learning


def run(limit: float, seconds: float, *, burst: float = 10.0, demand: float = 800.0) -> tuple[float, int]:
    """A token bucket that refuses with Retry-After 1, asked as fast as the pace lets: the share of the limit used, and refusals."""
    learning, now, tokens, taken, refused = Learning(), 0.0, burst, 0, 0
    while now < seconds:
        paced = bool(learning.rate)
        step = 1 / min(learning.rate or demand, demand)
        learning.passed(now, waited=paced)
        now, tokens = now + step, min(burst, tokens + step * limit)
        if tokens >= 1:
            tokens, taken = tokens - 1, taken + 1
            continue
        refused += 1
        learning.refused(now, 1.0)
        now, tokens = now + 1.0, min(burst, tokens + limit)
    return taken / (limit * seconds), refused


def test_a_limit_is_found_and_kept() -> None:
    for limit in (5.0, 30.0, 100.0, 300.0):
        share, refused = run(limit, 200.0)
        assert share > 0.9, (limit, share, refused)
        assert refused < 20, (limit, share, refused)


def test_without_refusals_nothing_is_paced() -> None:
    share, refused = run(10_000.0, 5.0)
    assert (round(share * 10_000), refused) == (800, 0)


def test_refusals_that_no_rate_explains_end_the_pacing() -> None:
    learning, now = Learning(), 0.0
    for _ in range(6):
        for _ in range(4):
            learning.passed(now, waited=True)
            now += 0.01
        learning.refused(now, 1.0)
        now += 1.0
    assert learning.rate == 0.0
