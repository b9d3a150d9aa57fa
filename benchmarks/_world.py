"""A simulated world in processes of its own, so that what it costs is never counted as the host's.

Run as a program it is that world: options as JSON in the first argument, readiness as one line on
stdout, then it serves until its stdin closes. Imported it starts such a program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class World:
    """What the simulator said once it was ready, and its processes."""

    profile: Path
    ports: tuple[str, ...]
    pid: int

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far by the boards' bench and by the cloud; empty where /proc does not
        tell.
        """
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return {
                "bench": _cpu_s(self.pid),
                "cloud": sum(_cpu_s(int(child)) for child in children),
            }
        except OSError:
            return {}


def _cpu_s(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def world(
    boards: int, *, slow: bool, check_in_s: float = 0.0, echo: bool = False
) -> Iterator[World]:
    """Boards and a cloud.

    `slow`: 115200 bit/s, NVM 20 ms, KEYGEN 300 ms, cloud 20 ms; else nothing takes any time.
    `echo`: boards repeat what they hear.
    """
    given = json.dumps({"boards": boards, "slow": slow, "check_in_s": check_in_s, "echo": echo})
    process = subprocess.Popen(
        [sys.executable, __file__, given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        data = json.loads(process.stdout.readline())
        yield World(
            Path(data["profile"]), tuple(board["port"] for board in data["boards"]), process.pid
        )
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def main() -> None:
    from infuse_cli.sim.modem import Delays
    from infuse_cli.sim.up import SimOptions, serve

    given = json.loads(sys.argv[1])
    slow = given["slow"]
    delays = Delays(keygen_s=0.3, nvm_s=0.02) if slow else Delays(keygen_s=0.0, nvm_s=0.0)
    faults = ["cloud:latency=20ms"] * slow + ["*:echo"] * given["echo"]
    options = SimOptions(
        boards=given["boards"],
        baud=115200 if slow else None,
        delays=delays,
        faults=", ".join(faults),
        active_wait_s=given["check_in_s"],
    )

    def ready(data: dict[str, Any]) -> None:
        print(json.dumps(data), flush=True)

    serve(options, ready, until_stdin_closes=True)


if __name__ == "__main__":
    main()
