"""Rows of batches on record: known by their cloud key, begun before the POST, never taken from a
living process.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_line import Line

from infuse_cli import records as rec
from infuse_cli.errors import JournalError
from infuse_cli.journal import rows
from infuse_cli.journal.store import SqliteJournal, open_journal
from infuse_cli.records.rows import BEGUN, cloud_key

MCU = "0011223344556677"


def begin(run: str, line: int = 2, mcu_id: str = MCU, **more: object) -> rec.BeginRow:
    return rec.BeginRow(organisation="o", soc="nRF9151", mcu_id=mcu_id, run=run, line=line, **more)  # type: ignore[arg-type]


def end(
    run: str, state: str = "created", line: int = 2, mcu_id: str = MCU, **more: object
) -> rec.EndRow:
    return rec.EndRow(
        organisation="o", soc="nRF9151", mcu_id=mcu_id, run=run, line=line, state=state, **more
    )  # type: ignore[arg-type]


def started(journal: SqliteJournal, run: str) -> None:
    journal.start_run(
        rec.RunStart(
            run=run,
            command="batch register",
            profile_name="p",
            profile_hash="h",
            profile={},
            operator="o",
        )
    )


def test_a_row_goes_from_begun_to_created_and_into_the_chain(line: Line) -> None:
    journal, run = line.journal, line.run
    journal.commit(begin(run, name="n1", token_intent="i1"))
    found = journal.row("o", "nRF9151", MCU)
    assert found is not None
    assert (
        found.state,
        found.run,
        found.line,
        found.name,
        found.token_intent,
        found.device_id,
    ) == (BEGUN, run, 2, "n1", "i1", None)
    journal.commit(
        end(
            run,
            device_id="d6c29a49db869866",
            id="u",
            name="n1",
            token_intent="i1",
            registry_device_id="g",
        )
    )
    found = journal.row("o", "nRF9151", MCU)
    assert found is not None
    assert (found.state, found.device_id, found.id, found.registry_device_id) == (
        "created",
        "d6c29a49db869866",
        "u",
        "g",
    )
    events = journal.events(board=cloud_key("nRF9151", MCU))
    assert [(event.kind, event.from_state, event.to_state) for event in events] == [
        ("row-begun", None, BEGUN),
        ("row-ended", BEGUN, "created"),
    ]
    assert journal.verify() == []


def test_a_row_belongs_to_its_organisation_and_chip_not_to_its_line(line: Line) -> None:
    line.journal.commit(begin(line.run, 2))
    line.journal.commit(end(line.run, "refused", 9, error={"code": "cloud.refused"}))
    found = line.journal.row("o", "nRF9151", MCU)
    assert found is not None
    assert (found.line, found.state, found.error) == (9, "refused", {"code": "cloud.refused"})
    assert line.journal.row("another", "nRF9151", MCU) is None
    assert line.journal.row("o", "nRF5340", MCU) is None


def test_a_row_that_a_living_run_has_begun_is_left_alone(line: Line, home: Path) -> None:
    line.journal.commit(begin(line.run))
    with open_journal(home, station="bench-1") as other:
        started(other, "second")
        for write in (begin("second"), end("second")):
            with pytest.raises(JournalError) as caught:
                other.commit(write)
            assert caught.value.code == "journal.conflict"
        line.journal.end_run(line.run, {})
        other.commit(begin("second", 7))
        found = other.row("o", "nRF9151", MCU)
        assert found is not None
        assert (found.run, found.line) == ("second", 7)


def test_a_row_that_another_run_ended_since_it_was_read_is_looked_at_again(
    line: Line, home: Path
) -> None:
    with open_journal(home, station="bench-1") as other:
        started(other, "second")
        other.commit(begin("second", seen=""))
        other.commit(end("second"))
    with pytest.raises(JournalError) as caught:
        line.journal.commit(begin(line.run, seen=""))
    assert caught.value.code == "journal.conflict"
    line.journal.commit(begin(line.run, seen="second"))
    line.journal.commit(begin(line.run, seen="second"))  # once more for another token
    assert line.journal.verify() == []


def test_a_run_that_is_not_ours_writes_no_row(journal: SqliteJournal) -> None:
    with pytest.raises(JournalError):
        journal.commit(begin("somebody"))


def test_any_number_of_rows_is_read_in_order(line: Line) -> None:
    ids = [f"{number:016x}" for number in range(1203)]
    line.journal.commit(
        *(
            end(line.run, "existed" if number % 2 else "created", number + 2, mcu_id)
            for number, mcu_id in enumerate(ids)
        )
    )
    assert [row.mcu_id for row in rows.rows(line.journal)] == ids
    assert [
        row.mcu_id
        for row in rows.rows(line.journal, run=line.run, state="existed", organisation="o")
    ] == ids[1::2]
    assert [row.line for row in rows.of_chip(line.journal, ids[5])] == [7]
