"""A person stops the run: Ctrl-C, SIGTERM, SIGHUP, once and twice.

Both leave a true journal.
"""

from __future__ import annotations

import os
import signal

import pytest

from infuse_cli.journal.store import open_journal
from infuse_cli.types import AttemptState, StepState
from tests.line.trouble import (
    MINT,
    Under,
    eventually,
    faults,
    hurried,
    in_slot,
    one_line,
    passes,
    requests,
    under_way,
)
from tests.support.thin import thin

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(16) as bench:
        bench.profile = hurried(bench)
        yield bench


@pytest.mark.parametrize("number", thin(SIGNALS, 3, first=1), ids=lambda number: number.name)
def test_the_first_signal_finishes_the_step_in_hand_and_parks(bench, number):
    slot = bench.slot()
    with faults(bench, f"{slot}:slow=700@keygen"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="keygen")
            run.signal(number)
            ran = run.wait()
    assert ran.code == 130
    assert run.of(1, "board-ended")["state"] == "ABORTED"
    assert run.of(1, "board-ended")["error"]["code"] == "run.interrupted"
    assert run.of(1, "board-ended")["error"]["boardSafe"] is True
    assert run.events[-1]["event"] == "run-ended"
    parked = attempts(bench, slot)[-1]
    assert (parked.state, parked.steps["keygen"].state) == (AttemptState.PARKED, StepState.DONE)
    assert "register" not in parked.steps
    assert in_slot(bench, slot)["functionalMode"] == 1
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


@pytest.mark.parametrize("number", thin(SIGNALS, 3), ids=lambda number: number.name)
def test_the_second_signal_ends_the_run_at_once(bench, number):
    """The board hangs in the middle of a write, so only leaving it there can end the run before its
    time is over.
    """
    slot = bench.slot()
    with faults(bench, f"{slot}:hang@install"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="install")
            run.signal(number)
            run.until(event="run-stopping")
            run.signal(number)
            ran = run.wait()
    assert ran.code == 130
    assert not any(row["event"] == "board-ended" for row in run.events)
    left = attempts(bench, slot)[-1]
    assert (left.state, left.alive, left.steps["install"].state) == (
        AttemptState.RUNNING,
        False,
        StepState.BEGUN,
    )
    bench.world.reset(slot)
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


def test_the_first_signal_says_so_in_one_line(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:slow=700@keygen"):
        pid, out = bench.zygote.start(
            *bench.provisioning(bench.world.port(slot), output="human"), env=bench.env
        )
        at_its_key(bench, slot)
        os.kill(pid, signal.SIGINT)
        ran = bench.zygote.wait(pid, out)
    assert "infuse resume" in one_line(ran, "run.interrupted", 130)
    assert "Once more stops at once" in ran.stderr
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


def test_a_stop_while_the_cloud_is_away_ends_the_wait(bench):
    """The slot was waiting, amber, for the cloud: nothing is under way, so the stop parks
    it there.
    """
    slot = bench.slot()
    minted = requests(bench, MINT)
    with faults(bench, f"{slot}:slow=700@keygen"):
        with under_way(bench, bench.world.port(slot)) as run:
            run.until(event="step-begun", step="keygen")
            bench.world.set_faults("cloud:down")
            run.until(event="board-waiting")
            run.signal(signal.SIGINT)
            ran = run.wait()
    assert ran.code == 130
    assert run.of(1, "board-ended")["state"] == "ABORTED"
    passes(bench, slot)
    assert in_slot(bench, slot)["counts"]["keygen"] == 1
    assert requests(bench, MINT) == minted + 1


def test_a_stop_begins_no_further_board(bench):
    slots = [bench.slot() for _ in range(3)]
    with faults(bench, f"{slots[0]}:slow=700@keygen"):
        with under_way(
            bench, *(bench.world.port(slot) for slot in slots), more=("--slots", "1")
        ) as run:
            run.until(event="step-begun", step="keygen")
            run.signal(signal.SIGINT)
            ran = run.wait()
    assert ran.code == 130
    assert {row["slot"] for row in run.events if row["slot"]} == {1}
    assert run.events[-1]["data"]["totals"] == {"pass": 0, "fail": 0, "error": 0, "aborted": 1}
    passes(bench, *slots)


def test_a_stop_before_any_board_is_in_hand(bench):
    slot, before = bench.slot(), runs(bench)
    with faults(bench, "cloud:slow=1s@GET /organisation/name/{name}"):
        with under_way(bench, bench.world.port(slot)) as run:
            eventually(lambda: runs(bench) > before)
            run.signal(signal.SIGINT)
            ran = run.wait()
    assert ran.code == 130
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    passes(bench, slot)


def runs(bench) -> int:
    with open_journal(bench.home) as journal:
        return len(journal.runs())


def at_its_key(bench, slot: int) -> None:
    eventually(lambda: any("keygen" in attempt.steps for attempt in attempts(bench, slot)))


def attempts(bench, slot: int):
    with open_journal(bench.home) as journal:
        return journal.attempts(in_slot(bench, slot)["uuid"])


def test_a_resume_of_several_boards_that_is_stopped_says_so_too(bench):
    slots = [bench.slot(), bench.slot()]
    ports = [bench.world.port(slot) for slot in slots]
    assert bench.provision(*ports, more=("--until", "expect")).code == 0
    with faults(bench, ", ".join(f"{slot}:slow=700@keygen" for slot in slots)):
        pid, out = bench.zygote.start("resume", "--output", "jsonl", env=bench.env)
        run = Under(bench, pid, out)
        run.until(event="step-begun", step="keygen")
        run.signal(signal.SIGINT)
        assert run.wait().code == 130
    passes(bench, *slots)
