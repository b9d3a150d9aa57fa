"""`infuse serial creds write|delete`, `csr` and `token write`: what a person changes on a virtual
board, and what is on record of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from infuse_cli.cli import main
from infuse_cli.journal.store import open_journal
from infuse_cli.pki.vetting import vet, vet_pem
from infuse_cli.serial_tools.content import kind_of
from tests.line.trouble import eventually, faults, in_slot, one_line, passes, profile_with, refused
from tests.support import bridge
from tests.support.zygote import Ran

PSK = "00112233445566778899aabbccddeeff"
TOKEN = "marked-registration-token-0815"


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(32) as bench:
        yield bench


@pytest.fixture
def desk(bench, tmp_path):
    """A home of its own, so that the record is this test's alone."""
    home = tmp_path / "home"

    def run(*words, output="json", **more):
        return bench.infuse(
            "serial", *words, "--output", output, env={"INFUSE_HOME": str(home)}, **more
        )

    run.home = home
    return run


def data(ran):
    assert ran.code == 0, ran.stdout + ran.stderr
    return ran.envelope["data"]


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def stored(bench, slot):
    rows = data(
        bench.infuse("serial", "creds", "list", bench.world.port(slot), "--output", "json")
    )["credentials"]
    return {(row["secTag"], row["type"]): row["sha256"] for row in rows}


def notes(home, what=None):
    with open_journal(home) as journal:
        assert journal.verify() == []
        told = [event.facts for event in journal.events() if event.kind == "run-noted"]
    return [
        (one["what"], one["facts"]["command"], one["facts"]["answer"])
        for one in told
        if what is None or one["what"] == what
    ]


def nowhere(text, ran, home):
    for place in (
        ran.stdout,
        ran.stderr,
        *(path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file()),
    ):
        assert text not in place


def test_a_certificate_is_written_compared_and_on_record(bench, desk, tmp_path):
    slot = bench.slot()
    port = bench.world.port(slot)
    pem = tmp_path / "root.pem"
    pem.write_text("a comment\r\n" + root(bench).replace("\n", "\r\n"))
    made = data(desk("creds", "write", port, "--sec-tag", "16", "--type", "ca", "--file", str(pem)))
    row = made["credentials"][0]
    assert stored(bench, slot) == {(16, 0): row["sha256"]}
    assert (row["already"], row["replaced"], made["board"]["uuid"]) == (
        False,
        None,
        in_slot(bench, slot)["uuid"],
    )
    assert in_slot(bench, slot)["functionalMode"] == 1
    assert notes(desk.home) == [
        ("functional-mode", "1 found", "begun"),
        ("credential-written", "root CA certificate of sec_tag 16", "begun"),
        ("credential-written", "root CA certificate of sec_tag 16", "OK"),
        ("functional-mode", "1 restored", "OK"),
    ]
    shown = bench.infuse(
        "journal",
        "show",
        in_slot(bench, slot)["uuid"][-8:],
        "--events",
        env={"INFUSE_HOME": str(desk.home)},
    )
    assert "credential written root CA certificate of sec_tag 16 OK" in shown.stdout
    again = data(desk("creds", "write", port, "--sec-tag", "16", "--type", "0", "--file", str(pem)))
    assert again["credentials"][0]["already"] is True
    assert len(notes(desk.home)) == 4  # nothing was done, so nothing is on record


def root(bench):
    found = bench.world.root_pem
    return found if isinstance(found, str) else Path(found).read_text()


def test_what_is_there_is_refused_named_and_replaced_only_when_told(bench, desk, tmp_path):
    slot = bench.slot()
    port = bench.world.port(slot)
    first, second = private(tmp_path / "one", PSK), private(tmp_path / "two", PSK[::-1])
    data(desk("creds", "write", port, "--sec-tag", "77", "--type", "psk", "--file", first))
    before = stored(bench, slot)
    error = refused(
        desk("creds", "write", port, "--sec-tag", "77", "--type", "psk", "--file", second),
        "identity.slot-occupied",
        8,
    )
    assert before[77, 3] in error["message"]
    assert stored(bench, slot) == before
    ran = desk(
        "creds", "write", port, "--sec-tag", "77", "--type", "psk", "--file", second, "--replace"
    )
    assert data(ran)["credentials"][0]["replaced"] == before[77, 3]
    assert stored(bench, slot)[77, 3] != before[77, 3]
    nowhere(PSK[::-1], ran, desk.home)
    nowhere(PSK, ran, desk.home)


