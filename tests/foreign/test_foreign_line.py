"""The line against a cloud and boards that were written from the interface pages alone."""

from __future__ import annotations

import itertools
import json
import re
from datetime import datetime

import pytest

from tests.foreign.board import Fault, Modem, Style
from tests.foreign.cloud import Fault as CloudFault
from tests.foreign.conftest import PASSPHRASE, events, openssl, storms
from tests.foreign.verifier import (
    audit,
    check_board,
    check_envelope,
    check_identity,
    common_name,
    installed,
    local_root,
    pem,
    strict_verify,
)

STYLES = {
    "stock": Style(),
    "new-host": Style(empty_line=True, echo=True, terminators=b"\r", boot_mode=0),
    "crlf-noise": Style(terminators=b"\r\n", noise=True, boot_mode=4, cgsn_bare=True),
    "old-firmware": Style(null_in_csr=True, jwt=False, digests="lower", boot_mode=1, echo=True),
    "slow": Style(slow=True, noise=True, empty_line=True),
    "no-cose": Style(cose=False, null_in_csr=True),
}


@pytest.mark.parametrize(
    "style", ["crlf-noise", "old-firmware", *storms("stock", "new-host", "slow", "no-cose")]
)
def test_a_board_of_any_style_passes(bench, style):
    board = bench.board(style=STYLES[style])
    shown = bench.passes(board)
    check_board(shown)
    check_identity(bench, board, shown, local_root(bench))
    assert common_name(installed(board.modem)[0]) == shown["deviceId"]
    assert shown["possession"] == ("unproven" if style == "old-firmware" else "proven")
    assert board.modem.mode == STYLES[style].boot_mode
    assert board.modem.counts["keygen"] == 1
    assert board.early_bytes == 0
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.parametrize("form", [{"items": True, "chain_as_list": True}, *storms({})])
def test_the_cloud_signs(make_bench, form):
    bench = make_bench(**form)
    bench.write("cloud-ca")
    board = bench.board()
    shown = bench.passes(board)
    check_board(shown)
    issuer = bench.cloud.issuer
    check_identity(bench, board, shown, pem(issuer.root))
    assert len(issuer.issued) == 1
    assert (4202, 3) not in board.modem.store
    assert shown["registryDeviceId"] in bench.cloud.state.registry
    assert [row["status"] for row in bench.cloud.state.minted] == ["USED"]
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.storm
def test_the_cloud_signs_and_brings_its_root(make_bench):
    bench = make_bench()
    bench.write("cloud-ca", identity={"server_ca": None})
    board = bench.board()
    bench.passes(board)
    assert board.modem.store[4201, 0].decode().strip() == pem(bench.cloud.issuer.root).strip()


def test_a_token_is_flashed_beside_a_local_certificate(make_bench):
    bench = make_bench()
    bench.write(token=True)
    board = bench.board()
    shown = bench.passes(board)
    row = bench.cloud.state.minted[0]
    assert bytes.fromhex(board.modem.store[4202, 3].decode()).decode() == row["secret"]
    assert board.modem.store[4202, 4].decode() == row["deviceId"] == shown["registryDeviceId"]
    assert row["status"] == "PENDING"
    assert bench.cloud.state.registry[row["deviceId"]]["metadata"]["infuseIntent"]
    assert bench.cloud.state.registry[row["deviceId"]]["tags"] == ["line-1"]
    assert row["secret"] not in json.dumps(bench.show(board.modem.uuid))
    check_identity(bench, board, shown, local_root(bench))
    assert audit(bench.cloud, [board.modem]) == []


def first_boot_firmware(bench):
    """What the application does once it has a token: make a key, trade it, connect."""

    def online(modem):
        if (4202, 3) in modem.store:
            token = bytes.fromhex(modem.store[4202, 3].decode()).decode()
            bench.cloud.check_in(modem.store[4202, 4].decode(), token)

    return online


