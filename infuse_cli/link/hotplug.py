"""Boards that come and go: which slot has which port right now, without asking the whole machine
each time.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from infuse_cli.link import discover
from infuse_cli.link.places import Sockets
from infuse_cli.types import AttachedPort

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from infuse_cli.types import PortInfo

_DEVICES: Final = "/dev"
_LIST_AGAIN_S: Final = 2.0
"""Longest time between two listings: for systems that show no change of their device folder."""


class NamedPorts:
    """The ports that were named with --port; slots count from 1 in their order.

    A URL counts as plugged in always.
    """

    def __init__(self, ports: Sequence[str]) -> None:
        self._ports: Final = tuple(ports)

    def poll(self) -> Mapping[int, AttachedPort]:
        """See `ports.PortMonitor.poll`."""
        return _attached(dict(enumerate(self._ports, start=1)))


class UsbPorts:
    """The AT ports of boards by their USB identity; a socket keeps its slot when its port gets
    another name.

    `slots` are those that were learned, `never` the ports that are something else, such
    as the scanner's. A device whose AT port is not known is left alone, as everywhere.
    """

    def __init__(
        self,
        rules: Sequence[discover.UsbRule],
        slots: Mapping[str, int],
        never: Collection[str] = (),
    ) -> None:
        self._rules: Final = tuple(rules)
        self._sockets: Final = Sockets(slots)
        self._never: Final = frozenset(os.path.realpath(port) for port in never)
        self._listed: Mapping[int, PortInfo] = {}
        self._at: tuple[float, object] | None = None

    def poll(self) -> Mapping[int, AttachedPort]:
        """See `ports.PortMonitor.poll`."""
        now, seen = time.monotonic(), generation_of(_DEVICES)
        if (
            self._at is None
            or seen is None
            or self._at[1] != seen
            or now - self._at[0] >= _LIST_AGAIN_S
        ):
            self._at = (now, seen)
            self._listed = self._sockets.by_slot(self._chosen())
        return _attached({slot: info.port for slot, info in self._listed.items()})

    def _chosen(self) -> list[PortInfo]:
        return [
            port.info
            for port in discover.explain(discover.list_ports(), self._rules)
            if port.chosen and os.path.realpath(port.info.port) not in self._never
        ]


def _attached(ports: Mapping[int, str]) -> dict[int, AttachedPort]:
    """Those of these ports that are there now."""
    generations = {slot: generation_of(port) for slot, port in ports.items()}
    return {
        slot: AttachedPort(ports[slot], generation)
        for slot, generation in generations.items()
        if generation is not None
    }


def generation_of(port: str) -> object:
    """What tells a port from one that came later under its name; None for a port that is
    not there.
    """
    if "://" in port or sys.platform == "win32":
        return port
    try:
        status = os.stat(port)  # noqa: PTH116 - follows links, as opening does
    except OSError:
        return None
    return (status.st_ino, status.st_rdev, status.st_ctime_ns)
