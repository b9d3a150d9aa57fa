"""Which port a command means: the named one, else the only candidate, never a guess."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infuse_cli.errors import BoardError
from infuse_cli.link.discover import Seen, board_name, explain, list_ports
from infuse_cli.link.holder import holder_of
from infuse_cli.link.places import slot_of
from infuse_cli.types import PortInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.config.model import Profile
    from infuse_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class BoardPort:
    """The port of one board: a device path or URL, and the product that the board is of.

    `profile` is None where none was named; the defaults of `board.serial` hold then.
    """

    port: str
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class PortRow:
    """A serial port of this machine.

    `holder` names the process that has it open, as far as that can be seen. `permitted` is whether
    this user may open it, None where that cannot be known before. `slot` is the one that was
    learned for a board's port.
    """

    seen: Seen
    holder: str | None
    permitted: bool | None
    slot: int | None

    def as_json(self) -> dict[str, Any]:
        """The port as JSON values; `usb` is VID:PID in hex."""
        info = self.seen.info
        usb = None if info.vid is None or info.pid is None else f"{info.vid:04x}:{info.pid:04x}"
        return {
            "port": info.port,
            "board": self.seen.board,
            "description": "" if info.description == "n/a" else info.description,
            "usb": usb,
            "serialNumber": info.serial_number,
            "hubPath": info.hub_path,
            "interface": info.interface,
            "heldBy": self.holder,
            "permitted": self.permitted,
            "slot": self.slot,
            "chosen": self.seen.chosen,
            "why": self.seen.why,
        }


class NoSinglePortError(BoardError):
    """No port was named, and not exactly one is a board's; `rows` are all ports with reasons."""

    def __init__(self, code: str, message: str, rows: Sequence[PortRow]) -> None:
        super().__init__(code, message)
        self.rows = rows


def load_profile(settings: Settings) -> Profile | None:
    """The profile of the settings, None where none is named. Raises ProfileError."""
    if settings.profile is None:
        return None
    from infuse_cli.config.source import load

    return load(settings.profile, settings.env).profile


def choose_port(settings: Settings, named: str | None) -> BoardPort:
    """The port that was named, else the only one that is a board's.

    Raises NoSinglePortError serial.none, serial.ambiguous, ProfileError.
    """
    profile = load_profile(settings)
    if named:
        return BoardPort(named, profile)
    seen = explain(list_ports(), usb_rules(profile))
    chosen = [port.info.port for port in seen if port.chosen]
    if len(chosen) == 1:
        return BoardPort(chosen[0], profile)
    slots = _slots(settings)
    rows = [describe(port, slots=slots) for port in seen]
    if not chosen:
        raise NoSinglePortError("serial.none", "no port looks like a board", rows)
    raise NoSinglePortError(
        "serial.ambiguous", f"{len(chosen)} ports look like a board's: {', '.join(chosen)}", rows
    )


def list_rows(
    settings: Settings, profile: Profile | None, named: Sequence[str] = ()
) -> list[PortRow]:
    """A row for each port of this machine, or for the named ones; nothing is opened."""
    present = {info.port: info for info in list_ports()}
    seen = (
        [_named(port, present.get(port)) for port in named]
        if named
        else explain(present.values(), usb_rules(profile))
    )
    slots = _slots(settings)
    return [describe(port, slots=slots) for port in seen]


def list_boards(profile: Profile | None) -> list[PortInfo]:
    """The AT ports of the boards that are plugged in, in the order of the hub."""
    return [port.info for port in explain(list_ports(), usb_rules(profile)) if port.chosen]


def describe(
    seen: Seen,
    *,
    holder: Callable[[str], str | None] = holder_of,
    slots: Mapping[str, int] | None = None,
) -> PortRow:
    """A port with what can be known of it from outside."""
    port = seen.info.port
    return PortRow(
        seen,
        holder=None if "://" in port else holder(port),
        permitted=_permitted(port),
        slot=slot_of(seen.info, slots or {}) if seen.chosen else None,
    )


def usb_rules(profile: Profile | None) -> Sequence[Any]:
    """The USB ids of a profile; without one the table of known boards decides."""
    return () if profile is None else profile.board.usb


def _slots(settings: Settings) -> Mapping[str, int]:
    from infuse_cli.config.bench import load_bench

    return load_bench(settings.home).slots


def _named(port: str, info: PortInfo | None) -> Seen:
    known = info or PortInfo(port)
    if info is None and "://" not in port and not os.path.exists(port):  # noqa: PTH110 - a name, not yet a file
        return Seen(known, None, chosen=False, why="there is no such port")
    return Seen(known, board_name(known), chosen=True, why="it was named")


def _permitted(port: str) -> bool | None:
    if os.name != "posix" or "://" in port or not os.path.exists(port):  # noqa: PTH110
        return None
    return os.access(port, os.R_OK | os.W_OK)
