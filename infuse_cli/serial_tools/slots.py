"""`infuse serial slots`: which socket, or which adapter, is which slot of this bench."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult, tell
from infuse_cli.cli.views.layout import columns
from infuse_cli.config.bench import load_bench
from infuse_cli.config.bench_file import store_slots
from infuse_cli.errors import BoardError, UsageError
from infuse_cli.link import places
from infuse_cli.link.discover import explain, list_ports
from infuse_cli.serial_tools.ports import profile_in_use
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from infuse_cli.link.places import By
    from infuse_cli.types import PortInfo

_LOOK_AGAIN_S: Final = 0.3


def show() -> OperationResult:
    """The slots that were learned, and what is plugged into each now."""
    rows = _rows(load_bench(context.current().home).slots)
    return OperationResult(
        "serial slots", {"slots": rows}, human=lambda console: _table(console, rows)
    )


def by_of(text: str) -> By:
    """What slots are tied to. Raises UsageError usage.bad-option."""
    if text in {"hub", "serial"}:
        return "hub" if text == "hub" else "serial"
    raise UsageError("usage.bad-option", f"--by is hub or serial, not {text!r}")


def learn_present(by: By) -> OperationResult:
    """Learn the boards that are plugged in, in the order of the hub; what was learned before stays.

    Raises BoardError serial.none.
    """
    home = context.current().home
    slots = dict(load_bench(home).slots)
    present = boards()
    if not present:
        raise BoardError(
            "serial.none",
            "no port looks like a board's, so there is nothing to learn",
            hint="Plug the boards in; `infuse serial ports` says of each port why it is none.",
        )
    new = {}
    for info in present:
        if places.slot_of(info, slots) is None:
            place = _tied(info, by)
            new[place] = slots[place] = places.free(slots.values())
    return _learned(new, slots)


def learn_one_by_one(by: By) -> OperationResult:
    """Walk a person through it: each board that is plugged in gets the next slot, kept at once.

    Ctrl-C when done.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "usage.no-terminal",
            "learning slot by slot needs a person at a terminal",
            hint="--from-present learns the boards that are plugged in now.",
        )
    home = context.current().home
    slots = dict(load_bench(home).slots)
    new: dict[str, int] = {}
    seen = {_tied(info, by) for info in boards()}
    _say(
        f"{plural(len(seen), 'board')} plugged in already: unplug and plug in again what is to be"
        " learned. Ctrl-C when done."
    )
    try:
        while True:
            _say(f"Plug in the board of slot {places.free(slots.values())} …")
            info = _next(seen, by)
            if (known := places.slot_of(info, slots)) is not None:
                _say(f"{info.port} is slot {known} already.")
                continue
            place = _tied(info, by)
            new[place] = slots[place] = places.free(slots.values())
            store_slots(home, slots)
            _say(f"Slot {slots[place]} is {places.kind_of(place)} {place} ({info.port}).")
    except KeyboardInterrupt:
        sys.stderr.write("\n")
    return _learned(new, slots)


def forget(numbers: Sequence[int], *, everything: bool) -> OperationResult:
    """Forget slots by number, or all. Raises UsageError for a slot that was never learned."""
    home = context.current().home
    slots = dict(load_bench(home).slots)
    if everything == bool(numbers):
        raise UsageError("usage.bad-option", "name the slots to forget, or --all")
    unknown = [number for number in numbers if number not in slots.values()]
    if unknown:
        raise UsageError(
            "usage.bad-option",
            f"slot {unknown[0]} was never learned",
            hint="`infuse serial slots` shows those that were.",
        )
    kept = (
        {} if everything else {place: slot for place, slot in slots.items() if slot not in numbers}
    )
    if kept != slots:
        store_slots(home, kept)
    rows = _rows(kept)
    gone = sorted(set(slots.values()) - set(kept.values()))
    return OperationResult(
        "serial slots forget",
        {"forgotten": gone, "slots": rows},
        human=f"{plural(len(gone), 'slot')} forgotten, {len(kept)} left.",
    )


def boards() -> list[PortInfo]:
    """The AT ports of the boards that are plugged in, in the order of the hub."""
    profile = profile_in_use()
    return [
        one.info
        for one in explain(list_ports(), () if profile is None else profile.board.usb)
        if one.chosen
    ]


def _next(seen: set[str], by: By) -> PortInfo:
    """The board that is plugged in next; one that was unplugged meanwhile counts as new when it
    comes back.
    """
    pause = threading.Event()
    while True:
        here = {_tied(info, by): info for info in boards()}
        fresh = [place for place in here if place not in seen]
        seen &= set(here)
        if fresh:
            seen.add(fresh[0])
            return here[fresh[0]]
        pause.wait(_LOOK_AGAIN_S)


def _tied(info: PortInfo, by: By) -> str:
    place = places.place_of(info, by)
    if place is None:
        raise BoardError(
            "serial.ambiguous",
            f"{info.port} shows neither a hub path nor a USB serial number, so nothing ties it to a"
            " slot",
            hint="Name it with --port where it is used.",
        )
    return place


def _learned(new: Mapping[str, int], slots: Mapping[str, int]) -> OperationResult:
    home = context.current().home
    path = store_slots(home, slots) if new else None
    rows = _rows(slots)
    data = {
        "learned": [
            {"slot": slot, "place": place, "kind": places.kind_of(place)}
            for place, slot in new.items()
        ],
        "slots": rows,
        "file": None if path is None else str(path),
    }

    def human(console: Console) -> None:
        console.print(
            f"{plural(len(new), 'slot')} learned{'' if path is None else f', kept in {path}'}.",
            soft_wrap=True,
            markup=False,
        )
        _table(console, rows)

    return OperationResult("serial slots learn", data, human=human)


def _rows(slots: Mapping[str, int]) -> list[dict[str, Any]]:
    present = {
        place: info for info in boards() for place in (info.hub_path, info.serial_number) if place
    }
    rows = []
    for place, slot in sorted(slots.items(), key=lambda item: item[1]):
        info = present.get(place)
        rows.append(
            {
                "slot": slot,
                "place": place,
                "kind": places.kind_of(place),
                "port": None if info is None else info.port,
            }
        )
    return rows


def _table(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        console.print(
            "No slot was learned: boards are numbered in the order of the hub. `infuse serial slots"
            " learn` ties them down.",
            soft_wrap=True,
        )
        return
    columns(
        console,
        ("slot", "tied to", "", "plugged in now"),
        [(str(row["slot"]), row["kind"], row["place"], row["port"] or "-") for row in rows],
    )


def _say(text: str) -> None:
    tell(text)
    sys.stderr.flush()
