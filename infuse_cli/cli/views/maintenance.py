"""What the commands that keep a journal safe show: backups, signed heads, a new sealing key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infuse_cli.cli.result import OperationResult
from infuse_cli.maintenance.heads import head_content
from infuse_cli.text import plural

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.maintenance.backup import Backup, Held, Restored
    from infuse_cli.maintenance.heads import CheckedHead, SignedHead
    from infuse_cli.maintenance.rekey import Rekeyed


def backed_up(backup: Backup) -> OperationResult:
    """A backup that was written."""
    kind = "sealed copy" if backup.sealed else "copy"
    events = plural(backup.held.events, "event")
    return OperationResult(
        "journal backup",
        {
            "out": backup.out,
            "sealed": backup.sealed,
            "sha256": backup.sha256,
            "station": backup.station,
            **_held(backup.held),
        },
        human=f"{backup.out}: {kind} of {events}, verified, mode 0600\nSHA-256 {backup.sha256}",
    )


def restored(found: Restored) -> OperationResult:
    """A backup that was taken in, or was not needed."""
    events = plural(found.held.events, "event")
    if found.imported:
        were = "was" if found.before == 1 else "were"
        text = (
            f"{events} of {found.file} taken in; there {were} {found.before} before.\nSecrets in it"
            " open only with the sealing key of the bench that wrote it."
        )
    else:
        text = f"Nothing to do: the journal here holds all {events} of {found.file}."
    data = {"file": found.file, "imported": found.imported, "before": found.before}
    return OperationResult("journal import", {**data, **_held(found.held)}, human=text)


def _held(held: Held) -> dict[str, Any]:
    return {"events": held.events, "stations": list(held.stations)}


def rekeyed(found: Rekeyed) -> OperationResult:
    """A new sealing key."""
    text = f"New sealing key; {plural(found.secrets, 'secret')} sealed anew."
    if found.old_key_kept:
        text += (
            "\nA run began meanwhile and may use the old key, so it was kept: run `infuse journal"
            " rekey` again after it."
        )
    data = {"secrets": found.secrets, "oldKeyKept": found.old_key_kept}
    return OperationResult("journal rekey", data, human=text)


def head_signed(head: SignedHead) -> OperationResult:
    """A signed head that was written."""
    events = plural(sum(found.seq for found in head.heads.values()), "event")
    return OperationResult(
        "journal head",
        {**head_content(head), "out": head.out},
        human=f"{head.out}: the head of {events}, signed. Keep it off this bench.",
    )


def verified(path: Path, events: int, head: CheckedHead | None) -> OperationResult:
    """A journal that is sound, and holds what a head says where there is one."""
    text = f"{path} is sound: {plural(events, 'event')}, nothing edited, removed or moved."
    checked = None
    if head is not None:
        text += f"\nIt holds all that it held at {head.at}, as {head.signer} signed it."
        checked = {"at": head.at, "signer": head.signer}
    data = {"sound": True, "events": events, "path": path, "head": checked}
    return OperationResult("journal verify", data, human=text)
