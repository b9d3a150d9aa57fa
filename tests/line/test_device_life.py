"""The end of a device: retired, replaced, given new keys; killed anywhere and run again, and never
done twice.
"""

from __future__ import annotations

import re
import signal

import pytest
from cryptography.x509 import load_pem_x509_crl

from infuse_cli.journal.store import open_journal
from infuse_cli.types import IdentityMode, TokenState
from tests.line.test_kill_points import quick_grace
from tests.line.trouble import profile_with
from tests.support.world import audit

DELETE = "DELETE /devices/{deviceId}"
UPDATE = "PUT /device/id/{id}"
RETIRE = [
    "retire:begun",
    "retire:certificates",
    "retire:tokens",
    "retire:registry",
    "retire:freed",
    "retire:marked",
    f"sent:{DELETE}",
    f"answered:{DELETE}",
    f"sent:{UPDATE}",
    f"answered:{UPDATE}",
    f"answered:{UPDATE}#2",
]
ROTATE = [
    "rotate:registry",
    "rotate:begun",
    "rotate:green",
    "begun:keygen",
    "begun:sign",
    "signed",
    "wire:install",
    "before:verify",
    f"sent:{DELETE}",
    "answered:POST /devices/registration/tokens",
]
REPLACES = [
    "retire:freed",
    "begun:register",
    "answered:POST /device",
    "replaces:green",
    "retire:certificates",
    f"answered:{UPDATE}#2",
    "retire:marked",
]
QUICK = {f"sent:{UPDATE}", "begun:sign", "replaces:green"}
LIVE = {TokenState.INTENDED, TokenState.MINTED, TokenState.DELIVERED}


def quick(places):
    return [
        pytest.param(place, marks=() if place in QUICK else pytest.mark.storm) for place in places
    ]


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(60) as made:
        made.profile = quick_grace(made)
        yield made


@pytest.fixture(scope="module")
def cloud_ca(make_bench):
    with make_bench(2, IdentityMode.CLOUD_CA) as made:
        made.profile = quick_grace(made)
        yield made


def passed(bench, *more):
    """A board that PASSed: its port and its object in the envelope."""
    port = bench.world.port(bench.slot())
    return port, passes(bench, port, *more)


def passes(bench, port, *more):
    ran = bench.provision(port, more=more)
    assert ran.code == 0, ran.stdout + ran.stderr
    return ran.envelope["data"]["boards"][0]


def run(bench, *words, code=0, failpoint=""):
    ran = bench.infuse(
        *words, "--output", "json", failpoint=failpoint, env={"INFUSE_PROFILE": bench.profile}
    )
    assert ran.code == code, ran.stdout + ran.stderr
    return ran.envelope if code != -signal.SIGKILL else {}


def device(bench, device_id):
    return next(one for one in bench.world.state()["devices"] if one["deviceId"] == device_id)


def record(bench, uuid):
    with open_journal(bench.home, create=False) as journal:
        assert journal.verify() == []
        return journal.attempts(uuid), journal.certificates(board=uuid), journal.tokens(board=uuid)


def is_gone(bench, board, reason):
    """Nobody gets in as this board any more, and everybody can see why."""
    state, there = bench.world.state(), device(bench, board["deviceId"])
    attempts, certificates, tokens = record(bench, board["board"]["uuid"])
    assert there["metadata"]["serialNumber"].startswith(f"retired-{board['deviceId']}-")
    assert there["metadata"]["infuseRetired"]
    assert there["metadata"]["infuseRetiredReason"] == reason
    assert board["registryDeviceId"] not in {one["id"] for one in state["registryDevices"]}
    assert {one.state for one in certificates} == {"revoked"}
    assert not [one for one in tokens if one.state in LIVE]
    assert attempts[-1].facts["retirement"]["state"] == "done"
    assert audit(bench.world) == []
    return there, attempts