def test_a_key_in_a_file_that_others_can_read_is_refused(bench, desk, tmp_path):
    loose = tmp_path / "psk"
    loose.write_text(PSK)
    loose.chmod(0o644)
    refused(
        desk(
            "creds",
            "write",
            bench.world.port(1),
            "--sec-tag",
            "77",
            "--type",
            "psk",
            "--file",
            str(loose),
        ),
        "credential.unsafe-file",
        4,
    )


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("psk", "hello"),
        ("psk", "abc"),
        ("ca", "no pem"),
        ("ca", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("psk-id", 'a"b'),
        ("psk-id", ""),
        ("nonsense", "x"),
    ],
)
def test_content_that_does_not_fit_is_refused_before_a_port_is_opened(
    monkeypatch, tmp_path, capsys, kind, text
):
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path))
    monkeypatch.delenv("INFUSE_PROFILE", raising=False)
    path = private(tmp_path / "content", text)
    code = main.run(
        [
            "serial",
            "creds",
            "write",
            "/dev/no-such-port",
            "--sec-tag",
            "1",
            "--type",
            kind,
            "--file",
            path,
            "--output",
            "json",
        ]
    )
    refused(Ran(code, *capsys.readouterr()), "usage.bad-option", 2)


def test_from_standard_input(bench, tmp_path):
    slot = bench.slot()
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "infuse_cli",
            "serial",
            "creds",
            "write",
            bench.world.port(slot),
            "--sec-tag",
            "5",
            "--type",
            "psk",
            "--output",
            "json",
        ],
        input=f"{PSK}\n",
        capture_output=True,
        text=True,
        env={**os.environ, **bench.env, "INFUSE_HOME": str(tmp_path)},
        check=True,
    )
    digest = json.loads(ran.stdout)["data"]["credentials"][0]["sha256"]
    assert digest in {
        hashlib.sha256(PSK.encode()).hexdigest(),
        hashlib.sha256(bytes.fromhex(PSK)).hexdigest(),
    }


def test_deleting_asks_first_and_sees_that_it_is_gone(bench, desk, tmp_path):
    slot = bench.slot()
    port = bench.world.port(slot)
    for kind in ("psk", "psk-id"):
        data(
            desk(
                "creds",
                "write",
                port,
                "--sec-tag",
                "9",
                "--type",
                kind,
                "--file",
                private(tmp_path / kind, PSK),
            )
        )
    refused(desk("creds", "delete", port, "--sec-tag", "9"), "usage.no-terminal", 2)
    assert len(stored(bench, slot)) == 2
    gone = data(desk("creds", "delete", port, "--sec-tag", "9", "--type", "psk-id", "--yes"))[
        "deleted"
    ]
    assert [row["type"] for row in gone] == [4]
    assert (
        "Deleted: pre-shared key of sec_tag 9"
        in desk("creds", "delete", port, "--sec-tag", "9", "--yes", output="human").stdout
    )
    assert stored(bench, slot) == {}
    assert (
        "nothing deleted"
        in desk("creds", "delete", port, "--sec-tag", "9", "--yes", output="human").stdout
    )
    assert ("credential-deleted", "pre-shared key of sec_tag 9", "OK") in notes(desk.home)


def test_overwriting_what_the_line_wrote_is_said(bench, tmp_path):
    slot = bench.slot()
    port = bench.world.port(slot)
    passes(bench, slot)
    ran = bench.infuse(
        "serial",
        "creds",
        "delete",
        port,
        "--sec-tag",
        "4201",
        "--type",
        "key",
        "--yes",
        "--output",
        "json",
    )
    assert any("serial check" in note for note in data(ran)["notes"])


