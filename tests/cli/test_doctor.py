"""`infuse doctor`: what it finds at a bench at a virtual world, on a machine made of files, and
what its bundle must not hold.
"""

from __future__ import annotations

import base64
import json
import os
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infuse_cli.keys.credentials import Found, Source
from infuse_cli.maintenance import doctor_bench, doctor_checks
from infuse_cli.maintenance.doctor import Subject, examine, passed
from infuse_cli.maintenance.machine import Machine
from infuse_cli.maintenance.support_bundle import Scrubber
from infuse_cli.types import PortInfo, Secret
from tests.line.trouble import ended, faults, profile_with

DK = PortInfo("/dev/ttyACM0", "J-Link - CDC", 0x1366, 0x1069, "001051234567", "1-1.2", 0)
VCOM1 = PortInfo("/dev/ttyACM1", "J-Link - CDC", 0x1366, 0x1069, "001051234567", "1-1.2", 2)


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(4) as bench:
        yield bench


def doctor(bench, *words, named=True, **more):
    profile = ("--profile", bench.profile) if named else ()
    return bench.infuse("doctor", *words, *profile, "--output", "json", **more)


def found(ran):
    assert "Traceback" not in ran.stdout + ran.stderr
    return {one["check"]: one for one in ran.envelope["data"]["checks"]}


def test_a_bench_in_order(bench):
    ran = doctor(bench)
    checks = found(ran)
    assert ran.code == 0, ran.stdout
    assert ran.envelope["data"]["totals"]["fail"] == 0
    assert {
        name: checks[name]["state"]
        for name in (
            "profile",
            "credential",
            "API",
            "clock",
            "journal",
            "disk",
            "CA",
            "CA key",
            "nrfutil",
        )
    } == {
        "profile": checks["profile"]["state"],
        "credential": "PASS",
        "API": "PASS",
        "clock": "PASS",
        "journal": "PASS",
        "disk": "PASS",
        "CA": checks["CA"]["state"],
        "CA key": "PASS",
        "nrfutil": "PASS",
    }
    assert "opens with the passphrase" in checks["CA key"]["message"]
    assert checks["admin credential"]["state"] == "WARN"
    assert all(one["fix"] for one in checks.values() if one["state"] != "PASS")
    text = bench.infuse("doctor", "--profile", bench.profile)
    assert text.code == 0
    assert "PASS  clock" in text.stdout
    assert "-> " in text.stdout


def test_every_fail_is_a_line_an_error_and_the_exit_code(bench):
    def change(profile):
        profile["cloud"] |= {
            "base_url": "http://127.0.0.1:9",
            "deadline_s": 0.3,
            "auth": {"scheme": "bearer"},
        }

    away = profile_with(bench, "away", change)
    ran = doctor(bench, "--profile", away, named=False)
    assert ran.code == 4  # the credential is looked for first
    assert [one["code"] for one in ran.envelope["errors"]] == [
        "credential.missing",
        "cloud.unreachable",
    ]
    assert found(ran)["clock"]["state"] == "WARN"
    text = bench.infuse("doctor", "--profile", away)
    assert text.code == 4
    assert text.stderr == ""
    assert "FAIL  API" in text.stdout
    refused = doctor(bench, env={"INFUSE_TOKEN": "somebody-elses"})
    assert (refused.code, found(refused)["API"]["code"]) == (4, "credential.refused")
    assert found(refused)["clock"]["state"] == "PASS"


def test_what_is_wrong_with_a_profile_is_the_profiles_line(bench):
    broken = profile_with(bench, "broken", lambda profile: profile.update(nonsense=1))
    ran = doctor(
        bench, "--profile", broken, named=False, env={"INFUSE_BASE_URL": bench.world.base_url}
    )
    assert ran.code == 3
    assert found(ran)["profile"]["state"] == "FAIL"


