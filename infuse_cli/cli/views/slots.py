"""`infuse serial slots` for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views.layout import columns
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from infuse_cli.serial_tools.slots import ForgottenSlots, LearnedSlots, Slot


def shown(slots: Sequence[Slot]) -> OperationResult:
    """The slots that were learned."""
    return OperationResult(
        "serial slots",
        {"slots": _json(slots)},
        human=lambda console: _table(console, slots),
    )


def learned(result: LearnedSlots) -> OperationResult:
    """What is new, then all slots."""
    new = [{"slot": slot.number, "place": slot.place, "kind": slot.kind} for slot in result.new]
    file = None if result.file is None else str(result.file)

    def human(console: Console) -> None:
        where = "" if file is None else f", kept in {file}"
        console.print(f"{plural(len(new), 'slot')} learned{where}.", soft_wrap=True, markup=False)
        _table(console, result.slots)

    data = {"learned": new, "slots": _json(result.slots), "file": file}
    return OperationResult("serial slots learn", data, human=human)


def forgotten(result: ForgottenSlots) -> OperationResult:
    """How many were forgotten, and how many are left."""
    return OperationResult(
        "serial slots forget",
        {"forgotten": list(result.numbers), "slots": _json(result.slots)},
        human=f"{plural(len(result.numbers), 'slot')} forgotten, {len(result.slots)} left.",
    )


def _json(slots: Sequence[Slot]) -> list[dict[str, Any]]:
    return [
        {"slot": slot.number, "place": slot.place, "kind": slot.kind, "port": slot.port}
        for slot in slots
    ]


def _table(console: Console, slots: Sequence[Slot]) -> None:
    if not slots:
        console.print(
            "No slot was learned: boards are numbered in the order of the hub. `infuse serial slots"
            " learn` ties them down.",
            soft_wrap=True,
        )
        return
    rows = [(str(slot.number), slot.kind, slot.place, slot.port or "-") for slot in slots]
    columns(console, ("slot", "tied to", "", "plugged in now"), rows)
