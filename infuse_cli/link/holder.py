"""Who holds a port, as far as /proc shows it (Linux); elsewhere nobody is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC: Final = Path("/proc")


def holder_of(port: str) -> str | None:
    """`name (pid n)` of the process that has the port locked or open, None where that cannot be
    seen.
    """
    pid = _lock_owner(port) or next(_openers(port), None)
    if pid is None:
        return None
    who = "this very infuse" if pid == os.getpid() else _name(pid)
    return f"{who} (pid {pid})"


def _lock_owner(port: str) -> int | None:
    """The owner of an flock, from lines such as `1: FLOCK  ADVISORY  WRITE 4711 00:18:5 0 EOF`."""
    if sys.platform == "win32":
        return None
    try:
        inode = os.stat(port).st_ino  # noqa: PTH116 - follows links, as opening does
        device = os.stat(port).st_dev  # noqa: PTH116
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    rows = (line.split() for line in lines)
    return next(
        (int(row[4]) for row in rows if len(row) > 5 and row[5] == wanted and row[4].isdigit()),
        None,
    )


def _openers(port: str) -> Iterator[int]:
    target = os.path.realpath(port)
    for entry in _PROC.glob("[0-9]*"):
        try:
            opened = any(os.readlink(file) == target for file in (entry / "fd").iterdir())  # noqa: PTH115
        except OSError:
            continue
        if opened and int(entry.name) != os.getpid():
            yield int(entry.name)


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip() or "a program"
    except OSError:
        return "a program"
