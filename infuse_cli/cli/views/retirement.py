"""Results of `infuse device retire|replace`, and the ends of `provision --replaces` and
`key rotate`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices.retirement import still_live
from infuse_cli.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from infuse_cli.devices.replacement import Replacement, Rotation
    from infuse_cli.devices.retirement import RetiredDevice


def retired(result: RetiredDevice) -> OperationResult:
    """`device retire|replace`."""
    device, name = result.old.device, result.old.name
    data: dict[str, Any] = {
        "board": result.old.board,
        "deviceId": device.device_id if device else None,
        "reason": result.reason,
        "steps": [asdict(step) for step in result.steps],
    }
    if result.replaced_by is not None:
        data["replacedBy"] = result.replaced_by
        command, first = "device replace", f"{name} is replaced by {result.replaced_by}."
    else:
        data["already"] = result.already
        command = "device retire"
        first = f"{name} is retired{' already' if result.already else ''}: {result.reason}."

    def human(console: Console) -> None:
        views.say(console, first)
        width = max(len(step.step) for step in result.steps)
        for step in result.steps:
            views.say(console, f"  {step.step:<{width}}  {step.result}")

    return OperationResult(command, data, human=human)


def replaced(provisioned: OperationResult, result: Replacement) -> OperationResult:
    """`provision --replaces`."""
    name = result.old.name
    if not result.done:
        note = (
            f"{name} is not replaced yet and goes on working: run this again, or end it with"
            " `infuse device retire`."
        )
        return _with_note(provisioned, note, replaced=None)
    steps = [asdict(step) for step in result.steps]
    value = {"board": result.old.board, "deviceId": name, "steps": steps}
    note = f"{name} is retired: {result.replaced_by} takes its place."
    return _with_note(provisioned, note, replaced=value)


def rotated(provisioned: OperationResult, result: Rotation) -> OperationResult:
    """`key rotate`."""
    name, revoked = result.old.name, [row.serial for row in result.revoked]
    shown = replace(provisioned, command="key rotate")
    if not result.done:
        note = f"{name} is not rotated yet, and its old certificate is not revoked: run this again."
        return _with_note(shown, note, revoked=[])
    note = f"{name} has a new key and certificate; {_old_certificates(result)}."
    return _with_note(shown, note, board=result.old.board, reason=result.reason, revoked=revoked)


def _old_certificates(result: Rotation) -> str:
    ends = []
    if result.revoked:
        verb = "is" if len(result.revoked) == 1 else "are"
        ends.append(
            f"{plural(len(result.revoked), 'old certificate')} {verb} revoked: `infuse ca crl`"
            " tells brokers"
        )
    if result.live:
        ends.append(still_live(result.live))
    if ends:
        return "; ".join(ends)
    if result.had_certificates:
        return "its old one was revoked before: `infuse ca crl` tells brokers"
    return "the journal here has no old certificate, so none was revoked"


def _with_note(result: OperationResult, note: str, **data: Any) -> OperationResult:
    def human(console: Console) -> None:
        if callable(result.human):
            result.human(console)
        views.say(console, note)

    return replace(result, data={**result.data, **data}, human=human)
