"""Journals that commit dadc716 left with boards killed at every boundary, in each mode.

The program of today verifies them, says the same of them, and goes on with every board: nothing is
made twice, nothing is lost. Cloud and boards are as they were left; see `world.py`.
"""

from __future__ import annotations

import csv
import io
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.baseline.compare import differences, renamed
from tests.baseline.world import read_packed, restored
from tests.foreign.test_foreign_kills import firmware
from tests.foreign.verifier import audit, installed

DATA = Path(__file__).parent / "data" / "journals"
MODES = ("local-ca", "cloud-ca", "first-boot", "none")
KEEP = 7
"""The default run takes every seventh board; the storm takes all."""

COMMANDS = [("resume", "resumed"), ("provision", "provisioned")]

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(sys.platform != "linux", reason="the stored paths go by /proc/self/cwd"),
]


@cache
def captured(mode: str) -> Any:
    """What the old program said of a stored bench, and how its boards ended with it."""
    return read_packed(DATA / f"{mode}.json.xz")


@pytest.fixture
def set_up(zygote, tmp_path):
    """Sets the stored bench of a mode up again."""
    with ExitStack() as stack:

        def make(mode):
            archive = DATA / f"{mode}.tar.xz"
            bench = stack.enter_context(restored(archive, tmp_path / mode, zygote))
            for board in bench.boards.values() if mode == "first-boot" else ():
                board.online = firmware(bench)
            return bench

        yield make


# Reading


@pytest.mark.parametrize("mode", MODES)
def test_every_command_that_reads_says_what_it_said(set_up, mode):
    reads_the_same(set_up(mode), mode, KEEP)


@pytest.mark.storm
@pytest.mark.parametrize("mode", MODES)
def test_every_board_is_shown_as_it_was(set_up, mode):
    reads_the_same(set_up(mode), mode, 1)


def reads_the_same(bench, mode, keep):
    answers = captured(mode)["answers"]
    apart = {"journal show", "journal export"}
    for words in answers.keys() - apart:
        compare(words, answers[words], bench.infuse(*words.split(), "--output", "json"))
    for name, was in list(answers["journal show"].items())[::keep]:
        show = ("journal", "show", bench.boards[name].modem.uuid, "--events")
        compare("journal show", was, bench.infuse(*show, "--output", "json"))
    now, was = (rows(text) for text in (export(bench), answers["journal export"]))
    assert differences("journal export", was, now) == []


def export(bench):
    ran = bench.infuse("journal", "export", "--format", "csv", "--out", "exported")
    assert ran.code == 0, ran.stderr
    return (bench.folder / "exported").read_text()


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def compare(words, was, ran):
    assert ran.code == was["code"], ran.stdout + ran.stderr
    old, new = was["envelope"], ran.envelope
    assert new["status"] == old["status"]
    assert differences(words, old["data"], new["data"]) == []
    codes = [renamed(error["code"]) for error in old["errors"]]
    assert [error["code"] for error in new["errors"]] == codes


# Going on


@pytest.mark.parametrize("mode", MODES)
def test_boards_that_are_not_there_are_listed(set_up, mode):
    """Each board that a process died on is one to go on with; none is touched without its port."""
    bench = set_up(mode)
    for board in bench.boards.values():
        board.unplug()
    ran = bench.on("resume", more=("--slots", "16"))
    assert ran.code == 11, ran.stdout
    absent = {row["board"] for row in ran.envelope["data"]["absent"]}
    assert absent == {bench.boards[name].modem.uuid for name in captured(mode)["resumed"]["boards"]}
    assert bench.cloud.writes() == []


@pytest.mark.parametrize(("command", "ended"), COMMANDS)
@pytest.mark.parametrize("mode", MODES)
def test_boards_go_on_from_where_they_were_killed(set_up, mode, command, ended):
    goes_on(set_up(mode), mode, command, captured(mode)[ended]["boards"], KEEP)


@pytest.mark.storm
@pytest.mark.parametrize(("command", "ended"), COMMANDS)
@pytest.mark.parametrize("mode", MODES)
def test_every_board_goes_on_from_where_it_was_killed(set_up, mode, command, ended):
    goes_on(set_up(mode), mode, command, captured(mode)[ended]["boards"], 1)


def goes_on(bench, mode, command, was, keep):
    """Some of the boards go on at once, and end as they did with the old program."""
    first = 0 if command == "resume" else keep // 2
    names = sorted(was)[first::keep]
    ran = bench.on(command, *(bench.boards[name] for name in names), more=("--slots", "16"))
    known = {bench.boards[name].modem.uuid: name for name in names}
    now = {known[row["board"]["uuid"]]: row for row in ran.envelope["data"]["boards"]}
    assert now.keys() == set(names), ran.stdout + ran.stderr
    for name, row in now.items():
        assert outcome(row) == {**was[name], "error": renamed(was[name]["error"])}, name
    green = [name for name in names if was[name]["result"] == "PASS"]
    assert audit(bench.cloud, [bench.boards[name].modem for name in green]) == []
    assert bench.infuse("journal", "verify").code == 0
    for name, row in now.items():
        if row["certificate"] is not None:
            leaf = installed(bench.boards[name].modem)[0]
            assert leaf.serial_number == int(row["certificate"]["serial"], 16), name


def outcome(row):
    """What of a board's result does not differ from run to run; as make_journals.py stored it."""
    error, certificate = row["error"], row["certificate"]
    return {
        "result": row["result"],
        "already": row["already"],
        "possession": row["possession"],
        "failedStep": row["failedStep"],
        "error": error and error["code"],
        "certificate": certificate and sorted(certificate),
    }
