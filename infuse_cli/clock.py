"""The system's clock, and the run's stop: every wait ends when a person asks a run to stop."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORTH_TELLING_S: Final = 0.3
"""A shorter wait before the next try is a hiccup, and nobody is told."""


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
