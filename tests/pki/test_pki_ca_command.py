from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from pki_board import DEVICE_ID, Modem, request

from infuse_cli import records as rec
from infuse_cli.cli.main import run
from infuse_cli.journal.store import open_journal


def test_init_show_export_verify(infuse, bench):
    made = infuse(
        "ca",
        "init",
        "--name",
        "line-2",
        "--root-out",
        bench / "stick",
        "--passphrase-file",
        bench / "word",
    )
    assert made["ca"] == "line-2"
    assert made["rootKeyOnBench"] is False
    assert ["same disk" in warning for warning in made["warnings"]] == [
        True
    ]  # no stick is mounted in a test
    assert (bench / "stick" / "root.key.pem").exists()
    shown = infuse("ca", "show", "--ca", "line-2")
    assert shown["intermediate"]["sha256"] == made["intermediate"]["sha256"]
    exported = infuse("ca", "export", "--ca", "line-2", "--chain", "--out", bench / "chain.pem")
    assert [one["subject"] for one in exported["certificates"]] == [
        "CN=line-2 Intermediate",
        "CN=line-2 Root",
    ]
    certificates = x509.load_pem_x509_certificates((bench / "chain.pem").read_bytes())
    assert [one.subject.rfc4514_string() for one in certificates] == [
        "CN=line-2 Intermediate",
        "CN=line-2 Root",
    ]
    infuse("ca", "verify", bench / "chain.pem", "--ca", "line-2")
    assert infuse("ca", "verify", bench / "chain.pem", code=9)["code"] == "ca.verify-failed"
    infuse("ca", "export", "--ca", "line-2", "--der", "--out", bench / "root.der")
    assert x509.load_der_x509_certificate((bench / "root.der").read_bytes()) == certificates[1]


def test_a_root_on_the_bench_is_warned_of(infuse, bench):
    made = infuse("ca", "init", "--name", "alone", "--passphrase-file", bench / "word")
    assert made["rootKeyOnBench"] is True
    assert "root.key.pem" in made["warnings"][0]
    assert (
        infuse("ca", "init", "--name", "alone", "--passphrase-file", bench / "word", code=9)["code"]
        == "ca.exists"
    )


