"""A real Mosquitto on a free port of this machine, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "Mosquitto (Debian: mosquitto) is not installed"
_START_S = 20


def program() -> str | None:
    """Where it is; Debian keeps it out of a user's PATH."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running(folder: Path, **settings: str | Path) -> Iterator[int]:
    """Its port, once it serves.

    Settings are those of a listener, e.g. cafile, with _ as in mosquitto.conf.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = [
        f"listener {port} 127.0.0.1",
        *(f"{key} {value}" for key, value in {"allow_anonymous": "true", **settings}.items()),
        *(["user root"] if os.getuid() == 0 else []),
    ]
    conf = folder / f"mosquitto-{port}.conf"
    conf.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [str(program()), "-c", str(conf)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    late = Timer(_START_S, process.kill)
    late.start()
    try:
        told = ""
        for line in process.stderr:
            told += line
            if " running" in line:
                break
        else:
            raise AssertionError(f"Mosquitto did not start: {told}")
        late.cancel()
        yield port
    finally:
        late.cancel()
        process.terminate()
        process.communicate(timeout=_START_S)