def test_a_csr_with_the_modems_own_words_beside_it(bench, desk, tmp_path):
    slot = bench.slot()
    port, out = bench.world.port(slot), tmp_path / "board.csr"
    made = data(desk("csr", port, "--out", str(out)))
    uuid = in_slot(bench, slot)["uuid"]
    assert (made["secTag"], made["attestation"], made["keySha256"]) == (
        4201,
        "consistent",
        stored(bench, slot)[4201, 2],
    )
    raw = (tmp_path / "board.csr.keygen").read_text()
    assert (
        vet(raw.strip(), uuid=uuid, sec_tag=4201, attestation_required=True).csr_pem
        == out.read_text()
    )
    assert vet_pem(out.read_text()).spki_sha256 == made["publicKeySha256"]
    with open_journal(desk.home) as journal:
        assert journal.key_owner(made["publicKeySha256"]) == uuid
        assert raw.strip() in [
            event.facts["facts"].get("keygen")
            for event in journal.events(board=uuid)
            if event.kind == "run-noted"
        ]
    refused(desk("csr", port, "--out", str(out)), "usage.bad-option", 2)
    assert (
        data(desk("csr", port, "--out", str(tmp_path / "next.csr")))["secTag"] == 4203
    )  # 4202 is the token's
    one_line(
        desk(
            "csr", port, "--out", str(tmp_path / "third.csr"), "--sec-tag", "4201", output="human"
        ),
        "identity.slot-occupied",
        8,
    )
    assert not (tmp_path / "third.csr.keygen").exists()
    assert in_slot(bench, slot)["functionalMode"] == 1
    sign = partial(
        bench.infuse,
        "ca",
        "sign",
        str(out),
        "--ca",
        str(bench.world.folder / "ca"),
        "--passphrase-file",
        str(bench.world.folder / "passphrase"),
        "--output",
        "json",
        env={"INFUSE_HOME": str(desk.home)},
    )
    signed = data(sign("--device-id", "0123456789abcdef", "--out", str(tmp_path / "board.pem")))
    assert (signed["commonName"], signed["keygen"]) == ("0123456789abcdef", f"{out}.keygen")
    refused(
        sign("--device-id", "0123456789abcdee", "--out", str(tmp_path / "other.pem")),
        "identity.key-reused",
        8,
    )
    (tmp_path / "board.csr.keygen").write_text((tmp_path / "next.csr.keygen").read_text())
    refused(
        sign("--device-id", "0123456789abcdef", "--out", str(tmp_path / "again.pem")),
        "identity.digest-mismatch",
        8,
    )
    journal = partial(
        bench.infuse, "journal", "--output", "json", env={"INFUSE_HOME": str(desk.home)}
    )
    assert [row["board"] for row in data(journal("list"))["byHand"]] == [uuid]
    told = data(journal("show", in_slot(bench, slot)["imei"]))["byHand"]
    assert [(row["what"], row["command"], row["answer"]) for row in told] == [
        ("key-made", f"sec_tag {tag}", "OK") for tag in (4201, 4203)
    ]


def test_a_csr_that_does_not_fit_is_kept_raw_and_not_given_out(bench, desk, tmp_path):
    slot = bench.slot()
    with faults(bench, f"{slot}:bad-csr=digest"):
        ran = desk("csr", bench.world.port(slot), "--out", str(tmp_path / "x.csr"))
    assert (ran.code, ran.envelope["errors"][0]["code"][:9]) == (8, "identity.")
    assert (tmp_path / "x.csr.keygen").exists()
    assert not (tmp_path / "x.csr").exists()
    assert in_slot(bench, slot)["functionalMode"] == 1


def test_a_token_goes_onto_the_board_as_its_page_says(bench, desk, tmp_path):
    slot = bench.slot()
    port, file = bench.world.port(slot), private(tmp_path / "token", f"{TOKEN}\n")
    refused(desk("token", "write", port, "--file", file), "usage.bad-option", 2)
    ran = desk(
        "token",
        "write",
        port,
        "--file",
        file,
        "--device-id",
        "b6b5e1a4-0000-4000-8000-000000000001",
    )
    made = data(ran)
    assert sorted(stored(bench, slot)) == [(4202, 3), (4202, 4)]
    coded = TOKEN.encode().hex()
    assert stored(bench, slot)[4202, 3] in {
        hashlib.sha256(text).hexdigest() for text in (coded.encode(), TOKEN.encode())
    }
    assert (made["tokenSha256"], made["onRecord"]) == (
        hashlib.sha256(TOKEN.encode()).hexdigest(),
        False,
    )
    for text in (TOKEN, coded):
        nowhere(text, ran, desk.home)
    listed = data(desk("creds", "list", port))["credentials"]
    assert [(row["known"], row["byHand"]) for row in listed] == [(False, True)] * 2
    other = bench.slot()
    refused(
        desk(
            "token",
            "write",
            bench.world.port(other),
            "--file",
            file,
            "--device-id",
            "b6b5e1a4-0000-4000-8000-000000000001",
        ),
        "run.conflict",
        8,
    )
    assert stored(bench, other) == {}


