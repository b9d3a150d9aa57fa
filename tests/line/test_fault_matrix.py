"""Every fault at every kind of command: PASS, or a failure with a name; PASS at the next run; the journal stays true.

A world has a board for each fault, all in one run, so that each board's trouble is beside that of all the others.
"""

from __future__ import annotations

import pytest

from infuse_cli.errors import CODES
from tests.support.world import audit

pytestmark = pytest.mark.posix

PLACES = {
    "at": ("identify", "list", "server-ca", "keygen", "install", "token", "jwt", "any#9"),
    "at-shell": ("identify", "list", "server-ca", "keygen", "install", "token", "jwt", "any#9"),
    "cred-shell": ("identify", "list", "server-ca", "keygen", "install", "token", "any#9"),
}
STRUCK_ONCE = ("unplug=1s", "unplug-before=1s", "lost", "lost-before", "reset", "reset-before", "hang", "hang-before", "flip", "flip-before", "drop",
               "drop-before", "brown-out", "swap", "refuse=CME515", "refuse=CME527", "refuse=CME528", "refuse=ERROR", "active")
ALL_ALONG = ("urc", "garbage", "slow=100", "boot-log", "dtr-reset", "slow-nvm=200")
LONGEST_S = 120.0
"""A KEYGEN may take 30 s and is given two chances, between which a board is waited for."""


def run_twice(make_bench, plan: list[str], dialect: str) -> tuple[list[dict], list[dict]]:
    """Results of the boards in slot order with the plan's faults, and of the run after every board was reset."""
    faults = ", ".join([f"*:dialect={dialect}", *(f"{slot}:{fault}" for slot, fault in enumerate(plan, 1)), "seed=7"])
    with make_bench(len(plan), faults=faults) as bench:
        first = boards(bench.provision(*bench.world.ports))
        for slot in range(1, len(plan) + 1):
            bench.world.plug(slot)
            bench.world.reset(slot)
        second = boards(bench.provision(*bench.world.ports))
        assert audit(bench.world) == []
        verified = bench.infuse("journal", "verify", "--output", "json")
        assert verified.code == 0, verified.stdout
        return first, second


def boards(ran) -> list[dict]:
    assert ran.code in {0, 11}, ran.stdout + ran.stderr
    return sorted(ran.envelope["data"]["boards"], key=lambda board: board["slot"])


def wrong(plan: list[str], first: list[dict], second: list[dict]) -> list[str]:
    """What does not hold, a line each."""
    found = []
    for fault, board, again in zip(plan, first, second, strict=True):
        error = board["error"]
        if board["result"] != "PASS" and (error is None or error["code"] not in CODES or error["code"] == "tool.bug"):
            found.append(f"{fault}: ended {board['result']} with {error}")
        if board["ms"] > LONGEST_S * 1000:
            found.append(f"{fault}: took {board['ms'] / 1000:.0f} s")
        if again["result"] != "PASS":
            found.append(f"{fault}: first {error and error['code']}, then {again['result']} with {again['error']}")
    return found


def test_trouble_at_install_beside_boards_that_are_well(make_bench):
    plan = ["brown-out", "flip@install", "drop@any#9", "dtr-reset", "urc", "refuse=CME527@install"]
    first, second = run_twice(make_bench, plan, "at")
    assert wrong(plan, first, second) == []
    assert [board["error"]["code"] for board in first if board["error"]][-1] == "modem.bad-certificate"
    assert first[0]["error"]["code"] == "modem.power"
    assert [board["result"] for board in first[3:5]] == ["PASS", "PASS"]


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("dialect", "place"), [(dialect, place) for dialect, places in PLACES.items() for place in places])
def test_every_fault_at_this_place(make_bench, dialect, place):
    name, _, nth = place.partition("#")
    plan = [f"{fault}@{name}{'#' + nth if nth else ''}" for fault in STRUCK_ONCE]
    assert wrong(plan, *run_twice(make_bench, plan, dialect)) == []


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", PLACES)
def test_every_fault_that_lasts(make_bench, dialect):
    plan = [*ALL_ALONG, *(("plain", "no-echo") if dialect != "at" else ("echo", "blank"))]
    first, second = run_twice(make_bench, plan, dialect)
    assert wrong(plan, first, second) == []
    assert [board["result"] for board in first] == ["PASS"] * len(plan)
