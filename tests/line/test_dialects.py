"""The whole line over each dialect, on real pseudo-terminals."""

from __future__ import annotations

import pytest

from infuse_cli.journal.store import open_journal
from infuse_cli.pki.attestation import decode_identity_token
from infuse_cli.types import CredentialType, IdentityMode
from tests.support.nrfutil import ChipMemory
from tests.support.world import audit

pytestmark = pytest.mark.posix


@pytest.fixture(scope="module")
def at_shell(make_bench):
    with make_bench(3, faults="*:dialect=at-shell, 2:no-echo, 3:urc") as bench:
        yield bench


def test_three_boards_with_an_at_shell_pass(at_shell):
    ran = at_shell.provision(*at_shell.world.ports)
    assert ran.code == 0, ran.stdout + ran.stderr
    boards = ran.envelope["data"]["boards"]
    assert [(board["result"], board["possession"]) for board in boards] == [("PASS", "proven")] * 3
    assert audit(at_shell.world) == []
    for slot in at_shell.world.state()["slots"]:
        kinds = {(row["secTag"], row["type"]) for row in slot["credentials"]}
        assert {
            (4201, CredentialType.ROOT_CA),
            (4201, CredentialType.CLIENT_CERTIFICATE),
            (4202, CredentialType.PSK),
        } <= kinds


def test_boards_with_a_credential_shell_pass_and_are_known_by_their_chip(make_bench):
    with make_bench(2, faults="*:dialect=cred-shell, 2:no-echo") as bench:
        ran = bench.provision(*bench.world.ports)
        assert ran.code == 0, ran.stdout + ran.stderr
        boards = ran.envelope["data"]["boards"]
        assert [(board["result"], board["possession"]) for board in boards] == [
            ("PASS", "unproven")
        ] * 2
        assert [board["board"]["uuid"] for board in boards] == [
            f"nRF9151:{board['board']['mcuId']}" for board in boards
        ]
        assert audit(bench.world) == []
        again = bench.provision(*bench.world.ports)
        assert [board["already"] for board in again.envelope["data"]["boards"]] == [True, True]


def test_boards_with_infuse_iot_firmware_provision_themselves_with_a_token_by_kv_write(make_bench):
    # 3 once says nothing of its UUID, 4 is swapped while it is asked who it is, 5 is pulled when
    # its token is used already.
    faults = "*:dialect=epacket, 2:urc, 3:refuse=ERROR@identify, 4:swap@any#3, 5:unplug=10ms@any#11"
    with make_bench(5, IdentityMode.FIRST_BOOT, faults=faults, active_wait_s=20.0) as bench:
        ran = bench.provision(*bench.world.ports)
        told = [
            (board["result"], board["error"] and board["error"]["code"])
            for board in ran.envelope["data"]["boards"]
        ]
        assert told == [
            *[("PASS", None)] * 3,
            ("ABORTED", "board.changed"),
            ("ERROR", "serial.unplugged"),
        ], ran.stdout
        again = bench.provision(*bench.world.ports)
        assert [board["result"] for board in again.envelope["data"]["boards"]] == ["PASS"] * 5, (
            again.stdout
        )
        assert [device["status"] for device in bench.world.state()["registryDevices"]] == [
            "ACTIVE"
        ] * 5
        assert audit(bench.world) == []
        with open_journal(bench.home, create=False) as journal:
            keys = [
                journal.attempts(board["board"]["uuid"])[-1].facts
                for board in again.envelope["data"]["boards"]
            ]
        assert [
            (one["derived"][0]["source"], one["deviceKey"]["from"], one["deviceKey"]["agrees"])
            for one in keys
        ] == [("local", "device", True)] * 5
        assert all(
            "otherCloud" not in one["deviceKey"] and len(one["deviceKey"]["keyId"]) == 6
            for one in keys
        )
        probed = bench.infuse(
            "serial", "probe", "--port", bench.world.port(2), "--output", "json"
        ).envelope
        assert probed["data"]["dialect"] == "epacket"