def test_a_refused_write_leaves_a_true_record_and_the_mode_as_it_was(bench, desk, tmp_path):
    slot = bench.slot()
    with faults(bench, f"{slot}:install=CME527"):
        ran = desk(
            "creds",
            "write",
            bench.world.port(slot),
            "--sec-tag",
            "4201",
            "--type",
            "cert",
            "--file",
            public(bench, tmp_path),
        )
    refused(ran, "modem.bad-certificate", 7)
    assert notes(desk.home, "credential-written")[-1][2] == "modem.bad-certificate"
    assert in_slot(bench, slot)["functionalMode"] == 1


def test_another_board_on_the_port_is_not_written_to(bench, desk, tmp_path):
    slot = bench.slot()
    with faults(bench, f"{slot}:swap@install"):
        ran = desk(
            "creds",
            "write",
            bench.world.port(slot),
            "--sec-tag",
            "4201",
            "--type",
            "cert",
            "--file",
            public(bench, tmp_path),
        )
    refused(ran, "board.changed", 7)
    assert stored(bench, slot) == {}


def killed(bench, desk, tmp_path, failpoint="wire:"):
    """A slot whose board a by-hand write left in flight mode."""
    slot = bench.slot()
    ran = desk(
        "creds",
        "write",
        bench.world.port(slot),
        "--sec-tag",
        "4205",
        "--type",
        "cert",
        "--file",
        public(bench, tmp_path),
        failpoint=failpoint,
    )
    assert (ran.code, in_slot(bench, slot)["functionalMode"]) == (-9, 4)
    return slot


def test_a_kill_in_the_middle_leaves_the_intent_on_record_and_resume_brings_the_mode_back(
    bench, desk, tmp_path
):
    slot = killed(bench, desk, tmp_path)
    port, home = bench.world.port(slot), {"INFUSE_HOME": str(desk.home)}
    assert notes(desk.home, "credential-written") == [
        ("credential-written", "client certificate of sec_tag 4205", "begun")
    ]
    assert data(desk("info", port))["functionalModeOwed"] == 1
    assert "`infuse resume`" in desk("info", port, output="human").stdout
    assert desk("check", port).envelope["data"]["functionalModeOwed"] == 1
    resumed = bench.infuse("resume", "--output", "json", env=home)
    [row] = data(resumed)["modes"]
    assert (row["board"], row["mode"], row["state"], in_slot(bench, slot)["functionalMode"]) == (
        in_slot(bench, slot)["uuid"],
        1,
        "restored",
        1,
    )
    assert notes(desk.home)[-1] == ("functional-mode", "1 restored", "OK")
    assert bench.infuse("resume", env=home).stdout == "Nothing to go on with.\n"


def test_the_next_command_by_hand_brings_the_mode_back_that_a_killed_one_found(
    bench, desk, tmp_path
):
    slot = killed(bench, desk, tmp_path)
    made = data(
        desk(
            "creds",
            "write",
            bench.world.port(slot),
            "--sec-tag",
            "4205",
            "--type",
            "cert",
            "--file",
            public(bench, tmp_path),
        )
    )
    assert "was stopped before it brought functional mode 1 back" in made["notes"][0]
    assert (in_slot(bench, slot)["functionalMode"], made["credentials"][0]["already"]) == (1, False)
    assert [told[1:] for told in notes(desk.home, "functional-mode")] == [
        ("1 found", "begun"),
        ("1 found", "begun"),
        ("1 restored", "OK"),
    ]


@pytest.mark.storm
def test_provision_brings_the_mode_back_that_a_killed_command_by_hand_found(bench, desk, tmp_path):
    """On a board that is new to the line, and on one that PASSed before."""
    slot = killed(bench, desk, tmp_path)
    for already in (False, True):
        home = {"INFUSE_HOME": str(desk.home)}
        ran = bench.infuse(*bench.provisioning(bench.world.port(slot)), env=home)
        assert (ran.code, ran.envelope["data"]["boards"][0]["already"]) == (0, already), ran.stdout
        assert in_slot(bench, slot)["functionalMode"] == 1
        assert notes(desk.home)[-1] == ("functional-mode", "1 restored", "OK")
        if not already:
            again = desk(
                "creds",
                "delete",
                bench.world.port(slot),
                "--sec-tag",
                "4201",
                "--type",
                "ca",
                "--yes",
                failpoint="wire:",
            )
            assert again.code == -9


STOPPED = [
    (command, place, stop)
    for command, place in (("creds", "install"), ("csr", "keygen"), ("token", "token"))
    for stop in ((signal.SIGKILL,), (signal.SIGINT, signal.SIGTERM))
]


