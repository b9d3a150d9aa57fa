"""Every command line of commit dadc716, and the shape of what it printed as JSON and as events.

The storm runs all of them, in their order, at one virtual world; the default run takes those that
only read.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.baseline import renames, shapes
from tests.baseline.compare import renamed, shape_differences
from tests.house.test_no_secrets import impatient
from tests.house.test_no_secrets_everywhere import Drive

DATA = Path(__file__).parent / "data" / "answers"
COMMANDS = json.loads((DATA.parent / "commands.json").read_text(encoding="utf-8"))
OUTPUTS = {"json": shapes.answer, "jsonl": shapes.lines}
TIMING = {"board-waiting"}
"""Events that a run has only where something else was slower."""

READING = (
    "doctor",
    "profile list",
    "profile show",
    "profile check",
    "journal list",
    "journal show {board} --events",
    "journal summary",
    "journal export",
    "journal verify",
    "journal close nobody --reason lost",
    "org list",
    "org show",
    "board list",
    "device list",
    "device show {board}",
    "key public",
    "key id {public}",
    "key derive --device {board}",
    "key derive --root-key {away}/root.key --reveal",
    "key verify {away}/state --private-key {away}/private.key",
    "ca list",
    "rpc list",
    "registry device list",
    "registry device summary",
    "serial ports",
    "serial info {p2}",
    "serial creds list {p2}",
    "auth status",
)

pytestmark = pytest.mark.posix


def stored(output):
    return json.loads((DATA / f"{output}.json").read_text(encoding="utf-8"))


@pytest.fixture
def drive(make_bench, tmp_path, monkeypatch):
    with make_bench(8) as bench:
        bench.profile = impatient(bench)
        yield Drive(bench, tmp_path, monkeypatch)


def test_commands_that_read_answer_as_they_did(drive):
    rows = {row["words"]: row for row in stored("json")}
    drive_all(drive, "json", [rows[words] for words in READING])


def test_a_simulated_run_tells_what_it_told(zygote):
    (row,) = [row for row in stored("jsonl") if row["words"] == "provision --sim 2"]
    ran = zygote.run(*row["words"].split(), "--output", "jsonl")
    assert wrong(row, ran, "jsonl") == []


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_command_answers_as_it_did(drive, output):
    drive_all(drive, output, [row for row in stored(output) if "--sim" not in row["words"]])


@pytest.mark.storm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_simulated_run_tells_what_it_told(zygote, output):
    for row in stored(output):
        if "--sim" in row["words"]:
            ran = zygote.run(*row["words"].split(), "--output", output)
            assert wrong(row, ran, output) == [], row["words"]


def drive_all(drive, output, rows):
    places, found = drive.places(), []
    for row in rows:
        ran = drive.one(words_now(row["words"]), output, places, drive.env)
        if ran is not None:  # else it needs an HSM, which is not installed here
            found += wrong(row, ran, output)
    assert not found, "\n".join(found)


def words_now(words):
    """The command line as it is written today."""
    command = max((old for old in renames.COMMANDS if words.startswith(old)), key=len, default="")
    now = renames.COMMANDS.get(command, "") + words[len(command) :]
    options = {
        old.split()[-1]: new.split()[-1]
        for old, new in renames.OPTIONS.items()
        if words.startswith(old.rpartition(" ")[0])
    }
    return " ".join(options.get(word, word) for word in now.split(" "))


def wrong(row, ran, output):
    """What is other than it was, as sentences."""
    words = row["words"]
    if ran.code != row["code"]:
        told = f"{words}: exit {ran.code}, was {row['code']}: {ran.stdout[-300:]} {ran.stderr}"
        return [] if row.get("either") else [told]
    now = OUTPUTS[output](ran.code, ran.stdout)
    found = wrong_answer(row, now) if output == "json" else wrong_lines(row, now)
    return [f"{words}: {difference}" for difference in found]


def wrong_answer(row, now):
    command = row["command"]
    expected = {
        "command": renames.COMMANDS.get(command, command),
        "status": row["status"],
        "errors": [renamed(code) for code in row["errors"]],
        "envelope": row["envelope"],
    }
    found = [
        f"{key}: was {value}, is {now[key]}" for key, value in expected.items() if now[key] != value
    ]
    found += shape_differences(command, row["error"], now["error"], "errors")
    return found + wrong_data(command, row["data"], now["data"])


def wrong_data(command, was, now):
    if command == "sim openapi":  # what is in it is the virtual cloud's, and compared elsewhere
        was, now = (
            {key: shape for key, shape in table.items() if key != "components"}
            for table in (was, now)
        )
    return list(shape_differences(command, was, now))


def wrong_lines(row, now):
    found, command = [], command_of(row["words"])
    for event, was in row["lines"].items():
        name = renames.EVENTS.get(event, event)
        if name not in now["lines"]:
            found += [] if event in TIMING else [f"event {event}: is gone"]
        elif event == "envelope":
            found += wrong_data(command, was["data"], now["lines"][name]["data"])
        else:
            found += shape_differences(command, was, now["lines"][name], event)
    return found


def command_of(words):
    """The stored name of the command in a command line."""
    return max((name for name in COMMANDS if f"{words} ".startswith(f"{name} ")), key=len)
