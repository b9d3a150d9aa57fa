"""Which serial ports may hold a board: by USB identity, never guessed between two interfaces.

Slots are ordered by hub path, so a board in the same socket keeps its slot number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

from infuse_cli.errors import BoardError
from infuse_cli.types import PortInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class UsbRule(Protocol):
    """A USB identity as a profile gives it: ids as hex text, the number of the AT interface where
    there are several.
    """

    @property
    def vid(self) -> str: ...  # noqa: D102
    @property
    def pid(self) -> str: ...  # noqa: D102
    @property
    def interface(self) -> int | None: ...  # noqa: D102
    @property
    def serial_prefix(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class KnownUsb:
    """A row of the table of known boards; `interface` is the USB interface number of its AT
    port.
    """

    board: str
    vid: str
    pid: str
    interface: int | None
    serial_prefix: str | None = None


# Where a board is not listed, its ids are not published: its profile gives them.
KNOWN: Final = (
    KnownUsb("nRF9151 DK", "1366", "1069", 0),
    KnownUsb("nRF9151 DK", "1366", "1059", 0),
    KnownUsb("Thingy:91 X", "1915", "910A", 1),
)


@dataclass(frozen=True, slots=True)
class KnownThing:
    """What else a port may belong to: never chosen, but called by name.

    `why` says why it is not taken for a board.
    """

    name: str
    vid: str
    pid: str | None = None
    serial_prefix: str | None = None
    why: str | None = None


_ADAPTER: Final = (
    "an adapter, and what hangs on it is not known: name it with --port, or give the profile its"
    " board.usb"
)
_SEGGER: Final = (
    "a SEGGER probe whose AT port is not known: name it with --port, or give the profile its"
    " board.usb"
)
# Nordic's boards by the beginnings of their serial numbers, common adapters by their makers' ids.
THINGS: Final = (
    KnownThing("nRF9151 DK", "1366", None, "0010512", _SEGGER),
    KnownThing("nRF9151 DK", "1366", None, "0010520", _SEGGER),
    KnownThing("nRF9161 DK", "1366", None, "0010509", _SEGGER),
    KnownThing("nRF9160 DK", "1366", None, "0009600", _SEGGER),
    KnownThing("Thingy:91 X", "1366", None, "0010550", _SEGGER),
    KnownThing("Thingy:91 X", "1366", None, "0010551", _SEGGER),
    KnownThing(
        "Thingy:91",
        "1915",
        None,
        "THINGY91_",
        "a Thingy:91: name it with --port, or give the profile its board.usb",
    ),
    KnownThing(
        "Thingy:91",
        "1915",
        None,
        "PCA20035",
        "a Thingy:91: name it with --port, or give the profile its board.usb",
    ),
    KnownThing(
        "J-Link",
        "1366",
        "0105",
        None,
        "a plain J-Link, whose AT port is not known: name it with --port",
    ),
    KnownThing("J-Link", "1366", None, None, _SEGGER),
    KnownThing("FTDI adapter", "0403", None, None, _ADAPTER),
    KnownThing("CP210x adapter", "10c4", "ea60", None, _ADAPTER),
    KnownThing("CH34x adapter", "1a86", None, None, _ADAPTER),
    KnownThing("PL2303 adapter", "067b", None, None, _ADAPTER),
    KnownThing("u-blox receiver", "1546", None, None, "a u-blox receiver, no board"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A port, what the table of known boards calls it, and why it is or is not a board's AT
    port.
    """

    info: PortInfo
    board: str | None
    chosen: bool
    why: str


class RawPort(Protocol):
    """What is read of a pyserial ListPortInfo."""

    device: str
    description: str
    vid: int | None
    pid: int | None
    serial_number: str | None
    location: str | None


def list_ports() -> tuple[PortInfo, ...]:
    """All serial ports of this machine, in slot order."""
    from serial.tools.list_ports import comports

    return in_slot_order(port_info(port) for port in comports())


def list_candidates(usb_matches: Sequence[UsbRule] = ()) -> tuple[PortInfo, ...]:
    """The AT port of each board that is plugged in, in slot order; without rules the table of known
    boards.

    Raises BoardError serial.ambiguous when a board shows several ports and the interface is not
    known.
    """
    return candidates(list_ports(), usb_matches or KNOWN)


def candidates(ports: Iterable[PortInfo], rules: Sequence[UsbRule]) -> tuple[PortInfo, ...]:
    """As `list_candidates`, out of given ports."""
    found: list[PortInfo] = []
    matching = [(port, rule) for port in ports if (rule := _rule_of(port, rules)) is not None]
    for _, pairs in groupby(sorted(matching, key=_device_key), key=_device_key):
        found += _at_port(list(pairs))
    return in_slot_order(found)


