"""Which credentials on a board this journal knows as its own, from the records of its
attempts.

A step that writes to a sec_tag leaves `wrote` in the facts of its intent: rows of secTag, type and
the digests that the modem may show for it (64 lower-case hex digits). While such a step is under
way or failed, whatever is in its place counts as ours (a half-written slot); once it is done only
the recorded digest does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infuse_cli.types import StepState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from infuse_cli.records import AttemptRecord, StepRecord
    from infuse_cli.types import CredentialType, StoredCredential

_UNDER_WAY = frozenset({StepState.BEGUN, StepState.UNKNOWN, StepState.FAILED, StepState.PENDING})


def wrote(sec_tag: int, kind: CredentialType, digests: Iterable[str] = ()) -> dict[str, Any]:
    """Return the row that a writing step keeps in its facts."""
    return {"secTag": sec_tag, "type": int(kind), "sha256": sorted(digests)}


def is_ours(entry: StoredCredential, history: Iterable[AttemptRecord]) -> bool:
    """Whether an entry of the modem's list was put there by a recorded step."""
    return any(
        _covers(step, row, entry)
        for record in history
        for step in record.steps.values()
        for row in step.facts.get("wrote", ())
    )


def _covers(step: StepRecord, row: dict[str, Any], entry: StoredCredential) -> bool:
    if (row["secTag"], row["type"]) != (entry.sec_tag, entry.type):
        return False
    return step.state in _UNDER_WAY or entry.sha256 is None or entry.sha256 in row["sha256"]


def as_fact(entry: StoredCredential) -> dict[str, Any]:
    """Return an entry as JSON values, for the record of what was replaced or orphaned."""
    return {"secTag": entry.sec_tag, "type": entry.type, "sha256": entry.sha256}


def digests_fact(digests: Collection[str]) -> str | list[str]:
    """Digests that fit, as a fact: alone where the dialect has one, else a list."""
    found = sorted(digests)
    return found[0] if len(found) == 1 else found


def digests_of(fact: str | list[str]) -> list[str]:
    """The digests of a fact that `digests_fact` made."""
    return [fact] if isinstance(fact, str) else fact
