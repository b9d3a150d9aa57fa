"""The keyboard of a watching run: `q` ends it.

Keys are read one by one and not shown, and the terminal is put back at the end.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from infuse_cli.clock import RunClock

_MOST: Final = 256


class Keyboard:
    """Reads the terminal on stdin, where there is one and this process is in front; else it does
    nothing.

    `stop` is called at `q`. `line` gets whatever a keyboard wedge or a person types and ends with
    Enter; where it is given, `q` wants its Enter too, so that no scanned code that begins with q
    ends the run.
    """

    def __init__(
        self, *, stop: Callable[[], None], line: Callable[[str], None] | None = None
    ) -> None:
        self._stop: Final = stop
        self._line: Final = line
        self._before: list[Any] | None = None
        self._typed = bytearray()
        self._ends: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if in_front():
            self._before = _one_by_one()
            self._ends = os.pipe()
            self._thread = threading.Thread(target=self._read, name="keyboard", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ends is not None and self._thread is not None:
            os.write(self._ends[1], b"x")
            self._thread.join(1)
        self.put_back()

    def put_back(self) -> None:
        """Leave the terminal as it was found; safe to call at any time."""
        if self._before is None or sys.platform == "win32":
            return
        import termios

        with suppress(OSError, termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        wake = -1 if self._ends is None else self._ends[0]
        while True:
            if wake in select.select([0, wake], [], [])[0]:
                return
            try:
                data = os.read(0, _MOST)
            except OSError:
                return
            if not data:
                return
            self.typed(data)

    def typed(self, data: bytes) -> None:
        """Take in what came from the keyboard."""
        if self._line is None:
            if b"q" in data.lower():
                self._stop()
            return
        self._typed += data.replace(b"\r", b"\n")
        while b"\n" in self._typed:
            line, _, rest = bytes(self._typed).partition(b"\n")
            self._typed[:] = rest
            text = line.decode("utf-8", "replace").strip()
            if text.lower() == "q":
                self._stop()
            elif text:
                self._line(text)


class TerminalPerson:
    """`ports.Person`: whoever sits at this terminal. A stop at once leaves it as it was found."""

    def __init__(self, clock: RunClock) -> None:
        self._clock: Final = clock

    def can_type(self) -> bool:
        """Whether keys come to this process."""
        return in_front()

    def listening(
        self, *, stop: Callable[[], None], line: Callable[[str], None] | None
    ) -> Keyboard:
        """Read keys inside the context."""
        keyboard = Keyboard(stop=stop, line=line)
        self._clock.before_leaving = keyboard.put_back
        return keyboard


def in_front() -> bool:
    """Whether keys come to this process: a terminal on stdin whose foreground is ours."""
    try:
        return sys.platform != "win32" and sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _one_by_one() -> list[Any]:
    """Have keys come one by one and unseen; Ctrl-C stays a signal.

    What the terminal was set to before.
    """
    if sys.platform == "win32":
        return []  # in_front() is False there
    import termios

    before: list[Any] = termios.tcgetattr(0)
    after = [*before]
    after[3] &= ~(termios.ICANON | termios.ECHO)
    after[6] = [*before[6]]
    after[6][termios.VMIN], after[6][termios.VTIME] = 1, 0
    termios.tcsetattr(0, termios.TCSADRAIN, after)
    return before