class TestRetire:
    def test_a_board_that_is_scrapped(self, bench):
        port, board = passed(bench)
        told = run(bench, "device", "retire", board["board"]["imei"], "--yes")["data"]
        assert [row["step"] for row in told["steps"]] == [
            "certificates",
            "tokens",
            "registry device",
            "unique metadata",
            "cloud device",
        ]
        is_gone(bench, board, "scrapped")
        ran = bench.provision(port)
        assert (ran.code, ran.envelope["errors"][0]["code"]) == (8, "identity.retired")
        assert "retired          20" in bench.infuse("journal", "show", board["deviceId"]).stdout
        assert (
            run(bench, "key", "rotate", board["deviceId"], "--port", port, code=8)["errors"][0][
                "code"
            ]
            == "identity.retired"
        )
        again = run(bench, "device", "retire", board["deviceId"], "--reason", "another")["data"]
        assert (again["already"], again["reason"]) == (True, "scrapped")
        assert passes(bench, port, "--again", "--update-metadata")["already"] is False

    def test_one_that_is_not_finished_is_closed(self, bench):
        port = bench.world.port(bench.slot())
        ran = bench.provision(port, more=("--until", "flash"))
        board = ran.envelope["data"]["boards"][0]
        run(bench, "device", "retire", board["board"]["uuid"], "--reason", "exposed", "--yes")
        _, attempts = (
            is_gone(bench, board, "exposed")
            if record(bench, board["board"]["uuid"])[1]
            else (None, record(bench, board["board"]["uuid"])[0])
        )
        assert attempts[-1].state.value == "closed"
        assert not [one for one in record(bench, board["board"]["uuid"])[2] if one.state in LIVE]

    def test_one_of_another_bench_ends_in_the_cloud(self, bench, tmp_path):
        _, board = passed(bench)
        env = {"INFUSE_PROFILE": bench.profile, "INFUSE_HOME": str(tmp_path / "home")}
        ran = bench.infuse(
            "device", "retire", board["deviceId"], "--yes", "--output", "json", env=env
        )
        assert ran.code == 0, ran.stdout
        assert "made on another bench" in ran.envelope["data"]["steps"][0]["result"]
        assert device(bench, board["deviceId"])["metadata"]["infuseRetired"]

    def test_one_that_a_batch_registered_and_nobody_plugged_in(self, bench, tmp_path):
        (tmp_path / "rows.csv").write_text(
            "mcuId,name,metadata.serialNumber\n00112233445566aa,gateway-1,SN-batch\n"
        )
        run(bench, "batch", "register", str(tmp_path / "rows.csv"))
        told = run(bench, "device", "retire", "00112233445566aa", "--yes")["data"]
        state = bench.world.state()
        (there,) = [one for one in state["devices"] if one["mcuId"] == "00112233445566aa"]
        assert there["metadata"]["infuseRetired"]
        assert told["deviceId"] == there["deviceId"]
        assert "gateway-1" not in {one["name"] for one in state["registryDevices"]}
        with open_journal(bench.home, create=False) as journal:
            assert not [one for one in journal.tokens(name="gateway-1") if one.state in LIVE]

    def test_an_unknown_one_and_no_terminal_change_nothing(self, bench):
        _, board = passed(bench)
        assert (
            run(bench, "device", "retire", "nobody", "--yes", code=6)["errors"][0]["code"]
            == "cloud.not-found"
        )
        assert (
            run(bench, "device", "retire", board["deviceId"], code=2)["errors"][0]["code"]
            == "usage.no-terminal"
        )
        assert run(bench, "device", "retire", board["deviceId"], "--reason", " ", code=2)
        assert "infuseRetired" not in device(bench, board["deviceId"])["metadata"]

    @pytest.mark.parametrize("place", quick(RETIRE))
    def test_killed_and_run_again(self, bench, place):
        _, board = passed(bench)
        run(
            bench,
            "device",
            "retire",
            board["deviceId"],
            "--reason",
            "lost",
            "--yes",
            failpoint=place,
            code=-signal.SIGKILL,
        )
        run(bench, "device", "retire", board["deviceId"], "--yes")
        is_gone(bench, board, "lost")

    def test_a_certificate_of_the_clouds_is_live_until_the_cloud_revokes_it(self, cloud_ca):
        port, board = passed(cloud_ca)
        rotated = run(cloud_ca, "key", "rotate", board["board"]["uuid"], "--port", port)["data"]
        assert rotated["revoked"] == []
        after = rotated["boards"][0]
        data = run(cloud_ca, "device", "retire", board["board"]["uuid"], "--yes")["data"]
        results = [row["result"] for row in data["steps"] if row["step"] == "certificates"]
        assert results[0] == "none left to revoke"
        assert "2 certificates of the cloud's CA not revoked" in results[1]
        assert "only the cloud can revoke them" in results[1]
        _, certificates, _ = record(cloud_ca, board["board"]["uuid"])
        assert "revoked" not in {row.state for row in certificates}
        assert device(cloud_ca, after["deviceId"])["metadata"]["infuseRetired"]
        assert audit(cloud_ca.world) == []


