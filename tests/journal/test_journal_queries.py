"""Finding a board by whatever is at hand, and how the line goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from journal_line import Line

from infuse_cli import records as rec
from infuse_cli.errors import JournalError
from infuse_cli.journal import queries
from infuse_cli.journal.store import SqliteJournal, open_journal
from infuse_cli.records.notes import NoteKind
from infuse_cli.types import AttemptState, StepState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

S = StepState
UUID_1 = "50503041-3633-4261-803d-1e2b8f70111a"
UUID_2 = "50503041-3633-4261-803d-1e2b8f70222b"


@pytest.fixture
def filled(line: Line) -> Line:
    fill(line)
    return line


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteJournal]:
    with open_journal(tmp_path_factory.mktemp("kept"), station="s") as journal:
        line = Line(journal)
        line.start()
        fill(line)
        yield journal


def fill(line: Line) -> None:
    one = line.open(
        UUID_1,
        "attempt-one",
        imei="350457790000001",
        mcu_id="0123456789abcdef",
        facts={"iccid": "8944500"},
    )
    line.journal.commit(
        rec.NoteAttempt(
            attempt=one,
            facts={"metadata": {"serialNumber": "SN-00001", "deploymentSite": "Brisbane"}},
        )
    )
    line.move(
        one,
        "register",
        S.PENDING,
        S.DONE,
        facts={"device": {"deviceId": "d0d0d0d0d0d0d0d0", "boardId": "product"}},
    )
    line.certify(one, "0abc", board=UUID_1, device_id="d0d0d0d0d0d0d0d0")
    line.journal.commit(
        rec.IntendToken(intent="i", name="line-SN-00001", board=UUID_1, attempt=one),
        rec.MintToken(intent="i", token_id="t", registry_device_id="Reg-1", sha256="h"),
    )
    line.end(one, facts={"deviceId": "d0d0d0d0d0d0d0d0", "registryDevice": "Reg-1"})
    line.open(
        UUID_2,
        "attempt-two",
        imei="350457790000002",
        facts={"metadata": {"serialNumber": 'SN-"100%"'}},
    )


@pytest.mark.parametrize(
    "text",
    [
        UUID_1,
        UUID_1.upper(),
        "350457790000001",
        "0123456789ABCDEF",
        "8944500",
        "SN-00001",
        "sn-00001",
        "Brisbane",
        "d0d0d0d0d0d0d0d0",
        "D0D0D0D0D0D0D0D0",
        "0abc",
        "0A:BC",
        "abc",
        "sha-0abc",
        "Reg-1",
        "line-SN-00001",
        "attempt-one",
        "attempt-o",
        "empt-one",
        "90000001",
        UUID_1[-6:],
        "  SN-00001 ",
    ],
)
def test_a_board_is_found_by_any_key(kept: SqliteJournal, text: str) -> None:
    assert [one.board for one in queries.find_boards(kept, text)] == [UUID_1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nothing",
        "product",
        "SN-0000",
        "%",
        "____",
        "505",
        '"',
        "DONE",
        "35045779000000",
        "x" * 100_000,
        "one",
    ],
)
def test_what_is_no_key_finds_nothing(kept: SqliteJournal, text: str) -> None:
    assert queries.find_boards(kept, text) == []


def test_odd_characters_are_found_as_they_are(kept: SqliteJournal) -> None:
    assert [one.board for one in queries.find_boards(kept, 'sn-"100%"')] == [UUID_2]


def test_a_key_of_several_boards_finds_all(kept: SqliteJournal) -> None:
    for text in ("50503041", "run-1", "run-", "atte"):
        assert [one.board for one in queries.find_boards(kept, text)] == [UUID_1, UUID_2]


def test_a_run_by_its_beginning(filled: Line) -> None:
    assert queries.find_run(filled.journal, "run") == "run-1"
    filled.journal.end_run("run-1", {})
    filled.start("run-10")
    assert queries.find_run(filled.journal, "run-1") == "run-1"
    for text in ("run", "other"):
        with pytest.raises(JournalError):
            queries.find_run(filled.journal, text)


@pytest.fixture
def clock(home: Path) -> Iterator[tuple[Line, list[datetime]]]:
    time = [datetime(2026, 3, 1, 12, tzinfo=UTC)]
    with open_journal(home, station="s", now=lambda: time[0]) as journal:
        yield Line(journal), time


def fail(line: Line, attempt: str, step: str, code: str) -> None:
    line.end(attempt, AttemptState.FAILED, "FAIL", error={"code": code}, facts={"failedStep": step})


def test_yield_counts_boards_and_the_first_try_counts(clock: tuple[Line, list[datetime]]) -> None:
    line, time = clock
    line.start("r1")
    for number in range(6):
        line.end(line.open(f"good{number}"))
    retried, bad = line.open("retried"), line.open("bad")
    fail(line, retried, "install", "modem.exists")
    fail(line, bad, "install", "modem.bad-certificate")
    line.journal.commit(rec.TakeAttempt(attempt=bad, run="r1", slot=1, port="p"))
    fail(line, bad, "install", "modem.bad-certificate")
    line.end(
        line.open("stopped"), AttemptState.PARKED, "ABORTED", error={"code": "run.interrupted"}
    )
    refusal = {"board": "clone", "error": {"code": "identity.clone"}}
    line.journal.commit(
        rec.NoteRun(run="r1", what=NoteKind.BOARD_REFUSED, facts=refusal),
        rec.NoteRun(run="r1", what=NoteKind.BOARD_CREATED, facts={"id": "x"}),
    )
    line.journal.end_run("r1", {})
    time[0] += timedelta(days=2)
    line.start("r2", profile_name="other")
    line.journal.commit(rec.TakeAttempt(attempt=retried, run="r2", slot=1, port="p"))
    line.end(retried)
    line.end(bad, AttemptState.CLOSED, None)

    one, two = queries.summaries(line.journal)
    assert (one.group, one.boards, one.outcomes) == ("r1", 10, {"PASS": 6, "FAIL": 3, "ABORTED": 1})
    assert (one.yield_, one.first_pass_yield) == (6 / 9, 6 / 9)
    assert one.steps == [("install", 2), ("identify", 1)]
    assert dict(one.codes) == {
        "modem.exists": 1,
        "modem.bad-certificate": 1,
        "identity.clone": 1,
        "run.interrupted": 1,
    }
    assert (two.group, two.outcomes, two.yield_) == ("r2", {"PASS": 1}, 1.0)
    ((_, both),) = [("all", queries.summary("all", queries.ends(line.journal)))]
    assert (both.boards, both.yield_, both.first_pass_yield) == (10, 7 / 9, 6 / 9)
    assert [one.group for one in queries.summaries(line.journal, by="profile")] == [
        "field-sensor",
        "other",
    ]
    days = [one.group for one in queries.summaries(line.journal, by="day")]
    assert len(days) == 2
    assert [one.boards for one in queries.summaries(line.journal, day=days[1])] == [1]
    assert [one.boards for one in queries.summaries(line.journal, run="r2")] == [1]


def test_an_empty_journal_has_no_yield(journal: SqliteJournal) -> None:
    assert queries.summaries(journal) == []
    assert queries.export_rows(journal) == []
    assert queries.summary("none", []).yield_ is None


def test_a_row_a_board(kept: SqliteJournal) -> None:
    one, two = queries.export_rows(kept)
    assert (one["board"], one["result"], one["deviceId"], one["registryDeviceId"]) == (
        UUID_1,
        "PASS",
        "d0d0d0d0d0d0d0d0",
        "Reg-1",
    )
    assert (one["certificateSerial"], one["metadata.serialNumber"], one["operator"]) == (
        "0abc",
        "SN-00001",
        "day shift",
    )
    assert (two["board"], two["result"], two["state"], two["certificateSerial"]) == (
        UUID_2,
        None,
        "running",
        None,
    )


def test_the_newest_attempt_of_each_board(filled: Line) -> None:
    filled.open(UUID_1, "attempt-three")
    assert [one.attempt for one in queries.newest_attempts(filled.journal)] == [
        "attempt-two",
        "attempt-three",
    ]
    filled.end("attempt-two")
    assert [one.attempt for one in queries.newest_attempts(filled.journal, only_open=True)] == [
        "attempt-three"
    ]
    assert queries.newest_attempts(filled.journal, run="other") == []


def test_a_label_is_on_record_for_its_board_until_that_is_closed_or_superseded(line: Line) -> None:
    """What keeps a label that was scanned from going to two boards."""
    fill(line)
    assert list(line.journal.labelled("serialNumber", "SN-00001")) == [UUID_1]
    assert list(line.journal.labelled("serialNumber", 'SN-"100%"')) == [UUID_2]
    for name, value in (
        ("deploymentSite", "SN-00001"),
        ("serialNumber", "SN-0000"),
        ("serialNumber", "%"),
        ("serialNumber", "Brisbane"),
        ("iccid", "8944500"),
    ):
        assert list(line.journal.labelled(name, value)) == []
    line.end("attempt-one", AttemptState.SUPERSEDED, None)
    line.end("attempt-two", AttemptState.CLOSED, "ABORTED")
    assert (
        list(line.journal.labelled("serialNumber", "SN-00001"))
        == list(line.journal.labelled("serialNumber", 'SN-"100%"'))
        == []
    )