@pytest.mark.storm
@pytest.mark.parametrize(("command", "place", "stop"), STOPPED)
def test_a_stop_in_the_middle_of_any_change_by_hand_is_made_good(
    bench, desk, tmp_path, command, place, stop
):
    slot = bench.slot()
    port = bench.world.port(slot)
    words = {
        "creds": (
            "creds",
            "write",
            port,
            "--sec-tag",
            "4205",
            "--type",
            "cert",
            "--file",
            public(bench, tmp_path),
        ),
        "csr": ("csr", port, "--out", str(tmp_path / "board.csr")),
        "token": (
            "token",
            "write",
            port,
            "--file",
            private(tmp_path / "token", TOKEN),
            "--device-id",
            "b6b5e1a4-0000-4000-8000-000000000001",
        ),
    }[command]
    home = {"INFUSE_HOME": str(desk.home)}
    with faults(bench, f"{slot}:slow=3000@{place}"):
        process = bench.zygote.start("serial", *words, env={**bench.env, **home})
        eventually(
            lambda: in_slot(bench, slot)["counts"]["keygen" if command == "csr" else "write"]
        )
        for number in stop:
            os.kill(process[0], number)
        assert bench.zygote.wait(*process).code != 0
    assert in_slot(bench, slot)["functionalMode"] == 4
    # The modem is still at work on what it was told; until it answers, it is listed as not seen.
    eventually(
        lambda: (
            [
                row["state"]
                for row in data(bench.infuse("resume", "--output", "json", env=home))["modes"]
            ]
            == ["restored"]
        )
    )
    assert in_slot(bench, slot)["functionalMode"] == 1


@pytest.mark.storm
def test_a_mode_that_a_person_set_after_a_kill_is_left_alone(bench, desk, tmp_path):
    slot = killed(bench, desk, tmp_path)
    data(desk("at", bench.world.port(slot), "AT+CFUN=4"))
    data(
        desk(
            "creds",
            "write",
            bench.world.port(slot),
            "--sec-tag",
            "4205",
            "--type",
            "cert",
            "--file",
            public(bench, tmp_path),
        )
    )
    assert in_slot(bench, slot)["functionalMode"] == 4


@pytest.mark.storm
def test_a_board_behind_a_terminal_server(bench, desk, tmp_path):
    slot = bench.slot()
    with bridge.rfc2217(bench.world.port(slot)) as url:
        made = data(desk("csr", url, "--out", str(tmp_path / "board.csr")))
        written = data(
            desk(
                "creds",
                "write",
                url,
                "--sec-tag",
                str(made["secTag"]),
                "--type",
                "cert",
                "--file",
                public(bench, tmp_path),
            )
        )
        data(desk("creds", "delete", url, "--sec-tag", str(made["secTag"]), "--yes"))
    assert (written["port"], stored(bench, slot)) == (url, {})


def test_a_board_with_a_shell(bench, desk, tmp_path):
    slot = bench.slot()
    with faults(bench, f"{slot}:dialect=at-shell"):
        made = data(desk("csr", bench.world.port(slot), "--out", str(tmp_path / "board.csr")))
        row = data(
            desk(
                "creds",
                "write",
                bench.world.port(slot),
                "--sec-tag",
                "4201",
                "--type",
                "ca",
                "--file",
                public(bench, tmp_path),
            )
        )["credentials"][0]
        again = data(
            desk(
                "creds",
                "write",
                bench.world.port(slot),
                "--sec-tag",
                "4201",
                "--type",
                "ca",
                "--file",
                public(bench, tmp_path),
            )
        )["credentials"][0]
        assert (made["dialect"], stored(bench, slot)[4201, 0], again["already"]) == (
            "at-shell",
            row["sha256"],
            True,
        )


def test_a_board_without_a_modem(bench, desk, tmp_path):
    slot = bench.slot()
    with faults(bench, f"{slot}:dialect=cred-shell"):
        port = bench.world.port(slot)
        made = data(desk("csr", port, "--out", str(tmp_path / "board.csr")))
        row = data(
            desk(
                "creds",
                "write",
                port,
                "--sec-tag",
                "4201",
                "--type",
                "ca",
                "--file",
                public(bench, tmp_path),
            )
        )["credentials"][0]
        gone = data(desk("creds", "delete", port, "--sec-tag", "4201", "--type", "ca", "--yes"))[
            "deleted"
        ]
    assert (made["dialect"], made["attestation"], gone[0]["sha256"]) == (
        "cred-shell",
        "absent",
        row["sha256"],
    )


