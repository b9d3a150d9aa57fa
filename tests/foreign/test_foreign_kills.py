"""SIGKILL at any moment, two programs at once, two homes at one cloud, tokens of every
fate.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
from collections import Counter

import pytest

from tests.foreign.board import Fault as BoardFault
from tests.foreign.board import Style, pause
from tests.foreign.cloud import Fault
from tests.foreign.conftest import storms
from tests.foreign.verifier import audit, check_identity, installed, local_root, pem

POINTS = {
    "local-ca": [
        "sent:POST /device",
        "answered:POST /device",
        "sent:POST /devices/registration/tokens",
        "answered:POST /devices/registration/tokens",
        "wire:keygen",
        "ran:keygen",
        "done:keygen",
        "begun:flash",
        "wire:flash",
        "wire:flash#2",
        "begun:sign",
        "signed",
        "wire:install",
        "ran:install",
        "before:verify",
        "wire:server-ca",
    ],
    "cloud-ca": [
        "begun:token",
        "answered:POST /devices/registration/tokens",
        "begun:provision",
        "sent:POST /devices/provision",
        "answered:POST /devices/provision",
        "ran:provision",
        "wire:install",
    ],
    "first-boot": [
        "answered:POST /devices/registration/tokens",
        "wire:flash",
        "wire:flash#2",
        "ran:flash",
        "before:check-in",
    ],
    "none": ["answered:POST /device", "ran:register"],
}
GRACE = {"lost_answer_grace_s": 0.3}


def firmware(bench):
    """The application goes online with the token it finds, as often as the modem does."""

    def online(modem):
        if (4202, 3) in modem.store and (4202, 4) in modem.store:
            device = modem.store[4202, 4].decode()
            if device in bench.cloud.state.registry:
                bench.cloud.check_in(device, bytes.fromhex(modem.store[4202, 3].decode()).decode())

    return online


def prepared(make_bench, mode, boards=1, **cloud):
    bench = make_bench()
    bench.write(mode, token=mode == "local-ca", cloud={**GRACE, **cloud})
    made = [bench.board() for _ in range(boards)]
    for board in made:
        board.online = firmware(bench) if mode == "first-boot" else board.online
    return bench, made


def tokens_on_record(bench, board):
    """Every token that the journal knows of this board: token id to state."""
    shown = bench.show(board.modem.uuid)
    return {row["tokenId"]: row["state"] for row in of_attempts(shown, "tokens") if row["tokenId"]}


def of_attempts(shown, what):
    return [row for attempt in shown["attempts"] for row in attempt[what]]


def check_tokens(bench, boards):
    """Every token the cloud ever minted is revoked with its device gone, consumed, or alive on the
    board it was made for.
    """
    known = {}
    for board in boards:
        known |= tokens_on_record(bench, board)
    for row in bench.cloud.state.minted:
        status, recorded = row["status"], known.get(row["id"])
        if recorded is None:  # its mint answer was lost: it must be revoked
            assert status == "REVOKED", (row, known)
        elif status == "PENDING":
            assert recorded in {"minted", "delivered"}, (row["status"], recorded)
        elif status == "USED":
            assert recorded in {"consumed", "compromised"}, (row["status"], recorded)
        else:
            assert recorded in {"revoked", "expired", "compromised"}, (row["status"], recorded)
    alive = Counter(
        row["name"] for row in bench.cloud.state.tokens.values() if row["status"] == "PENDING"
    )
    assert all(count == 1 for count in alive.values()), alive


def check_world(bench, boards, mode):
    assert audit(bench.cloud, [board.modem for board in boards]) == []
    check_tokens(bench, boards)
    for board in boards:
        shown = bench.passes(board)
        assert shown["already"], shown
        if mode in {"local-ca", "cloud-ca"}:
            root = local_root(bench) if mode == "local-ca" else pem(bench.cloud.issuer.root)
            check_identity(bench, board, shown, root)
            certificates = of_attempts(bench.show(board.modem.uuid), "certificates")
            for_this_key = [
                row for row in certificates if row["serial"] == shown["certificate"]["serial"]
            ]
            assert len(for_this_key) == 1
            if mode == "local-ca":
                assert len(certificates) == 1, certificates
        assert board.modem.mode == board.style.boot_mode


def check_end(bench, boards, mode):
    """The last run: all PASS, but for boards whose provisioning by the cloud was lost twice: those
    are a person's.
    """
    ran = bench.provision(*boards)
    if ran.code == 0:
        check_world(bench, boards, mode)
        return
    assert mode == "cloud-ca", ran.stdout
    assert {error["code"] for error in ran.envelope["errors"]} == {"identity.token-spent"}, (
        ran.stdout
    )
    assert audit(bench.cloud, [board.modem for board in boards]) == []
    check_tokens(bench, boards)


def killed_then_green(make_bench, mode, point):
    bench, (board,) = prepared(make_bench, mode)
    killed = bench.provision(board, failpoint=point)
    assert killed.code == -signal.SIGKILL, killed.stdout + killed.stderr
    bench.passes(board)
    check_world(bench, [board], mode)
    assert board.modem.counts["keygen"] <= 2


QUICK = [("local-ca", "wire:flash#2"), ("cloud-ca", "answered:POST /devices/provision")]


@pytest.mark.parametrize(("mode", "point"), QUICK)
def test_killed_at_a_point(make_bench, mode, point):
    killed_then_green(make_bench, mode, point)


@pytest.mark.storm
@pytest.mark.parametrize(
    ("mode", "point"), [(mode, point) for mode, points in POINTS.items() for point in points]
)
def test_storm_killed_at_a_point(make_bench, mode, point):
    killed_then_green(make_bench, mode, point)


def storm(make_bench, mode, seed, kills, boards=4):
    """Kills at random times over several boards with firmware of their own, and calls that are lost
    on the way.
    """
    dice = random.Random(seed)
    bench, made = prepared(make_bench, mode, boards)
    for board in made:
        board.style = Style(
            echo=dice.random() < 0.5,
            empty_line=dice.random() < 0.5,
            noise=dice.random() < 0.5,
            null_in_csr=dice.random() < 0.5,
        )
        board.keygen_s = dice.uniform(0, 0.2)
    killed, longest = 0, 0.9
    for _ in range(kills):
        if dice.random() < 0.4:
            call = dice.choice(
                ["POST /device$", "POST .*/tokens", "POST .*/provision", "GET ", "DELETE "]
            )
            bench.cloud.faults.append(
                Fault(
                    call, dice.choice(["drop-after", "drop-before", "half"]), at=dice.randrange(3)
                )
            )
        started = bench.start(*bench.provision_argv(*made))
        pause(dice.uniform(0.05, longest))
        with contextlib.suppress(ProcessLookupError):
            os.kill(started[0], signal.SIGKILL)
        if bench.wait(started).code == -signal.SIGKILL:
            killed += 1
        else:
            longest = max(
                0.1, 0.6 * longest
            )  # it had ended before: boards that passed are looked at in no time
    bench.cloud.faults.clear()
    assert killed
    check_end(bench, made, mode)


@pytest.mark.storm
def test_a_few_random_kills(make_bench):
    storm(make_bench, "local-ca", 7, kills=4, boards=2)


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", list(POINTS))
def test_storm_random_kills(make_bench, mode, seed):
    storm(make_bench, mode, seed, kills=12)


def test_two_programs_on_one_board(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    board.keygen_s = 2.0
    first = bench.start(*bench.provision_argv(board))
    for _ in range(400):  # the first has the port once it wrote something
        if board.modem.counts["cfun"]:
            break
        pause(0.05)
    second = bench.provision(board)
    ended = bench.wait(first)
    assert ended.code == 0, ended.stdout
    assert second.code == 7, second.stdout
    assert second.envelope["errors"][0]["code"] in {"serial.busy", "board.in-use"}
    assert board.modem.counts["keygen"] == 1
    check_world(bench, [board], "local-ca")


@pytest.mark.storm
def test_two_homes_at_one_cloud(make_bench):
    """Two benches that share no journal: the second meets a board that the first made, and refuses
    what is not its own.
    """
    one, (board,) = prepared(make_bench, "local-ca")
    one.passes(board)
    other = make_bench(one.cloud)
    other.write(token=True)
    ran = other.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "identity.slot-occupied"
    ran = other.provision(board, more=("--replace",))
    assert ran.code == 8, ran.stdout
    assert ran.envelope["errors"][0]["code"] == "identity.registry-conflict"
    assert (
        len(one.cloud.state.devices)
        == len(one.cloud.state.registry)
        == len(one.cloud.state.minted)
        == 1
    )
    assert audit(one.cloud) == []


@pytest.mark.storm
def test_two_homes_register_different_boards_at_once(make_bench):
    one, (a,) = prepared(make_bench, "local-ca")
    other = make_bench(one.cloud)
    other.write(token=True)
    b = other.board()
    started = [bench.start(*bench.provision_argv(board)) for bench, board in ((one, a), (other, b))]
    assert [bench.wait(run).code for bench, run in zip((one, other), started, strict=True)] == [
        0,
        0,
    ]
    assert audit(one.cloud, [a.modem, b.modem]) == []


@pytest.mark.storm
def test_a_second_profile_on_a_board_that_passed(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.passes(board)
    writes = board.modem.counts["write"]
    bench.write(name="other-product", identity={"sec_tag": 4300})
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "plan.changed"
    assert board.modem.counts["write"] == writes
    shown = bench.passes(board, more=("--again",))
    assert shown["already"] is False
    assert len(bench.cloud.state.devices) == 1


# -- a registry name that is taken -----------------------------------------------------------------


@pytest.mark.storm
def test_a_lost_mint_is_cleared_and_minted_again(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.cloud.faults.append(Fault("POST .*/tokens", "drop-after"))
    bench.passes(board)
    assert [row["status"] for row in bench.cloud.state.minted] == ["REVOKED", "PENDING"]
    assert len(bench.cloud.state.registry) == 1
    check_world(bench, [board], "local-ca")


def test_a_strangers_registry_device_is_left_alone(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.cloud.faults.append(Fault("POST .*/tokens", "drop-before"))
    bench.provision(board, more=("--until", "register"))
    name = next(iter(bench.cloud.state.devices.values()))["deviceId"]
    stranger = bench.cloud._stored(
        bench.cloud.state.registry, {"name": name, "status": "PENDING", "tags": [], "metadata": {}}
    )
    bench.cloud.faults.clear()
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "identity.registry-conflict"
    assert stranger["id"] in bench.cloud.state.registry
    del bench.cloud.state.registry[stranger["id"]]
    bench.passes(board)


@pytest.mark.storm
def test_our_own_active_device_is_left_alone(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.cloud.faults.append(Fault("POST .*/tokens", "drop-after"))

    def active(request):
        if request.method == "GET" and request.path == "/api/v1/devices":
            for row in bench.cloud.state.registry.values():
                row["status"] = "ACTIVE"

    bench.cloud.before = active
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "identity.registry-conflict"
    assert bench.cloud.calls("^DELETE") == []


# -- a lost answer to the exchange -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "issued", "minted"),
    [("drop-after", 2, ["USED", "USED"]), *storms(("drop-before", 1, ["USED"]))],
)
def test_a_lost_provision(make_bench, kind, issued, minted):
    bench, (board,) = prepared(make_bench, "cloud-ca")
    bench.cloud.faults.append(Fault("POST .*/provision", kind))
    shown = bench.passes(board)
    assert len(bench.cloud.issuer.issued) == issued
    assert [row["status"] for row in bench.cloud.state.minted] == minted
    keys = {
        certificate.public_key().public_numbers().x for certificate in bench.cloud.issuer.issued
    }
    assert len(keys) == 1, "the same CSR"
    assert len(bench.cloud.state.registry) == 1
    assert installed(board.modem)[0].serial_number == bench.cloud.issuer.issued[-1].serial_number
    if issued == 2:
        assert "issuedUnseen" in json.dumps(
            bench.show(board.modem.uuid)
        ) or "issued-unseen" in json.dumps(bench.show(board.modem.uuid))
    assert shown["registryDeviceId"] in bench.cloud.state.registry
    check_world(bench, [board], "cloud-ca")


@pytest.mark.storm
def test_a_provision_that_is_lost_twice_is_for_a_person(make_bench):
    bench, (board,) = prepared(make_bench, "cloud-ca")
    bench.cloud.faults.append(Fault("POST .*/provision", "drop-after", times=99))
    ran = bench.provision(board)
    assert ran.code == 8, ran.stdout
    assert ran.envelope["errors"][0]["code"] == "identity.token-spent"
    assert len(bench.cloud.issuer.issued) == 2
    assert [token["state"] for token in of_attempts(bench.show(board.modem.uuid), "tokens")] == [
        "compromised",
        "compromised",
    ]
    bench.cloud.faults.clear()
    ran = bench.provision(board)
    assert (ran.code, ran.envelope["errors"][0]["code"]) == (8, "identity.token-spent"), ran.stdout
    assert len(bench.cloud.issuer.issued) == 2, "nothing more was signed"


@pytest.mark.storm
@pytest.mark.parametrize("status", [401, 409, 410])
def test_a_token_that_is_gone_at_provision(make_bench, status):
    bench, (board,) = prepared(make_bench, "cloud-ca")
    bench.cloud.faults.append(Fault("POST .*/provision", "status-before", status))
    bench.passes(board)
    check_world(bench, [board], "cloud-ca")


@pytest.mark.storm
def test_an_expired_token_is_minted_anew(make_bench):
    bench, (board,) = prepared(make_bench, "cloud-ca")
    bench.write("cloud-ca", cloud=GRACE, registry={"token_ttl_s": 1})
    killed = bench.provision(board, failpoint="begun:provision")
    assert killed.code == -signal.SIGKILL
    pause(1.2)
    bench.write("cloud-ca", cloud=GRACE)
    bench.passes(board)
    check_world(bench, [board], "cloud-ca")


# -- the line --------------------------------------------------------------------------------------


@pytest.mark.storm
def test_the_cloud_goes_away_and_comes_back(make_bench):
    bench, boards = prepared(make_bench, "local-ca", 2)
    boards[0].faults.append(BoardFault("KEYGEN", "call-after", bench.cloud.down))
    started = bench.start(*bench.provision_argv(*boards))
    pause(2.0)
    bench.cloud.up()
    ended = bench.wait(started)
    assert ended.code == 0, ended.stdout + ended.stderr
    check_world(bench, boards, "local-ca")


@pytest.mark.parametrize("number", [signal.SIGTERM, *storms(signal.SIGINT, signal.SIGHUP)])
def test_a_signal_finishes_the_step_and_parks(make_bench, number):
    bench, (board,) = prepared(make_bench, "local-ca")
    board.keygen_s = 0.8
    started = bench.start(*bench.provision_argv(board))
    for _ in range(1000):
        if any("KEYGEN" in text for text in board.commands):
            break
        pause(0.01)
    os.kill(started[0], number)
    ended = bench.wait(started)
    assert ended.code == 130, ended.stdout
    assert ended.envelope["data"]["boards"][0]["result"] == "ABORTED"
    assert board.modem.mode == 1
    assert 4201 in board.modem.keys
    ran = bench.infuse("resume", "--output", "json")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert board.modem.counts["keygen"] == 1
    check_world(bench, [board], "local-ca")


@pytest.mark.storm
def test_five_equal_errors_pause_the_run(make_bench):
    bench, boards = prepared(
        make_bench, "none", 7, outage_wait_s=0.2, timeout_s=0.5, deadline_s=0.5
    )
    bench.cloud.faults.append(Fault("GET /device/soc", "status-before", 500, times=10_000))
    ran = bench.provision(*boards, more=("--slots", "1"))
    assert ran.code == 11
    assert len(ran.envelope["data"]["boards"]) == 5
    assert any(error["code"] == "run.paused" for error in ran.envelope["errors"])
    assert re.search("five", json.dumps(ran.envelope["errors"]))
