"""Ctrl-C and its like: the first asks a run to stop, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, Self

from infuse_cli.errors import Exit

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from infuse_cli.clock import RunClock

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_SHOW_CURSOR: Final = "\x1b[?25h"


class StopOnSignals:
    """First Ctrl-C, SIGTERM or SIGHUP: finish the step in hand.

    Second: leave at once; the journal is true anyway.
    """

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if self._clock.stop.is_set():
            self._clock.before_leaving()
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR.encode())
            os._exit(int(Exit.INTERRUPTED))
        self._clock.stop.set()
