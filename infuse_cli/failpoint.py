"""Fail-points: places where a test can make the process die as if by SIGKILL.

`INFUSE_FAILPOINT=NAME` or `NAME#N` kills at the first or N-th time that `hit(NAME)` is reached. Without the
variable a fail-point costs one comparison. Names: `before:<step>`, `begun:<step>`, `ran:<step>`, `done:<step>`,
`wire:<step>` (half of the bytes of a command with effect are out), `sent:<call>`, `answered:<call>`, `signed`.
"""

from __future__ import annotations

import os
import signal
import threading

_NAME, _, _COUNT = os.environ.get("INFUSE_FAILPOINT", "").partition("#")
_lock = threading.Lock()
_left = int(_COUNT or "1") if _NAME else 0


def armed() -> bool:
    """Whether any fail-point is set, for callers that would have to do extra work to reach one."""
    return bool(_NAME)


def hit(name: str) -> None:
    """Die here, without clean-up, if this is the fail-point that was asked for."""
    global _left
    if name != _NAME:
        return
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
