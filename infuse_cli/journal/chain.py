"""The hash chain over events, one a station: what was edited, removed or moved is found.

Canonical form of an event: a JSON object in UTF-8 with the keys attempt, board, facts, from, kind,
operator, prev, run, seq, station, step, to, tool_version, ts, sorted at every level, no white
space, absent values null, times as ISO 8601 UTC with microseconds and Z. `hash` is its SHA-256 in
lower-case hex; `prev` is the hash of the event before, 64 zeros for the first; `seq` counts from 1
without gaps.

Guaranteed: `docs/reference/guarantees.md#events-are-appended-never-changed`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli.journal.codec import to_json, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from infuse_cli.records import EventRecord

GENESIS: Final = "0" * 64


class Link(msgspec.Struct, frozen=True, gc=False):
    """An event as it is hashed; `facts` is its JSON text, `ts` its time as text."""

    station: str
    seq: int
    ts: str
    operator: str
    tool_version: str
    kind: str
    run: str | None
    board: str | None
    attempt: str | None
    step: str | None
    from_state: str | None
    to_state: str | None
    facts: str
    prev: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the journal does not hold: an event of a station's chain, or a row (`what`)
    that the chain belies.
    """

    station: str
    seq: int
    why: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event of a station's chain as it was recorded beside the events."""

    seq: int = 0
    hash: str = GENESIS


def canonical(link: Link) -> bytes:
    """The bytes that are hashed."""
    return msgspec.json.encode(
        {
            "attempt": link.attempt,
            "board": link.board,
            "facts": msgspec.Raw(link.facts.encode()),
            "from": link.from_state,
            "kind": link.kind,
            "operator": link.operator,
            "prev": link.prev,
            "run": link.run,
            "seq": link.seq,
            "station": link.station,
            "step": link.step,
            "to": link.to_state,
            "tool_version": link.tool_version,
            "ts": link.ts,
        }
    )


def digest(link: Link) -> str:
    """SHA-256 of the canonical form, 64 lower-case hex digits."""
    return hashlib.sha256(canonical(link)).hexdigest()


def link_of(event: EventRecord) -> Link:
    """The event as it was hashed when it was written."""
    return Link(
        station=event.station,
        seq=event.seq,
        ts=to_text(event.ts),
        operator=event.operator,
        tool_version=event.tool_version,
        kind=event.kind,
        run=event.run,
        board=event.board,
        attempt=event.attempt,
        step=event.step,
        from_state=event.from_state,
        to_state=event.to_state,
        facts=to_json(event.facts),
        prev=event.prev,
    )


def verify(
    events: Iterable[EventRecord],
    head: Head | None = None,
    *,
    station: str = "",
    after: Head | None = None,
) -> Fault | None:
    """Return the first fault of one station's chain, given from its first event on (or from the one
    after `after`), or None.

    With `head` also events missing at the end are found.
    """
    return check(
        ((link_of(event), event.hash) for event in events), head, station=station, after=after
    )


def check(
    links: Iterable[tuple[Link, str]],
    head: Head | None = None,
    *,
    kept: Head | None = None,
    station: str = "",
    after: Head | None = None,
) -> Fault | None:
    """As `verify`, of links with the hash that stands beside each.

    `kept` is a head that was recorded elsewhere.
    """
    found: list[Fault] = []
    for _ in held(links, head, found.append, kept=kept, station=station, after=after):
        pass
    return found[0] if found else None


def held(
    links: Iterable[tuple[Link, str]],
    head: Head | None,
    tell: Callable[[Fault], None],
    *,
    kept: Head | None = None,
    station: str = "",
    after: Head | None = None,
) -> Iterator[Link]:
    """The links up to the first fault of the chain, which is told; each is given on once it
    holds.
    """
    prev, expected = (GENESIS, 1) if after is None else (after.hash, after.seq + 1)
    for link, hash_ in links:
        station = station or link.station
        why = _fault(link, hash_, expected, prev)
        if not why and kept is not None and kept.seq == expected and kept.hash != hash_:
            why = (
                "it is not the event that the head names: the chain was made anew, or is another"
                " bench's"
            )
        if why:
            tell(Fault(station, expected, why))
            return
        yield link
        prev, expected = hash_, expected + 1
    if kept is not None and kept.seq >= expected:
        tell(
            Fault(
                station,
                expected,
                f"cut: the chain ends at {expected - 1}, but the head names event {kept.seq}",
            )
        )
    elif head is not None and head != Head(expected - 1, prev):
        tell(
            Fault(
                station,
                expected,
                f"the chain ends at {expected - 1}, but event {head.seq} was recorded as the last",
            )
        )


def _fault(link: Link, hash_: str, expected: int, prev: str) -> str:
    if link.seq > expected:
        return f"missing: found event {link.seq} where {expected} belongs"
    if link.seq < expected:
        return f"moved: found event {link.seq} where {expected} belongs"
    if link.prev != prev:
        return "it does not follow the event before it: one of the two was changed, moved or put in"
    if digest(link) != hash_:
        return "it was changed after it was written"
    return ""
