"""Boards on a USB hub, through the command: slots that were learned, ports under other names, a hub
that is reset, boards that cannot be told apart.
"""

from __future__ import annotations

import pytest

from tests.line.trouble import faults, once_each, under_way
from tests.support.usb import Machine

pytestmark = pytest.mark.posix


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(8) as bench:
        yield bench


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def boards(ran):
    assert ran.code == 0, ran.stdout + ran.stderr
    return {board["slot"]: board for board in ran.envelope["data"]["boards"]}


@pytest.mark.storm
def test_learned_slots_stay_through_other_names_and_a_reset_of_the_hub(bench, machine):
    def infuse(*words, **more):
        return bench.infuse(*words, "--output", "json", usb=machine.table, **more)

    one, two, three, four, five = (bench.slot() for _ in range(5))
    machine.plug("1-1.3", bench.world.port(one), "ttyACM0", "A")
    machine.plug("1-1.1", bench.world.port(two), "ttyACM1", "B")
    learned = infuse("serial", "slots", "learn", "--from-present").envelope["data"]["learned"]
    assert [(row["slot"], row["place"]) for row in learned] == [(1, "1-1.1"), (2, "1-1.3")]
    first = boards(infuse("provision", "--profile", bench.profile))
    assert {slot: (board["result"], board["port"][-1]) for slot, board in first.items()} == {
        1: ("PASS", "1"),
        2: ("PASS", "0"),
    }

    machine.pull("1-1.1", "1-1.3")
    machine.plug(
        "1-1.10", bench.world.port(three), "ttyACM0", "C"
    )  # another socket, and the first name
    machine.plug("1-1.3", bench.world.port(one), "ttyACM5", "A")
    machine.plug("1-1.1", bench.world.port(two), "ttyACM7", "B")
    again = boards(infuse("provision", "--profile", bench.profile))
    assert {slot: (board["already"], board["port"][-1]) for slot, board in again.items()} == {
        1: (True, "7"),
        2: (True, "5"),
        3: (False, "0"),
    }
    assert [again[slot]["board"] for slot in (1, 2)] == [first[slot]["board"] for slot in (1, 2)]

    machine.pull("1-1.1", "1-1.3", "1-1.10")
    plan = f"{four}:slow=3000@keygen, {five}:slow=3000@keygen"
    with (
        faults(bench, plan),
        under_way(bench, more=("--watch", "--count", "2"), usb=machine.table) as run,
    ):
        run.until(event="run-started")
        machine.plug("1-1.1", bench.world.port(four), "ttyACM0", "D")
        machine.plug("1-1.3", bench.world.port(five), "ttyACM1", "E")
        for slot in (1, 2):
            run.until(event="step-begun", step="keygen", slot=slot)
        for slot in (four, five):
            bench.world.unplug(slot)
        lost = run.until(event="hub-lost")
        machine.pull("1-1.1", "1-1.3")
        machine.plug(
            "1-1.3", bench.world.plug(five), "ttyACM0", "E"
        )  # they come back with their names exchanged
        machine.plug("1-1.1", bench.world.plug(four), "ttyACM1", "D")
        ran = run.wait()
    assert ran.code == 0, ran.stdout + ran.stderr
    assert lost["data"] == {"slots": [1, 2]}
    assert sum(row["event"] == "hub-lost" for row in run.events) == 1
    assert sorted(
        (row["slot"], row["state"]) for row in run.events if row["event"] == "board-ended"
    ) == [(1, "PASS"), (2, "PASS")]
    once_each(bench, [*first.values(), again[3]])