def test_first_boot(make_bench):
    bench = make_bench()
    bench.write("first-boot")
    board = bench.board()
    board.online = first_boot_firmware(bench)
    shown = bench.passes(board)
    check_board(shown)
    assert shown["certificate"] is None
    assert bench.cloud.state.registry[shown["registryDeviceId"]]["status"] == "ACTIVE"
    assert board.modem.counts["keygen"] == 0
    again = bench.passes(board)
    assert again["already"]
    assert audit(bench.cloud, [board.modem]) == []


def test_registration_alone(make_bench):
    bench = make_bench()
    bench.write("none")
    board = bench.board()
    shown = bench.passes(board)
    check_board(shown)
    assert shown["certificate"] is None
    assert shown["possession"] is None
    assert board.modem.counts["write"] == board.modem.counts["cfun"] == 0
    assert bench.passes(board)["already"]


def test_the_envelope_and_the_events(bench):
    boards = [bench.board() for _ in range(3)]
    boards[1].modem.model = "nRF9160-SICA"
    ran = bench.provision(*boards)
    check_envelope(ran.envelope, "provision")
    assert ran.code == 11
    assert ran.envelope["status"] == "partial"
    data = ran.envelope["data"]
    assert set(data) == {"run", "boards", "totals"}
    assert data["totals"] == {"pass": 2, "fail": 1, "error": 0, "aborted": 0}
    assert [row["slot"] for row in data["boards"]] == [1, 2, 3]
    assert [row["port"] for row in data["boards"]] == [board.port for board in boards]
    for row in data["boards"]:
        check_board(row)
    assert data["boards"][1]["error"]["code"] == "board.unexpected"
    assert data["boards"][1]["failedStep"] == "expect"
    assert ran.envelope["errors"][0]["code"] == "board.unexpected"

    ran = bench.provision(*boards, output="jsonl")
    assert ran.code == 11
    rows = events(ran)
    fields = {"ts", "run", "slot", "board", "event", "step", "state", "ms", "error"}
    assert all(fields <= set(row) <= fields | {"data"} for row in rows)
    names = [row["event"] for row in rows]
    assert names[0] == "run-started"
    assert names[-1] == "run-ended"
    assert {"board-found", "step-begun", "step-done", "step-failed", "board-ended"} <= set(names)
    assert all(datetime.fromisoformat(row["ts"]).tzinfo is not None for row in rows)
    assert len({row["run"] for row in rows}) == 1
    assert sum(name == "board-ended" for name in names) == 3
    assert {
        (row["event"], row["state"])
        for row in rows
        if row["step"] and row["event"].startswith("step")
    } == {("step-begun", "begun"), ("step-done", "done"), ("step-failed", "failed")}
    assert "totals" in json.dumps(rows[-1])


@pytest.mark.storm
@pytest.mark.parametrize("kind", ["gone", *storms("fail")])
def test_one_board_has_its_own_exit_code(bench, kind):
    board = bench.board()
    if kind == "gone":
        board.unplug()
    else:
        board.modem.occupy(4201, 2)
    ran = bench.provision(board)
    check_envelope(ran.envelope, "provision")
    assert ran.code == (7 if kind == "gone" else 8)
    assert ran.envelope["status"] == "error"