def test_a_journal_that_was_tampered_with_and_one_that_is_damaged(bench, tmp_path):
    from infuse_cli.journal.store import open_journal
    from infuse_cli.records import RunStart

    with open_journal(tmp_path) as journal:
        journal.start_run(
            RunStart(
                run="r",
                command="provision",
                profile_name="",
                profile_hash="",
                profile={},
                operator="me",
            )
        )
        journal.end_run("r", {})
        assert journal.verify_newest() == []
        assert journal.verify_newest(1) == []
        with journal._database.writing() as connection:
            connection.exec_driver_sql("UPDATE event SET operator = 'you' WHERE seq = 2")
    ran = doctor(bench, env={"INFUSE_HOME": str(tmp_path)})
    assert found(ran)["journal"]["code"] == "journal.corrupt"
    assert "changed after it was written" in found(ran)["journal"]["message"]
    (tmp_path / "journal.sqlite3").write_bytes(b"no journal at all, but long enough for one" * 40)
    assert found(doctor(bench, env={"INFUSE_HOME": str(tmp_path)}))["journal"]["code"].startswith(
        "journal."
    )


def test_a_ca_whose_key_is_loose_or_whose_passphrase_is_wrong(bench, tmp_path):
    wrong = tmp_path / "passphrase"
    wrong.write_text("not it\n")
    wrong.chmod(0o600)
    ran = doctor(bench, "--passphrase-file", str(wrong))
    assert (ran.code, found(ran)["CA key"]["code"]) == (9, "ca.bad-passphrase")
    key = next(path for path in Path(bench.world.folder).rglob("intermediate.key.pem"))
    key.chmod(0o644)
    try:
        ran = doctor(bench)
    finally:
        key.chmod(0o600)
    assert (ran.code, found(ran)["CA"]["code"]) == (9, "ca.unsafe-key")
    missing = profile_with(bench, "no-ca", lambda profile: profile["identity"].update(ca="nowhere"))
    assert found(doctor(bench, "--profile", missing, named=False))["CA"]["code"] == "ca.not-found"


def test_a_pin_is_not_tried_unasked(bench, monkeypatch, tmp_path):
    from infuse_cli.pki import issuers

    monkeypatch.setattr(issuers, "read_key_uri", lambda folder: "pkcs11:token=line;object=ca")
    subject = Subject(bench.home, {}, Machine(), bench.profile)
    told = doctor_checks._unlocked(subject, Path(bench.world.folder) / "ca", "ca")
    assert "wrong ones lock the token" in only(told).message


def jwt(expires):
    body = (
        base64.urlsafe_b64encode(json.dumps({"exp": expires.timestamp()}).encode())
        .decode()
        .rstrip("=")
    )
    return Secret(f"eyJhbGciOiJFUzI1NiJ9.{body}.c2ln")


@pytest.mark.parametrize(
    ("left", "state"),
    [(timedelta(days=7), "PASS"), (timedelta(hours=2), "WARN"), (timedelta(seconds=-1), "FAIL")],
)
def test_a_credential_that_names_its_end(left, state):
    end = datetime.now(UTC) + left
    told = Found(jwt(end), Source.HOME_FILE, "a file")
    assert (
        doctor_checks._lifetime("from a file", doctor_checks.expires_at(told.secret), told).state
        == state
    )
    assert doctor_checks._kept(told, end) == []


@pytest.mark.parametrize(
    ("offset", "state"), [(0.2, "PASS"), (45.0, "WARN"), (-400.0, "FAIL"), (None, "WARN")]
)
def test_the_clock_beside_the_servers(offset, state):
    assert doctor_checks._clock(offset).state == state


def test_a_check_that_hangs_or_breaks_costs_one_line(tmp_path):
    hanging = threading.Event()

    def hangs(_):
        hanging.wait(30)
        return []

    def breaks(_):
        raise KeyError("secret-in-a-message")

    checks = (
        ("hangs", hangs),
        ("breaks", breaks),
        ("fine", lambda _: [passed("fine", "all is well")]),
    )
    told = examine(Subject(tmp_path, {}, Machine()), checks, deadline_s=0.2)
    hanging.set()
    assert [(one.name, one.state) for one in told] == [
        ("hangs", "WARN"),
        ("breaks", "FAIL"),
        ("fine", "PASS"),
    ]
    assert "secret-in-a-message" not in str(told)


