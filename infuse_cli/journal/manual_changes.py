"""What people did to boards by hand, as the journal's notes tell it: a row a change, and what each
credential came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.records.notes import MANUAL_CHANGES, NoteKind, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import EventRecord
    from infuse_cli.types import StoredCredential

_BEGUN: Final = "begun"


def changes(events: Iterable[EventRecord]) -> list[dict[str, Any]]:
    """A row a change, oldest first: when, by whom, what, and how it ended; one that never ended is
    still `begun`.
    """
    rows: list[dict[str, Any]] = []
    for event in events:
        kind, facts = kind_of(event.facts.get("what")), event.facts.get("facts") or {}
        if event.kind != "run-noted" or kind not in MANUAL_CHANGES:
            continue
        row = {
            "when": event.ts,
            "operator": event.operator,
            "run": event.run,
            "what": kind,
            "command": facts.get("command"),
            "answer": facts.get("answer"),
        }
        before = rows[-1] if rows else None
        if (
            before is not None
            and before["answer"] == _BEGUN
            and all(before[key] == row[key] for key in ("run", "what", "command"))
        ):
            rows[-1] = {**row, "when": before["when"]}
        else:
            rows.append(row)
    return rows


def digests(events: Iterable[EventRecord]) -> dict[tuple[int, int], frozenset[str]]:
    """For each place (sec_tag, type) the digests under which the modem may show what was put there
    by hand last.
    """
    found: dict[tuple[int, int], frozenset[str]] = {}
    for event in events:
        kind, facts = kind_of(event.facts.get("what")), event.facts.get("facts") or {}
        if (
            event.kind != "run-noted"
            or kind not in MANUAL_CHANGES
            or facts.get("answer") != "OK"
            or "secTag" not in facts
            or "type" not in facts
        ):
            continue
        shown = facts.get("sha256")
        if kind is NoteKind.CREDENTIAL_DELETED or shown is None:
            shown = []
        held = [shown] if isinstance(shown, str) else shown
        found[int(facts["secTag"]), int(facts["type"])] = frozenset(map(str, held))
    return found


def made_key(journal: SqliteJournal, spki_sha256: str) -> bool:
    """Whether a key was made in a modem by hand here, and its CSR passed every check."""
    return any(
        facts.get("publicKeySha256") == spki_sha256 and facts.get("answer") == "OK"
        for _, facts in journal.noted(NoteKind.CSR_VETTED)
    )


def is_by_hand(entry: StoredCredential, events: Sequence[EventRecord]) -> bool:
    """Whether what the modem holds in a place is what was last put there by hand."""
    return entry.sha256 is not None and entry.sha256 in digests(events).get(
        (entry.sec_tag, entry.type), ()
    )
