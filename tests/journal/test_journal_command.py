"""`infuse journal` as a person and a script see it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from journal_line import Line

from infuse_cli import records as rec
from infuse_cli.cli import main
from infuse_cli.journal.store import open_journal
from infuse_cli.types import AttemptState, StepState

if TYPE_CHECKING:
    from pathlib import Path

S = StepState
UUID = "50503041-3633-4261-803d-1e2b8f70111a"


class Shell:
    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.capsys = home, capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main.run(["journal", *words, "--home", str(self.home)])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self(*words, "--output", "json")
        return code, json.loads(out)


@pytest.fixture
def infuse(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Shell(home, capsys)


@pytest.fixture
def done(home: Path, made: Path) -> None:
    shutil.copytree(made, home)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with open_journal(folder, station="bench-1") as journal:
        line = Line(journal)
        line.start(lot="L-7")
        one = line.open(
            UUID, imei="350457790000001", mcu_id="0123456789abcdef", facts={"model": "nRF9151-LACA"}
        )
        journal.commit(rec.NoteAttempt(attempt=one, facts={"metadata": {"serialNumber": "SN-1"}}))
        line.move(one, "keygen", S.PENDING, S.BEGUN)
        line.move(one, "keygen", S.BEGUN, S.DONE, ms=312.4)
        line.certify(one, board=UUID)
        journal.commit(
            rec.StoreSecret(name="token:i", sealed=b"sealed-bytes"),
            rec.IntendToken(intent="i", name="SN-1", board=UUID, attempt=one),
        )
        line.end(one, facts={"deviceId": "d0d0d0d0d0d0d0d0"})
        two = line.open("b2", "a2")
        line.move(two, "install", S.PENDING, S.BEGUN)
        error = {"code": "modem.bad-certificate", "message": "the modem said [red]527[/red]"}
        line.move(two, "install", S.BEGUN, S.FAILED, error=error)
        line.end(
            two,
            AttemptState.FAILED,
            "FAIL",
            error=error,
            facts={"failedStep": "install", "transcript": "12 > AT%CMNG\n15 < +CME ERROR: 527 [x]"},
        )
        line.open("b3", "a3")
    return folder


def test_a_fresh_machine_has_nothing_on_record(infuse: Shell, home: Path) -> None:
    for words in (["list"], ["list", "--open"], ["summary"], ["export"]):
        assert infuse(*words)[0] == 0
    assert infuse("list")[1] == "Nothing is on record yet.\n"
    for words in (["show", "b1"], ["close", "b1", "--reason", "lost"], ["verify"]):
        code, _, err = infuse(*words)
        assert code == 10
        assert err.startswith("error journal.not-found: ")
    assert not home.exists(), "asking makes nothing"


def test_list_names_each_board_in_80_columns(infuse: Shell, done: None) -> None:
    code, out, _ = infuse("list")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["PASS", "FAIL", "interrupted"]
    assert all(len(line) <= 80 for line in lines)
    assert f"…{UUID[-12:]}  350457790000001" in lines[1]
    assert (
        infuse.json("show", UUID[-12:])[1]["data"]["board"]
        == infuse.json("show", UUID)[1]["data"]["board"]
    )
    assert "install" in lines[2]
    assert len(infuse("list", "--limit", "1")[1].splitlines()) == 3
    assert "b3" in infuse("list", "--limit", "1")[1]
    assert UUID not in infuse("list", "--open")[1]
    data = infuse.json("list")[1]["data"]
    assert [board["imei"] for board in data["boards"]] == ["350457790000001", None, None]
    assert data["total"] == 3
    assert [one["open"] for one in data["boards"]] == [False, True, True]
    assert infuse("list", "--run", "nope")[0] == 10


@pytest.mark.parametrize("key", [UUID, "SN-1", "350457790000001", "a1", "d0d0d0d0d0d0d0d0"])
def test_show_takes_any_key(infuse: Shell, done: None, key: str) -> None:
    code, out, _ = infuse("show", key)
    assert code == 0
    for told in (
        UUID,
        "SN-1",
        "d0d0d0d0d0d0d0d0",
        "keygen",
        "312",
        "certificate a1",
        "day shift at bench-1, lot L-7",
        "nRF9151-LACA",
    ):
        assert told in out
    assert "transcript" not in out


def test_show_of_a_failed_board_has_cause_and_transcript_as_they_are(
    infuse: Shell, done: None
) -> None:
    _, out, _ = infuse("show", "b2")
    for told in (
        "modem.bad-certificate",
        "[red]527[/red]",
        "15 < +CME ERROR: 527 [x]",
        "failed at",
        "install",
    ):
        assert told in out
    _, out, _ = infuse("show", "b2", "--events")
    assert "begun -> failed" in out


def test_show_as_json_is_the_whole_record(infuse: Shell, done: None) -> None:
    code, envelope = infuse.json("show", "SN-1")
    assert (code, envelope["command"], envelope["status"]) == (0, "journal show", "ok")
    (attempt,) = envelope["data"]["attempts"]
    assert attempt["certificates"][0]["serial"] == "a1"
    assert attempt["tokens"][0]["state"] == "intended"
    assert attempt["steps"][0]["state"] == "done"
    assert envelope["data"]["events"][0]["kind"] == "attempt-opened"
    assert "sealed-bytes" not in json.dumps(envelope)


def test_show_says_when_nothing_or_several_fit(infuse: Shell, done: None) -> None:
    assert infuse("show", "nothing")[2].startswith(
        "error journal.not-found: nothing on record fits 'nothing'"
    )
    code, _, err = infuse("show", "run-1")
    assert code == 10
    assert err.startswith("error journal.ambiguous: ")
    assert UUID in err


def test_summary(infuse: Shell, done: None) -> None:
    code, out, _ = infuse("summary")
    assert code == 0
    assert "2 boards: 1 PASS  1 FAIL  0 ERROR  0 ABORTED\n  yield 50.0 %, first pass 50.0 %" in out
    assert "failing steps: install 1" in out
    (group,) = infuse.json("summary", "--by", "profile")[1]["data"]["groups"]
    assert (group["group"], group["yield"], group["totals"]) == (
        "field-sensor",
        0.5,
        {"pass": 1, "fail": 1},
    )
    assert infuse("summary", "--day", "2001-01-01")[1] == "No board came to an end yet.\n"
    assert infuse("summary", "--day", "yesterday")[0] == 2


def test_export(infuse: Shell, done: None, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(infuse("export")[1])))
    assert [row["result"] for row in rows] == ["PASS", "FAIL", ""]
    assert (rows[0]["metadata.serialNumber"], rows[1]["failedStep"]) == ("SN-1", "install")
    out = tmp_path / "rows.json"
    assert (
        infuse("export", "--format", "json", "--out", str(out))[1] == f"3 boards written to {out}\n"
    )
    assert [row["board"] for row in json.loads(out.read_text())] == [UUID, "b2", "b3"]
    code, _, err = infuse("export", "--out", str(tmp_path / "no" / "folder.csv"))
    assert code == 2
    assert "no/folder.csv" in err
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert len(infuse.json("export")[1]["data"]["rows"]) == 3


def test_close_ends_an_open_attempt_for_good(infuse: Shell, done: None, home: Path) -> None:
    code, out, _ = infuse("close", "b2", "--reason", "scrapped")
    assert code == 0
    assert "scrapped" in out
    with open_journal(home) as journal:
        closed = journal.attempt("a2")
        assert (closed.state, closed.outcome, closed.facts["closed"]) == (
            AttemptState.CLOSED,
            "FAIL",
            {"reason": "scrapped"},
        )
        assert journal.events(attempt="a2")[-1].operator
    assert infuse("close", "b2", "--reason", "again")[2].startswith("error journal.not-found: ")
    assert infuse("close", UUID, "--reason", "passed")[0] == 10
    assert infuse("close", "b3", "--reason", " ")[0] == 2
    assert infuse("close", "b3")[0] == 2


def test_close_leaves_a_living_run_alone(infuse: Shell, line: Line) -> None:
    line.open("b1", "a1")
    code, _, err = infuse("close", "b1", "--reason", "lost")
    assert code == 7
    assert err.startswith("error board.in-use: ")


def test_verify(infuse: Shell, done: None, home: Path) -> None:
    code, out, _ = infuse("verify")
    assert code == 0
    assert "is sound" in out
    connection = sqlite3.connect(home / "journal.sqlite3")
    with connection:
        connection.execute("UPDATE event SET operator = 'nobody' WHERE seq = 4")
    connection.close()
    code, _, err = infuse("verify")
    assert code == 10
    assert "event 4 of station bench-1" in err
    assert infuse.json("verify")[1]["errors"][0]["code"] == "journal.corrupt"