# A machine made of files


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "proc").mkdir()
    groups = tmp_path / "group"
    groups.write_text("root:x:0:\ndialout:x:20:anna\n")

    def make(*, ports=(DK, VCOM1), programs=(), held=None, tools=None, told=None, **more):
        for number, name in enumerate(programs, 100):
            (tmp_path / "proc" / str(number)).mkdir(exist_ok=True)
            (tmp_path / "proc" / str(number) / "comm").write_text(f"{name}\n")

        class Fake(Machine):
            def told_by(self, *words):
                return told

        return Subject(
            tmp_path / "home",
            {},
            Fake(
                proc=tmp_path / "proc",
                udev=tmp_path / "udev",
                groups_file=groups,
                ports=lambda: ports,
                which=(tools or {}).get,
                holder=(held or {}).get,
                jlink_folders=(),
                group_ids=frozenset(more.get("groups", {20})),
                user_id=more.get("user", 1000),
            ),
        )

    return make


def only(findings):
    assert len(findings) == 1
    return findings[0]


def test_groups(machine, monkeypatch):
    assert only(doctor_bench.groups(machine())).state == "PASS"
    assert only(doctor_bench.groups(machine(groups={5}, user=0))).state == "PASS"
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert "Log out" in only(doctor_bench.groups(machine(groups={5}))).fix
    monkeypatch.setattr("getpass.getuser", lambda: "ben")
    finding = only(doctor_bench.groups(machine(groups={5})))
    assert (finding.state, finding.error.code) == ("FAIL", "serial.denied")
    assert "usermod -aG dialout ben" in finding.fix


def test_modem_manager_is_told_off_by_a_rule(machine, tmp_path, monkeypatch):
    assert only(doctor_bench.modem_manager(machine())).message == "not running"
    finding = only(doctor_bench.modem_manager(machine(programs=("systemd", "ModemManager"))))
    assert finding.state == "WARN"
    assert (
        'ATTRS{idVendor}=="1366", ATTRS{idProduct}=="1069", ENV{ID_MM_DEVICE_IGNORE}="1"'
        in finding.fix
    )
    holding = only(
        doctor_bench.modem_manager(machine(held={"/dev/ttyACM0": "ModemManager (pid 7)"}))
    )
    assert (holding.state, holding.error.code) == ("FAIL", "serial.busy")
    monkeypatch.setattr(Machine, "udev_notes", lambda self, port: {"ID_MM_DEVICE_IGNORE": "1"})
    assert only(doctor_bench.modem_manager(machine())).state == "PASS"


def test_udevs_notes_on_a_port_are_read(tmp_path):
    number = Path("/dev/null").stat().st_rdev
    folder = tmp_path / "udev"
    folder.mkdir()
    (folder / f"c{os.major(number)}:{os.minor(number)}").write_text(
        "S:serial/by-id/x\nE:ID_MM_DEVICE_IGNORE=1\nE:ID_VENDOR=a=b\n"
    )
    notes = Machine(udev=folder).udev_notes("/dev/null")
    assert notes == {"ID_MM_DEVICE_IGNORE": "1", "ID_VENDOR": "a=b"}
    assert Machine(udev=folder).udev_notes("/dev/no-such-port") == {}


