"""What `infuse doctor` sees of the machine: processes, groups, udev's notes on ports, programs.

Linux; elsewhere little.

Every root is a field, so that another tree can stand in for this machine's.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.link.discover import list_ports
from infuse_cli.link.holder import holder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.types import PortInfo

_PATIENCE_S: Final = 4.0


def _group_ids() -> frozenset[int]:
    if sys.platform == "win32":
        return frozenset()
    return frozenset((*os.getgroups(), os.getegid()))


def _user_id() -> int:
    if sys.platform == "win32":
        return -1
    return os.geteuid()


def _device_numbers(port: str) -> str:
    """`MAJOR:MINOR` of a port. Raises OSError."""
    if sys.platform == "win32":
        raise OSError(f"{port} has no device numbers on this system")
    number = os.stat(port).st_rdev  # noqa: PTH116 - follows links, as opening does
    return f"{os.major(number)}:{os.minor(number)}"


@dataclass(frozen=True)
class Machine:
    """This machine.

    `group_ids` are those of this process, which a user who was just added to a group does not have
    yet.
    """

    proc: Path = Path("/proc")
    udev: Path = Path("/run/udev/data")
    groups_file: Path = Path("/etc/group")
    ports: Callable[[], Sequence[PortInfo]] = list_ports
    which: Callable[[str], str | None] = shutil.which
    holder: Callable[[str], str | None] = holder_of
    jlink_folders: tuple[Path, ...] = (Path("/opt/SEGGER/JLink"),)
    group_ids: frozenset[int] = field(default_factory=_group_ids)
    user_id: int = field(default_factory=_user_id)

    def processes(self, name: str) -> list[int]:
        """Process ids of the programs of that name."""
        found = []
        for entry in self.proc.glob("[0-9]*"):
            try:
                if (entry / "comm").read_text().strip() == name:
                    found.append(int(entry.name))
            except OSError:
                continue
        return sorted(found)

    def udev_notes(self, port: str) -> Mapping[str, str]:
        """What udev knows of a port, such as ID_MM_DEVICE_IGNORE; empty where that cannot
        be seen.
        """
        try:
            text = (self.udev / f"c{_device_numbers(port)}").read_text()
        except (OSError, AttributeError):
            return {}
        pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("E:"))
        return {name: value for name, _, value in pairs}

    def told_by(self, *words: str) -> str | None:
        """What a program prints within 4 s, None where it fails or hangs; it gets none of our own
        variables.
        """
        import subprocess

        env = {name: value for name, value in os.environ.items() if not name.startswith("INFUSE_")}
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=env,
                timeout=_PATIENCE_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode("utf-8", "replace")

    def group(self, name: str) -> tuple[int, tuple[str, ...]] | None:
        """Number and members of a group, None where there is none of that name."""
        try:
            rows = [line.split(":") for line in self.groups_file.read_text().splitlines()]
        except OSError:
            return None
        return next(
            (
                (int(row[2]), tuple(filter(None, row[3].split(","))))
                for row in rows
                if len(row) == 4 and row[0] == name and row[2].isdigit()
            ),
            None,
        )
