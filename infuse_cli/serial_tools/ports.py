"""Which port a command for one board means: the one that was named, else the one candidate, never a
guess.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from infuse_cli.cli import context
from infuse_cli.errors import BoardError, UsageError
from infuse_cli.link.discover import Seen, board_name, explain, list_ports
from infuse_cli.link.holder import holder_of
from infuse_cli.link.places import slot_of
from infuse_cli.types import PortInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.config.model import Profile


class NoOnePort(BoardError):  # noqa: N818 - said of a bench, not of the program
    """No port was named, and not exactly one is a board's; `rows` are the ports there are, with
    reasons.
    """

    def __init__(self, code: str, message: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(code, message)
        self.rows = rows


def profile_in_use() -> Profile | None:
    """The profile that --profile or INFUSE_PROFILE names, None without one. Raises ProfileError."""
    settings = context.current()
    if settings.profile is None:
        return None
    from infuse_cli.config.source import load

    return load(settings.profile, settings.env).profile


def named_port(argument: str | None, option: str | None) -> str | None:
    """The port of the command line. Raises UsageError when the argument and --port differ."""
    if argument and option and argument != option:
        raise UsageError(
            "usage.bad-option", f"two ports were named: {argument} and --port {option}"
        )
    return argument or option


def only_port(named: str | None, profile: Profile | None) -> str:
    """The port that was named, else the one that is a board's.

    Raises NoOnePort serial.none, serial.ambiguous.
    """
    from infuse_cli.config.bench import load_bench

    if named:
        return named
    seen = explain(list_ports(), () if profile is None else profile.board.usb)
    chosen = [one.info.port for one in seen if one.chosen]
    if len(chosen) == 1:
        return chosen[0]
    slots = load_bench(context.current().home).slots
    rows = [as_row(one, slots=slots) for one in seen]
    if not chosen:
        raise NoOnePort("serial.none", "no port looks like a board", rows)
    raise NoOnePort(
        "serial.ambiguous", f"{len(chosen)} ports look like a board's: {', '.join(chosen)}", rows
    )


def look(named: Sequence[str], profile: Profile | None) -> list[dict[str, Any]]:
    """A row for each port of this machine, or for those that are named; nothing is opened."""
    from infuse_cli.config.bench import load_bench

    found, slots = (
        {info.port: info for info in list_ports()},
        load_bench(context.current().home).slots,
    )
    if named:
        return [as_row(_named(port, found.get(port)), slots=slots) for port in named]
    return [
        as_row(one, slots=slots)
        for one in explain(found.values(), () if profile is None else profile.board.usb)
    ]


def as_row(
    seen: Seen,
    *,
    holder: Callable[[str], str | None] = holder_of,
    slots: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A port as JSON values; `usb` is VID:PID in hex, `heldBy` the process that has it open as far
    as `holder` can see.

    `slot` is the one that was learned for a board's port.
    """
    info = seen.info
    usb = None if info.vid is None or info.pid is None else f"{info.vid:04x}:{info.pid:04x}"
    return {
        "port": info.port,
        "board": seen.board,
        "description": "" if info.description == "n/a" else info.description,
        "usb": usb,
        "serialNumber": info.serial_number,
        "hubPath": info.hub_path,
        "interface": info.interface,
        "heldBy": None if "://" in info.port else holder(info.port),
        "permitted": _permitted(info.port),
        "slot": slot_of(info, slots or {}) if seen.chosen else None,
        "chosen": seen.chosen,
        "why": seen.why,
    }


def _named(port: str, info: PortInfo | None) -> Seen:
    known = info or PortInfo(port)
    if info is None and "://" not in port and not os.path.exists(port):  # noqa: PTH110 - a name, not yet a file
        return Seen(known, None, chosen=False, why="there is no such port")
    return Seen(known, board_name(known), chosen=True, why="it was named")


def _permitted(port: str) -> bool | None:
    """Whether this user may open it; None where that cannot be told beforehand."""
    if os.name != "posix" or "://" in port or not os.path.exists(port):  # noqa: PTH110
        return None
    return os.access(port, os.R_OK | os.W_OK)
