"""A stand-in for Nordic's `nrfutil` on the PATH: says what the test wants, and keeps what it was asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

PROBE = "001051234567"
ADDRESS = 0x00FF0204
ID = bytes.fromhex("1122334455667788")


def answer(values=tuple(ID), *, serial_number: str = PROBE, address: str = f"0x{ADDRESS:08X}") -> str:
    """The one line that `nrfutil --json --skip-overhead device x-read` prints."""
    memory = [{"startAddress": address, "values": list(values)}]
    return json.dumps({"devices": [{"serialNumber": serial_number, "memoryData": memory}]}) + "\n"


class Nrfutil:
    """In a folder of its own; `path` is a PATH that begins with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self.says(answer())

    def says(self, out: str, *, code: int = 0, err: str = "", first: str = "") -> None:
        """Print this and end with this code; `first` is shell that runs before."""
        (self.folder / "out").write_text(out)
        (self.folder / "err").write_text(err)
        tool = self.folder / "nrfutil"
        here = str(self.folder)
        tool.write_text(f"""#!/bin/sh
printf '%s\\n' "$@" > '{here}/argv'
env > '{here}/env'
{first}
cat '{here}/out'
cat '{here}/err' >&2
exit {code}
""")
        tool.chmod(0o755)

    @property
    def argv(self) -> list[str]:
        return (self.folder / "argv").read_text().splitlines()

    @property
    def env(self) -> str:
        return (self.folder / "env").read_text()
