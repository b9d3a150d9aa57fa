"""The system's clock, and the run's stop: every wait ends when a person asks a run to stop."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import SignerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORTH_TELLING_S: Final = 0.3
"""A shorter wait before the next try is a hiccup, and nobody is told."""

CLOCK_LIMIT_S: Final = 300.0
"""How many seconds this machine's clock may differ from the server's."""

STEP_BACK: Final = timedelta(seconds=2)
"""How far a time service may set a clock back between two records."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """This machine's time beside the times that it is held against, all UTC.

    `server` is the server's Date, None where none was asked. `newest` is the newest record that was
    written while the clock agreed with a server's: any other record's time proves nothing.
    """

    now: datetime
    server: datetime | None
    newest: datetime | None

    @property
    def agrees(self) -> bool:
        """Whether the clock was compared with the server's and is within the limit."""
        return self.server is not None and abs(self._offset_s(self.server)) <= CLOCK_LIMIT_S

    @property
    def is_behind_records(self) -> bool:
        """Whether a record that counts is of a later time than it is now."""
        return self.newest is not None and self.now < self.newest - STEP_BACK

    def fault(self) -> str | None:
        """What is wrong with the clock, naming both times; None where nothing is."""
        here = _shown(self.now)
        if self.server is not None and not self.agrees:
            offset_s = self._offset_s(self.server)
            side = "behind" if offset_s > 0 else "ahead of"
            return (
                f"this machine's clock says {here}, which is {abs(offset_s) / 60:.0f} minutes"
                f" {side} the cloud's {_shown(self.server)}; more than 5 are refused"
            )
        if self.newest is not None and self.is_behind_records:
            newest = _shown(self.newest)
            return f"this machine's clock says {here}, but the newest record is from {newest}"
        return None

    def check(self) -> None:
        """Raise SignerError ca.clock where the clock cannot be right."""
        fault = self.fault()
        if fault is not None:
            raise SignerError("ca.clock", fault)

    def _offset_s(self, server: datetime) -> float:
        return (server - self.now).total_seconds()


def read_clock(
    now: datetime, server_offset_s: float | None, newest: datetime | None
) -> ClockReading:
    """The clock beside the server's, whose offset is its Date minus this machine's time."""
    server = None if server_offset_s is None else now + timedelta(seconds=server_offset_s)
    return ClockReading(now, server, newest)


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class RunClock:
    """`ports.Clock`: UTC, monotonic seconds, and waits that end at the stop."""

    def __init__(self) -> None:
        self.stop: Final = threading.Event()
        self.before_leaving: Callable[[], None] = lambda: (
            None
        )  # what a stop at once must not leave as it is: the terminal
        self._here: Final = threading.local()

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait; at once back with True when the run is being stopped."""
        if seconds <= 0:
            return self.stop.is_set()
        return self.stop.wait(seconds)

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Have `tell` called, once, when a call of this thread has to be tried again."""
        before = getattr(self._here, "tell", None)
        self._here.tell = tell
        try:
            yield
        finally:
            self._here.tell = before

    def between_tries(self, seconds: float) -> bool:
        """Wait before a call is tried again, as `wait`; this is what the clients of the
        cloud get.
        """
        tell = getattr(self._here, "tell", None)
        if tell is not None and seconds >= _WORTH_TELLING_S:
            self._here.tell = None
            tell()
        return self.wait(seconds)