def test_a_token_goes_into_settings_where_the_profile_says_so(bench, desk, tmp_path):
    slot, profile = (
        bench.slot(),
        profile_with(
            bench,
            "settings",
            lambda profile: profile.update(token={"store": "settings", "name": "prov/token"}),
        ),
    )
    file = private(tmp_path / "token", TOKEN)
    with faults(bench, f"{slot}:dialect=at-shell"):
        ran = desk("token", "write", bench.world.port(slot), "--file", file, "--profile", profile)
        assert (data(ran)["store"], data(ran)["readBack"]) == ("settings", True)
        assert (
            "read back"
            in desk(
                "token",
                "write",
                bench.world.port(slot),
                "--file",
                file,
                "--profile",
                profile,
                output="human",
            ).stdout
        )
        again = partial(
            desk, "token", "write", bench.world.port(slot), "--profile", profile, "--file"
        )
        assert (data(again(file))["already"], len(notes(desk.home, "credential-written"))) == (
            True,
            2,
        )
        other = private(tmp_path / "other", TOKEN[::-1])
        assert (
            hashlib.sha256(TOKEN.encode()).hexdigest()
            in refused(again(other), "identity.slot-occupied", 8)["message"]
        )
        assert data(again(file))["already"] is True  # nothing was written over it
        assert (
            data(again(other, "--replace"))["replaced"]
            == hashlib.sha256(TOKEN.encode()).hexdigest()
        )
        assert data(again(other))["already"] is True
    nowhere(TOKEN, ran, desk.home)
    refused(
        desk("token", "write", bench.world.port(slot), "--file", file, "--profile", profile),
        "profile.unsupported",
        3,
    )


def test_a_token_goes_into_the_key_value_store_and_at_commands_through_the_firmware(
    bench, desk, tmp_path
):
    slot, profile = (
        bench.slot(),
        profile_with(
            bench, "kv", lambda profile: profile.update(token={"store": "kv", "name": "20001"})
        ),
    )
    file, port = private(tmp_path / "token", TOKEN), bench.world.port(slot)
    with faults(bench, f"{slot}:dialect=epacket"):
        ran = desk("token", "write", port, "--file", file, "--profile", profile)
        assert (data(ran)["dialect"], data(ran)["store"], data(ran)["readBack"]) == (
            "epacket",
            "kv",
            True,
        )
        other = private(tmp_path / "other", TOKEN[::-1])
        refused(
            desk("token", "write", port, "--file", other, "--profile", profile),
            "identity.slot-occupied",
            8,
        )
        sent = desk("at", port, "AT+CGMM", "AT+NOPE", "AT+CFUN?")
        assert [(one["ok"], one["lines"]) for one in sent.envelope["data"]["commands"]] == [
            (True, ["nRF9151-LACA"]),
            (False, []),
        ]
        assert "cannot list credentials" in data(desk("check", port))["notes"][0]
    nowhere(TOKEN, ran, desk.home)


@pytest.mark.storm
def test_a_token_goes_by_the_profiles_own_command(bench, desk, tmp_path):
    own = {
        "store": "command",
        "command": "settings write string prov/tok {token}",
        "success": ".*",
        "read_back": "settings read string prov/tok",
    }
    slot, profile = (
        bench.slot(),
        profile_with(bench, "own", lambda profile: profile.update(token=own)),
    )
    with faults(bench, f"{slot}:dialect=at-shell"):
        made = data(
            desk(
                "token",
                "write",
                bench.world.port(slot),
                "--file",
                private(tmp_path / "token", TOKEN),
                "--profile",
                profile,
            )
        )
        assert (made["store"], made["already"], made["readBack"]) == ("command", False, True)
        again = partial(
            desk, "token", "write", bench.world.port(slot), "--profile", profile, "--file"
        )
        assert data(again(str(tmp_path / "token")))["already"] is True
        other = private(tmp_path / "other", TOKEN[::-1])
        refused(again(other), "identity.slot-occupied", 8)
        assert (
            data(again(other, "--replace"))["replaced"]
            == hashlib.sha256(TOKEN.encode()).hexdigest()
        )


@pytest.mark.parametrize(
    ("word", "kind"),
    [("ca", 0), ("CLIENT_CERT", 1), ("client-key", 2), ("psk", 3), ("PSK_ID", 4), ("1", 1)],
)
def test_types_go_by_the_names_that_people_know(word, kind):
    assert kind_of(word) == kind


def public(bench, tmp_path):
    path = tmp_path / "certificate.pem"
    path.write_text(root(bench))
    return str(path)
