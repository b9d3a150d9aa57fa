"""A stand-in for Nordic's `nrfutil` on the PATH: says what the test wants, and keeps what it was
asked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

PROBE = "001051234567"
ADDRESS = 0x00FF0204
ID = bytes.fromhex("1122334455667788")


def answer(
    values=tuple(ID), *, serial_number: str = PROBE, address: str = f"0x{ADDRESS:08X}"
) -> str:
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


class ChipMemory:
    """An `nrfutil device` with a chip behind it that remembers: reads and 32-bit writes, bits only
    from 1 to 0.

    `trouble` is shell that runs instead of a write (`$address`, `$value` are set); it may call
    `store`.
    """

    OTP = 0x00FF8108

    def __init__(self, folder: Path, *, chip_id: bytes = ID) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self.put(ADDRESS, chip_id)
        self.put(self.OTP, b"\xff" * 8)
        self.trouble("store")

    def put(self, address: int, data: bytes) -> None:
        for at in range(0, len(data), 4):
            (self.folder / f"{address + at:#x}").write_text(
                " ".join(map(str, data[at : at + 4])) + "\n"
            )

    def read(self, address: int) -> bytes:
        words = ((self.folder / f"{address + at:#x}").read_text() for at in (0, 4))
        return bytes(int(byte) for word in words for byte in word.split())

    @property
    def writes(self) -> int:
        log = self.folder / "writes"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def trouble(self, shell: str) -> None:
        tool = self.folder / "nrfutil"
        here = str(self.folder)
        tool.write_text(f"""#!/bin/sh
what=''; address=''; value=''; probe=''
while [ $# -gt 0 ]; do
  case "$1" in
    --address) address=$(printf '%#x' "$2"); shift;;
    --value) value=$2; shift;;
    --serial-number) probe=$2; shift;;
    x-read|read|write|x-write) what=$1;;
  esac
  shift
done
cd '{here}'
store() {{
  v=$(($value)); new=''
  for old in $(cat "$address"); do new="$new $((old & (v & 255)))"; v=$((v >> 8)); done
  echo $new > "$address"
}}
case $what in
  x-read|read)
    next=$(printf '%#x' $((address + 4)))
    values=$(cat "$address" "$next" | tr -s ' \\n' ',' | sed 's/,$//')
    printf '{{"devices":[{{"serialNumber":"%s","memoryData":[{{"startAddress":"%s","values":[%s]}}]}}]}}\\n' "$probe" "$address" "$values";;
  *)
    echo "$address $value" >> writes
    {shell};;
esac
""")
        tool.chmod(0o755)
