"""Which slot of a bench a port belongs to: by the USB socket it is plugged into, or by its USB
serial number.

A socket keeps its hub path when its board is unplugged, reset or exchanged; a serial number goes
wherever its adapter goes. Both keep their slot when the operating system numbers its ports anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from infuse_cli.types import PortInfo

By = Literal["hub", "serial"]
_HUB_PATH: Final = re.compile(r"\d+-\d+(?:\.\d+)*")


def kind_of(place: str) -> str:
    """What a key of `slots` is: `hub path` such as 1-1.2, else `serial number`."""
    return "hub path" if _HUB_PATH.fullmatch(place) else "serial number"


def place_of(info: PortInfo, by: By = "hub") -> str | None:
    """What ties a port to a slot, the other kind where the wanted one is not known; None where
    nothing does.
    """
    wanted = (
        (info.hub_path, info.serial_number) if by == "hub" else (info.serial_number, info.hub_path)
    )
    return wanted[0] or wanted[1]


def slot_of(info: PortInfo, slots: Mapping[str, int]) -> int | None:
    """The slot that was learned for a port; a hub path counts before a serial number."""
    return next(
        (
            slots[place]
            for place in (info.hub_path, info.serial_number)
            if place is not None and place in slots
        ),
        None,
    )


def numbered(ports: Sequence[PortInfo], slots: Mapping[str, int]) -> dict[str, int]:
    """A slot number for each port, ascending: its own where one was learned, else the lowest that
    is free, in slot order.

    Of two ports that claim one slot, such as a socket's and a serial number's, the first has it.
    """
    slots_of_ports: dict[str, int] = {}
    for info in ports:
        slot = slot_of(info, slots)
        if slot is not None and slot not in slots_of_ports.values():
            slots_of_ports[info.port] = slot
    for info in ports:
        if info.port not in slots_of_ports:
            slots_of_ports[info.port] = free({*slots_of_ports.values(), *slots.values()})
    return dict(sorted(slots_of_ports.items(), key=lambda item: item[1]))


class Sockets:
    """Slot numbers for as long as a run lasts: a socket keeps the number that it got first,
    whatever its port is called later.
    """

    def __init__(self, slots: Mapping[str, int]) -> None:
        self._learned = dict(slots)
        self._given: dict[str, int] = {}

    def by_slot(self, ports: Iterable[PortInfo]) -> dict[int, PortInfo]:
        """Each port by its slot; of two that claim one slot the first has it, and the other gets
        the lowest that is free.
        """
        ports_of_slots: dict[int, PortInfo] = {}
        unknown: list[PortInfo] = []
        for info in ports:
            slot = slot_of(info, self._learned) or self._given.get(place_of(info) or info.port)
            if slot is None or slot in ports_of_slots:
                unknown.append(info)
            else:
                ports_of_slots[slot] = info
        for info in unknown:
            slot = free({*ports_of_slots, *self._given.values(), *self._learned.values()})
            self._given[place_of(info) or info.port] = slot
            ports_of_slots[slot] = info
        return ports_of_slots


def free(taken: Iterable[int]) -> int:
    """The lowest slot number that is not taken."""
    held = set(taken)
    return next(number for number in range(1, len(held) + 2) if number not in held)