def explain(ports: Iterable[PortInfo], rules: Sequence[UsbRule] = ()) -> tuple[Seen, ...]:
    """Each port in slot order, with the reason for what `candidates` makes of it; never raises."""
    seen = in_slot_order(ports)
    reasons: dict[str, tuple[bool, str]] = {}
    matching = [
        (port, rule) for port in seen if (rule := _rule_of(port, rules or KNOWN)) is not None
    ]
    for _, pairs in groupby(sorted(matching, key=_device_key), key=_device_key):
        reasons |= _reasons(list(pairs))
    where = "the profile's board.usb" if rules else "the table of known boards"
    return tuple(
        Seen(
            port,
            board_name(port),
            *reasons.get(port.port, (False, _unmatched(port, rules or KNOWN, where))),
        )
        for port in seen
    )


def board_name(port: PortInfo) -> str | None:
    """What the tables of known boards and other things call what this port belongs to."""
    named = next((rule.board for rule in KNOWN if _ids(rule) == (port.vid, port.pid)), None)
    return named or (None if (thing := _thing(port)) is None else thing.name)


def port_info(raw: RawPort) -> PortInfo:
    """A port as the operating system lists it; `1-2.3:1.0` is hub path 1-2.3, interface 0."""
    hub_path, _, configuration = (raw.location or "").partition(":")
    number = configuration.rpartition(".")[2]
    return PortInfo(
        raw.device,
        raw.description or "",
        raw.vid,
        raw.pid,
        raw.serial_number,
        hub_path or None,
        int(number) if number.isdigit() else None,
    )


def in_slot_order(ports: Iterable[PortInfo]) -> tuple[PortInfo, ...]:
    """By hub path, numbers as numbers (1-2 before 1-10), then by port name."""
    return tuple(
        sorted(
            ports,
            key=lambda port: (
                port.hub_path is None,
                _natural(port.hub_path or ""),
                _natural(port.port),
            ),
        )
    )


def _at_port(pairs: list[tuple[PortInfo, UsbRule]]) -> list[PortInfo]:
    ports, wanted = [port for port, _ in pairs], pairs[0][1].interface
    if wanted is not None and (exact := [port for port in ports if port.interface == wanted]):
        return exact[:1]
    unnumbered = [port for port in ports if port.interface is None]
    if wanted is not None and not unnumbered:
        return []
    choice = ports if wanted is None else unnumbered
    if len(choice) > 1:
        names = ", ".join(port.port for port in choice)
        raise BoardError(
            "serial.ambiguous",
            f"one board shows several ports ({names}) and its AT port is not known",
        )
    return choice


def _reasons(pairs: list[tuple[PortInfo, UsbRule]]) -> dict[str, tuple[bool, str]]:
    try:
        chosen = _at_port(pairs)
    except BoardError as error:
        return {port.port: (False, error.message) for port, _ in pairs}
    wanted = pairs[0][1].interface
    return {
        port.port: (
            (True, "the AT port of this board")
            if port in chosen
            else (False, f"this is interface {port.interface}, the AT port is interface {wanted}")
        )
        for port, _ in pairs
    }


def _unmatched(port: PortInfo, rules: Sequence[UsbRule], where: str) -> str:
    if port.vid is None or port.pid is None:
        return "no USB port, so nothing says what is behind it"
    prefixes = [str(rule.serial_prefix) for rule in rules if _ids(rule) == (port.vid, port.pid)]
    if prefixes:
        return f"its serial number does not begin with {' or '.join(prefixes)}"
    thing = None if any(_ids(rule) == (port.vid, port.pid) for rule in KNOWN) else _thing(port)
    reason = "" if thing is None or thing.why is None else f": {thing.why}"
    return f"USB {port.vid:04x}:{port.pid:04x} is not in {where}{reason}"


def _thing(port: PortInfo) -> KnownThing | None:
    return next((thing for thing in THINGS if _is(thing, port)), None)


def _is(thing: KnownThing, port: PortInfo) -> bool:
    same = port.vid == int(thing.vid, 16) and (thing.pid is None or port.pid == int(thing.pid, 16))
    return same and (port.serial_number or "").startswith(thing.serial_prefix or "")


def _ids(rule: UsbRule) -> tuple[int, int]:
    return (int(rule.vid, 16), int(rule.pid, 16))


def _rule_of(port: PortInfo, rules: Sequence[UsbRule]) -> UsbRule | None:
    return next((rule for rule in rules if _fits(port, rule)), None)


def _fits(port: PortInfo, rule: UsbRule) -> bool:
    prefix = rule.serial_prefix or ""
    return (port.vid, port.pid) == _ids(rule) and (port.serial_number or "").startswith(prefix)


def _device_key(pair: tuple[PortInfo, UsbRule]) -> str:
    port, _ = pair
    return port.serial_number or port.hub_path or port.port


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part), "") if part.isdigit() else (-1, part)
        for part in re.split(r"(\d+)", text)
        if part
    )