class TestReplace:
    def test_the_new_one_takes_what_is_moved(self, bench):
        (_, old), (_, new) = passed(bench), passed(bench)
        serial = device(bench, old["deviceId"])["metadata"]["serialNumber"]
        told = run(
            bench,
            "device",
            "replace",
            old["board"]["uuid"],
            new["board"]["uuid"],
            "--move",
            "serialNumber",
            "--yes",
        )["data"]
        assert told["replacedBy"] == new["deviceId"]
        there, _ = is_gone(bench, old, "replaced")
        assert there["metadata"]["infuseReplacedBy"] == new["deviceId"]
        assert (
            device(bench, new["deviceId"])["metadata"]
            | {
                "serialNumber": serial,
                "infuseReplaces": old["deviceId"],
            }
            == device(bench, new["deviceId"])["metadata"]
        )
        attempts, certificates, _ = record(bench, new["board"]["uuid"])
        assert attempts[-1].facts["replaces"] == {
            "board": old["board"]["uuid"],
            "deviceId": old["deviceId"],
        }
        assert (
            run(bench, "journal", "show", old["deviceId"])["data"]["board"]["uuid"]
            == old["board"]["uuid"]
        ), "the old id names the old board alone"
        assert {one.state for one in certificates} == {"issued"}

    def test_one_cannot_replace_itself(self, bench):
        _, board = passed(bench)
        run(bench, "device", "replace", board["board"]["uuid"], board["deviceId"], "--yes", code=2)
        assert "infuseRetired" not in device(bench, board["deviceId"])["metadata"]


class TestReplaces:
    def provision(self, bench, port, old, *more, failpoint="", code=0):
        ran = bench.provision(
            port, more=("--replaces", old["deviceId"], *more), failpoint=failpoint
        )
        assert ran.code == code, ran.stdout + ran.stderr
        return ran

    def test_the_old_one_ends_once_the_new_one_is_green(self, bench):
        _, old = passed(bench)
        serial = device(bench, old["deviceId"])["metadata"]["serialNumber"]
        slot = bench.slot()
        port = bench.world.port(slot)
        bench.world.set_faults(f"{slot}:install=CME527")
        failed = self.provision(
            bench, port, old, "--metadata", f"serialNumber={serial}", code=7
        ).envelope
        assert failed["data"]["replaced"] is None
        assert {one.state for one in record(bench, old["board"]["uuid"])[1]} == {"issued"}, (
            "the old one goes on working"
        )
        bench.world.set_faults("")
        data = self.provision(bench, port, old, "--metadata", f"serialNumber={serial}").envelope[
            "data"
        ]
        assert data["replaced"]["deviceId"] == old["deviceId"]
        there, _ = is_gone(bench, old, "replaced")
        new = data["boards"][0]
        assert there["metadata"]["infuseReplacedBy"] == new["deviceId"]
        assert device(bench, new["deviceId"])["metadata"]["serialNumber"] == serial

    @pytest.mark.storm
    def test_the_old_board_itself_on_the_port_is_not_ended(self, bench):
        port, old = passed(bench)
        before = device(bench, old["deviceId"])["metadata"]
        assert "itself" in self.provision(bench, port, old, code=2).envelope["errors"][0]["message"]
        assert device(bench, old["deviceId"])["metadata"] == before
        assert passes(bench, port)["already"] is True
        assert bench.provision(port, more=("--replaces", old["deviceId"], "--port", port)).code == 2
        assert bench.provision(port, more=("--replaces", old["deviceId"], "--dry-run")).code == 2
        assert (
            bench.provision("/dev/nowhere", more=("--replaces", old["deviceId"])).envelope[
                "errors"
            ][0]["code"]
            == "serial.no-port"
        )
        assert device(bench, old["deviceId"])["metadata"] == before, (
            "nothing is freed for a board that is not there"
        )
        assert {one.state for one in record(bench, old["board"]["uuid"])[1]} == {"issued"}

    @pytest.mark.parametrize("place", quick(REPLACES))
    def test_killed_and_run_again(self, bench, place):
        (_, old), port = passed(bench), bench.world.port(bench.slot())
        self.provision(bench, port, old, failpoint=place, code=-signal.SIGKILL)
        new = self.provision(bench, port, old).envelope["data"]["boards"][0]
        there, _ = is_gone(bench, old, "replaced")
        assert there["metadata"]["infuseReplacedBy"] == new["deviceId"]


