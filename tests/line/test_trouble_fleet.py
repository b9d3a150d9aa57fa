"""Several boards and trouble: common errors pause the run, --slots is a ceiling, one bad board
never stops the line.
"""

from __future__ import annotations

import pytest

from tests.line.trouble import ended, faults, passes, under_way, well_said


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(24) as bench:
        yield bench


def codes(ran) -> list[str]:
    return [error["code"] for error in ran.envelope["errors"]]


def test_five_equal_errors_in_a_row_pause_the_run(bench):
    slots = [bench.slot() for _ in range(7)]
    ports = [bench.world.port(slot) for slot in slots]
    plan = ", ".join(f"{slot}:unplug-before@list" for slot in slots[:5])
    with faults(bench, plan):
        ran = bench.provision(*ports, more=("--slots", "1"))
    assert ran.code == 11
    assert [board["slot"] for board in ran.envelope["data"]["boards"]] == [1, 2, 3, 4, 5]
    assert {ended(ran, number)["error"]["code"] for number in range(1, 6)} == {"serial.unplugged"}
    assert "run.paused" in codes(ran)
    paused = next(error for error in ran.envelope["errors"] if error["code"] == "run.paused")
    assert "common cause" in well_said(paused)["hint"]
    ports[:5] = [bench.world.plug(slot) for slot in slots[:5]]
    with faults(bench, plan):
        told = bench.provision(*ports, more=("--slots", "1"), output="human").stderr
    assert "Traceback" not in told
    assert [line.split()[1] for line in told.splitlines() if line.startswith("error ")] == [
        "serial.unplugged:"
    ] * 5 + ["run.paused:"]
    for slot in slots[:5]:
        bench.world.plug(slot)
    passes(bench, *slots)


def test_four_equal_errors_or_a_pass_in_between_do_not(bench):
    slots = [bench.slot() for _ in range(6)]
    with faults(
        bench, ", ".join(f"{slot}:unplug-before@list" for slot in (*slots[:2], *slots[3:]))
    ):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots), more=("--slots", "1"))
    assert ran.code == 11
    assert ended(ran, 3)["result"] == "PASS"
    assert len(ran.envelope["data"]["boards"]) == 6
    assert "run.paused" not in codes(ran)
    for slot in (*slots[:2], *slots[3:]):
        bench.world.plug(slot)
    passes(bench, *slots)


@pytest.mark.parametrize("most", [1, 3])
def test_slots_is_a_ceiling(bench, most):
    slots = [bench.slot() for _ in range(5)]
    with under_way(
        bench, *(bench.world.port(slot) for slot in slots), more=("--slots", str(most))
    ) as run:
        ran = run.wait()
    assert ran.code == 0
    at_work, seen = 0, []
    for row in run.events:
        at_work += {"board-found": 1, "board-ended": -1}.get(row["event"], 0)
        seen.append(at_work)
    assert max(seen) <= most
    assert run.events[-1]["data"]["totals"]["pass"] == 5
