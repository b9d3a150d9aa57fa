"""What a person hears while a batch's opening waits for a cloud that is not itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from infuse_cli.cli import context

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from infuse_cli.clock import RunClock
    from infuse_cli.config import model as prof


def outage_told(clock: RunClock, cloud: prof.Cloud) -> AbstractContextManager[None]:
    """Say once, and for how long at most, that a call of this thread is tried again; programs get
    the result alone.
    """
    most_s = max(cloud.outage_wait_s, cloud.deadline_s)
    never_met = (
        f" ({cloud.timeout_s:g} s if it cannot be connected to)" if cloud.timeout_s < most_s else ""
    )

    def tell() -> None:
        if context.current().output == "human":
            sys.stderr.write(
                f"The cloud does not answer as it should; it is asked again for up to {most_s:g}"
                f" s{never_met}.\n"
            )

    return clock.telling(tell)
