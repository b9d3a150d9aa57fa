"""The record goes away in mid-run: the run stops, and nothing is called PASS."""

from __future__ import annotations

import shutil

import pytest

from infuse_cli.journal.database import FILE
from tests.line.trouble import ended, faults, once_each, passes, under_way


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(8) as made:
        yield made


def remove(home):
    for path in home.glob(f"{FILE}*"):
        path.rename(path.with_name(f"away-{path.name}"))


def replace_by_copy(home):
    path = home / FILE
    shutil.copy(path, home / "copy")
    path.rename(home / f"away-{FILE}")
    (home / "copy").rename(path)


def move_home(home):
    home.rename(home.with_name("elsewhere"))


def put_back(home):
    moved = home.with_name("elsewhere")
    if moved.exists():
        shutil.rmtree(home, ignore_errors=True)
        moved.rename(home)
    for path in home.glob("away-*"):
        path.replace(home / path.name.removeprefix("away-"))


@pytest.mark.parametrize("harm", [remove, replace_by_copy, move_home])
def test_the_record_is_gone_in_the_middle(bench, harm):
    slot = bench.slot()
    with faults(bench, f"{slot}:slow=500@keygen"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="keygen")
            harm(bench.home)
            ran = run.wait()
    put_back(bench.home)
    assert ran.code == 10, ran.stdout + ran.stderr
    assert run.of(1, "board-ended")["error"]["code"] == "journal.moved"
    assert run.of(1, "board-ended")["state"] == "ERROR"
    passes(bench, slot)


def test_a_pass_whose_record_is_gone_at_the_end_is_none(bench):
    first, second = bench.slot(), bench.slot()
    with faults(bench, f"{second}:slow=800@keygen"):
        with under_way(bench, bench.world.port(first), bench.world.port(second)) as run:
            run.until(event="board-ended")
            remove(bench.home)
            ran = run.wait()
    put_back(bench.home)
    assert ran.code in {10, 11}
    assert '"pass":0' in ran.stdout.splitlines()[-1]
    once_each(bench, passes(bench, first, second))


def test_a_run_whose_journal_stays_is_not_disturbed(bench):
    assert ended(bench.provision(bench.world.port(bench.slot())))["result"] == "PASS"
