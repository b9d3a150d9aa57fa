"""What the modem refuses, by number and place, and slots that hold what is not ours."""

from __future__ import annotations

import pytest

from infuse_cli.journal.store import open_journal
from tests.line.trouble import (
    MINT,
    ended,
    faults,
    in_slot,
    one_line,
    passes,
    refused,
    requests,
    well_said,
)

NUMBERS = range(513, 529)
CODES = {
    513: "modem.not-found",
    514: "modem.not-allowed",
    515: "modem.full",
    518: "modem.active",
    519: "modem.exists",
    523: "modem.keygen-failed",
    527: "modem.bad-certificate",
    528: "modem.power",
}
STEPS = {
    "identify": "identify",
    "list": "expect",
    "server-ca": "server-ca",
    "keygen": "keygen",
    "token": "flash",
    "install": "install",
}
"""Places of the fault plan at which a refusal ends the board, and the step that it ends."""

ROUND = [
    (number, place)
    for number, place in zip(NUMBERS, list(STEPS) * 3, strict=False)
    if (number, place) != (513, "list")
]
EVERY = [
    (number, place) for place in STEPS for number in NUMBERS if (number, place) != (513, "list")
]
"""513 to a list means an empty place, so it is no refusal there."""


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(40) as bench:
        yield bench


def each_is_told_and_goes_on(bench, pairs: list[tuple[int, str]], slots: list[int]) -> None:
    before = requests(bench, "POST /device"), requests(bench, MINT)
    plan = ", ".join(
        f"{slot}:{place}=CME{number} always"
        for slot, (number, place) in zip(slots, pairs, strict=True)
    )
    with faults(bench, plan):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    assert ran.code == 11
    for index, (number, place) in enumerate(pairs, start=1):
        board = ended(ran, index)
        error = well_said(board["error"])
        # Before the board was asked for numbers a refusal is a bare ERROR, and CMEE=1 comes first
        # of all.
        assert f"{number}, " in error["message"], (number, place, error)
        assert error["code"] == CODES.get(number, "modem.error")
        assert (board["result"], board["failedStep"]) == (
            "ERROR" if number == 528 else "FAIL",
            STEPS[place],
        )
    passes(bench, *slots)
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == (
        before[0] + len(slots),
        before[1] + len(slots),
    )
    for slot in slots:
        assert in_slot(bench, slot)["counts"]["keygen"] == 1


@pytest.mark.storm
def test_every_number_is_told_by_its_meaning_and_the_board_goes_on(bench):
    each_is_told_and_goes_on(bench, ROUND, [bench.slot() for _ in ROUND])


@pytest.mark.storm
def test_every_number_at_every_place(make_bench):
    with make_bench(len(EVERY)) as bench:
        for start in range(0, len(EVERY), 16):
            pairs = EVERY[start : start + 16]
            each_is_told_and_goes_on(bench, pairs, [bench.slot() for _ in pairs])


@pytest.mark.parametrize(("number", "exit_code"), [(515, 7), (528, 7)])
def test_one_refusal_has_its_own_exit_code_and_line(bench, number, exit_code):
    slot = bench.slot()
    with faults(bench, f"{slot}:install=CME{number} always"):
        line = one_line(
            bench.provision(bench.world.port(slot), output="human"), CODES[number], exit_code
        )
    assert f"answered {number}," in line
    passes(bench, slot)


def test_a_bare_error_and_passing_refusals(bench):
    """518 once is the firmware turning the modem on: taken offline and written again.

    ERROR always is a FAIL without a number.
    """
    slots = [bench.slot() for _ in range(3)]
    with faults(
        bench, f"{slots[0]}:install=CME518, {slots[1]}:keygen=ERROR, {slots[2]}:token=ERROR always"
    ):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    assert [ended(ran, number)["result"] for number in (1, 2, 3)] == ["PASS", "PASS", "FAIL"]
    error = well_said(ended(ran, 3)["error"])
    assert (error["code"], "without a number" in error["message"]) == ("modem.error", True)
    assert [board["already"] for board in passes(bench, *slots)] == [True, True, False]


