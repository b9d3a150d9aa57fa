"""`--sim N`: the simulator as a process of its own, in its own process group, that ends with its
stdin.

Guaranteed: `docs/reference/guarantees.md#a-simulated-run`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from infuse_cli.errors import InfuseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_READY_S: Final = 60.0
_END_S: Final = 10.0
_OURS: Final = (
    "INFUSE_TOKEN",
    "INFUSE_REGISTRY_TOKEN",
    "INFUSE_BASE_URL",
    "INFUSE_REGISTRY_URL",
    "INFUSE_CA_BUNDLE",
    "INFUSE_PROFILE",
    "INFUSE_HOME",
    "INFUSE_OUTPUT",
    "INFUSE_FAILPOINT",
    "INFUSE_SEALING_KEY_FILE",
)


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    """What the simulator said once it was ready."""

    profile: str
    ports: tuple[str, ...]


def without_ours(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would point a simulated run at the real world."""
    return {key: value for key, value in env.items() if key not in _OURS}


def check_extra() -> None:
    """Raise UsageError usage.extra-missing when the simulator's parts are not installed or cannot
    be.
    """
    from importlib.util import find_spec

    missing = [name for name in ("starlette", "uvicorn", "amqtt") if find_spec(name) is None]
    if missing:
        raise UsageError(
            "usage.extra-missing",
            f"the simulator needs {' and '.join(missing)}",
            hint="pip install 'infuse-line[sim]'",
        )
    if find_spec("termios") is None:
        raise UsageError(
            "usage.extra-missing",
            "virtual serial ports need Linux or macOS",
            hint="Run the simulator there.",
        )


@contextmanager
def simulated(
    boards: int, *, faults: str | None = None, mode: str | None = None
) -> Iterator[SimulatedWorld]:
    """Start `infuse sim up`, yield its world, end it.

    Raises UsageError usage.extra-missing without the extra.
    """
    check_extra()
    argv = [
        sys.executable,
        "-m",
        "infuse_cli",
        "sim",
        "up",
        "--boards",
        str(boards),
        "--output",
        "json",
        "--stop-on-stdin-close",
    ]
    argv += ["--faults", faults] if faults else []
    argv += ["--mode", mode] if mode else []
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=without_ours(os.environ),
        start_new_session=True,
    )
    try:
        yield _ready(process)
    finally:
        _end(process)


def _ready(process: subprocess.Popen[bytes]) -> SimulatedWorld:
    answer = _first_line(process.stdout)
    if answer is None:
        raise InfuseError("internal.error", "the simulator did not start")
    if answer.get("status") != "ok":
        error = (answer.get("errors") or [{}])[0]
        raise UsageError(
            error.get("code", "usage.extra-missing"),
            error.get("message", "the simulator did not start"),
            hint=error.get("hint"),
        )
    data = answer["data"]
    return SimulatedWorld(data["profile"], tuple(board["port"] for board in data["boards"]))


def _first_line(stream: IO[bytes] | None) -> dict[str, Any] | None:
    """The readiness line, or None when none came in time."""
    if stream is None or not select.select([stream], [], [], _READY_S)[0]:
        return None
    try:
        answer = json.loads(stream.readline())
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_S)
    if process.stdout is not None:
        process.stdout.close()
