"""Whoever edits, removes or moves events is found."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infuse_cli import records as rec
from infuse_cli.journal import chain
from infuse_cli.journal.codec import from_json, to_json
from infuse_cli.journal.store import open_journal

if TYPE_CHECKING:
    from journal_line import Line


@pytest.fixture
def filled(line: Line) -> Line:
    for number in range(6):
        line.open(f"b{number}", facts={"n": number, "label": "schön"})
    return line


def edit(line: Line, sql: str) -> None:
    connection = sqlite3.connect(line.journal.path)
    with connection:
        connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "seq"),
    [
        ("UPDATE event SET facts = '{}' WHERE seq = 3", 3),
        ("UPDATE event SET operator = 'someone else' WHERE seq = 4", 4),
        ("UPDATE event SET ts = '2020-01-01T00:00:00.000000Z' WHERE seq = 4", 4),
        ("UPDATE event SET board = NULL WHERE seq = 5", 5),
        ("UPDATE event SET hash = 'aa' WHERE seq = 2", 2),
        ("DELETE FROM event WHERE seq = 1", 1),
        ("DELETE FROM event WHERE seq = 4", 4),
        ("DELETE FROM event WHERE seq = 7", 7),
        ("DELETE FROM event", 1),
        ("UPDATE event SET seq = CASE seq WHEN 3 THEN 104 ELSE 103 END WHERE seq IN (3, 4)", 3),
        (
            (
                "INSERT INTO event SELECT station, 8, ts, operator, tool_version, kind, run, board,"
                " attempt, step, from_state, to_state, facts, hash, prev FROM event WHERE seq = 7"
            ),
            8,
        ),
    ],
)
def test_a_changed_chain_is_found(filled: Line, sql: str, seq: int) -> None:
    assert filled.journal.verify() == []
    edit(filled, sql)
    (fault,) = filled.journal.verify()
    assert (fault.station, fault.seq) == ("bench-1", seq)
    assert fault.why


def test_swapped_events_are_found(filled: Line) -> None:
    events = list(filled.journal.events())
    assert chain.verify(events) is None
    events[2], events[3] = events[3], events[2]
    fault = chain.verify(events)
    assert fault is not None
    assert fault.seq == 3
    renumbered = [msgspec.structs.replace(one, seq=number) for number, one in enumerate(events, 1)]
    fault = chain.verify(renumbered)
    assert fault is not None
    assert fault.seq == 3


def test_each_station_has_its_own_chain(home, filled: Line) -> None:
    with open_journal(home, station="bench-2") as second:
        second.commit(rec.SeeKey(spki_sha256="k", board="b"))
        assert [one.seq for one in second.events() if one.station == "bench-2"] == [1]
        assert second.verify() == []
    edit(filled, "UPDATE event SET facts = '{}' WHERE station = 'bench-2'")
    assert [fault.station for fault in filled.journal.verify()] == ["bench-2"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_facts_have_one_text_and_come_back(facts: dict[str, object]) -> None:
    text = to_json(facts)
    assert to_json(from_json(text)) == text


def test_the_hash_is_what_the_documentation_says() -> None:
    link = chain.Link(
        "s",
        1,
        "2026-01-01T00:00:00.000000Z",
        "op",
        "0.1",
        "k",
        None,
        None,
        None,
        None,
        None,
        None,
        '{"a":1}',
        chain.GENESIS,
    )
    assert chain.canonical(link) == (
        b'{"attempt":null,"board":null,"facts":{"a":1},"from":null,"kind":"k","operator":"op","prev":"'
        + b"0" * 64
        + b'","run":null,"seq":1,"station":"s","step":null,"to":null,"tool_version":"0.1","ts":"2026-01-01T00:00:00.000000Z"}'
    )