def test_ports(machine, monkeypatch):
    monkeypatch.setattr("infuse_cli.serial_tools.ports._permitted", lambda port: None)
    assert only(doctor_bench.ports(machine())).state == "PASS"
    assert only(doctor_bench.ports(machine(ports=()))).state == "WARN"
    busy = only(doctor_bench.ports(machine(held={"/dev/ttyACM0": "minicom (pid 9)"})))
    assert (busy.state, busy.error.code) == ("FAIL", "serial.busy")
    assert (
        only(doctor_bench.ports(machine(held={"/dev/ttyACM0": "infuse (pid 9)"}))).state == "WARN"
    )
    monkeypatch.setattr("infuse_cli.serial_tools.ports._permitted", lambda port: False)
    assert only(doctor_bench.ports(machine())).error.code == "serial.denied"


def test_nrfutil_and_jlink(machine):
    assert only(doctor_bench.nrfutil(machine())).state == "PASS"  # nobody needs it
    assert only(doctor_bench.nrfutil(machine(tools={"nrfutil": "/opt/nrfutil"}))).state == "WARN"
    assert (
        "2.7.0"
        in only(
            doctor_bench.nrfutil(
                machine(tools={"nrfutil": "/opt/nrfutil"}, told="nrfutil-device 2.7.0\nmore\n")
            )
        ).message
    )
    assert (
        only(doctor_bench.jlink(machine(tools={"JLinkExe": "/usr/bin/JLinkExe"}))).state == "PASS"
    )


def test_nrfutil_is_missed_where_the_product_needs_it(bench):
    probing = profile_with(
        bench, "probing", lambda profile: profile["board"].update(mcu_id={"from": "nrfutil"})
    )
    ran = doctor(bench, "--profile", probing, named=False, env={"PATH": str(bench.world.folder)})
    assert found(ran)["nrfutil"]["code"] == "board.no-mcu-id"
    assert found(ran)["J-Link"]["state"] == "WARN"
    writing = profile_with(bench, "writing", lambda profile: profile["board"].update(write_id=True))
    assert (
        found(
            doctor(bench, "--profile", writing, named=False, env={"PATH": str(bench.world.folder)})
        )["nrfutil"]["code"]
        == "board.id-not-written"
    )


# The bundle


def unpacked(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read().decode() for member in tar.getmembers()}


def test_the_bundle_has_what_support_needs_and_no_secret(bench, tmp_path):
    marks = {
        name: f"Marked{name}Secret0815xyz" for name in ("Api", "Registry", "Passphrase", "Psk")
    }
    bench.provision(bench.world.port(1))
    with faults(bench, "2:install=CME527"):
        board = ended(bench.provision(bench.world.port(2)))["board"]["uuid"]
    psk = tmp_path / "psk"
    psk.write_text(f'AT+CFUN=4\nAT%CMNG=0,99,3,"{marks["Psk"].encode().hex()}"\n')
    bench.infuse("serial", "at", bench.world.port(3), "--file", str(psk))
    (bench.home / "credentials.json").write_text(
        json.dumps({"credentials": {"other.example": "MarkedStoredSecret0815xyz"}})
    )
    (bench.home / "credentials.json").chmod(0o600)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(f"{marks['Passphrase']}\n")
    passphrase.chmod(0o600)
    leaky = profile_with(
        bench,
        "leaky",
        lambda profile: profile.update(
            description=f"{marks['Api']} and {marks['Registry']} and {marks['Passphrase']}"
        ),
    )
    out = tmp_path / "support.tar.gz"
    ran = doctor(
        bench,
        "--bundle",
        str(out),
        "--profile",
        leaky,
        "--passphrase-file",
        str(passphrase),
        named=False,
        env={"INFUSE_TOKEN": marks["Api"], "INFUSE_REGISTRY_TOKEN": marks["Registry"]},
    )
    assert ran.envelope["data"]["bundle"]["file"] == str(out)
    assert out.stat().st_mode & 0o777 == 0o600
    parts = unpacked(out)
    assert {
        "infuse-doctor/doctor.json",
        "infuse-doctor/versions.json",
        "infuse-doctor/profile.json",
        "infuse-doctor/runs.json",
        "infuse-doctor/boards.json",
    } <= set(parts)
    assert any(board in name for name in parts if "transcripts/" in name)
    assert "*** and *** and ***" in parts["infuse-doctor/profile.json"]
    secrets = [
        *marks.values(),
        "MarkedStoredSecret0815xyz",
        bench.world.token,
        (Path(bench.world.folder) / "passphrase").read_text().strip(),
        Path(f"{bench.home}.sealing").read_text().strip(),
    ]
    for secret in secrets:
        forms = (
            secret,
            secret.encode().hex(),
            base64.b64encode(secret.encode()).decode().rstrip("="),
        )
        assert [name for name, text in parts.items() for form in forms if form in text] == []
    again = doctor(bench, "--bundle", str(out))
    assert (again.code, again.envelope["errors"][0]["code"]) == (2, "usage.bad-option")