def test_a_modem_that_cannot_sign_is_unproven_or_refused_as_the_profile_says(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:jwt=CME514 always"):
        ran = bench.provision(bench.world.port(slot))
    assert (ended(ran)["result"], ended(ran)["possession"]) == ("PASS", "unproven")


def test_a_jwt_by_another_key_is_a_fail(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:bad-jwt"):
        refused(bench.provision(bench.world.port(slot)), "identity.possession-failed", 8)
    passes(bench, slot)


def test_an_occupied_slot_is_left_alone_until_it_is_taken_over(bench):
    places = [(4201, 0), (4201, 1), (4201, 2), (4202, 3), (4202, 4)]
    slots = [bench.slot() for _ in places]
    bench.world.set_faults(
        ", ".join(
            f"{slot}:occupied={tag}/{kind}" for slot, (tag, kind) in zip(slots, places, strict=True)
        )
    )
    bench.world.set_faults("")
    there = [in_slot(bench, slot)["credentials"] for slot in slots]
    registered = requests(bench, "POST /device")
    ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    for number, ((tag, _), (row,)) in enumerate(zip(places, there, strict=True), start=1):
        board = ended(ran, number)
        assert (board["result"], board["error"]["code"]) == ("FAIL", "identity.slot-occupied")
        text = board["error"]["message"] + well_said(board["error"])["hint"]
        assert all(word in text for word in (str(tag), row["sha256"], "--replace"))
    line = one_line(
        bench.provision(bench.world.port(slots[0]), output="human"), "identity.slot-occupied", 8
    )
    assert there[0][0]["sha256"] in line
    assert [in_slot(bench, slot)["credentials"] for slot in slots] == there
    assert requests(bench, "POST /device") == registered
    boards = passes(bench, *slots, more=("--replace",))
    with open_journal(bench.home) as journal:
        replaced = [
            journal.attempts(board["board"]["uuid"])[-1].facts["replaced"] for board in boards
        ]
    assert [[row["sha256"] for row in rows] for rows in replaced] == [
        [row["sha256"]] for (row,) in there
    ]


def test_what_does_not_read_back_is_written_once_more_and_then_refused(bench):
    once, always = bench.slot(), bench.slot()
    with faults(bench, f"{once}:wrong-readback, {always}:wrong-readback always"):
        ran = bench.provision(bench.world.port(once), bench.world.port(always))
    assert ended(ran, 1)["result"] == "PASS"
    assert (ended(ran, 2)["result"], ended(ran, 2)["error"]["code"]) == (
        "FAIL",
        "identity.not-read-back",
    )
    passes(bench, once, always)


def test_a_modem_without_digests_cannot_be_read_back(bench):
    slot, registered = bench.slot(), requests(bench, "POST /device")
    with faults(bench, f"{slot}:no-digest"):
        refused(bench.provision(bench.world.port(slot)), "serial.no-digest", 7)
    assert requests(bench, "POST /device") == registered
    passes(bench, slot)


def test_a_board_that_reboots_in_the_middle_is_brought_back_into_step(bench):
    """Its settings are gone and it is on the air again; what the lost answer stood for is looked
    at, not guessed.
    """
    places = ["reset@keygen", "reset-before@keygen", "reset@install", "reset-before@token"]
    slots = [bench.slot() for _ in places]
    registered = requests(bench, "POST /device")
    with faults(
        bench, ", ".join(f"{slot}:{place}" for slot, place in zip(slots, places, strict=True))
    ):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    assert [ended(ran, number)["result"] for number in range(1, 5)] == ["PASS"] * 4
    assert all(board["already"] for board in passes(bench, *slots))
    assert requests(bench, "POST /device") == registered + 4


@pytest.mark.storm  # every command waits for its time to be over
def test_a_board_that_stops_answering_is_not_to_be_unplugged(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:hang@list"):
        error = refused(bench.provision(bench.world.port(slot)), "serial.timeout", 7, safe=False)
    assert "Reset the board" in error["hint"]
    bench.world.reset(slot)
    passes(bench, slot)


def test_a_board_left_in_flight_mode_is_told_apart_from_one_without_coverage(make_bench):
    with make_bench(1, active_wait_s=2.0) as bench:
        [board] = bench.world.bench.boards
        bench.world.bench.call(lambda: setattr(board.modem, "functional_mode", 4))
        error = well_said(
            bench.provision(bench.world.port(1)).envelope["data"]["boards"][0]["error"]
        )
        assert (
            error["code"],
            "functional mode 4" in error["message"],
            "Reset the board" in error["hint"],
        ) == ("identity.not-active", True, True)
        assert in_slot(bench, 1)["functionalMode"] == 4
        bench.world.reset(1)
        ran = bench.provision(bench.world.port(1))
        assert ran.envelope["data"]["boards"][0]["result"] == "PASS"
        assert in_slot(bench, 1)["functionalMode"] == 1
