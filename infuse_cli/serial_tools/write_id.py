"""`infuse serial write-id`: the cloud's device id written into one chip's one-time memory, through
its debug probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.errors import UsageError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.board import chip_ids, soc_of
from infuse_cli.serial_tools.credentials import open_editor, stored_change
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.records import AttemptRecord
    from infuse_cli.serial_tools.board import IdentifiedBoard
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class WrittenId:
    """The device id (16 hex digits) that is in the chip; `already`: nothing was written."""

    board: IdentifiedBoard
    device_id: str
    already: bool
    notes: tuple[str, ...] = ()


def write_id(
    settings: Settings, target: BoardPort, device_id: str | None, *, yes: bool
) -> WrittenId:
    """Look, ask, write and read back; None takes the id that this board was registered with here.

    Raises BoardError board.other-id, board.id-not-written; UsageError usage.bad-option where no id
    is given or recorded.
    """
    with open_editor("serial write-id", settings, target) as editor:
        wanted = _recorded(editor.history.attempts) if device_id is None else _checked(device_id)
        chips, soc = chip_ids(settings), soc_of(target.profile)
        already = chips.device_id(target.port, soc) == wanted
        if not already:
            settings.confirm(
                f"Write device id {wanted} into the chip of board {editor.uuid} for good?", yes=yes
            )
            editor.link.run(editor.ops.same_board(editor.uuid))
            facts = {"command": f"device id {wanted}", "deviceId": wanted}
            with editor.journal_run() as run, stored_change(run, NoteKind.DEVICE_ID_WRITTEN, facts):
                chips.write_device_id(target.port, soc, wanted)
        return WrittenId(editor.board, wanted, already, tuple(editor.notes))


def _checked(text: str) -> str:
    value = text.strip().lower()
    if not DEVICE_ID.fullmatch(value):
        raise UsageError("usage.bad-option", f"{text[:40]!r} is no device id: 16 hex digits")
    refuse_blank(IdentityKind.DEVICE_ID, value, "--device-id")
    return value


def _recorded(attempts: Sequence[AttemptRecord]) -> str:
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