@pytest.mark.storm
def test_an_occupied_slot_is_refused_then_replaced_on_record(bench):
    board = bench.board()
    board.modem.occupy(4201, 2)
    board.modem.occupy(4201, 1, b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    digest = board.modem.rows()[0][2]
    ran = bench.provision(board)
    assert ran.code == 8
    error = ran.envelope["data"]["boards"][0]["error"]
    assert "4201" in error["message"]
    assert "--replace" in error["hint"]
    assert board.modem.counts["delete"] == board.modem.counts["write"] == 0
    assert bench.cloud.writes() == []
    board.commands.clear()
    shown = bench.passes(board, more=("--replace",))
    check_identity(bench, board, shown, local_root(bench))
    assert digest in json.dumps(bench.show(board.modem.uuid))


@pytest.mark.storm
def test_a_dry_run_reads_and_nothing_else(bench):
    board = bench.board()
    ran = bench.provision(board, more=("--dry-run",))
    assert ran.code == 0, ran.stdout + ran.stderr
    assert bench.cloud.writes() == []
    assert {request.method for request in bench.cloud.requests} == {"GET"}
    writing = [text for text in board.commands if re.match(r"AT(\+CFUN=|%CMNG=[03]|%KEYGEN)", text)]
    assert writing == []
    assert not board.modem.counts
    assert bench.passes(board)["already"] is False


@pytest.mark.storm
def test_a_board_that_passed_is_only_proved_again(bench):
    board = bench.board()
    first = bench.passes(board)
    counts, before = dict(board.modem.counts), len(bench.cloud.writes())
    again = bench.passes(board)
    assert again["already"] is True
    assert again["certificate"] == first["certificate"]
    assert again["deviceId"] == first["deviceId"]
    assert (board.modem.counts["keygen"], board.modem.counts["write"]) == (
        counts["keygen"],
        counts["write"],
    )
    assert len(bench.cloud.writes()) == before


@pytest.mark.storm
def test_again_makes_a_new_identity_for_the_same_device(bench):
    board = bench.board()
    first = bench.passes(board)
    second = bench.passes(board, more=("--again",))
    assert second["already"] is False
    assert second["deviceId"] == first["deviceId"]
    assert second["certificate"]["serial"] != first["certificate"]["serial"]
    check_identity(bench, board, second, local_root(bench))
    shown = json.dumps(bench.show(board.modem.uuid))
    assert "superseded" in shown
    assert first["certificate"]["serial"] in shown
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.parametrize("step", ["keygen", *storms("expect", "register", "sign", "install")])
def test_until_parks_and_the_next_run_goes_on(bench, step):
    board = bench.board()
    ran = bench.provision(board, more=("--until", step))
    check_envelope(ran.envelope, "provision")
    assert ran.code == 0
    assert board.modem.mode == 1, "the functional mode is restored"
    serials = ran.envelope["data"]["boards"][0]["certificate"]
    shown = bench.passes(board)
    assert board.modem.counts["keygen"] == 1
    assert serials in (None, shown["certificate"])
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.storm
def test_restart_begins_anew_with_the_same_device(bench):
    board = bench.board()
    bench.provision(board, more=("--until", "sign"))
    shown = bench.passes(board, more=("--restart",))
    assert board.modem.counts["keygen"] == 2
    check_identity(bench, board, shown, local_root(bench))
    assert audit(bench.cloud, [board.modem]) == []


@pytest.mark.storm
def test_metadata_required_and_unique(make_bench):
    bench = make_bench(fields=[{"name": "serialNumber", "required": True, "unique": True}])
    bench.write(metadata={"serialNumber": {"from": "scan", "pattern": r"SN-\d{5}"}})
    first, second, third = (bench.board() for _ in range(3))
    refused = bench.provision(first)
    assert refused.code == 3
    assert refused.envelope["data"]["boards"][0]["error"]["code"] == "metadata.missing"
    assert bench.provision(first, more=("--metadata", "serialNumber=10001")).code == 3
    assert bench.cloud.writes() == []
    bench.passes(first, more=("--metadata", "serialNumber=SN-10001"))
    assert bench.cloud.device_of("0" + first.modem.imei)["metadata"] == {
        "serialNumber": "SN-10001",
        "deploymentSite": "Brisbane",
    }
    clash = bench.provision(second, more=("--metadata", "serialNumber=SN-10001"))
    assert clash.code == 8
    assert clash.envelope["errors"][0]["code"] == "cloud.metadata-clash"
    assert second.modem.counts["keygen"] == 0
    table = bench.folder / "labels.csv"
    table.write_text(
        f"imei,serialNumber\n{second.modem.imei},SN-10002\n{third.modem.imei},SN-10003\n"
    )
    ran = bench.provision(second, third, more=("--metadata-from", str(table)))
    assert ran.code == 0, ran.stdout
    assert bench.cloud.device_of("0" + third.modem.imei)["metadata"]["serialNumber"] == "SN-10003"


def registered(bench, board, **metadata):
    """Another station registered this board before."""
    cloud = bench.cloud
    organisation = next(iter(cloud.state.organisations))
    return cloud._stored(
        cloud.state.devices,
        {
            "mcuId": "0" + board.modem.imei,
            "boardId": next(iter(cloud.state.boards)),
            "organisationId": organisation,
            "deviceId": "00000000000000a1",
            "metadata": metadata,
        },
    )


@pytest.mark.parametrize("put_answer", ["nothing", *storms("device")])
def test_a_registered_device_is_adopted_and_completed(make_bench, put_answer):
    bench = make_bench(put_answer=put_answer)
    bench.write()
    board = bench.board()
    device = registered(bench, board, customer="ACME")
    shown = bench.passes(board)
    assert shown["deviceId"] == device["deviceId"]
    assert device["metadata"] == {"customer": "ACME", "deploymentSite": "Brisbane"}
    assert bench.cloud.calls("^POST /device$") == []


@pytest.mark.storm
def test_a_registered_device_with_other_values_is_a_conflict(bench):
    board = bench.board()
    device = registered(bench, board, deploymentSite="Perth")
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "cloud.device-conflict"
    assert bench.cloud.writes() == []
    bench.passes(board, more=("--update-metadata",))
    assert device["metadata"] == {"deploymentSite": "Brisbane"}


@pytest.mark.storm
def test_a_device_of_another_organisation_is_refused(bench):
    board = bench.board()
    device = registered(bench, board)
    device["organisationId"] = "5e0f2f5e-1111-4111-8111-111111111111"
    ran = bench.provision(board)
    assert ran.code == 8
    assert ran.envelope["errors"][0]["code"] == "cloud.wrong-owner"
    assert board.modem.counts["keygen"] == 0


def test_lists_are_read_to_the_end(make_bench):
    bench = make_bench(seed=False)
    owner, _ = bench.cloud.seed(board="Zeroth", network=None)
    for number in range(150):
        bench.cloud._stored(
            bench.cloud.state.boards,
            {
                "organisationId": owner,
                "name": f"Board {number}",
                "description": "",
                "soc": "nRF9151",
                "public": False,
                "metadataFields": [],
            },
        )
        bench.cloud._stored(
            bench.cloud.state.networks,
            {
                "organisationId": owner,
                "name": f"Net {number}",
                "description": "",
                "public": False,
                "networkId": number,
                "key": "A" * 44,
            },
        )
    bench.write(cloud={"board": {"name": "Board 149"}, "network": {"name": "Net 148"}})
    bench.passes(bench.board())
    bench.write(
        cloud={
            "board": {
                "name": "Brand New",
                "create": True,
                "metadata_fields": [{"name": "deploymentSite", "required": True}],
            },
            "network": None,
        }
    )
    bench.passes(bench.board())
    assert len(bench.cloud.calls("^POST /board$")) == 1
    assert bench.cloud.wrong == []


def test_the_credential_never_follows_a_redirect(make_bench):
    bench, other = make_bench(), make_bench()
    bench.write()
    elsewhere = other.cloud.url.replace("127.0.0.1", "localhost")
    bench.cloud.faults.append(CloudFault("GET /device/soc", "redirect", elsewhere, times=99))
    ran = bench.provision(bench.board())
    assert ran.code != 0
    assert not any("authorization" in request.headers for request in other.cloud.requests)


def test_a_wrong_credential_stops_before_a_board_is_begun(bench):
    board = bench.board()
    ran = bench.infuse(*bench.provision_argv(board), env={"INFUSE_TOKEN": "no-such-token-0001"})
    check_envelope(ran.envelope, "provision")
    assert ran.code == 4
    assert "no-such-token" not in ran.stdout + ran.stderr
    ran = bench.infuse(*bench.provision_argv(board), env={"INFUSE_TOKEN": "ik_abc.def"})
    assert ran.code == 4
    assert "/admin/developer" in ran.stdout
    assert not board.modem.counts


@pytest.mark.storm
def test_a_clock_that_differs_from_the_servers_signs_nothing(bench):
    board = bench.board()
    bench.cloud.skew_s = 3600
    ran = bench.provision(board)
    check_envelope(ran.envelope, "provision")
    assert ran.code == 9
    assert ran.envelope["errors"][0]["code"] == "ca.clock"
    assert bench.cloud.writes() == []
    bench.cloud.skew_s = 120
    bench.passes(board)


@pytest.mark.storm
def test_ca_show_sign_export_verify(bench):
    key, csr, out = bench.folder / "k.pem", bench.folder / "r.pem", bench.folder / "signed.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    openssl(
        "req",
        "-new",
        "-key",
        str(key),
        "-subj",
        "/CN=0011223344556677/O=Elsewhere",
        "-out",
        str(csr),
    )
    secret = ("--passphrase-file", str(bench.folder / "passphrase"))
    shown = bench.infuse("ca", "show", "--output", "json")
    assert shown.code == 0
    check_envelope(shown.envelope, "ca show")
    ran = bench.infuse(
        "ca",
        "sign",
        str(csr),
        "--out",
        str(out),
        "--device-id",
        "a1b2c3d4e5f60718",
        *secret,
        "--output",
        "json",
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    check_envelope(ran.envelope, "ca sign")
    text = openssl(
        "x509", "-in", str(out), "-noout", "-subject", "-ext", "keyUsage,basicConstraints"
    )
    assert "a1b2c3d4e5f60718" in text
    assert "Elsewhere" not in text
    assert "CA:FALSE" in text
    root = local_root(bench)
    between = (bench.folder / "chain.pem").read_text()
    strict_verify(bench.folder, out.read_text(), between, root)
    assert bench.infuse("ca", "verify", str(out)).code == 0
    wrong = bench.folder / "wrong"
    wrong.write_text("not it")
    wrong.chmod(0o600)
    assert (
        bench.infuse(
            "ca", "sign", str(csr), "--out", str(out) + "2", "--passphrase-file", str(wrong)
        ).code
        == 9
    )
    wrong.chmod(0o644)
    assert (
        bench.infuse(
            "ca", "sign", str(csr), "--out", str(out) + "3", "--passphrase-file", str(wrong)
        ).code
        == 4
    )


@pytest.mark.storm
def test_journal_auth_and_profile_commands(bench):
    board = bench.board()
    shown = bench.passes(board)
    for key in (
        board.modem.uuid,
        board.modem.imei,
        "0" + board.modem.imei,
        shown["deviceId"],
        shown["certificate"]["serial"],
    ):
        assert board.modem.uuid in json.dumps(bench.show(key))
    listed = bench.infuse("journal", "list", "--output", "json")
    check_envelope(listed.envelope, "journal list")
    assert board.modem.uuid in listed.stdout
    summary = bench.infuse("journal", "summary", "--output", "json")
    check_envelope(summary.envelope, "journal summary")
    exported = bench.infuse("journal", "export", "--output", "json")
    assert exported.code == 0, exported.stderr
    assert shown["certificate"]["serial"] in exported.stdout
    status = bench.infuse("auth", "status", "--profile", str(bench.profile), "--output", "json")
    assert status.code == 0, status.stdout
    assert "INFUSE_TOKEN" in status.stdout
    assert bench.cloud.token not in status.stdout + status.stderr
    checked = bench.infuse("profile", "check", str(bench.profile), "--output", "json")
    assert checked.code == 0, checked.stdout
    nothing = bench.infuse("resume", "--output", "json")
    assert nothing.code == 0
    check_envelope(nothing.envelope, "resume")
    everything = "".join(
        path.read_text(errors="replace") for path in bench.home.rglob("*") if path.is_file()
    )
    assert bench.cloud.token not in everything
    assert PASSPHRASE not in everything


def test_resume_finds_the_board_on_another_port(bench):
    board, other = bench.board(), bench.board()
    assert bench.provision(board, more=("--until", "register")).code == 0
    absent = bench.infuse("resume", "--port", other.port, "--output", "json")
    assert absent.code == 7
    assert board.modem.uuid in json.dumps(absent.envelope["data"]["absent"])
    assert other.modem.counts["keygen"] == 0
    moved, board.modem = board.modem, Modem()
    other.swap(moved)
    ran = bench.infuse("resume", "--port", other.port, "--output", "json")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.envelope["data"]["boards"][0]["result"] == "PASS"
    assert moved.counts["keygen"] == 1


@pytest.mark.parametrize(
    "at", ["KEYGEN", *storms("CMNG=0,4201,1", "CFUN=4", "CMNG=0,4201,0", "JWT")]
)
def test_a_board_swapped_under_the_port_is_never_written_to(bench, at):
    board, stranger = bench.board(), Modem()
    board.faults.append(Fault(at, "call-after", lambda: board.swap(stranger)))
    first = board.modem
    ran = bench.provision(board)
    row = ran.envelope["data"]["boards"][0]
    assert row["result"] == "ABORTED", row
    assert row["error"]["code"] == "board.changed"
    assert ran.code == 7
    assert (
        stranger.counts["write"]
        == stranger.counts["keygen"]
        == stranger.counts["delete"]
        == stranger.counts["cfun"]
        == 0
    )
    bench.passes(board)
    board.swap(first)
    bench.passes(board)
    assert first.counts["keygen"] == (
        2 if at == "KEYGEN" else 1
    )  # its CSR came, but from whom was not sure
    assert audit(bench.cloud, [first, stranger]) == []


@pytest.mark.parametrize(
    ("at", "kind"),
    [
        ("KEYGEN", "reset-after"),
        *storms(
            ("CMNG=0,4201,1", "unplug-after"),
            *itertools.product(
                ["KEYGEN", "CMNG=0,4201,1", "CMNG=0,4201,0"],
                [
                    "silent-before",
                    "silent-after",
                    "reset-before",
                    "reset-after",
                    "unplug-before",
                    "unplug-after",
                ],
            ),
        ),
    ],
)
def test_trouble_on_the_wire_ends_green_in_the_end(bench, kind, at):
    board = bench.board()
    board.faults.append(Fault(at, kind))
    ran = bench.provision(board)
    if ran.code != 0:
        assert ran.code == 7, ran.stdout
        if board._master is None:
            board.plug()
        board.reset(banner=False)
    shown = bench.passes(board)
    check_identity(bench, board, shown, local_root(bench))
    assert audit(bench.cloud, [board.modem]) == []
    assert board.modem.mode == 1


@pytest.mark.parametrize("mode", ["none", "local-ca"])
def test_a_cloud_that_mixes_devices_up_is_never_believed(make_bench, mode):
    bench = make_bench()
    bench.write(mode)
    first, second = bench.board(), bench.board()
    device = bench.passes(first)["deviceId"]
    bench.cloud.mixed_up = True
    ran = bench.provision(second)
    [shown] = ran.envelope["data"]["boards"]
    assert (shown["result"], shown["error"]["code"]) == ("ERROR", "cloud.bad-answer")
    assert (shown["deviceId"], len(bench.cloud.state.devices)) == (None, 1)
    assert (4201, 1) not in second.modem.store
    bench.cloud.mixed_up = False
    assert bench.passes(second)["deviceId"] != device
    assert audit(bench.cloud, [first.modem, second.modem]) == []