class TestRotate:
    def on_list(self, bench) -> set[str]:
        """The serials on the list that the CA makes now."""
        out = bench.home.parent / "list.pem"
        run(bench, "ca", "crl", "--out", str(out))
        return {f"{entry.serial_number:x}" for entry in load_pem_x509_crl(out.read_bytes())}

    def rotated(self, bench, port, before, after):
        assert after["deviceId"] == before["deviceId"]
        assert after["registryDeviceId"] != before["registryDeviceId"]
        _, certificates, tokens = record(bench, before["board"]["uuid"])
        states = {one.serial: one.state for one in certificates}
        assert states.pop(after["certificate"]["serial"]) == "issued"
        assert states[before["certificate"]["serial"]] == "revoked"
        assert set(states.values()) <= {"revoked", "superseded"}
        assert len([one for one in tokens if one.state in LIVE]) <= 1
        assert audit(bench.world) == []
        assert passes(bench, port)["already"] is True

    def test_a_board_gets_new_keys_and_the_old_ones_end(self, bench):
        port, board = passed(bench)
        told = run(
            bench, "key", "rotate", board["board"]["imei"], "--port", port, "--reason", "exposed"
        )
        assert told["command"] == "key rotate"
        assert told["data"]["revoked"] == [board["certificate"]["serial"]]
        assert set(told["data"]["revoked"]) <= self.on_list(bench)
        self.rotated(bench, port, board, told["data"]["boards"][0])
        (revoked,) = [
            one for one in record(bench, board["board"]["uuid"])[1] if one.state == "revoked"
        ]
        assert revoked.reason == "keyCompromise"

    @pytest.mark.storm
    def test_one_that_was_revoked_and_is_live_gets_out_by_the_way_that_is_named(
        self, bench, monkeypatch
    ):
        """`--again` alone does not take a registry device away that is ACTIVE, and its
        hint says what does.
        """
        monkeypatch.setattr(
            bench,
            "profile",
            profile_with(
                bench, "awaited", lambda profile: profile["verify"].update(active_wait_s=20)
            ),
        )
        port, board = passed(bench)
        assert bench.infuse("ca", "revoke", "--board", board["board"]["imei"]).code == 0
        (told,) = bench.provision(port).envelope["errors"]
        assert (told["code"], "infuse key rotate" in told["hint"]) == ("identity.revoked", True)
        held = bench.infuse("serial", "creds", "list", port, "--output", "json").envelope["data"]
        (told,) = bench.provision(port, more=("--again",)).envelope["errors"]
        assert told["code"] == "identity.registry-conflict"
        assert (
            bench.infuse("serial", "creds", "list", port, "--output", "json").envelope["data"][
                "credentials"
            ]
            == held["credentials"]
        ), "it keeps what it has"
        (named,) = re.findall(r"`infuse (key rotate .*?)`", told["hint"])
        rotated = run(bench, *named.split())["data"]
        assert rotated["revoked"] == []
        self.rotated(bench, port, board, rotated["boards"][0])

    def test_another_board_on_the_port_is_left_alone(self, bench):
        (_, board), (other, _) = passed(bench), passed(bench)
        assert (
            run(bench, "key", "rotate", board["deviceId"], "--port", other, code=7)["errors"][0][
                "code"
            ]
            == "serial.none"
        )
        assert (
            run(bench, "key", "rotate", board["deviceId"], "--port", "/dev/nowhere", code=7)[
                "errors"
            ][0]["code"]
            == "serial.no-port"
        )
        wrong = bench.home.with_name("wrong.pass")
        wrong.touch(0o600)
        wrong.write_text("another passphrase")
        assert (
            run(bench, "key", "rotate", board["deviceId"], "--passphrase-file", str(wrong), code=9)[
                "errors"
            ][0]["code"]
            == "ca.bad-passphrase"
        )
        assert board["registryDeviceId"] in {
            one["id"] for one in bench.world.state()["registryDevices"]
        }, "it goes on working where it is"
        assert passes(bench, other)["already"] is True

    def test_one_that_never_passed_has_nothing_to_rotate(self, bench):
        assert run(bench, "key", "rotate", "nobody", code=6)

    @pytest.mark.parametrize("place", quick(ROTATE))
    def test_killed_and_run_again(self, bench, place):
        port, board = passed(bench)
        run(
            bench,
            "key",
            "rotate",
            board["deviceId"],
            "--port",
            port,
            failpoint=place,
            code=-signal.SIGKILL,
        )
        after = run(bench, "key", "rotate", board["deviceId"], "--port", port)["data"]["boards"][0]
        self.rotated(bench, port, board, after)
