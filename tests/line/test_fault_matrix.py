"""Every fault at every kind of command: PASS, or a failure with a name; PASS at the next run; the
journal stays true.

A world has a board for each fault, all in one run, so that each board's trouble is beside that of
all the others.
"""

from __future__ import annotations

import pytest

from infuse_cli.errors import CODES
from infuse_cli.journal.store import open_journal
from infuse_cli.types import IdentityMode
from tests.support.world import audit

pytestmark = pytest.mark.posix

PLACES = {
    "at": ("identify", "list", "server-ca", "keygen", "install", "token", "jwt", "any#9"),
    "at-shell": ("identify", "list", "server-ca", "keygen", "install", "token", "jwt", "any#9"),
    "cred-shell": ("identify", "list", "server-ca", "keygen", "install", "token", "any#9"),
    "epacket": ("identify", "token", "any#3", "any#9"),
}
STRUCK_ONCE = (
    "unplug=1s",
    "unplug-before=1s",
    "lost",
    "lost-before",
    "reset",
    "reset-before",
    "hang",
    "hang-before",
    "flip",
    "flip-before",
    "drop",
    "drop-before",
    "brown-out",
    "swap",
    "refuse=CME515",
    "refuse=CME527",
    "refuse=CME528",
    "refuse=ERROR",
    "active",
)
ALL_ALONG = ("urc", "garbage", "slow=100", "boot-log", "dtr-reset", "slow-nvm=200")
BAD_BOARDS = (
    "no-imei",
    "bad-csr=null",
    "bad-csr=signature",
    "no-cose",
    "no-digest",
    "no-jwt",
    "bad-jwt",
    "wrong-readback",
    "mute",
    "gps",
    "wrong-baud",
)
LOOKS = {
    "at": ("echo", "blank"),
    "at-shell": ("plain", "no-echo"),
    "cred-shell": ("plain", "no-echo"),
    "epacket": (),
}
WELL = ""
"""A board without a fault, beside all the others."""

COMMANDS = range(1, 41)
LONGEST_S = 120.0
"""A KEYGEN may take 30 s and is given two chances, between which a board is waited for."""


def run_twice(
    make_bench, plan: list[str], dialect: str, *, cured: bool = False, more: tuple[str, ...] = ()
) -> tuple[list[dict], list[dict]]:
    """Results of the boards in slot order with the plan's faults, and of the run after every board
    was reset, or `cured` of its fault.
    """
    told = [f"*:dialect={dialect}", "seed=7"]
    faults = ", ".join([*told, *(f"{slot}:{fault}" for slot, fault in enumerate(plan, 1) if fault)])
    frames = (
        {"mode": IdentityMode.FIRST_BOOT, "active_wait_s": 10.0} if dialect == "epacket" else {}
    )
    with make_bench(len(plan), faults=faults, **frames) as bench:
        first = boards(bench.provision(*bench.world.ports), len(plan))
        agrees(bench, first)
        if cured:
            bench.world.set_faults(", ".join(told))
        for slot in range(1, len(plan) + 1):
            bench.world.plug(slot)
            bench.world.reset(slot)
        second = boards(bench.provision(*bench.world.ports, more=more), len(plan))
        agrees(bench, second)
        assert audit(bench.world) == []
        return first, second


def agrees(bench, told: list[dict]) -> None:
    """The journal is sound, and holds of each board what was told of it."""
    with open_journal(bench.home) as journal:
        assert journal.verify() == []
        for board in told:
            uuid = None if board["board"] is None else board["board"]["uuid"]
            if (
                uuid is not None
                and (attempts := journal.attempts(uuid))
                and not board["already"]
                and board["failedStep"] != "identify"
            ):
                assert attempts[-1].outcome == board["result"], board


def boards(ran, count: int) -> list[dict]:
    """By slot; those that were not begun, because five equal errors in a row paused the run, stand
    as such.
    """
    assert ran.code in {0, 11}, ran.stdout + ran.stderr
    paused = [error for error in ran.envelope["errors"] if error["code"] == "run.paused"]
    found = {board["slot"]: board for board in ran.envelope["data"]["boards"]}
    assert paused or len(found) == count
    not_begun = {
        "result": "ABORTED",
        "board": None,
        "error": paused[0] if paused else None,
        "ms": 0.0,
        "already": False,
        "failedStep": None,
    }
    return [found.get(slot, not_begun) for slot in range(1, count + 1)]


def wrong(plan: list[str], first: list[dict], second: list[dict]) -> list[str]:
    """What does not hold, a line each."""
    found = []
    for fault, board, again in zip(plan, first, second, strict=True):
        error = board["error"]
        if board["result"] != "PASS" and (
            error is None or error["code"] not in CODES or error["code"] == "internal.error"
        ):
            found.append(f"{fault}: ended {board['result']} with {error}")
        if board["ms"] > LONGEST_S * 1000:
            found.append(f"{fault}: took {board['ms'] / 1000:.0f} s")
        if again["result"] != "PASS":
            found.append(
                f"{fault}: first {error and error['code']}, then {again['result']} with"
                f" {again['error']}"
            )
    return found


def test_trouble_at_install_beside_boards_that_are_well(make_bench):
    plan = ["brown-out", "flip@install", "drop@any#9", "dtr-reset", "urc", "refuse=CME527@install"]
    first, second = run_twice(make_bench, plan, "at")
    assert wrong(plan, first, second) == []
    assert [board["error"]["code"] for board in first if board["error"]][
        -1
    ] == "modem.bad-certificate"
    assert first[0]["error"]["code"] == "modem.power"
    assert [board["result"] for board in first[3:5]] == ["PASS", "PASS"]


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("dialect", "place"),
    [(dialect, place) for dialect, places in PLACES.items() for place in places],
)
def test_every_fault_at_this_place(make_bench, dialect, place):
    plan = [WELL, *(f"{fault}@{place}" for fault in STRUCK_ONCE)]
    first, second = run_twice(make_bench, plan, dialect)
    assert wrong(plan, first, second) == []
    assert first[0]["result"] == "PASS"


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", PLACES)
@pytest.mark.parametrize("fault", ["hang", "unplug=1s", "swap", "reset"])
def test_a_fault_at_any_command_there_is(make_bench, dialect, fault):
    plan = [WELL, *(f"{fault}@any#{number}" for number in COMMANDS)]
    # A swap between the look at the UUID and the write behind it leaves something on the other
    # board, which --replace takes over.
    first, second = run_twice(
        make_bench, plan, dialect, cured=True, more=("--replace",) if fault == "swap" else ()
    )
    assert wrong(plan, first, second) == []
    assert first[0]["result"] == "PASS"


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", PLACES)
def test_every_fault_that_lasts(make_bench, dialect):
    plan = [*ALL_ALONG, *LOOKS[dialect]]
    first, second = run_twice(make_bench, plan, dialect)
    assert wrong(plan, first, second) == []
    assert [board["result"] for board in first] == ["PASS"] * len(plan)


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", PLACES)
def test_a_board_that_is_bad_from_the_start_fails_with_a_name_and_passes_once_it_is_cured(
    make_bench, dialect
):
    plan = [WELL, *BAD_BOARDS]
    first, second = run_twice(make_bench, plan, dialect, cured=True)
    assert wrong(plan, first, second) == []
    assert first[0]["result"] == "PASS"
