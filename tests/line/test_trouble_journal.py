"""A journal that cannot be written: nothing is done that could not be recorded, and nothing
recorded is lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.line.trouble import (
    MINT,
    ended,
    faults,
    in_slot,
    one_line,
    passes,
    refused,
    requests,
    under_way,
    well_said,
)
from tests.support.thin import thin


@pytest.fixture(scope="module")
def world(make_bench):
    with make_bench(34) as bench:
        yield bench


@pytest.fixture
def bench(world, tmp_path):
    """The shared world with a home of its own, in which one board passed already."""
    world.home = tmp_path / "home"
    passes(world, world.slot())
    return world


def journal_file(bench) -> Path:
    return bench.home / "journal.sqlite3"


def both(bench, slot: int, code: str, **limits: Any) -> str:
    """The run is refused, in JSON and in words, and nothing was done to the board or in the
    cloud.
    """
    before = requests(bench, "POST /device"), requests(bench, MINT)
    port = bench.world.port(slot)
    error = refused(bench.provision(port, **limits), code, 10)
    line = one_line(bench.provision(port, output="human", **limits), code, 10)
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == before
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    assert str(bench.home) in line
    return f"{error['message']} {error['hint']}"


@pytest.mark.storm
def test_a_journal_that_another_program_locks(bench):
    slot = bench.slot()
    before = requests(bench, "POST /device")
    with contextlib.closing(sqlite3.connect(journal_file(bench), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = refused(bench.provision(bench.world.port(slot)), "journal.locked", 10)
    assert str(journal_file(bench)) in error["message"]
    assert (requests(bench, "POST /device"), in_slot(bench, slot)["counts"]["keygen"]) == (
        before,
        0,
    )
    passes(bench, slot)


@pytest.mark.parametrize("which", ["file", "folder"])
def test_a_journal_that_cannot_be_written(bench, which):
    slot = bench.slot()
    path = journal_file(bench) if which == "file" else bench.home
    mode = path.stat().st_mode
    path.chmod(0o400 if which == "file" else 0o500)
    both(bench, slot, "journal.read-only", powerless=True)
    path.chmod(mode)
    passes(bench, slot)


DAMAGE = {
    "garbage": lambda path: path.write_bytes(os.urandom(8192)),
    "short": lambda path: path.write_bytes(b"SQLite"),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 60000),
}


@pytest.mark.parametrize("how", thin(DAMAGE, 2))
def test_a_journal_that_is_damaged(bench, how):
    slot = bench.slot()
    good = bench.home.with_name("good.sqlite3")
    shutil.copyfile(journal_file(bench), good)
    DAMAGE[how](journal_file(bench))
    damaged = journal_file(bench).read_bytes()
    both(bench, slot, "journal.corrupt")
    assert journal_file(bench).read_bytes() == damaged  # kept as evidence
    shutil.copyfile(good, journal_file(bench))
    passes(bench, slot)


def test_a_journal_that_is_newer_than_the_tool(bench):
    slot = bench.slot()
    good = journal_file(bench).read_bytes()
    with contextlib.closing(sqlite3.connect(journal_file(bench))) as other, other:
        table = next(
            name
            for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if "migration" in name
        )
        columns = [row[1] for row in other.execute(f"PRAGMA table_info({table})")]
        newest = dict(
            zip(
                columns,
                other.execute(f"SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1").fetchone(),
                strict=True,
            )
        )
        newest[columns[0]] += 1000
        newest = {
            key: "99.0" if "version" in key and isinstance(value, str) else value
            for key, value in newest.items()
        }
        other.execute(
            f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))})", tuple(newest.values())
        )
    told = both(bench, slot, "journal.newer")
    assert "99.0" in told
    journal_file(bench).write_bytes(good)
    passes(bench, slot)


def test_a_home_that_is_a_file(bench, tmp_path):
    slot = bench.slot()
    right, bench.home = bench.home, tmp_path / "file"
    bench.home.write_text("")
    both(bench, slot, "journal.read-only")
    bench.home = right
    passes(bench, slot)


def test_a_full_disk_before_the_run(bench):
    slot = bench.slot()
    told = both(bench, slot, "journal.disk-full", file_limit=8192)
    assert "Make room" in told
    passes(bench, slot)


@pytest.mark.storm
def test_a_disk_that_fills_up_during_the_run_loses_nothing(bench):
    """Wherever the journal stops growing: told as it is, and running again brings the board to
    PASS, once.
    """
    struck = set()
    for size in (60_000, 200_000, 330_000):
        slot, minted, registered = (
            bench.slot(),
            requests(bench, MINT),
            requests(bench, "POST /device"),
        )
        ran = bench.provision(bench.world.port(slot), file_limit=size)
        assert ran.code == 10, ran.stdout
        assert [error["code"] for error in ran.envelope["errors"]] == ["journal.disk-full"]
        board = ended(ran)
        assert (board["result"], well_said(board["error"])["code"]) == (
            "ERROR",
            "journal.disk-full",
        )
        struck.add(board["failedStep"])
        passes(bench, slot)
        assert in_slot(bench, slot)["counts"]["keygen"] <= 2  # one whose CSR could not be recorded
        assert requests(bench, MINT) <= minted + 2  # one whose token could not be recorded
        assert requests(bench, "POST /device") == registered + 1
    assert len(struck) >= 2, struck


@pytest.mark.storm  # every commit waits five seconds for the lock
def test_a_journal_that_is_locked_in_the_middle_of_a_board(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:slow=700@keygen"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="keygen")
            with contextlib.closing(
                sqlite3.connect(journal_file(bench), isolation_level=None)
            ) as other:
                other.execute("BEGIN IMMEDIATE")
                ran = run.wait()
    assert ran.code == 10
    error = run.of(1, "board-ended")["error"]
    assert well_said(error)["code"] == "journal.locked"
    passes(bench, slot)
