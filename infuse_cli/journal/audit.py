"""What `journal verify` asks: whether the file is sound, each chain holds, and the other tables say
what it says.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select

from infuse_cli.errors import JournalError
from infuse_cli.journal import chain, database, schema
from infuse_cli.journal.prepared import Prepared
from infuse_cli.journal.projections import ProjectionVerifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

_event: Final = schema.event.c
_LINKS: Final = (
    select(
        _event.station,
        _event.seq,
        _event.ts,
        _event.operator,
        _event.tool_version,
        _event.kind,
        _event.run,
        _event.board,
        _event.attempt,
        _event.step,
        _event.from_state,
        _event.to_state,
        _event.facts,
        _event.prev,
        _event.hash,
    )
    .where(_event.station == bindparam("s"))
    .order_by(_event.seq)
)
_HEADS: Final = select(schema.chain.c.station, schema.chain.c.seq, schema.chain.c.hash)
_STATIONS: Final = select(_event.station).distinct()
_HASH: Final = select(_event.hash).where(
    _event.station == bindparam("s"), _event.seq == bindparam("n")
)
_ROWS_TOLD: Final = 8
"""Of rows that differ so many are named: whoever edits a table wholesale is not told of a hundred
thousand rows.
"""


def heads(connection: Connection) -> dict[str, chain.Head]:
    """By station the newest event as it is recorded beside the events."""
    return {row[0]: chain.Head(int(row[1]), row[2]) for row in Prepared(connection).all(_HEADS, {})}


def hash_at(connection: Connection, station: str, seq: int) -> str | None:
    """The hash of an event, None where there is none; the chain's beginning has one too."""
    if seq == 0:
        return chain.GENESIS
    found: str | None = Prepared(connection).value(_HASH, {"s": station, "n": seq})
    return found


def faults(connection: Connection, path: Path, kept: Mapping[str, chain.Head]) -> list[chain.Fault]:
    """The first fault of each chain, then rows that the chain belies.

    Raises JournalError journal.corrupt for a damaged file.
    """
    damage = database.damage(connection)
    if damage:
        raise JournalError("journal.corrupt", f"{path} is damaged: {damage}")
    recorded = heads(connection)
    stations = sorted(
        {row[0] for row in Prepared(connection).all(_STATIONS, {})} | set(recorded) | set(kept)
    )
    found: list[chain.Fault] = []
    verifier = ProjectionVerifier()
    chains = [
        _in_time(
            chain.held(
                _links(connection, name),
                recorded.get(name, chain.Head()),
                found.append,
                kept=kept.get(name),
                station=name,
            )
        )
        for name in stations
    ]
    for _, link in (
        heapq.merge(*chains, key=_moment) if len(chains) > 1 else itertools.chain(*chains)
    ):
        if not found:
            verifier.apply(link)
    return sorted(found, key=lambda fault: fault.station) or _mismatches(connection, verifier)


def _links(connection: Connection, station: str) -> Iterator[tuple[chain.Link, str]]:
    for row in Prepared(connection).each(_LINKS, {"s": station}):
        yield chain.Link(*row[:-1]), row[-1]


def _mismatches(connection: Connection, verifier: ProjectionVerifier) -> list[chain.Fault]:
    """Rows of other tables that differ from what the chain, which holds, says."""
    return [
        chain.Fault("", 0, why, what)
        for what, why in itertools.islice(verifier.differing(connection), _ROWS_TOLD)
    ]


def _in_time(links: Iterable[chain.Link]) -> Iterator[tuple[str, chain.Link]]:
    """A chain's events with times that never go back, as a clock may: its own order is certain,
    that between chains is by time.
    """
    newest = ""
    for link in links:
        newest = max(newest, link.ts)
        yield newest, link


def _moment(one: tuple[str, chain.Link]) -> tuple[str, int]:
    return one[0], one[1].seq


def corrupt_error(path: Path, faults: Sequence[chain.Fault]) -> JournalError:
    """The JournalError for a chain that does not hold, with its faults."""
    told = "; ".join(
        f"{one.what or f'event {one.seq} of station {one.station}'}: {one.why}" for one in faults
    )
    what = (
        f"a record was edited behind the chain of {path}"
        if faults[0].what
        else f"the chain of {path} is broken"
    )
    return JournalError(
        "journal.corrupt",
        f"{what}: {told}",
        details={
            "faults": [
                {"station": one.station, "seq": one.seq, "row": one.what or None, "why": one.why}
                for one in faults
            ]
        },
    )