def test_the_device_id_goes_into_the_chip_and_a_board_with_another_is_refused(make_bench, tmp_path):
    with make_bench(3) as bench:
        profile = tmp_path / "with-id.yaml"
        bench_yaml = bench.home / "bench.yaml"
        bench.home.mkdir(mode=0o700, exist_ok=True)
        bench_yaml.write_text(
            "probes: {"
            + ", ".join(f"'{port}': '00{slot}'" for slot, port in enumerate(bench.world.ports, 1))
            + "}\n"
        )
        profile.write_text(f"name: with-id\nextends: {bench.profile}\nboard: {{write_id: true}}\n")
        chip = ChipMemory(tmp_path / "bin")

        def provision(slot: int, failpoint: str = ""):
            return bench.infuse(
                "provision",
                "--profile",
                str(profile),
                "--port",
                bench.world.port(slot),
                "--output",
                "json",
                env={"PATH": chip.path},
                failpoint=failpoint,
            )

        ran = bench.infuse(
            "provision",
            "--profile",
            str(profile),
            "--port",
            bench.world.port(1),
            "--output",
            "json",
        )
        assert (ran.code, "nrfutil" in ran.stdout, bench.world.state()["devices"]) == (3, True, [])
        named = bench_yaml.read_text()
        bench_yaml.write_text("probes: {}\n")
        [board] = provision(1).envelope["data"]["boards"]
        assert (board["failedStep"], board["error"]["code"], bench.world.state()["devices"]) == (
            "expect",
            "board.id-not-written",
            [],
        )
        bench_yaml.write_text(named)
        for failpoint in ("begun:write-id", "ran:write-id"):
            assert provision(1, failpoint).code < 0
        [board] = provision(1).envelope["data"]["boards"]
        assert board["result"] == "PASS"
        assert chip.read(ChipMemory.OTP)[::-1].hex() == board["deviceId"]
        assert chip.writes == 2
        by_hand = bench.infuse(
            "serial",
            "write-id",
            "--port",
            bench.world.port(1),
            "--output",
            "json",
            env={"PATH": chip.path},
        )
        assert (
            by_hand.code,
            by_hand.envelope["data"]["deviceId"],
            by_hand.envelope["data"]["already"],
        ) == (0, board["deviceId"], True)
        refused = bench.infuse(
            "serial",
            "write-id",
            "--port",
            bench.world.port(2),
            "--device-id",
            "0011223344556677",
            "--yes",
            env={"PATH": chip.path},
        )
        assert (refused.code, "nothing was written" in refused.stderr) == (8, True)
        [other] = provision(2).envelope["data"]["boards"]
        assert (other["result"], other["failedStep"], other["error"]["code"]) == (
            "FAIL",
            "write-id",
            "board.other-id",
        )
        assert chip.writes == 2
        assert audit(bench.world) == []


def test_a_plan_that_the_dialect_cannot_carry_out_is_refused_before_a_board_is_touched(
    make_bench, tmp_path
):
    with make_bench(1) as bench:
        profile = tmp_path / "strict.yaml"
        profile.write_text(
            f"name: strict\nextends: {bench.profile}\ntoken: {{store: settings, name:"
            " infuse/token}\n"
        )
        ran = bench.infuse(
            "provision",
            "--profile",
            str(profile),
            "--port",
            bench.world.port(1),
            "--output",
            "json",
        )
        assert ran.code == 3, ran.stdout + ran.stderr
        assert (
            "store the registration token in settings"
            in ran.envelope["data"]["boards"][0]["error"]["message"]
        )
        assert bench.world.state()["slots"][0]["credentials"] == []
        assert bench.world.state()["devices"] == []


def test_the_modems_own_token_over_a_fresh_challenge_is_kept(at_shell):
    uuid = at_shell.world.state()["slots"][0]["uuid"]
    shown = at_shell.infuse("journal", "show", uuid, "--output", "json")
    assert shown.code == 0, shown.stdout
    [attempt] = shown.envelope["data"]["attempts"]
    kept = attempt["facts"]["attestationToken"]
    token = decode_identity_token(kept["text"])
    assert (token.uuid, token.nonce.hex(), kept["fresh"]) == (uuid, kept["challenge"], True)


def test_which_dialect_answers_is_found_out(at_shell):
    ran = at_shell.infuse("serial", "probe", "--port", at_shell.world.port(1), "--output", "json")
    assert ran.envelope["data"]["dialect"] == "at-shell", ran.stdout + ran.stderr
