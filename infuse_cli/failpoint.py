"""Fail-points: places where a test can make the process die as if by SIGKILL.

`INFUSE_FAILPOINT=NAME` or `NAME#N` kills at the first or N-th time that `hit(NAME)` is reached.
Without the variable a fail-point costs one comparison. Names: `before:<step>`, `begun:<step>`,
`ran:<step>`, `done:<step>`, `wire:<step>` (half of the bytes of a command with effect are out),
`sent:<call>`, `answered:<call>`, `signed`; in a batch `begun:row`, `ran:row`, `done:row`.
"""

from __future__ import annotations

import os
import signal
import threading


class _Point:
    """The one fail-point that is armed, and how often it is still passed."""

    def __init__(self) -> None:
        self.name = ""
        self.left = 0
        self.lock = threading.Lock()

    def passed(self) -> bool:
        """Count one pass; True when it was the last."""
        with self.lock:
            self.left -= 1
            return self.left == 0


_point = _Point()


def arm(text: str) -> None:
    """Set the fail-point from a text as in INFUSE_FAILPOINT; an empty one disarms."""
    name, _, count = text.partition("#")
    _point.name, _point.left = name, int(count or "1")


def armed() -> bool:
    """Whether any fail-point is set, for callers that would have to do extra work to reach one."""
    return bool(_point.name)


def hit(name: str) -> None:
    """Die here, without clean-up, if this is the fail-point that was asked for."""
    if name == _point.name and _point.passed():
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


arm(os.environ.get("INFUSE_FAILPOINT", ""))
