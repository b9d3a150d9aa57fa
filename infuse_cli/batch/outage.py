"""Telling the caller that the opening of a batch waits for a cloud that does not answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from infuse_cli.config import model as prof
    from infuse_cli.ports import Clock


@dataclass(frozen=True, slots=True)
class Outage:
    """For how long a call is repeated, in seconds.

    `connect_s` is the shorter time of a cloud that cannot even be connected to, None where it is
    not shorter.
    """

    longest_s: float
    connect_s: float | None


def report_outage(
    clock: Clock, cloud: prof.Cloud, on_outage: Callable[[Outage], None] | None
) -> AbstractContextManager[None]:
    """Call `on_outage`, once, when a call of this thread has to be repeated in this context."""
    longest_s = max(cloud.outage_wait_s, cloud.deadline_s)
    connect_s = cloud.timeout_s if cloud.timeout_s < longest_s else None
    outage = Outage(longest_s, connect_s)

    def report() -> None:
        if on_outage is not None:
            on_outage(outage)

    return clock.telling(report)
