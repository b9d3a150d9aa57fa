"""The commands of the two APIs against the virtual cloud on its real socket."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import threading
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from infuse_cli.cli import main
from infuse_cli.config.model import digest, to_json
from infuse_cli.config.source import load
from infuse_cli.journal.store import open_journal
from infuse_cli.records import EndAttempt, IntendToken, OpenAttempt, RunStart
from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerThread
from infuse_cli.types import AttemptState, TokenState
from tests.support.thin import thin

TOKEN = "organisation-admin-9917"
MCU = "0011223344556677"
PROFILE = """
name: sensor
board: {soc: nRF9151, mcu_id: {from: imei}}
identity: {mode: none}
metadata: {serialNumber: {from: imei}}
cloud:
  organisation: {name: Example Provider}
  board: {name: Sensor, create: true, description: Field sensor, metadata_fields: [{name: serialNumber, required: true, unique: true}]}
  lost_answer_grace_s: 0.2
  timeout_s: 1
  deadline_s: 2
registry: {base_url: "%s", auth: same, tags: [line-1]}
"""


class Shell:
    """Runs `infuse` in this process, as one bench at one virtual cloud."""

    def __init__(self, server, home, capsys, url):
        self.world, self.home, self.capsys, self.url = server.world, home, capsys, url

    def __call__(self, *argv, code=0):
        """The envelope of a command."""
        got = main.run([*argv, "--output", "json"])
        told = self.capsys.readouterr()
        assert got == code, told
        assert told.err == ""
        return json.loads(told.out)

    def data(self, *argv):
        return self(*argv)["data"]

    def error(self, *argv, code):
        (error,) = self(*argv, code=code)["errors"]
        return error

    def text(self, *argv):
        assert main.run(list(argv)) == 0
        return self.capsys.readouterr().out

    def faults(self, text):
        self.world.set_faults(text)

    def sent(self, call):
        found = self.world.requests.get(call)
        return found.count if found else 0

    def heard(self, device_id):
        with self.world.clock.lock:
            assert self.world.cloud.heard(device_id)

    def notes(self):
        with open_journal(self.home, create=False) as journal:
            assert journal.verify() == []
            return [event.facts["what"] for event in journal.events() if event.kind == "run-noted"]


@pytest.fixture
def infuse(tmp_path, monkeypatch, capsys):
    server = ServerThread(CloudOptions(token=TOKEN, organisations=("Example Provider",)))
    url = server.start().base_url
    for name in ("INFUSE_OUTPUT", "INFUSE_REGISTRY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    profile = tmp_path / "sensor.yaml"
    profile.write_text(PROFILE % url)
    for name, value in (
        ("HOME", tmp_path / "home"),
        ("BASE_URL", url),
        ("REGISTRY_URL", url),
        ("TOKEN", TOKEN),
        ("PROFILE", profile),
    ):
        monkeypatch.setenv(f"INFUSE_{name}", str(value))
    yield Shell(server, tmp_path / "home", capsys, url)
    server.stop()


@pytest.fixture
def device(infuse):
    """A registered device."""
    infuse("board", "ensure")
    return infuse.data("device", "create", MCU, "--metadata", "serialNumber=SN-10001")["device"]


def private(path):
    return stat.S_IMODE(path.stat().st_mode) == 0o600


class TestOrganisationsBoardsNetworks:
    def test_an_organisation_is_made_once(self, infuse):
        made = infuse.data("org", "create", "Acme / Ünited")
        assert made["created"]
        assert infuse.error("org", "create", "Acme / Ünited", code=6)["code"] == "cloud.refused"
        again = infuse.data("org", "ensure", "Acme / Ünited")
        assert (again["created"], again["organisation"]) == (False, made["organisation"])
        assert infuse.data("org", "show", made["organisation"]["id"]) == {
            "organisation": made["organisation"]
        }
        assert infuse.sent("POST /organisation") == 1
        assert infuse.notes() == ["organisation-intended", "organisation-created"]

    @pytest.mark.parametrize("fault", thin(["drop-after", "5xx-after"], 2))
    def test_a_lost_answer_is_looked_up_and_not_sent_again(self, infuse, fault):
        infuse.faults(f"cloud:{fault}@POST /organisation#1")
        assert infuse.data("org", "create", "Acme")["organisation"]["name"] == "Acme"
        assert infuse.sent("POST /organisation") == 1

    def test_what_was_not_done_is_said_to_be_open(self, infuse):
        infuse.faults("cloud:drop-before@POST /organisation#1")
        error = infuse.error("org", "create", "Acme", code=5)
        assert "not sent again" in error["message"]
        assert infuse.sent("POST /organisation") == 1
        assert infuse.notes() == ["organisation-intended"]

    def test_a_name_that_does_not_exist_names_the_nearest(self, infuse):
        error = infuse.error("org", "show", "Example Provder", code=6)
        assert (error["code"], "'Example Provider'" in error["hint"]) == ("cloud.not-found", True)

    def test_the_profiles_board_is_ensured(self, infuse):
        first = infuse.data("board", "ensure")
        assert (first["created"], first["board"]["soc"], first["board"]["description"]) == (
            True,
            "nRF9151",
            "Field sensor",
        )
        assert first["board"]["metadataFields"] == [
            {"name": "serialNumber", "required": True, "unique": True}
        ]
        assert infuse.data("board", "ensure") == {**first, "created": False}
        assert (
            infuse.error("board", "ensure", "Sensor", "--soc", "nRF52840", code=6)["code"]
            == "cloud.soc-mismatch"
        )
        assert infuse.data("board", "ensure", "Sensor", "--field", "site")["differs"] == [
            "metadataFields"
        ]
        assert infuse.data("board", "list")["boards"] == [first["board"]]

    def test_boards_of_one_name_are_listed_as_candidates(self, infuse):
        infuse("board", "create", "Twin", "--soc", "nRF9151")
        infuse("board", "create", "Twin 2", "--soc", "nRF9151")
        boards = infuse.world.cloud.boards
        for board in boards.values():
            board.name = "Twin"
        error = infuse.error("board", "show", "Twin", code=6)
        assert error["code"] == "cloud.ambiguous"
        assert all(board_id in error["message"] for board_id in boards)
        assert {
            infuse.data("board", "show", board_id)["board"]["id"] for board_id in boards
        } == set(boards)

    def test_a_network_key_is_kept_before_the_cloud_hears_of_it(self, infuse, tmp_path):
        infuse.faults("cloud:drop-before@POST /network#1")
        infuse.error(
            "network",
            "create",
            "Field",
            "--network-id",
            "1001",
            "--generate-key",
            "--out",
            str(tmp_path / "key"),
            code=5,
        )
        assert len(base64.b64decode((tmp_path / "key").read_text())) == 32
        assert private(tmp_path / "key")
        made = infuse(
            "network",
            "create",
            "Field",
            "--network-id",
            "1001",
            "--key-file",
            str(tmp_path / "key"),
        )
        (there,) = infuse.world.cloud.networks.values()
        assert there.key == (tmp_path / "key").read_text().strip()
        assert there.key not in json.dumps(
            [made, infuse("network", "list"), infuse("network", "show", "Field")]
        )

    @pytest.mark.parametrize(
        "write",
        [
            lambda key: base64.b64encode(key) + b"\n",
            lambda key: key.hex().encode(),
            lambda key: key,
        ],
    )
    def test_a_key_file_may_be_base64_hex_or_bytes(self, infuse, tmp_path, write):
        file = tmp_path / "net.key"
        file.write_bytes(write(bytes(range(100, 132))))
        file.chmod(0o600)
        infuse("network", "create", "Field", "--network-id", "0", "--key-file", str(file))
        (there,) = infuse.world.cloud.networks.values()
        assert base64.b64decode(there.key) == bytes(range(100, 132))

    def test_a_key_file_that_others_read_is_refused(self, infuse, tmp_path):
        file = tmp_path / "net.key"
        file.write_bytes(bytes(range(32)))
        file.chmod(0o644)
        assert (
            infuse.error(
                "network", "create", "F", "--network-id", "1", "--key-file", str(file), code=4
            )["code"]
            == "credential.unsafe-file"
        )
        assert infuse.sent("POST /network") == 0

    @pytest.mark.parametrize(
        "more",
        [
            [],
            ["--generate-key"],
            ["--key-file", "a", "--generate-key", "--out", "b"],
            ["--key-file", "nowhere"],
        ],
    )
    def test_a_network_without_a_clear_key_is_not_sent(self, infuse, more):
        infuse.error("network", "create", "F", "--network-id", "1", *more, code=2)
        assert infuse.world.requests == {}


class TestDevices:
    def test_a_device_is_created_once_and_adopted_after(self, infuse, device):
        again = infuse.data(
            "device",
            "create",
            MCU,
            "--metadata",
            "serialNumber=SN-10001",
            "--metadata",
            "site=Brisbane",
        )
        assert (again["created"], again["device"]["metadata"]) == (
            False,
            {"serialNumber": "SN-10001", "site": "Brisbane"},
        )
        assert again["device"]["deviceId"] == device["deviceId"]
        assert (
            infuse.error("device", "create", MCU, "--metadata", "serialNumber=SN-2", code=8)["code"]
            == "cloud.device-conflict"
        )
        assert infuse.sent("POST /device") == 1

    def test_a_device_is_ensured_like_all_other_things(self, infuse):
        infuse("board", "ensure")
        first = infuse.data(
            "device",
            "ensure",
            MCU,
            "--metadata",
            "serialNumber=SN-1",
            "--initial-state",
            '{"applicationId": 7}',
        )
        assert (first["created"], infuse.data("device", "ensure", MCU)["created"]) == (True, False)
        assert (
            infuse.error("device", "ensure", "00112233445566aa", "--initial-state", "[1]", code=2)[
                "code"
            ]
            == "usage.bad-option"
        )
        assert infuse.sent("POST /device") == 1

    def test_a_device_of_another_board_is_not_touched(self, infuse, device):
        infuse("board", "create", "Other", "--soc", "nRF9151")
        assert (
            infuse.error("device", "create", MCU, "--board", "Other", code=8)["code"]
            == "cloud.wrong-owner"
        )

    @pytest.mark.parametrize(
        ("argv", "code", "exit_code"),
        [
            ([MCU[:-1]], "usage.bad-option", 2),
            (["00112233445566AA"], "usage.bad-option", 2),
            ([MCU], "metadata.missing", 3),
            ([MCU, "--metadata", "serialNumber"], "usage.bad-option", 2),
            ([MCU, "--device-id", "7"], "usage.bad-option", 2),
            ([MCU, "--board", "Nowhere"], "cloud.not-found", 6),
        ],
    )
    def test_what_cannot_be_undone_is_checked_before(self, infuse, argv, code, exit_code):
        infuse("board", "ensure")
        assert infuse.error("device", "create", *argv, code=exit_code)["code"] == code
        assert infuse.sent("POST /device") == 0

    def test_a_serial_number_that_is_taken_is_refused_before(self, infuse, device):
        error = infuse.error(
            "device", "create", "00112233445566aa", "--metadata", "serialNumber=SN-10001", code=8
        )
        assert (error["code"], device["deviceId"] in error["message"]) == (
            "cloud.metadata-clash",
            True,
        )
        assert infuse.sent("POST /device") == 1

    @pytest.mark.parametrize("fault", thin(["drop-after", "5xx-after", "half-json"], 3))
    def test_a_lost_registration_is_found(self, infuse, fault):
        infuse("board", "ensure")
        infuse.faults(f"cloud:{fault}@POST /device#1")
        made = infuse.data("device", "create", MCU, "--metadata", "serialNumber=SN-1")["device"]
        assert [one.device_id for one in infuse.world.cloud.devices.values()] == [made["deviceId"]]
        assert infuse.sent("POST /device") == 1

    def test_any_number_of_a_device_finds_it(self, infuse, device):
        for text in (
            device["deviceId"],
            device["id"],
            MCU,
            device["deviceId"].upper(),
            "serialNumber=SN-10001",
        ):
            assert infuse.data("device", "state", text) == {
                "deviceId": device["deviceId"],
                "heard": False,
                "state": None,
            }
        assert (
            infuse.error("device", "state", "serialNumber=SN-7", code=6)["code"]
            == "cloud.not-found"
        )

    def test_an_imei_finds_its_device(self, infuse):
        infuse("board", "ensure")
        made = infuse.data(
            "device", "create", "0359890000000012", "--metadata", "serialNumber=SN-1"
        )["device"]
        assert infuse.data("device", "state", "359890000000012")["deviceId"] == made["deviceId"]

    def test_metadata_is_patched_or_replaced(self, infuse, device):
        infuse.faults("cloud:drop-after@PUT /device/id/{id}#1")
        assert infuse.data("device", "update", MCU, "--metadata", "site=A")["device"][
            "metadata"
        ] == {"serialNumber": "SN-10001", "site": "A"}
        replaced = infuse.data(
            "device", "update", MCU, "--replace", "--metadata", "serialNumber=SN-2"
        )["device"]
        assert replaced["metadata"] == {"serialNumber": "SN-2"}
        assert infuse.sent("PUT /device/id/{id}") == 2

    def test_state_and_route_once_heard(self, infuse, device):
        other = infuse.data(
            "device", "create", "00112233445566aa", "--metadata", "serialNumber=SN-2"
        )["device"]
        infuse.heard(device["deviceId"])
        state = infuse.data("device", "state", MCU)
        assert (state["heard"], state["state"]["lastRouteInterface"]) == (True, "udp")
        assert infuse.data("device", "route", MCU)["routes"][0]["lastRoute"]["udp"]["address"]
        both = infuse.data("device", "route", MCU, other["deviceId"])["routes"]
        assert [row["lastRoute"] is None for row in both] == [False, True]
        assert infuse.sent("POST /device/lastRoute") == 1

    def test_the_servers_id_asks_by_that_id(self, infuse, device):
        infuse.heard(device["deviceId"])
        assert infuse.data("device", "state", device["id"])["heard"]
        assert infuse.sent("GET /device/id/{id}/state") == 1

    def test_show_puts_all_sides_together(self, infuse, device):
        infuse("registry", "device", "create", device["deviceId"])
        shown = infuse.data("device", "show", MCU)
        assert shown["device"] == device
        assert shown["registryDevice"]["name"] == device["deviceId"]
        assert shown["registryDevice"]["registryDeviceId"]
        assert (shown["state"], shown["lastRoute"], shown["record"]) == (None, None, None)

    def test_what_only_the_record_here_knows_finds_the_device(self, infuse, device, recorded):
        uuid = recorded(device, imei="359890000000012", registry_device_id="r-1")
        for text in (uuid, uuid.upper(), "359890000000012", "r-1"):
            assert infuse.data("device", "state", text)["deviceId"] == device["deviceId"]
        shown = infuse.data("device", "show", uuid)
        assert (shown["record"]["board"], shown["record"]["imei"], shown["record"]["result"]) == (
            uuid,
            "359890000000012",
            "PASS",
        )
        assert [told.split(":")[0] for told in shown["differences"]] == [
            "registry device r-1 is recorded here, and the registry does not know it"
        ]
        assert "Differs: " in infuse.text("device", "show", uuid)

    def test_lists_are_whole(self, infuse, device):
        with infuse.world.clock.lock:
            from infuse_cli.sim import schemas

            for n in range(230):
                made = schemas.Device(
                    mcu_id=f"{n:016x}",
                    board_id=device["boardId"],
                    organisation_id=device["organisationId"],
                    device_id=f"{n:016x}",
                    metadata={"n": str(n % 2)},
                    **infuse.world.clock.stamps(),
                )
                infuse.world.cloud.devices[made.id] = made
        assert len(infuse.data("device", "list")["devices"]) == 231
        assert (
            len(infuse.data("device", "list", "--board", "Sensor", "--metadata", "n=1")["devices"])
            == 115
        )
        assert len(infuse.data("device", "list", "--board", device["boardId"])["devices"]) == 231

    def test_a_pipe_gets_whole_values_in_columns(self, infuse, device):
        head, row = infuse.text("device", "list").splitlines()
        assert head.split()[:2] == ["device", "id"]
        assert all(
            value in row for value in (device["deviceId"], device["id"], "serialNumber=SN-10001")
        )


@pytest.fixture
def recorded(infuse):
    """Puts a board that PASSed as this cloud device on record."""

    def put(
        device,
        *,
        imei=None,
        registry_device_id=None,
        metadata=None,
        simulated=False,
        environment=True,
    ):
        uuid, run = str(uuid4()), uuid4().hex
        profile = load(str(os.environ["INFUSE_PROFILE"]), os.environ).profile
        with open_journal(infuse.home) as journal:
            journal.start_run(
                RunStart(
                    run=run,
                    command="provision",
                    profile_name="sensor",
                    profile_hash=digest(profile),
                    profile=to_json(profile),
                    operator="tester",
                    simulated=simulated,
                )
            )
            attempt = uuid4().hex
            journal.commit(
                OpenAttempt(
                    attempt=attempt,
                    run=run,
                    board=uuid,
                    soc="nRF9151",
                    slot=1,
                    port="p",
                    plan=("register",),
                    plan_hash="h",
                    imei=imei,
                    mcu_id=device["mcuId"],
                )
            )
            facts = {
                "device": device,
                "metadata": device["metadata"] if metadata is None else metadata,
                "registryDevice": registry_device_id,
            }
            journal.commit(
                EndAttempt(attempt=attempt, state=AttemptState.PASSED, outcome="PASS", facts=facts)
            )
            journal.end_run(run, {})
        return uuid

    return put


def test_an_iam_key_works_where_the_profile_exchanges_it(tmp_path, monkeypatch, capsys):
    server = ServerThread(
        CloudOptions(token="ik_7f3a.part", scheme="exchanged", organisations=("Example Provider",))
    )
    url = server.start().base_url
    profile = tmp_path / "sensor.yaml"
    profile.write_text(PROFILE.replace("cloud:\n", "cloud:\n  auth: {scheme: exchanged}\n") % url)
    for name, value in (
        ("HOME", tmp_path / "home"),
        ("BASE_URL", url),
        ("REGISTRY_URL", url),
        ("TOKEN", "ik_7f3a.part"),
        ("PROFILE", profile),
    ):
        monkeypatch.setenv(f"INFUSE_{name}", str(value))
    run = Shell(server, tmp_path / "home", capsys, url)
    assert [one["name"] for one in run.data("org", "list")["organisations"]] == ["Example Provider"]
    assert run.data("auth", "status", "--check")["organisations"] == ["Example Provider"]
    assert run.data("registry", "device", "list")["devices"] == []
    run.data("auth", "exchange", "--out", str(tmp_path / "bearer"))
    assert private(tmp_path / "bearer")
    monkeypatch.delenv("INFUSE_PROFILE")
    assert run.error("org", "list", code=4)["code"] == "credential.iam-key"
    server.stop()


class TestReconcile:
    def test_nothing_on_record_is_well(self, infuse):
        assert infuse.data("journal", "reconcile")["checked"] == 0

    def test_what_is_well_and_what_is_not(self, infuse, device, recorded):
        others = [
            infuse.data(
                "device", "create", f"00112233445566{n:02x}", "--metadata", f"serialNumber=SN-{n}"
            )["device"]
            for n in range(3)
        ]
        made = infuse.data("registry", "device", "create", "good", "--status", "ACTIVE")["device"]
        asleep = infuse.data("registry", "device", "create", "asleep")["device"]
        well = recorded(device, registry_device_id=made["registryDeviceId"])
        silent = recorded(others[0])
        changed = recorded(
            others[1],
            metadata={"serialNumber": "SN-7"},
            registry_device_id=asleep["registryDeviceId"],
        )
        gone = recorded({**others[2], "mcuId": "00ff00ff00ff00ff"}, registry_device_id="no-such")
        recorded({**others[2], "mcuId": "00ff00ff00ff00aa"}, simulated=True)
        for one in (device, others[1]):
            infuse.heard(one["deviceId"])
        before = {
            name: entry.count
            for name, entry in infuse.world.requests.items()
            if not name.startswith("GET")
        }
        told = infuse("journal", "reconcile", code=11)
        rows = {row["board"]: row for row in told["data"]["boards"]}
        assert {uuid: row["findings"] for uuid, row in rows.items()} == {
            well: [],
            silent: ["never-heard"],
            changed: ["differs", "not-active"],
            gone: ["missing", "registry-missing"],
        }
        assert rows[changed]["details"] == [
            "metadata serialNumber is 'SN-1', recorded 'SN-7'",
            "registry status PENDING",
        ]
        assert rows[well]["lastHeard"].endswith("Z")
        assert (told["status"], told["errors"][0]["code"]) == ("partial", "journal.differs")
        assert told["data"]["totals"] == {
            "ok": 1,
            "missing": 1,
            "differs": 1,
            "never-heard": 1,
            "registry-missing": 1,
            "not-active": 1,
        }
        assert told["data"]["simulated"] == 1
        assert {
            name: entry.count
            for name, entry in infuse.world.requests.items()
            if not name.startswith("GET")
        } == before

    def test_since_leaves_older_ones_out(self, infuse, device, recorded):
        recorded(device)
        assert (
            infuse.data("journal", "reconcile", "--since", "2999-01-01T00:00:00Z")["checked"] == 0
        )
        assert infuse("journal", "reconcile", "--since", "24h", code=11)["data"]["checked"] == 1
        assert infuse.error("journal", "reconcile", "--since", "2026-01-01T00:00:00", code=2)[
            "message"
        ].endswith("has no zone")
        assert (
            infuse.error("journal", "reconcile", "--since", "soon", code=2)["code"]
            == "usage.bad-option"
        )

    def test_a_cloud_out_of_reach_is_no_finding(self, infuse, device, recorded):
        recorded(device)
        infuse.faults("cloud:down")
        assert infuse.error("journal", "reconcile", code=5)["code"].startswith("cloud.")

    def test_people_see_only_what_is_wrong(self, infuse, device, recorded):
        uuid = recorded(device)
        assert main.run(["journal", "reconcile"]) == 11
        told = infuse.capsys.readouterr()
        assert uuid in told.out
        assert "never-heard" in told.out
        assert "0 of 1 board as recorded." in told.out
        infuse.heard(device["deviceId"])
        assert "all heard" in infuse.text("journal", "reconcile")


class TestKeysAndTokens:
    def test_a_key_leaves_only_into_a_private_file(self, infuse, device, tmp_path):
        shown = infuse("key", "derive", "--device", MCU, "--interface", "udp")
        told = infuse("key", "derive", "--device", MCU, "--out", str(tmp_path / "k"))
        key = (tmp_path / "k").read_text().strip()
        assert len(base64.b64decode(key)) == 32
        assert private(tmp_path / "k")
        assert key not in json.dumps([shown, told])
        assert shown["data"]["fingerprint"] == told["data"]["fingerprint"]
        assert shown["data"]["source"] == "cloud"

    def test_a_security_state_goes_along_with_a_device(self, infuse, device):
        infuse("key", "shared-secret", "--device", MCU, "--security-state", '{"keyId": 5}')
        assert (
            infuse.error(
                "key", "shared-secret", "--device", MCU, "--security-state", "five", code=2
            )["code"]
            == "usage.bad-option"
        )
        assert (
            infuse.error(
                "key", "shared-secret", "--public-key", "AAAA", "--security-state", "{}", code=2
            )["code"]
            == "usage.bad-option"
        )

    def test_the_shared_secret_is_that_of_the_devices_key(self, infuse, tmp_path):
        mine = X25519PrivateKey.generate()
        public = base64.b64encode(mine.public_key().public_bytes_raw()).decode()
        infuse("key", "shared-secret", "--public-key", public, "--out", str(tmp_path / "s"))
        cloud = infuse.data("key", "public")
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        expected = mine.exchange(X25519PublicKey.from_public_bytes(base64.b64decode(cloud["key"])))
        assert base64.b64decode((tmp_path / "s").read_text()) == expected
        derived = infuse.data("key", "derive", "--public-key", public)
        assert (derived["source"], derived["agrees"]) == ("local", None)

    def test_both_derivations_are_compared(self, infuse, device):
        public = base64.b64encode(
            X25519PrivateKey.generate().public_key().public_bytes_raw()
        ).decode()
        assert (
            infuse.data("key", "derive", "--public-key", public, "--device", MCU)["agrees"] is False
        )

    @pytest.mark.parametrize(
        "argv",
        [
            ["key", "derive"],
            ["key", "derive", "--device", MCU, "--reveal"],
            ["key", "shared-secret", "--public-key", "c2hvcnQ="],
            ["key", "shared-secret"],
            ["mqtt", "token"],
            ["mqtt", "token", "--reveal"],
            ["mqtt", "token", "--ttl", "59", "--out", "x"],
            ["mqtt", "token", "--out", "/nowhere/x"],
            ["registry", "token", "create", "gw"],
        ],
    )
    def test_nothing_is_asked_for_a_secret_that_would_be_lost(self, infuse, argv):
        infuse.error(*argv, code=2)
        assert infuse.world.requests == {}

    def test_an_mqtt_token_replaces_the_one_before(self, infuse, tmp_path):
        file = tmp_path / "mqtt"
        first = infuse.data("mqtt", "token", "--out", str(file), "--ttl", "60")
        old = file.read_text()
        second = infuse.data("mqtt", "token", "--out", str(file))
        assert private(file)
        assert file.read_text() != old
        assert first["sha256"] != second["sha256"]
        assert file.read_text().strip() not in json.dumps(second)

    def test_an_iam_key_is_exchanged(self, infuse, tmp_path):
        key, out = tmp_path / "key", tmp_path / "token"
        key.write_text("ik_one.two\n")
        key.chmod(0o600)
        told = infuse("auth", "exchange", "--token-file", str(key), "--out", str(out))
        assert private(out)
        assert out.read_text().strip() not in json.dumps(told)
        assert told["data"]["expiresAt"]
        key.write_text("legacy-token")
        error = infuse.error(
            "auth", "exchange", "--token-file", str(key), "--out", str(out), code=4
        )
        assert (error["code"], "legacy-token" in error["message"]) == (
            "credential.malformed",
            False,
        )
        assert infuse.sent("POST /iam/auth/token") == 1

    @pytest.mark.posix
    def test_a_terminal_shows_what_it_is_asked_to(self, infuse):
        import pty

        main_end, other = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "infuse_cli", "mqtt", "token", "--reveal"],
            stdin=other,
            stdout=other,
            stderr=other,
            env=dict(os.environ),
        )
        os.close(other)
        shown = b""
        try:
            while data := os.read(main_end, 65536):
                shown += data
        except OSError:
            pass
        os.close(main_end)
        assert process.wait(20) == 0
        assert b"It expires at" in shown


class TestRpc:
    def test_an_rpc_is_sent_and_followed(self, infuse, device):
        infuse.heard(device["deviceId"])
        words = ["heap_stats", "count=3", "word=yes"]
        rpc = infuse.data("rpc", "send", "--wait", *words, "--device", MCU)["rpc"]
        assert (rpc["status"], rpc["result"]["returnCode"]) == ("completed", 0)
        # Not the UUID by which the cloud's own message names the device.
        assert (rpc["command"], rpc["deviceId"]) == ("heap_stats", device["deviceId"])
        assert rpc["params"] == {"count": 3, "word": "yes"}
        assert infuse.data("rpc", "show", rpc["id"])["rpc"]["status"] == "completed"
        assert [
            one["id"]
            for one in infuse.data("rpc", "list", "--device", MCU, "--status", "completed")["rpcs"]
        ] == [rpc["id"]]

    def test_a_device_that_does_not_answer_is_an_error(self, infuse, device):
        told = infuse(
            "rpc", "send", "--wait", "ping", "--device", MCU, "--send-wait", "0.3", code=7
        )
        assert (told["data"]["rpc"]["status"], told["errors"][0]["code"]) == (
            "expired",
            "rpc.no-answer",
        )
        sent = infuse.data("rpc", "send", "30000", "--device", MCU)["rpc"]["id"]
        assert (
            infuse("rpc", "wait", sent, "--timeout", "0", code=7)["data"]["rpc"]["status"]
            == "waiting"
        )

    def test_a_lost_rpc_is_found_among_others(self, infuse, device):
        before = infuse.data("rpc", "send", "ping", "--device", MCU)["rpc"]["id"]
        infuse.faults("cloud:drop-after@POST /rpc#1")
        found = infuse.data("rpc", "send", "ping", "--device", MCU)["rpc"]["id"]
        assert set(infuse.world.cloud.rpc.messages) == {before, found}
        assert before != found

    def test_an_rpc_that_never_arrived_is_not_sent_again(self, infuse, device):
        infuse.faults("cloud:drop-before@POST /rpc#1")
        assert (
            "not sent again"
            in infuse.error("rpc", "send", "ping", "--device", MCU, code=5)["message"]
        )
        assert infuse.sent("POST /rpc") == 1

    def test_a_time_needs_its_zone(self, infuse):
        assert (
            "no zone"
            in infuse.error("rpc", "list", "--since", "2026-01-01T00:00:00", code=2)["message"]
        )


class TestRegistry:
    def test_a_token_is_minted_on_record(self, infuse, tmp_path):
        file = tmp_path / "token"
        told = infuse(
            "registry",
            "token",
            "create",
            "gw/1",
            "--tag",
            "roof",
            "--metadata",
            "room=7",
            "--location=-27.47,153.03",
            "--out",
            str(file),
        )
        assert private(file)
        (token,) = infuse.world.registry.tokens.values()
        assert file.read_text().strip() == token.secret
        assert token.secret not in json.dumps([told, infuse("registry", "token", "list")])
        device = infuse.data("registry", "device", "show", "gw/1")["device"]
        assert (device["tags"], device["metadata"]["room"], device["location"]) == (
            ["roof"],
            "7",
            {"latitude": -27.47, "longitude": 153.03},
        )
        with open_journal(infuse.home) as journal:
            (record,) = journal.tokens(name="gw/1")
        assert (record.state, record.token_id, record.sha256) == (
            TokenState.MINTED,
            token.id,
            told["data"]["token"]["sha256"],
        )
        assert device["metadata"]["infuseIntent"] == record.intent

    def test_a_mint_whose_answer_is_lost_leaves_one_device(self, infuse, tmp_path):
        infuse.faults("cloud:drop-after@POST /devices/registration/tokens#1")
        minted = infuse.data("registry", "token", "create", "gw", "--out", str(tmp_path / "t"))[
            "token"
        ]
        assert [one.id for one in infuse.world.registry.devices.values()] == [
            minted["registryDeviceId"]
        ]
        assert [one.status for one in infuse.world.registry.tokens.values()] == [
            "REVOKED",
            "PENDING",
        ]
        with open_journal(infuse.home) as journal:
            assert [one.state for one in journal.tokens(name="gw")] == [
                TokenState.REVOKED,
                TokenState.MINTED,
            ]

    @pytest.mark.parametrize(
        "point",
        [
            *thin(
                [f"{when}:POST /devices/registration/tokens" for when in ("sent", "answered")], 2
            ),
            "token:stored",
        ],
    )
    def test_a_mint_that_was_killed_is_cleared_by_the_next(self, infuse, tmp_path, point):
        argv = ["registry", "token", "create", "gw", "--out", str(tmp_path / "t")]
        env = {**os.environ, "INFUSE_FAILPOINT": point}
        killed = subprocess.run(
            [sys.executable, "-m", "infuse_cli", *argv],
            env=env,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert killed.returncode == -9
        (tmp_path / "t").unlink(missing_ok=True)  # a token's file is never overwritten
        minted = infuse.data(*argv)["token"]
        assert [one.id for one in infuse.world.registry.devices.values()] == [
            minted["registryDeviceId"]
        ]
        pending = [one for one in infuse.world.registry.tokens.values() if one.status == "PENDING"]
        assert [one.secret for one in pending] == [(tmp_path / "t").read_text().strip()]
        with open_journal(infuse.home) as journal:
            assert [one.state for one in journal.tokens(name="gw")] == [
                TokenState.REVOKED,
                TokenState.MINTED,
            ]

    def test_a_name_of_somebody_elses_is_left_alone(self, infuse, tmp_path):
        infuse("registry", "device", "create", "gw")
        assert (
            infuse.error("registry", "token", "create", "gw", "--out", str(tmp_path / "t"), code=8)[
                "code"
            ]
            == "identity.registry-conflict"
        )
        assert not (tmp_path / "t").exists()
        assert infuse.sent("POST /api/v1/devices/registration/tokens") == 0

    def test_a_file_is_never_overwritten_by_a_token(self, infuse, tmp_path):
        (tmp_path / "t").write_text("precious")
        infuse.error("registry", "token", "create", "gw", "--out", str(tmp_path / "t"), code=2)
        assert (tmp_path / "t").read_text() == "precious"
        assert infuse.world.requests == {}

    def test_a_token_is_revoked_after_a_yes(self, infuse, tmp_path):
        infuse("registry", "token", "create", "gw", "--out", str(tmp_path / "t"))
        assert (
            infuse.error("registry", "token", "revoke", "gw", code=2)["code"] == "usage.no-terminal"
        )
        infuse.faults("cloud:drop-after@DELETE /devices/registration/tokens/{tokenId}#1")
        assert (
            infuse.data("registry", "token", "revoke", "gw", "--yes")["token"]["status"]
            == "REVOKED"
        )
        assert infuse.data("registry", "token", "list")["tokens"] == []
        with open_journal(infuse.home) as journal:
            assert [one.state for one in journal.tokens(name="gw")] == [TokenState.REVOKED]

    def test_waiting_for_a_device_that_stays_away_is_an_error(self, infuse, tmp_path):
        told = infuse(
            "registry",
            "token",
            "create",
            "gw",
            "--out",
            str(tmp_path / "t"),
            "--wait",
            "--timeout",
            "0",
            code=8,
        )
        assert (told["data"]["status"], told["errors"][0]["code"]) == (
            "PENDING",
            "identity.not-active",
        )
        assert (tmp_path / "t").read_text()

    @pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "MAINTENANCE", "OFFLINE"])
    def test_a_device_that_has_connected_is_never_cleared_away(self, infuse, tmp_path, status):
        infuse("registry", "token", "create", "gw", "--out", str(tmp_path / "t"))
        (device,) = infuse.world.registry.devices.values()
        with open_journal(infuse.home) as journal:
            journal.commit(IntendToken(intent="lost", name="gw"))
        device.metadata = {"infuseIntent": "lost"}
        device.status = status
        error = infuse.error(
            "registry", "token", "create", "gw", "--out", str(tmp_path / "t2"), code=8
        )
        assert error["code"] == "identity.registry-conflict"
        assert list(infuse.world.registry.devices.values()) == [device]

    @pytest.mark.parametrize("status", ["ACTIVE", "OFFLINE"])
    def test_waiting_ends_when_the_device_has_connected(self, infuse, tmp_path, status):
        def connect() -> None:
            while not infuse.world.registry.devices:
                threading.Event().wait(0.05)
            (device,) = infuse.world.registry.devices.values()
            device.status = status

        connecting = threading.Thread(target=connect)
        connecting.start()
        data = infuse.data(
            "registry",
            "token",
            "create",
            "gw",
            "--out",
            str(tmp_path / "t"),
            "--wait",
            "--timeout",
            "60",
        )
        connecting.join()
        assert data["status"] == status
        with open_journal(infuse.home) as journal:
            assert [token.state for token in journal.tokens(name="gw")] == [TokenState.CONSUMED]

    def test_a_change_keeps_the_rest(self, infuse):
        infuse(
            "registry", "device", "create", "gw", "--tag", "a", "--metadata", "x=1", "--site", "s"
        )
        infuse.faults("cloud:drop-after@PUT /devices/{deviceId}#1")
        changed = infuse.data(
            "registry", "device", "update", "gw", "--status", "maintenance", "--metadata", "y=2"
        )["device"]
        assert (changed["status"], changed["tags"], changed["metadata"], changed["siteId"]) == (
            "MAINTENANCE",
            ["a"],
            {"x": "1", "y": "2"},
            "s",
        )
        assert infuse.data("registry", "device", "summary")["byStatus"]["MAINTENANCE"] == 1
        assert infuse.sent("PUT /api/v1/devices/{deviceId}") == 1

    def test_a_device_is_deleted_after_a_yes(self, infuse):
        made = infuse.data("registry", "device", "create", "gw")["device"]
        infuse.error("registry", "device", "delete", "gw", code=2)
        infuse.faults("cloud:5xx-after@DELETE /devices/{deviceId}#1")
        assert (
            infuse.data("registry", "device", "delete", made["registryDeviceId"], "--yes")[
                "deleted"
            ]["name"]
            == "gw"
        )
        assert infuse.data("registry", "device", "list")["devices"] == []
        assert infuse.notes()[-2:] == ["deletion-intended", "deleted"]

    def test_what_a_device_announced_is_found_and_not_doubled(self, infuse):
        device = infuse.data("registry", "device", "create", "gw", "--tag", "roof")["device"]
        with infuse.world.clock.lock:
            infuse.world.registry.inventory.announce(device["registryDeviceId"])
        component = infuse.data("registry", "component", "ensure", "gw", "environment")
        assert not component["created"]
        assert infuse.sent("POST /api/v1/components") == 0
        infuse("registry", "group", "create", "roofs", "--tag", "roof")
        (sensor,) = infuse.data(
            "registry",
            "sensor",
            "list",
            "--group",
            "roofs",
            "--device",
            "gw",
            "--value-type",
            "number",
            "--tag",
            "roof",
        )["sensors"]
        assert (sensor["componentId"], sensor["registryDeviceId"]) == (
            component["component"]["id"],
            device["registryDeviceId"],
        )
        assert infuse.data("registry", "sensor", "list", "--value-type", "text")["sensors"] == []
        assert (
            infuse.data("registry", "health", "latest", "gw")["health"]["connectionType"] == "LTE-M"
        )
        assert len(infuse.data("registry", "health", "show", "gw")["health"]) == 1
        assert (
            infuse.data(
                "registry",
                "health",
                "window",
                "gw",
                "--from",
                "2020-01-01T00:00:00Z",
                "--to",
                "2020-01-02T00:00:00Z",
            )["health"]
            == []
        )
        assert (
            infuse.error(
                "registry",
                "health",
                "window",
                "gw",
                "--from",
                "2020-01-02T00:00:00Z",
                "--to",
                "2020-01-01T00:00:00Z",
                code=2,
            )["code"]
            == "usage.bad-option"
        )
        assert infuse.data("registry", "health", "summary", "gw")["summary"]["records"] == 1

    def test_a_component_is_made_changed_and_deleted(self, infuse):
        infuse("registry", "device", "create", "gw")
        infuse.faults("cloud:drop-after@POST /components#1")
        made = infuse.data(
            "registry", "component", "create", "gw", "probe", "--sensor-profile", "p-1"
        )["component"]
        assert (
            infuse.error("registry", "component", "create", "gw", "probe", code=6)["code"]
            == "cloud.refused"
        )
        changed = infuse.data(
            "registry", "component", "update", "probe", "--device", "gw", "--name", "probe 2"
        )["component"]
        assert changed == {**made, "name": "probe 2"}
        assert infuse.data("registry", "component", "show", made["id"])["component"] == changed
        infuse("registry", "component", "delete", "probe 2", "--yes")
        assert infuse.data("registry", "component", "list")["components"] == []

    def test_a_group_is_made_changed_and_deleted(self, infuse):
        infuse("registry", "device", "create", "gw", "--tag", "roof", "--tag", "north")
        made = infuse.data("registry", "group", "create", "roofs", "--tag", "roof")["group"]
        assert [
            one["name"] for one in infuse.data("registry", "group", "show", made["id"])["devices"]
        ] == ["gw"]
        infuse("registry", "group", "update", "roofs", "--tag", "south")
        assert infuse.data("registry", "group", "show", "roofs")["devices"] == []
        infuse("registry", "group", "delete", "roofs", "--yes")
        assert infuse.data("registry", "group", "list")["groups"] == []

    def test_without_a_registry_the_way_out_is_named(self, infuse, monkeypatch):
        monkeypatch.delenv("INFUSE_REGISTRY_URL")
        monkeypatch.delenv("INFUSE_PROFILE")
        error = infuse.error("registry", "device", "list", code=3)
        assert (error["code"], "INFUSE_REGISTRY_URL" in error["hint"]) == ("profile.invalid", True)


def test_no_profile_is_needed(infuse, monkeypatch):
    monkeypatch.delenv("INFUSE_PROFILE")
    assert infuse.data("org", "show")["organisation"]["name"] == "Example Provider"
    infuse("board", "create", "B", "--soc", "nRF9151", "--organisation", "Example Provider")
    infuse("device", "create", MCU, "--board", "B")
    assert infuse.error("device", "create", MCU, code=2)["code"] == "usage.bad-option"


def test_a_wrong_credential_is_told(infuse, monkeypatch):
    monkeypatch.setenv("INFUSE_TOKEN", "another")
    assert infuse.error("org", "list", code=4)["code"] == "credential.refused"
    monkeypatch.setenv("INFUSE_TOKEN", "ik_id.secret")
    assert infuse.error("org", "list", code=4)["code"] == "credential.iam-key"


def test_an_error_names_its_whole_command(infuse):
    assert (
        infuse("registry", "device", "show", "nowhere", code=6)["command"] == "registry device show"
    )
    assert infuse("key", "shared-secret", code=2)["command"] == "key shared-secret"