def test_signed_recorded_then_written(infuse, bench):
    modem = Modem()
    signed = infuse(
        "ca",
        "sign",
        request(bench, modem),
        "--out",
        bench / "device.pem",
        "--device-id",
        DEVICE_ID.upper(),
        "--passphrase-file",
        bench / "word",
    )
    certificate = x509.load_pem_x509_certificate((bench / "device.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE_ID}"
    assert signed["commonName"] == DEVICE_ID
    assert signed["already"] is False
    with open_journal(bench / "home") as journal:
        records = journal.certificates()
    assert [(one.serial, one.device_id, one.state) for one in records] == [
        (signed["serial"], DEVICE_ID, "issued")
    ]
    assert infuse("ca", "verify", bench / "device.pem")["profile"] == "device"
    assert (
        infuse(
            "ca",
            "verify",
            bench / "device.pem",
            "--root",
            bench / "home/ca/default/root.pem",
            code=9,
        )["code"]
        == "ca.verify-failed"
    )


def test_asking_twice_makes_no_second_certificate(infuse, bench):
    csr = request(bench, Modem())
    sign = (
        "ca",
        "sign",
        csr,
        "--passphrase-file",
        bench / "word",
        "--device-id",
        DEVICE_ID,
        "--out",
    )
    first = infuse(*sign, bench / "a.pem")
    second = infuse(*sign, bench / "b.pem")
    assert (second["already"], second["serial"]) == (True, first["serial"])
    assert (bench / "a.pem").read_bytes() == (bench / "b.pem").read_bytes()
    third = infuse(*sign, bench / "c.pem", "--sign-again")
    assert third["serial"] != first["serial"]


def test_the_name_of_the_csr_counts_only_if_the_profile_allows_it(infuse, bench):
    good = infuse(
        "ca",
        "sign",
        request(bench, Modem()),
        "--out",
        bench / "a.pem",
        "--passphrase-file",
        bench / "word",
    )
    assert good["commonName"] == Modem().uuid
    bad = infuse(
        "ca",
        "sign",
        request(bench, Modem(common_name="CN of my own")),
        "--out",
        bench / "b.pem",
        "--passphrase-file",
        bench / "word",
        code=8,
    )
    assert (bad["code"], "--device-id" in bad["hint"]) == ("identity.csr-policy", True)
    assert not (bench / "b.pem").exists()


def test_refusals_before_anything_is_signed(infuse, bench, secret):
    csr, word = request(bench, Modem()), bench / "word"
    sign = ("ca", "sign", csr, "--device-id", DEVICE_ID, "--out")
    assert infuse(*sign, bench / "a.pem", code=9)["code"] == "ca.no-passphrase"
    assert infuse(*sign, csr, "--passphrase-file", word, code=2)["code"] == "usage.bad-option"
    assert (
        infuse(*sign, bench / "no" / "a.pem", "--passphrase-file", word, code=2)["code"]
        == "usage.bad-option"
    )
    assert (
        infuse(
            *sign, bench / "a.pem", "--passphrase-file", word, "--certificate", "devise", code=3
        )["code"]
        == "profile.invalid"
    )
    assert (
        infuse(*sign, bench / "a.pem", "--passphrase-file", word, "--ca", "none", code=9)["code"]
        == "ca.not-found"
    )
    assert (
        infuse(
            "ca",
            "sign",
            csr,
            "--out",
            bench / "a.pem",
            "--device-id",
            "12",
            "--passphrase-file",
            word,
            code=2,
        )["code"]
        == "usage.bad-option"
    )
    assert (
        infuse("ca", "sign", bench / "none", "--out", bench / "a.pem", code=2)["code"]
        == "usage.bad-option"
    )
    assert (
        infuse("ca", "sign", word, "--out", bench / "a.pem", code=8)["code"]
        == "identity.csr-unreadable"
    )
    (bench / "other").write_text("another\n")
    (bench / "other").chmod(0o600)
    wrong = infuse(*sign, bench / "a.pem", "--passphrase-file", bench / "other", code=9)
    assert wrong["code"] == "ca.bad-passphrase"
    assert secret.reveal() not in json.dumps(wrong)
    assert not (bench / "a.pem").exists()
    assert infuse("ca", "list")["certificates"] == []
    assert [one["code"] for one in infuse("ca", "list", "--state", "refused")["refused"]] == [
        "identity.csr-unreadable"
    ]


def test_the_profile_names_ca_and_passphrase(infuse, bench):
    (bench / "home" / "ca" / "default").rename(bench / "my-ca")
    (bench / "product.yaml").write_text(f"""
name: product
extends: nrf9151-dk
cloud: {{organisation: {{name: Example}}, board: {{name: Example Board}}}}
identity: {{ca: {bench / "my-ca"}, passphrase: {{file: word}}}}
""")
    profile = ("--profile", bench / "product.yaml")
    assert infuse(*profile, "ca", "show")["folder"] == str(bench / "my-ca")
    infuse("ca", "sign", request(bench, Modem()), "--out", bench / "a.pem", *profile)
    assert infuse("ca", "verify", bench / "a.pem", *profile)["profile"] == "device"
    assert (
        infuse("ca", "show", "--profile", "no-such-profile", code=3)["code"] == "profile.not-found"
    )


def test_a_key_file_is_never_overwritten(infuse, bench):
    key = bench / "home" / "ca" / "default" / "intermediate.key.pem"
    before = key.read_bytes()
    assert infuse("ca", "export", "--out", key, code=2)["code"] == "usage.bad-option"
    assert key.read_bytes() == before


def test_a_clock_before_the_newest_record_signs_nothing(infuse, bench):
    with open_journal(
        bench / "home", now=lambda: datetime.now(UTC) + timedelta(hours=1)
    ) as journal:
        journal.trust_clock(0.0)
        journal.commit(rec.ReserveSerial(serial="40" * 20, issuer="0" * 64))
    sign = (
        "ca",
        "sign",
        request(bench, Modem()),
        "--passphrase-file",
        bench / "word",
        "--device-id",
    )
    assert infuse(*sign, DEVICE_ID, "--out", bench / "b.pem", code=9)["code"] == "ca.clock"
    assert not (bench / "b.pem").exists()


@pytest.mark.storm
@pytest.mark.skipif(os.name != "posix", reason="kills by SIGKILL")
def test_killed_between_signing_and_record_nothing_got_out(infuse, bench):
    words = [
        "ca",
        "sign",
        request(bench, Modem()),
        "--out",
        bench / "a.pem",
        "--device-id",
        DEVICE_ID,
        "--passphrase-file",
        bench / "word",
    ]
    environment = {**os.environ, "INFUSE_FAILPOINT": "signed"}
    done = subprocess.run(
        [sys.executable, "-m", "infuse_cli.cli.main", *map(str, words)],
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not (bench / "a.pem").exists()
    with open_journal(bench / "home") as journal:
        assert journal.certificates() == []
    assert infuse(*words)["already"] is False
    with open_journal(bench / "home") as journal:
        assert len(journal.certificates()) == 1


@pytest.mark.parametrize("words", [("show",), ("export", "--out", "x.pem"), ("verify", "x.pem")])
def test_without_a_ca_it_says_how_to_make_one(infuse, bench, words):
    shutil.rmtree(bench / "home" / "ca")
    if words[0] == "verify":
        shutil.copy(Path(__file__).parent / "pki_board.py", bench / "x.pem")
    error = infuse("ca", *words, code=9)
    assert error["code"] == ("ca.verify-failed" if words[0] == "verify" else "ca.not-found")


def test_show_says_what_is_wrong_with_the_files(infuse, bench):
    (bench / "home" / "ca" / "default" / "intermediate.key.pem").chmod(0o644)
    assert "chmod 600" in infuse("ca", "show")["warnings"][0]


def test_human_text_fits_a_narrow_terminal(bench, capsys):
    assert run(["ca", "show"]) == 0
    text = capsys.readouterr().out
    assert "CN=Line 1 Root" in text
    assert all(len(line) <= 80 for line in text.splitlines()[1:])
