"""USB sockets with boards in them: a list of serial ports that a run of `infuse` is shown instead
of this machine's own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

J_LINK = (0x1366, 0x1069)


@dataclass(frozen=True)
class _Port:
    """A port as pyserial lists it."""

    device: str
    serial_number: str
    location: str
    description: str = "J-Link - CDC"
    vid: int = J_LINK[0]
    pid: int = J_LINK[1]


class Machine:
    """Boards by the hub path of their socket, each with the name that its port has now; `table` is
    what a run reads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, list[tuple[str, str, str]]] = {}
        self.table = folder / "usb.json"
        self._write()

    def plug(
        self, hub_path: str, pty: str, name: str, serial: str, *, interfaces: bool = True
    ) -> str:
        """Plug a development kit in: its AT port is interface 0, and interface 2 is something else;
        without numbers nobody knows.
        """
        port = self._link(name, pty)
        other = self._link(f"{name}b", os.devnull)
        ends = (":1.0", ":1.2") if interfaces else ("", "")
        self._rows[hub_path] = [
            (port, serial, hub_path + ends[0]),
            (other, serial, hub_path + ends[1]),
        ]
        self._write()
        return port

    def pull(self, *hub_paths: str) -> None:
        """Pull boards out, all of them at once."""
        gone = [row for hub_path in hub_paths for row in self._rows.pop(hub_path)]
        self._write()
        for port, _, _ in gone:
            Path(port).unlink()

    def _link(self, name: str, target: str) -> str:
        fresh = self._folder / f"{name}.new"
        fresh.symlink_to(target)
        return str(fresh.replace(self._folder / name))

    def _write(self) -> None:
        fresh = self.table.with_suffix(".new")
        fresh.write_text(json.dumps([row for rows in self._rows.values() for row in rows]))
        fresh.replace(self.table)


def show(table: str) -> None:
    """From now on this process sees the ports of a table; one whose device is gone is not listed,
    as on a real machine.
    """
    from serial.tools import list_ports

    def comports() -> list[_Port]:
        return [
            port
            for port in (_Port(*row) for row in json.loads(Path(table).read_text()))
            if Path(port.device).exists()
        ]

    list_ports.comports = comports
