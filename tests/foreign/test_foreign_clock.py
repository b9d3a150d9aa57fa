"""A clock that was wrong once does no harm, and doesn't block the bench once it is right."""

from __future__ import annotations

import sqlite3

import pytest

from infuse_cli.journal.database import FILE
from infuse_cli.journal.store import open_journal
from infuse_cli.records.notes import NoteKind


def refused(bench, board):
    before = bench.cloud.writes()
    ran = bench.provision(board)
    assert ran.code == 9, ran.stdout + ran.stderr
    assert ran.envelope["errors"][0]["code"] == "ca.clock"
    assert bench.cloud.writes() == before
    return ran.envelope["errors"][0]


@pytest.mark.parametrize("mode", ["local-ca", "cloud-ca", "first-boot", "none"])
def test_nothing_is_made_under_a_wrong_clock_and_all_is_well_once_it_is_right(make_bench, mode):
    bench = make_bench()
    bench.write(mode, keys=None, verify={"active_wait_s": 0})
    board = bench.board()
    for skew_s in (-36_000, 360):
        bench.cloud.skew_s = skew_s
        message = refused(bench, board)["message"]
        assert message.count("UTC") == 2  # both times are named
    bench.cloud.skew_s = 0
    if mode == "first-boot":
        assert bench.provision(board, more=("--until", "register")).code == 0
    else:
        bench.passes(board)


def test_a_time_far_ahead_on_record_is_set_aside_once_the_clock_agrees_with_the_cloud(bench):
    board = bench.board()
    bench.passes(board)
    with sqlite3.connect(bench.home / FILE) as journal:
        journal.execute("UPDATE chain SET newest = '2099-01-01T00:00:00.000000Z'")
    journal.close()
    bench.passes(bench.board())
    with open_journal(bench.home) as journal:
        assert journal.newest().year < 2099
        (corrected,) = journal.noted(NoteKind.CLOCK_CORRECTED)
        assert corrected[1]["newest"].startswith("2099")
        assert journal.verify() == []


def test_a_person_can_say_that_the_clock_is_right(bench):
    bench.passes(bench.board())
    with sqlite3.connect(bench.home / FILE) as journal:
        journal.execute("UPDATE chain SET newest = '2099-01-01T00:00:00.000000Z'")
    journal.close()
    ran = bench.infuse("journal", "reconcile", "--clock", "--output", "json")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.envelope["data"]["setAside"].startswith("2099")
    again = bench.infuse("journal", "reconcile", "--clock", "--output", "json")
    assert again.envelope["data"]["setAside"] is None
    assert bench.infuse("journal", "verify").code == 0
