"""What comes later in a board's life: a second run under other terms, a token that was used
meanwhile, a look into the home.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import stat

import pytest

from tests.foreign.board import Fault as BoardFault
from tests.foreign.board import Style, pause
from tests.foreign.cloud import Fault
from tests.foreign.conftest import storms
from tests.foreign.test_foreign_kills import check_end, check_world, prepared
from tests.foreign.verifier import audit, check_identity, local_root, pem

DESIGN_EXAMPLE = """\
name: field-sensor
extends: nrf9151-dk
board:    {soc: nRF9151, serial: {baud: 115200, rtscts: false, dialect: auto}, presence: port, mcu_id: {from: nrfutil}, expect: {model: nRF9151-LACA, modem_firmware: '>=2.0.2'}}
cloud:    {base_url: https://api.infuse-iot.com, auth: {scheme: bearer}, organisation: {name: Example Provider, create: false},
           board: {name: Example Sensor Board, create: true, description: Low-power field sensor board, metadata_fields: [{name: serialNumber, required: true, unique: true}]}, network: {name: Field Network}}
registry: {base_url: https://registry.example, auth: same, name: '{serialNumber}', tags: [line-1], siteId: null, deviceProfileId: null, token_ttl_s: 3600}
identity: {mode: local-ca, sec_tag: 4201, existing: refuse, ca: default, passphrase: {keyring: true}, certificate: device, server_ca: broker-ca.pem, attestation: if-offered}
token:    {store: psk, sec_tag: 4202}
metadata: {serialNumber: {from: scan, pattern: 'SN-\\d{5}'}, deploymentSite: Brisbane}
keys:     {interfaces: [udp], to: none}
verify:   {possession: if-offered, active_wait_s: 0, state_wait_s: 0, rpc: null}
"""


def test_the_example_of_the_design_is_a_profile(bench):
    path = bench.folder / "example.yaml"
    path.write_text(DESIGN_EXAMPLE)
    ran = bench.infuse("profile", "check", str(path), "--output", "json")
    assert ran.code == 0, ran.stdout


@pytest.mark.parametrize("forgets", [True, *storms(False)])
def test_a_token_used_before_the_station_came_back(make_bench, forgets):
    """first-boot: the station dies after the flash, the board starts by itself and connects; that
    is success.
    """
    bench, (board,) = prepared(make_bench, "first-boot")
    killed = bench.provision(board, failpoint="ran:flash")
    assert killed.code == -signal.SIGKILL
    board.reset(banner=False)
    board.online(board.modem)
    if forgets:
        del board.modem.store[4202, 3]
    assert [row["status"] for row in bench.cloud.state.minted] == ["USED"]
    bench.passes(board)
    assert len(bench.cloud.state.minted) == 1
    check_world(bench, [board], "first-boot")


@pytest.mark.storm
def test_a_token_that_ran_out_on_the_shelf(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.write(token=True, registry={"token_ttl_s": 1})
    assert bench.provision(board, failpoint="begun:flash").code == -signal.SIGKILL
    pause(1.2)
    bench.write(token=True)
    bench.passes(board)
    check_world(bench, [board], "local-ca")


@pytest.mark.storm
@pytest.mark.parametrize("mode", ["local-ca", "cloud-ca"])
def test_again_with_tokens(make_bench, mode):
    bench, (board,) = prepared(make_bench, mode)
    first = bench.passes(board)
    second = bench.passes(board, more=("--again",))
    assert second["certificate"]["serial"] != first["certificate"]["serial"]
    check_identity(
        bench,
        board,
        second,
        local_root(bench) if mode == "local-ca" else pem(bench.cloud.issuer.root),
    )
    assert len(bench.cloud.state.registry) == 1
    live = [row for row in bench.cloud.state.tokens.values() if row["status"] == "PENDING"]
    assert len(live) == (1 if mode == "local-ca" else 0)
    if mode == "local-ca":
        assert bytes.fromhex(board.modem.store[4202, 3].decode()).decode() == live[0]["secret"]
    assert audit(bench.cloud, [board.modem]) == []


def test_another_plan_is_refused_until_restart(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.provision(board, more=("--until", "keygen"))
    bench.write(identity={"sec_tag": 4400})
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "plan.changed"
    assert "--restart" in ran.envelope["errors"][0]["hint"]
    bench.passes(board, more=("--restart",))
    assert 4400 in board.modem.keys


def test_resume_uses_the_profile_of_its_run(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    assert bench.provision(board, failpoint="begun:register").code == -signal.SIGKILL
    bench.profile.write_text("name: something else entirely\n")
    ran = bench.infuse("resume", "--output", "json")
    assert ran.code == 0, ran.stdout + ran.stderr
    bench.write(token=True, cloud={"lost_answer_grace_s": 0.3})
    check_world(bench, [board], "local-ca")


def test_nothing_in_the_home_is_open_or_tells_a_secret(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    board.faults += [BoardFault("CMNG=0,4201,1", "cme", 527)]
    assert bench.provision(board).code == 7
    bench.passes(board)
    token = bench.cloud.state.minted[0]["secret"]
    secrets = (token, token.encode().hex(), bench.cloud.token)
    for top in (bench.home, bench.folder / "config" / "infuse"):
        for path in (top, *top.rglob("*")):
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode & 0o077 == 0, f"{path} has mode {mode:o}"
            data = b"" if path.is_dir() else path.read_bytes()
            assert not [
                secret
                for secret in secrets
                if secret.encode() in data or secret.upper().encode() in data
            ], path
    shown = bench.infuse("journal", "show", board.modem.uuid, "--output", "json").stdout
    assert not [secret for secret in secrets if secret in shown]


def test_a_closed_board_is_not_gone_on_with(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    bench.provision(board, more=("--until", "register"))
    ran = bench.infuse(
        "journal", "close", board.modem.uuid, "--reason", "scrapped", "--output", "json"
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    nothing = bench.infuse("resume", "--output", "json")
    assert nothing.code == 0
    assert nothing.envelope["data"]["boards"] == []
    assert "scrapped" in json.dumps(bench.show(board.modem.uuid))


@pytest.mark.storm
def test_a_second_signal_stops_at_once_and_the_record_stays_true(make_bench):
    bench, (board,) = prepared(make_bench, "local-ca")
    board.keygen_s = 3.0
    started = bench.start(*bench.provision_argv(board))
    for _ in range(500):
        if any("KEYGEN" in text for text in board.commands):
            break
        pause(0.01)
    os.kill(started[0], signal.SIGINT)
    pause(0.2)
    os.kill(started[0], signal.SIGINT)
    ended = bench.wait(started)
    assert ended.code == 130
    pause(3.0)
    bench.passes(board)
    check_world(bench, [board], "local-ca")


def rivals(make_bench, seed, rounds):
    """Two programs with one home at the same boards, both killed now and then."""
    dice = random.Random(seed)
    bench, boards = prepared(make_bench, "local-ca", 3)
    for _ in range(rounds):
        pair = [bench.start(*bench.provision_argv(*dice.sample(boards, 3))) for _ in range(2)]
        pause(dice.uniform(0.1, 0.8))
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(pair)[0], signal.SIGKILL)
        ended = [bench.wait(one) for one in pair]
        for one in ended:
            assert one.code in {0, 7, 8, 11, -signal.SIGKILL}, one.stdout + one.stderr
            if one.code > 0:
                codes = {error["code"] for error in one.envelope["errors"]}
                assert codes <= {
                    "serial.busy",
                    "board.in-use",
                    "serial.silent",
                    "journal.conflict",
                }, codes
    bench.passes(*boards)
    check_world(bench, boards, "local-ca")


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(6))
def test_storm_rivals(make_bench, seed):
    rivals(make_bench, seed, 8)


@pytest.mark.storm
def test_rivals(make_bench):
    rivals(make_bench, 1, 2)


def bend(bench, boards, dice):
    """Something goes wrong somewhere: at a call, at a board, or the cloud goes away for a while."""
    what = dice.choice(["call", "call", "late", "board", "board", "outage", "nothing"])
    call = dice.choice(
        ["POST /device$", "POST .*/tokens", "POST .*/provision", "GET ", "DELETE ", "POST /key"]
    )
    match what:
        case "call":
            kind, value = dice.choice(
                [
                    ("drop-after", None),
                    ("drop-before", None),
                    ("half", None),
                    ("status-before", 502),
                    ("status-after", 500),
                    ("status-before", (429, {"Retry-After": "1"})),
                    ("html", "after"),
                ]
            )
            bench.cloud.faults.append(Fault(call, kind, value, at=dice.randrange(3)))
        case "late":
            bench.cloud.faults.append(
                Fault(
                    "POST (/device|.*/tokens|.*/provision)$",
                    "late",
                    dice.uniform(0.2, 2.9),
                    at=dice.randrange(3),
                )
            )
        case "board":
            kind = dice.choice(
                ["reset-before", "reset-after", "silent-before", "silent-after", "cme"]
            )
            dice.choice(boards).faults.append(BoardFault("AT", kind, 528, at=dice.randrange(30)))
        case "outage":
            bench.cloud.down()
            pause(dice.uniform(0.05, 0.5))
            bench.cloud.up()


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(100, 124))
def test_storm_everything_at_once(make_bench, seed):
    """Kills, lost and late calls, reboots, refusals and outages, over boards of different
    manners.
    """
    dice = random.Random(seed)
    mode = dice.choice(["local-ca", "cloud-ca"])
    bench, boards = prepared(make_bench, mode, 3)
    bench.write(mode, token=mode == "local-ca", cloud={"outage_wait_s": 3.0})
    for board in boards:
        board.style = Style(
            echo=dice.random() < 0.5,
            empty_line=dice.random() < 0.5,
            noise=dice.random() < 0.5,
            boot_s=dice.choice([0, 0.2]),
        )
        board.keygen_s = dice.uniform(0, 0.2)
    for _ in range(12):
        bend(bench, boards, dice)
        started = bench.start(*bench.provision_argv(*boards))
        pause(dice.uniform(0.1, 1.5))
        if dice.random() < 0.8:
            with contextlib.suppress(ProcessLookupError):
                os.kill(started[0], signal.SIGKILL)
        bench.wait(started)
    bench.cloud.faults.clear()
    for board in boards:
        board.faults.clear()
    bench.cloud.settle()
    check_end(bench, boards, mode)


@pytest.mark.storm
@pytest.mark.parametrize(
    ("mode", "call"),
    [
        ("local-ca", "POST /device$"),
        ("local-ca", "POST .*/tokens"),
        ("cloud-ca", "POST .*/tokens"),
        ("cloud-ca", "POST .*/provision"),
    ],
)
@pytest.mark.parametrize("late_s", [0.3, 2.9])
def test_storm_killed_while_a_commit_is_still_to_come(make_bench, mode, call, late_s):
    bench, (board,) = prepared(make_bench, mode)
    bench.write(mode, token=mode == "local-ca")
    bench.cloud.faults.append(Fault(call, "late", late_s))
    started = bench.start(*bench.provision_argv(board))
    for _ in range(500):
        if bench.cloud.calls(call):
            break
        pause(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.kill(started[0], signal.SIGKILL)
    bench.wait(started)
    bench.passes(board)
    bench.cloud.settle()
    check_world(bench, [board], mode)
