"""`infuse serial`: one board by hand, on a virtual board behind a pty, a TCP socket or RFC 2217."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import yaml

from infuse_cli.cli import main
from infuse_cli.cli.result import console
from infuse_cli.cli.views import serial as serial_views
from infuse_cli.config.model import UsbMatch
from infuse_cli.journal.store import open_journal
from infuse_cli.link.discover import explain
from infuse_cli.serial_tools import ports as serial_ports
from infuse_cli.settings import Settings
from infuse_cli.types import PortInfo
from tests.line.trouble import in_slot, one_line, passes, profile_with, refused, requests
from tests.support import bridge
from tests.support.nrfutil import ID, PROBE, Nrfutil, answer
from tests.support.usb import Machine
from tests.support.zygote import Ran

PSK = "0011223344556677"
WRITE_PSK = f'AT%CMNG=0,77,3,"{PSK}"'
SETTINGS = Settings(Path("/nowhere"))
DK = [
    PortInfo(
        f"/dev/ttyACM{number}", "J-Link - CDC", 0x1366, 0x1069, "001051234567", "1-1.2", number * 2
    )
    for number in range(2)
]
UNNUMBERED = [
    PortInfo(f"COM{number}", "J-Link", 0x1366, 0x1069, "001051234567", None, None)
    for number in (3, 4)
]
UART = PortInfo("/dev/ttyUSB0", "FT232R", 0x0403, 0x6001, "FT7", "1-1.4", 0)
ONBOARD = PortInfo("/dev/ttyS0", "n/a")


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(40) as bench:
        yield bench


def serial(bench, *words, named=True, **more):
    """Run `infuse serial …` with JSON output, with the world's profile unless it is not to be
    named.
    """
    profile = ("--profile", bench.profile) if named else ()
    return bench.infuse("serial", *words, *profile, "--output", "json", **more)


@pytest.fixture
def here(monkeypatch, tmp_path, capsys):
    """Run `infuse serial …` in this process: for what ends before a port is opened."""
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path))
    for name in ("INFUSE_PROFILE", "INFUSE_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, output="json"):
        code = main.run(["serial", *words, "--output", output])
        return Ran(code, *capsys.readouterr())

    return run


def data(ran):
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.envelope["status"] == "ok"
    return ran.envelope["data"]


def fresh(bench):
    return bench.world.port(bench.slot())


# Ports


def whys(ports, rules=()):
    return {one.info.port: (one.board, one.chosen, one.why) for one in explain(ports, rules)}


def test_each_port_says_why_it_is_or_is_not_a_boards():
    found = whys([*DK, UART, ONBOARD])
    assert found["/dev/ttyACM0"] == ("nRF9151 DK", True, "the AT port of this board")
    assert found["/dev/ttyACM1"] == (
        "nRF9151 DK",
        False,
        "this is interface 2, the AT port is interface 0",
    )
    assert found["/dev/ttyUSB0"][:2] == ("FTDI adapter", False)
    assert found["/dev/ttyUSB0"][2].startswith(
        "USB 0403:6001 is not in the table of known boards: an adapter"
    )
    assert found["/dev/ttyS0"][:2] == (None, False)


def test_the_profiles_usb_ids_decide_where_one_is_named():
    rules = (UsbMatch(vid="0403", pid="6001", serial_prefix="FT"),)
    found = whys([*DK, UART], rules)
    assert [port for port, (_, chosen, _) in found.items() if chosen] == ["/dev/ttyUSB0"]
    assert found["/dev/ttyACM0"] == (
        "nRF9151 DK",
        False,
        "USB 1366:1069 is not in the profile's board.usb",
    )
    other = (UsbMatch(vid="0403", pid="6001", serial_prefix="LINE"),)
    assert "does not begin with LINE" in whys([UART], other)["/dev/ttyUSB0"][2]


def test_two_ports_of_one_board_that_cannot_be_told_apart_are_listed_and_not_guessed():
    assert all("COM3, COM4" in why and not chosen for _, chosen, why in whys(UNNUMBERED).values())


def test_the_one_candidate_is_taken(monkeypatch):
    monkeypatch.setattr(serial_ports, "list_ports", lambda: (*DK, UART))
    assert serial_ports.choose_port(SETTINGS, None).port == "/dev/ttyACM0"
    assert serial_ports.choose_port(SETTINGS, "/dev/ttyUSB0").port == "/dev/ttyUSB0"


def test_several_candidates_are_named_and_none_is_taken(monkeypatch):
    second = PortInfo("/dev/ttyACM2", "J-Link", 0x1366, 0x1069, "001050000001", "1-1.3", 0)
    monkeypatch.setattr(serial_ports, "list_ports", lambda: (*DK, second))
    with pytest.raises(serial_ports.NoSinglePortError) as caught:
        serial_ports.choose_port(SETTINGS, None)
    assert caught.value.code == "serial.ambiguous"
    assert "/dev/ttyACM0, /dev/ttyACM2" in caught.value.message
    assert [row.seen.chosen for row in caught.value.rows] == [True, False, True]


def test_boards_that_cannot_be_told_apart_are_listed_and_none_is_taken(bench, tmp_path):
    machine, ports = Machine(tmp_path), [fresh(bench), fresh(bench)]

    def infuse(*words):
        return bench.infuse(
            *words, "--profile", bench.profile, "--output", "json", usb=machine.table
        )

    refused(infuse("provision"), "serial.none", 7)
    before = len(bench.world.state()["devices"])
    machine.plug("1-1.1", ports[0], "ttyACM0", "A", interfaces=False)
    assert "several ports" in refused(infuse("provision"), "serial.ambiguous", 7)["message"]
    machine.pull("1-1.1")
    machine.plug("1-1.1", ports[0], "ttyACM0", "A")
    machine.plug("1-1.2", ports[1], "ttyACM1", "B")
    for words in (
        ("serial", "info"),
        ("serial", "at", "AT+CFUN=4"),
        ("serial", "csr", "--out", str(tmp_path / "x.csr")),
    ):
        ran = infuse(*words)
        assert (ran.code, ran.envelope["errors"][0]["code"]) == (7, "serial.ambiguous")
        assert [row["chosen"] for row in ran.envelope["data"]["ports"]] == [
            True,
            False,
            True,
            False,
        ]
    assert len(bench.world.state()["devices"]) == before


def test_the_ports_of_this_machine_are_listed(bench):
    assert isinstance(data(serial(bench, "ports", named=False))["ports"], list)
    assert bench.infuse("serial", "ports").code == 0


def test_a_port_says_who_holds_it(bench):
    port = fresh(bench)
    held = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        row, missing = data(serial(bench, "ports", port, f"{port}999"))["ports"]
    finally:
        os.close(held)
    assert row["heldBy"].endswith(f"(pid {os.getpid()})")
    assert missing["why"] == "there is no such port"
    assert (
        row["heldBy"] in bench.infuse("serial", "ports", port).stdout
        or port in bench.infuse("serial", "ports", port).stdout
    )


@pytest.mark.parametrize(
    "words", [("probe",), ("info",), ("check",), ("creds", "list"), ("at", "AT")]
)
def test_without_a_port_the_candidates_are_shown(here, words):
    ran = here(*words)
    refused(ran, "serial.none", 7)
    assert isinstance(ran.envelope["data"]["ports"], list)
    assert ran.envelope["command"] == f"serial {' '.join(word for word in words if word != 'AT')}"
    one_line(here(*words, output="human"), "serial.none", 7)


def test_two_different_ports_are_a_usage_error(here):
    refused(here("probe", "/dev/ttyA", "--port", "/dev/ttyB"), "usage.bad-option", 2)


def test_a_machine_without_ports_says_so(capsys):
    serial_views.show_ports(console(), [])
    assert "no serial port" in capsys.readouterr().out


# One board


def test_a_board_that_answers(bench):
    port = fresh(bench)
    assert data(serial(bench, "probe", port)) == {"port": port, "answers": True, "dialect": "at"}
    assert "answers AT" in bench.infuse("serial", "probe", "--port", port).stdout


def test_a_port_that_is_silent(bench):
    slot = bench.slot()
    bench.world.set_faults(f"{slot}:mute")
    try:
        refused(serial(bench, "probe", bench.world.port(slot)), "serial.silent", 7)
    finally:
        bench.world.set_faults("")


def test_a_fresh_board_is_described(bench):
    slot = bench.slot()
    found = data(serial(bench, "info", bench.world.port(slot)))
    modem = in_slot(bench, slot)
    assert found["board"] == {
        "uuid": modem["uuid"],
        "imei": modem["imei"],
        "mcuId": f"0{modem['imei']}",
    }
    assert (found["model"], found["functionalMode"], found["functionalModeName"]) == (
        "nRF9151-LACA",
        1,
        "normal",
    )
    assert found["record"] is None
    text = bench.infuse("serial", "info", bench.world.port(slot)).stdout
    assert modem["uuid"] in text
    assert "knows nothing of this board" in text


def test_looking_at_a_board_makes_no_journal_and_writes_nothing(bench, tmp_path):
    slot = bench.slot()
    before = in_slot(bench, slot)
    home = {"INFUSE_HOME": str(tmp_path / "home")}
    for words in (("info",), ("creds", "list"), ("check",)):
        data(serial(bench, *words, bench.world.port(slot), env=home))
    data(serial(bench, "at", bench.world.port(slot), "AT+CGMM", "AT%CMNG=1", env=home))
    assert in_slot(bench, slot) == before
    assert not (tmp_path / "home" / "journal.sqlite3").exists()


def test_a_board_that_passed_is_known(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    made = passes(bench, slot)[0]
    record = data(serial(bench, "info", port))["record"]
    assert (record["newest"]["result"], record["newest"]["deviceId"]) == ("PASS", made["deviceId"])
    assert [row["serial"] for row in record["certificates"]] == [made["certificate"]["serial"]]
    by_hand(bench, port)
    assert (
        "command sent AT+CFUN=4 OK"
        in bench.infuse("journal", "show", made["board"]["uuid"], "--events").stdout
    )
    rows = data(serial(bench, "creds", "list", port))["credentials"]
    assert [(row["secTag"], row["type"]) for row in rows] == [
        (4201, 0),
        (4201, 1),
        (4201, 2),
        (4202, 3),
        (4202, 4),
    ]
    assert all(row["known"] and len(row["sha256"]) == 64 for row in rows)
    assert [
        row["type"]
        for row in data(serial(bench, "creds", "list", port, "--tag", "4202"))["credentials"]
    ] == [3, 4]
    found = data(serial(bench, "check", port))
    assert (found["possession"], found["differences"], found["cloud"]["deviceId"]) == (
        "proven",
        [],
        made["deviceId"],
    )
    text = bench.infuse("serial", "check", port, "--profile", bench.profile).stdout
    assert "No differences." in text
    assert "client certificate" in text


def test_a_module_without_an_imei_is_still_described(bench):
    slot = bench.slot()
    bench.world.set_faults(f"{slot}:no-imei")
    try:
        found = data(serial(bench, "info", bench.world.port(slot)))
    finally:
        bench.world.set_faults("")
    assert found["board"]["mcuId"] is None
    assert found["mcuIdProblem"]["code"] == "board.no-imei"


# Differences


def differences(ran):
    assert ran.envelope["status"] == "error"
    assert [one["code"] for one in ran.envelope["data"]["differences"]] == [
        one["code"] for one in ran.envelope["errors"]
    ]
    return {one["code"]: one["message"] for one in ran.envelope["errors"]}


def by_hand(bench, port, *commands):
    data(serial(bench, "at", port, "AT+CFUN=4", *commands, "AT+CFUN=1", named=False))


def test_what_somebody_else_did_to_a_board_is_named(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    passes(bench, slot)
    by_hand(bench, port, "AT%CMNG=3,4201,2", "AT%KEYGEN=4201,2,0", "AT%CMNG=3,4201,0")
    ran = serial(bench, "check", port)
    assert ran.code == 8
    told = differences(ran)
    assert set(told) == {"identity.not-read-back", "identity.possession-failed"}
    messages = [one["message"] for one in ran.envelope["errors"]]
    assert any(
        "root CA certificate of sec_tag 4201" in message and "not in the modem" in message
        for message in messages
    )
    assert any(
        "client key of sec_tag 4201" in message and "on record" in message for message in messages
    )
    text = bench.infuse("serial", "check", port, "--profile", bench.profile)
    assert text.stderr.count("error identity.") == len(messages)


def test_a_slot_that_somebody_else_filled_is_named(bench):
    port = fresh(bench)
    by_hand(bench, port, "AT%KEYGEN=4201,2,0")
    ran = serial(bench, "check", port)
    assert ran.code == 8
    assert "client key of sec_tag 4201" in differences(ran)["identity.slot-occupied"]
    assert data(serial(bench, "check", port, named=False))["differences"] == []
    assert [row["known"] for row in data(serial(bench, "creds", "list", port))["credentials"]] == [
        False
    ]


def test_a_board_that_is_not_the_product_is_named(bench):
    profile = profile_with(
        bench,
        "newer",
        lambda profile: profile["board"].update(expect={"modem_firmware": ">=9.0.0"}),
    )
    ran = serial(bench, "check", fresh(bench), "--profile", profile, named=False)
    assert ran.code == 7
    assert ">=9.0.0" in differences(ran)["board.unexpected"]


def test_a_cloud_device_of_another_cloud_board_is_named_and_looking_makes_no_board(bench):
    slot = bench.slot()
    passes(bench, slot)
    elsewhere = profile_with(
        bench,
        "elsewhere",
        lambda profile: profile["cloud"].update(board={"name": "Another Board", "create": True}),
    )
    posts = requests(bench, "POST /board", "count")
    ran = serial(bench, "check", bench.world.port(slot), "--profile", elsewhere, named=False)
    assert ran.code == 8
    assert "cloud.wrong-owner" in differences(ran)
    assert requests(bench, "POST /board", "count") == posts


def test_metadata_that_was_changed_in_the_cloud_is_named(bench):
    slot = bench.slot()
    with_metadata = profile_with(
        bench,
        "with-metadata",
        lambda profile: profile["metadata"].update(deploymentSite="Brisbane"),
    )
    port = bench.world.port(slot)
    assert (
        bench.infuse(
            "provision", "--profile", with_metadata, "--port", port, "--output", "json"
        ).code
        == 0
    )
    moved = profile_with(
        bench, "moved", lambda profile: profile["metadata"].update(deploymentSite="Perth")
    )
    assert (
        data(serial(bench, "check", port, "--profile", moved, named=False))["cloud"]["metadata"][
            "deploymentSite"
        ]
        == "Brisbane"
    )
    change = urllib.request.Request(  # as somebody does who works on the cloud's own pages
        f"{bench.world.base_url}/device/id/{cloud_device(bench, slot)['id']}",
        method="PUT",
        data=json.dumps(
            {"metadata": {"operation": "patch", "value": {"deploymentSite": "Perth"}}}
        ).encode(),
        headers={
            "Authorization": f"Bearer {bench.world.token}",
            "Content-Type": "application/json",
        },
    )
    urllib.request.urlopen(change).close()
    ran = serial(bench, "check", port)
    assert "'Brisbane' on record, 'Perth' in the cloud" in differences(ran)["cloud.device-conflict"]


def cloud_device(bench, slot):
    mcu_id = f"0{in_slot(bench, slot)['imei']}"
    return next(device for device in bench.world.state()["devices"] if device["mcuId"] == mcu_id)


def test_another_bench_finds_the_cloud_device_that_its_journal_does_not_know(bench, tmp_path):
    slot = bench.slot()
    device = passes(bench, slot)[0]["deviceId"]
    found = serial(bench, "check", bench.world.port(slot), env={"INFUSE_HOME": str(tmp_path)})
    assert found.envelope["data"]["cloud"]["deviceId"] == device
    assert set(differences(found)) == {"identity.slot-occupied"}
    assert any(device in note for note in found.envelope["data"]["notes"])


def test_without_a_credential_the_board_is_checked_all_the_same(bench, tmp_path):
    def without(profile):
        profile["cloud"]["auth"] = {"scheme": "bearer"}

    profile = profile_with(bench, "no-credential", without)
    found = data(
        serial(
            bench,
            "check",
            fresh(bench),
            "--profile",
            profile,
            named=False,
            env={"INFUSE_HOME": str(tmp_path)},
        )
    )
    assert found["cloud"] is None
    assert any("the cloud was not asked" in note for note in found["notes"])


# By hand


def test_answers_come_as_they_are(bench):
    found = data(serial(bench, "at", fresh(bench), "AT+CGMM", "AT+CFUN?"))
    assert [one["lines"] for one in found["commands"]] == [["nRF9151-LACA"], ["+CFUN: 1"]]
    assert (
        bench.infuse("serial", "at", "--port", fresh(bench), "AT+CGMM").stdout
        == "nRF9151-LACA\nOK\n"
    )


def test_the_first_error_stops_and_says_what_the_number_means(bench):
    slot = bench.slot()
    ran = serial(bench, "at", bench.world.port(slot), "AT+CGMM", "AT%CMNG=3,77,1", "AT+CFUN=4")
    assert (ran.code, ran.envelope["status"], ran.envelope["data"]["notSent"]) == (7, "partial", 1)
    error = ran.envelope["errors"][0]
    assert error["code"] == "modem.active"
    assert "518" in error["message"]
    assert "AT+CFUN=4" in error["hint"]
    assert in_slot(bench, slot)["functionalMode"] == 1
    line = one_line(
        bench.infuse("serial", "at", bench.world.port(slot), "AT%NOSUCH"), "modem.error", 7
    )
    assert "AT%NOSUCH" in line


def test_a_secret_is_sent_and_never_shown_or_recorded(bench, tmp_path):
    slot = bench.slot()
    port, home = bench.world.port(slot), {"INFUSE_HOME": str(tmp_path)}
    ran = serial(bench, "at", port, "AT+CFUN=4", WRITE_PSK, "AT+CFUN=1", env=home)
    assert data(ran)["commands"][1]["command"] == "AT%CMNG=0,77,3 ***"
    again = bench.infuse("serial", "at", port, "AT+CFUN=4", WRITE_PSK, env=home)
    assert again.code == 7  # 519: it is there
    assert "can be seen by every user" in again.stderr
    uuid = ran.envelope["data"]["board"]
    with open_journal(tmp_path) as journal:
        notes = [event.facts["facts"] for event in journal.events(board=uuid)]
        assert journal.verify() == []
    assert [(note["command"], note["answer"]) for note in notes] == [
        ("AT+CFUN=4", "begun"),
        ("AT+CFUN=4", "OK"),
        ("AT%CMNG=0,77,3 ***", "begun"),
        ("AT%CMNG=0,77,3 ***", "OK"),
        ("AT+CFUN=1", "begun"),
        ("AT+CFUN=1", "OK"),
        ("AT+CFUN=4", "begun"),
        ("AT+CFUN=4", "OK"),
        ("AT%CMNG=0,77,3 ***", "begun"),
        ("AT%CMNG=0,77,3 ***", "modem.exists"),
    ]
    for text in (
        ran.stdout,
        ran.stderr,
        again.stdout,
        again.stderr,
        *(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()),
    ):
        assert PSK not in text


def test_what_is_sent_is_on_record_before_it_goes_out(bench, tmp_path):
    port = fresh(bench)
    ran = serial(
        bench, "at", port, "AT+CFUN=4", env={"INFUSE_HOME": str(tmp_path)}, failpoint="wire:"
    )
    assert ran.code == -9
    with open_journal(tmp_path) as journal:
        notes = [
            event.facts["facts"]["answer"]
            for event in journal.events()
            if event.kind == "run-noted"
        ]
    assert notes == ["begun"]


def test_a_board_that_stops_answering_does_so_within_the_timeout(bench):
    slot = bench.slot()
    bench.world.set_faults(f"{slot}:hang@list")
    try:
        ran = serial(
            bench,
            "at",
            bench.world.port(slot),
            "AT+CGMM",
            "AT%CMNG=1",
            "AT+CGMR",
            "--timeout",
            "0.3",
        )
    finally:
        bench.world.set_faults("")
    assert (ran.code, ran.envelope["errors"][0]["code"]) == (7, "serial.timeout")
    assert "0.3 s" in ran.envelope["errors"][0]["message"]
    assert [one["ok"] for one in ran.envelope["data"]["commands"]] == [True, False]


def test_commands_from_a_file(bench, tmp_path):
    slot = bench.slot()
    port = bench.world.port(slot)
    pem = (
        bench.world.root_pem.strip()
        if isinstance(bench.world.root_pem, str)
        else Path(bench.world.root_pem).read_text().strip()
    )
    script = tmp_path / "make-ready.at"
    script.write_text(f'# a root\nAT+CFUN=4\nAT%CMNG=0,16,0,"{pem}"\nAT+CFUN=1\n')
    assert [
        one["ok"] for one in data(serial(bench, "at", port, "--file", str(script)))["commands"]
    ] == [True, True, True]
    assert (
        data(serial(bench, "creds", "list", port, "--tag", "16"))["credentials"][0]["typeName"]
        == "root CA certificate"
    )


def test_commands_from_standard_input(bench):
    ran = subprocess.run(
        [sys.executable, "-m", "infuse_cli", "serial", "at", fresh(bench), "--output", "json"],
        input="AT+CGMM\n",
        capture_output=True,
        text=True,
        env={**os.environ, **bench.env},
        check=True,
    )
    assert json.loads(ran.stdout)["data"]["commands"][0]["lines"] == ["nRF9151-LACA"]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("/dev/ttyX",),
        ("/dev/ttyX", "/dev/ttyY", "AT"),
        ("AT", "CGMM"),
        ("AT", "--file", "x.at"),
        ("--file", "/nowhere.at"),
    ],
)
def test_what_is_no_command_is_refused_before_a_port_is_opened(here, monkeypatch, words):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refused(here("at", *words), "usage.bad-option", 2)


# Over the network


@pytest.mark.parametrize("kind", [bridge.raw, bridge.rfc2217], ids=["socket", "rfc2217"])
def test_a_board_behind_a_terminal_server(bench, kind):
    slot = bench.slot()
    with kind(bench.world.port(slot)) as url:
        assert data(serial(bench, "info", url))["board"]["uuid"] == in_slot(bench, slot)["uuid"]
        assert data(serial(bench, "at", url, "AT+CGMM"))["commands"][0]["lines"] == ["nRF9151-LACA"]
        assert data(serial(bench, "ports", url))["ports"][0]["chosen"] is True


@pytest.mark.parametrize("kind", [bridge.raw, bridge.rfc2217], ids=["socket", "rfc2217"])
def test_a_whole_run_over_a_terminal_server(bench, kind):
    with kind(fresh(bench)) as url:
        ran = bench.provision(url)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.envelope["data"]["boards"][0]["result"] == "PASS"


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_terminal_server_that_is_not_there(here, scheme):
    refused(here("probe", f"{scheme}://127.0.0.1:1"), "serial.no-port", 7)


# The chip's own id


@pytest.fixture
def probed(bench, tmp_path):
    """A board whose profile takes mcuId from `nrfutil`, which is on the PATH, and a bench that
    knows the probe.
    """
    port, tool = fresh(bench), Nrfutil(tmp_path / "bin")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "bench.yaml").write_text(yaml.safe_dump({"probes": {port: PROBE}}))
    profile = profile_with(
        bench, "probed", lambda profile: profile["board"].update(mcu_id={"from": "nrfutil"})
    )
    env = {
        "PATH": tool.path,
        "INFUSE_HOME": str(home),
        "INFUSE_PROFILE": profile,
        "INFUSE_SEALING_KEY_FILE": str(tmp_path / "sealing"),
    }
    return port, tool, env


def test_the_mcu_id_comes_from_the_probe(bench, probed):
    port, tool, env = probed
    assert data(serial(bench, "info", port, named=False, env=env))["board"]["mcuId"] == ID.hex()
    ran = bench.infuse("provision", "--port", port, "--output", "json", env=env)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.envelope["data"]["boards"][0]["board"]["mcuId"] == ID.hex()
    assert sum(device["mcuId"] == ID.hex() for device in bench.world.state()["devices"]) == 1
    tool.says(answer(b"\x99" * 8))  # another chip behind the same modem
    ran = serial(bench, "check", port, named=False, env=env)
    assert ran.code == 8
    assert "9999999999999999" in differences(ran)["identity.clone"]


def test_a_probe_that_gives_no_id_fails_the_board_before_anything_is_registered(bench, probed):
    port, tool, env = probed
    tool.says(answer(), code=1, err="No debug probe is connected\n")
    devices = len(bench.world.state()["devices"])
    board = bench.infuse("provision", "--port", port, "--output", "json", env=env).envelope["data"][
        "boards"
    ][0]
    assert (board["result"], board["failedStep"], board["error"]["code"]) == (
        "FAIL",
        "identify",
        "board.no-mcu-id",
    )
    assert "No debug probe is connected" in board["error"]["message"]
    assert len(bench.world.state()["devices"]) == devices
    found = data(serial(bench, "info", port, named=False, env=env))
    assert found["mcuIdProblem"]["code"] == "board.no-mcu-id"


def test_an_mcu_id_from_the_label_is_wanted_once(bench, tmp_path):
    slot = bench.slot()
    profile, port = (
        profile_with(
            bench, "label", lambda profile: profile["board"].update(mcu_id={"from": "scan"})
        ),
        bench.world.port(slot),
    )
    run = partial(
        bench.infuse, "provision", "--profile", profile, "--port", port, "--output", "json"
    )
    [board] = run().envelope["data"]["boards"]
    assert (board["result"], board["failedStep"], board["error"]["code"]) == (
        "FAIL",
        "identify",
        "board.no-mcu-id",
    )
    assert "--metadata-from" in board["error"]["hint"]
    table = tmp_path / "labels.csv"
    table.write_text(f"imei,mcuId\n{in_slot(bench, slot)['imei']},AABBCCDD00000003\n")
    [board] = run("--metadata-from", str(table)).envelope["data"]["boards"]
    assert (board["result"], board["board"]["mcuId"]) == ("PASS", "aabbccdd00000003")
    [board] = run().envelope["data"]["boards"]
    assert (board["result"], board["already"], board["board"]["mcuId"]) == (
        "PASS",
        True,
        "aabbccdd00000003",
    )
    [board] = run("--metadata", "mcuId=aabbccdd00000004").envelope["data"]["boards"]
    assert (board["result"], board["error"]["code"]) == ("FAIL", "identity.clone")


@pytest.mark.storm
def test_an_mcu_id_from_a_command_of_the_profile(bench):
    source = {
        "from": "command",
        "command": "AT%XICCID",
        "pattern": "%XICCID: [0-9]{4}([0-9A-F]{16})",
    }
    profile = profile_with(bench, "asked", lambda profile: profile["board"].update(mcu_id=source))
    ran = bench.infuse(
        "provision", "--profile", profile, "--port", fresh(bench), "--output", "json"
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert len(ran.envelope["data"]["boards"][0]["board"]["mcuId"]) == 16


@pytest.mark.parametrize("source", ["hwinfo", "epacket"])
def test_a_source_that_the_boards_dialect_lacks_is_told_and_nothing_is_provisioned(bench, source):
    profile = profile_with(
        bench, source, lambda profile: profile["board"].update(mcu_id={"from": source})
    )
    port = fresh(bench)
    found = data(serial(bench, "info", port, "--profile", profile, named=False))
    assert found["mcuIdProblem"]["code"] == "profile.unsupported"
    ran = bench.infuse("provision", "--profile", profile, "--port", port, "--output", "json")
    assert ran.code == 3
    assert "dialect at does not offer" in ran.envelope["data"]["boards"][0]["error"]["message"]