@pytest.mark.parametrize(
    "text",
    [
        "ik_abcdefghijkl",
        "Bearer abcdefgh12345",
        "https://anna:abcdefgh@host/",
        'AT%CMNG=0,1,3,"abcdefgh"',
        "eyJhbGciOi.abcdefgh.abcdefgh",
        "-----BEGIN EC PRIVATE KEY-----\nabcdefgh\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nabcdefgh",
    ],
)
def test_what_looks_like_a_secret_is_masked(text):
    assert "abcdefgh" not in Scrubber(()).clean(text)
    assert "***" in Scrubber(()).clean(text)


@pytest.mark.parametrize(
    ("name", "text", "change", "check"),
    [
        ("bench.yaml", "station:\tline-2\n", {}, "bench"),
        ("bench.yaml", 'slots: {"1-1.2": 1, "1-1.3": 1}\n', {}, "bench"),
        (None, "", {"certificate": "gateway"}, "profile"),
        ("certificates/gateway.yaml", 'allow: {CN: "("}\n', {"certificate": "gateway"}, "profile"),
        ("not.pem", "hello\n", {"server_ca": "not.pem"}, "profile"),
    ],
)
def test_what_a_run_refuses_before_a_board_is_red(bench, tmp_path, name, text, change, check):
    home = tmp_path / "home"
    (home / "certificates").mkdir(parents=True)
    if name is not None:
        (home / name).write_text(text)
    change = {key: str(home / value) if "." in value else value for key, value in change.items()}
    path = profile_with(bench, "refused", lambda profile: profile["identity"].update(change))
    env = {"INFUSE_HOME": str(home), "INFUSE_SEALING_KEY_FILE": str(tmp_path / "sealing.key")}
    ran = doctor(bench, "--profile", path, named=False, env=env)
    assert found(ran)[check]["state"] == "FAIL"
    words = ("--profile", path, "--port", bench.world.port(1), "--dry-run", "--output", "json")
    run = bench.infuse("provision", *words, env=env)
    assert found(ran)[check]["code"] == run.envelope["errors"][0]["code"]
    if check == "profile":
        checked = bench.infuse("profile", "check", path, "--output", "json", env=env)
        assert checked.code == 3
        assert checked.envelope["errors"]


def test_files_that_others_can_reach_are_named(bench, tmp_path):
    home, profile = tmp_path / "home", tmp_path / "mine.yaml"
    home.mkdir()
    profile.write_text("name: mine\nextends: custom-board\n")
    (home / "bench.yaml").write_text("station: left\n")
    env = {"INFUSE_HOME": str(home), "INFUSE_SEALING_KEY_FILE": str(tmp_path / "sealing.key")}
    words = ("--profile", str(profile))
    for path, mode in ((home, 0o777), (home / "bench.yaml", 0o666), (profile, 0o666)):
        path.chmod(mode)
        check = found(doctor(bench, *words, named=False, env=env))["permissions"]
        assert check["state"] == "WARN"
        assert str(path) in check["message"]
        assert str(path) in check["fix"]
        path.chmod(0o700 if path.is_dir() else 0o600)
    check = found(doctor(bench, *words, named=False, env=env))["permissions"]
    assert check["state"] == "PASS"
