"""`infuse serial write-id`: the cloud's device id into one chip's one-time memory, through its
debug probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infuse_cli import composition as wire
from infuse_cli.cli import context
from infuse_cli.errors import BoardError, UsageError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.credentials import opened
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from infuse_cli.config.model import Profile
    from infuse_cli.records import AttemptRecord

_SOC = "nRF9151"


def write_id(
    port: str, profile: Profile | None, device_id: str | None, *, yes: bool
) -> dict[str, Any]:
    """Look, ask, write and read back; what is there already is left.

    Raises BoardError board.other-id, board.id-not-written; UsageError usage.bad-option where no id
    is given or on record.
    """
    from infuse_cli.config.bench import load_bench

    with opened("serial write-id", port, profile) as hand:
        wanted = _checked(device_id) if device_id is not None else _on_record(hand.history)
        chips = wire.chip_ids(load_bench(context.current().home))
        soc = _SOC if profile is None else profile.board.soc or _SOC
        found = chips.device_id(port, soc)
        if found != wanted:
            context.current().settings.confirm(
                f"Write device id {wanted} into the chip of board {hand.uuid} for good?", yes=yes
            )
            hand.link.run(hand.ops.same_board(hand.uuid))
            with hand.record() as notes:
                notes.note(
                    NoteKind.DEVICE_ID_WRITTEN,
                    command=f"device id {wanted}",
                    answer="begun",
                    deviceId=wanted,
                )
                try:
                    chips.write_device_id(port, soc, wanted)
                except BoardError as error:
                    notes.note(
                        NoteKind.DEVICE_ID_WRITTEN,
                        command=f"device id {wanted}",
                        answer=error.code,
                        deviceId=wanted,
                    )
                    raise
                notes.note(
                    NoteKind.DEVICE_ID_WRITTEN,
                    command=f"device id {wanted}",
                    answer="OK",
                    deviceId=wanted,
                )
        return hand.as_json(deviceId=wanted, already=found == wanted)


def show(console: Any, data: dict[str, Any]) -> None:
    """One sentence for a person."""
    how = "was in the chip already" if data["already"] else "is in the chip now, read back"
    console.print(
        f"device id {data['deviceId']} {how}: board"
        f" {data['board']['imei'] or data['board']['uuid']}",
        highlight=False,
    )


def _checked(text: str) -> str:
    value = text.strip().lower()
    if not DEVICE_ID.fullmatch(value):
        raise UsageError("usage.bad-option", f"{text[:40]!r} is no device id: 16 hex digits")
    refuse_blank(IdentityKind.DEVICE_ID, value, "--device-id")
    return value


def _on_record(history: Any) -> str:
    """The id that this board was registered with on this bench."""
    attempts: list[AttemptRecord] = list(history)
    for attempt in reversed(attempts):
        step = attempt.steps.get("register")
        device = None if step is None else step.facts.get("device")
        if device:
            return str(device["deviceId"])
    raise UsageError(
        "usage.bad-option",
        "no device id was given, and this board was never registered on this bench",
        hint="Give it with --device-id.",
    )
