"""Run a tool that picks its serial port from the USB table on a port that is not in it, such as a
virtual board's pty.

    python on_port.py /dev/pts/7 nrfcredstore /dev/pts/7 list
    python on_port.py /dev/pts/7 device_credentials_installer --port /dev/pts/7 --verify …

Run it with the Python in which the tool is installed. pyserial's list of ports gets one entry more;
everything else is the tool's own.
"""

from __future__ import annotations

import sys
from importlib import metadata

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    _, port, tool, *arguments = sys.argv
    table = list_ports.comports
    list_ports.comports = lambda *args, **named: [*table(*args, **named), ListPortInfo(port)]
    entry = next(iter(metadata.entry_points(group="console_scripts", name=tool)), None)
    if entry is None:
        sys.exit(f"{tool} is not installed for {sys.executable}")
    sys.argv = [tool, *arguments]
    sys.exit(entry.load()())


if __name__ == "__main__":
    main()
