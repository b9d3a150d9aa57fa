"""The faults of the virtual cloud at work: which of them strike a given call, counted and
seeded.
"""

from __future__ import annotations

import difflib
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import UsageError
from infuse_cli.sim.cloud_table import CALLS, REGISTRY
from infuse_cli.sim.faults import CloudFaultKind, FaultPlan, OnCloud

if TYPE_CHECKING:
    from infuse_cli.sim.store import Clock

_BY_CHANCE: Final = frozenset(CloudFaultKind) - {
    CloudFaultKind.LATENCY,
    CloudFaultKind.SLOW,
    CloudFaultKind.DATE,
}


class _Armed:
    def __init__(self, fault: OnCloud) -> None:
        self.fault: Final = fault
        self._call: Final = None if fault.call is None else call_name(fault.call)
        self._seen = 0
        self._left = fault.times

    def strikes(self, call: str, chance: random.Random) -> bool:
        if self._call not in {None, call} or self._left == 0:
            return False
        self._seen += 1
        if self.fault.nth is not None and self.fault.nth != self._seen:
            return False
        if self.fault.kind in _BY_CHANCE and chance.random() >= self.fault.value:
            return False
        if self._left is not None:
            self._left -= 1
        return True


class CloudFaults:
    """The cloud part of a fault plan.

    Raises UsageError usage.bad-option for a call that does not exist.
    """

    def __init__(self, plan: FaultPlan, clock: Clock) -> None:
        self._armed: Final = [
            _Armed(fault) for fault in plan.cloud if fault.kind is not CloudFaultKind.DATE
        ]
        self._chance: Final = random.Random(plan.seed)  # noqa: S311 - faults, not keys
        clock.offset = timedelta(
            seconds=sum(f.value for f in plan.cloud if f.kind is CloudFaultKind.DATE)
        )

    def strike(self, call: str) -> dict[CloudFaultKind, OnCloud]:
        """The faults that this call meets, by kind."""
        return {
            armed.fault.kind: armed.fault
            for armed in self._armed
            if armed.strikes(call, self._chance)
        }

    def coin(self) -> bool:
        """Heads or tails: whether a server error comes before or after the effect."""
        return self._chance.random() < 0.5

    def server_error(self) -> int:
        """One of the 5xx statuses that say nothing about the effect."""
        return self._chance.choice((500, 502, 503, 504))


def call_name(text: str) -> str:
    """The table's name of a call, which may be given without `/api/v1`.

    Raises UsageError usage.bad-option.
    """
    names = {call.name for call in CALLS}
    method, _, path = text.partition(" ")
    for name in (f"{method.upper()} {path}", f"{method.upper()} {REGISTRY}{path}"):
        if name in names:
            return name
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.0)
    raise UsageError(
        "usage.bad-option",
        f"fault: the virtual cloud has no call {text!r}; the nearest is {near[0]!r}",
    )
