"""The clock is right before anything is done that lasts: compared with the cloud's, and with the
records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.clock import read_clock

if TYPE_CHECKING:
    from infuse_cli.ports import Clock, InfuseApi, Journal


class ClockGuard:
    """Holds this machine's clock against the server's Date and the newest record that counts.

    A clock that agrees with the server's is right, so a newer record is of a wrong one and is set
    aside, on record. What is written under a clock that was not compared, or that is wrong, counts
    for nobody. `journal` None: nothing is recorded (a dry run).
    """

    def __init__(self, clock: Clock, cloud: InfuseApi, journal: Journal | None) -> None:
        self._clock: Final = clock
        self._cloud: Final = cloud
        self._journal: Final = journal
        self._trusts = False

    def check(self) -> None:
        """Raise SignerError ca.clock where the clock cannot be right."""
        journal, offset_s = self._journal, self._cloud.server_time_offset_s()
        newest = None if journal is None else journal.newest()
        reading = read_clock(self._clock.now(), offset_s, newest)
        if journal is None:
            reading.check()
            return
        if reading.agrees:
            if reading.is_behind_records or not self._trusts:
                journal.trust_clock(offset_s)
            self._trusts = True
            return
        if reading.fault() is not None:
            journal.distrust_clock()
            self._trusts = False
        reading.check()
