from __future__ import annotations

import csv
import io
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from pki_board import Modem, request

from infuse_cli import records as rec
from infuse_cli.cli.main import run
from infuse_cli.journal.store import open_journal
from infuse_cli.pki.crl import Entry, make_crl


@pytest.fixture
def line(infuse, bench):
    """Two devices signed, their certificates in 1.pem and 2.pem; the answers of `ca sign`."""

    def sign(number: int) -> dict:
        csr = request(bench, Modem(), f"{number}.csr")
        return infuse(
            "ca",
            "sign",
            csr,
            "--out",
            bench / f"{number}.pem",
            "--device-id",
            f"{number:016x}",
            "--passphrase-file",
            bench / "word",
        )

    return [sign(1), sign(2)]


def accepted(bench, number: int, *lists: str) -> bool:
    words = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", "chain.pem"]
    for name in lists:
        words += ["-CRLfile", name]
    done = subprocess.run(
        [*words, f"{number}.pem"],
        check=False,
        cwd=bench,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0 or "revoked" in done.stderr + done.stdout, done
    return done.returncode == 0


def test_a_revoked_device_is_kept_out_and_the_other_is_not(infuse, bench, line):
    word = ("--passphrase-file", bench / "word")
    infuse("ca", "export", "--chain", "--out", bench / "chain.pem")
    first = infuse("ca", "crl", *word, "--out", bench / "list.pem")
    assert (first["number"], first["entries"], first["already"]) == (1, 0, False)
    assert accepted(bench, 1, "list.pem")
    revoked = infuse(
        "ca",
        "revoke",
        "--serial",
        ":".join(line[0]["serial"].upper()[at : at + 2] for at in range(0, 40, 2)),
        "--reason",
        "key-compromise",
    )
    assert [one["serial"] for one in revoked["revoked"]] == [line[0]["serial"]]
    second = infuse("ca", "crl", *word, "--out", bench / "list.pem")
    assert (second["number"], second["entries"]) == (2, 1)
    assert (accepted(bench, 1, "list.pem"), accepted(bench, 2, "list.pem")) == (False, True)
    entry = x509.load_pem_x509_crl(
        (bench / "list.pem").read_bytes()
    ).get_revoked_certificate_by_serial_number(int(line[0]["serial"], 16))
    assert (
        entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        is x509.ReasonFlags.key_compromise
    )
    assert infuse("ca", "verify", bench / "1.pem", code=9)["code"] == "ca.verify-failed"
    assert infuse("ca", "verify", bench / "2.pem")["profile"] == "device"


def test_nothing_new_makes_no_new_list(infuse, bench, line):
    crl = ("ca", "crl", "--passphrase-file", bench / "word", "--out")
    infuse(*crl, bench / "a.pem")
    again = infuse(*crl, bench / "b.pem")
    assert (again["number"], again["already"]) == (1, True)
    assert (bench / "a.pem").read_bytes() == (bench / "b.pem").read_bytes()
    (bench / "home/ca/default/crl" / f"{again['issuerSha256'][:16]}.crl").write_bytes(
        b"half of a li"
    )
    assert infuse(*crl, bench / "c.pem")["number"] == 2
    assert infuse(*crl, bench / "c.pem", "--new")["number"] == 3
    assert infuse(*crl, bench / "c.pem", "--days", "1")["number"] == 4
    assert infuse(*crl, bench / "d.der", "--der", "--days", "1")["already"] is True
    assert (
        x509.load_der_x509_crl((bench / "d.der").read_bytes())
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        == 4
    )
    assert infuse(*crl, bench / "1.csr", code=2)["code"] == "usage.bad-option"


def test_revoked_twice_counts_once_and_stays_revoked(infuse, bench, line):
    infuse("ca", "revoke", "--device", "0000000000000001", "--reason", "superseded")
    again = infuse("ca", "revoke", "--file", bench / "1.pem", "--reason", "key-compromise")
    assert ([one["serial"] for one in again["already"]], again["revoked"]) == (
        [line[0]["serial"]],
        [],
    )
    with open_journal(bench / "home") as journal:
        journal.commit(
            rec.MoveCertificate(
                serial=line[0]["serial"], issuer=line[0]["issuerSha256"], to_state="superseded"
            )
        )
    found = infuse("ca", "list", "--state", "revoked")["certificates"]
    assert [(one["serial"], one["reason"]) for one in found] == [(line[0]["serial"], "superseded")]


def test_a_stolen_station_goes_into_the_roots_list(infuse, bench, line, made_ca):
    station = infuse("ca", "list")["certificates"][0]["station"]
    assert len(infuse("ca", "revoke", "--station", station, "--dry-run")["revoked"]) == 3
    assert infuse("ca", "list", "--state", "revoked")["certificates"] == []
    gone = infuse("ca", "revoke", "--station", station, "--reason", "key-compromise")["revoked"]
    shown = infuse("ca", "show")
    assert [one["serial"] for one in gone] == [
        line[0]["serial"],
        line[1]["serial"],
        shown["intermediate"]["serial"],
    ]
    root = (
        "ca",
        "crl",
        "--issuer",
        "root",
        "--passphrase-file",
        bench / "word",
        "--out",
        bench / "root.crl",
    )
    assert infuse(*root, code=9)["code"] == "ca.no-root-key"
    listed = infuse(*root, "--root-key", made_ca.parent / "stick")
    assert (listed["issuer"], listed["entries"]) == ("CN=Line 1 Root", 1)
    crl = x509.load_pem_x509_crl((bench / "root.crl").read_bytes())
    assert (
        crl.get_revoked_certificate_by_serial_number(int(shown["intermediate"]["serial"], 16))
        is not None
    )


def test_a_serial_on_no_record_needs_its_issuer(infuse, bench, line):
    assert infuse("ca", "revoke", "--serial", "0badcafe", code=10)["code"] == "journal.not-found"
    infuse("ca", "revoke", "--serial", "0badcafe", "--issuer", "current")
    assert infuse("ca", "crl", "--passphrase-file", bench / "word")["entries"] == 1
    for words in (
        ("--serial", "xyz"),
        (),
        ("--serial", "12", "--device", "x"),
        ("--serial", "12", "--reason", "boredom"),
    ):
        assert infuse("ca", "revoke", *words, code=2)["code"] == "usage.bad-option"
    assert infuse("ca", "revoke", "--run", "none", code=10)["code"] == "journal.not-found"


def test_list_searches_and_writes_csv(infuse, bench, line, capsys):
    def names(*words: str) -> list[str]:
        return [one["name"] for one in infuse("ca", "list", *words)["certificates"]]

    today = datetime.now(UTC).date()
    both = ["0000000000000001", "0000000000000002"]
    assert (
        names()
        == names("--since", str(today))
        == names("--until", str(today))
        == names("--issuer", "current")
        == names("--state", "issued")
        == both
    )
    assert (
        names("--since", str(today + timedelta(days=1)))
        == names("--state", "expired")
        == names("--certificate", "broker")
        == []
    )
    assert (
        names("--serial", line[1]["serial"].upper())
        == names("--device", "0000000000000002")
        == both[1:]
    )
    assert (
        infuse("ca", "list", "--state", "good", code=2)["code"]
        == infuse("ca", "list", "--since", "soon", code=2)["code"]
        == "usage.bad-option"
    )
    assert run(["ca", "list", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["serial"] for row in rows] == [one["serial"] for one in line]


def test_a_serial_left_by_a_kill_becomes_void_and_is_listed(infuse, bench, line):
    with open_journal(bench / "home") as journal:
        journal.commit(rec.ReserveSerial(serial="40" * 20, issuer="0" * 64))
    infuse("ca", "revoke", "--device", "0000000000000001")
    assert [one["serial"] for one in infuse("ca", "list", "--state", "void")["serials"]] == [
        "40" * 20
    ]


def test_lists_made_at_once_have_numbers_of_their_own(bench, signer):
    with open_journal(bench / "home") as one, open_journal(bench / "home") as other:
        said = []

        def store(journal) -> None:
            made = make_crl(signer, [], number=1, now=datetime.now(UTC), life=timedelta(days=1))
            try:
                journal.commit(
                    rec.StoreCrl(
                        issuer="i",
                        number=1,
                        this_update=made.this_update,
                        next_update=made.next_update,
                        sha256=made.sha256,
                        content="",
                        entries=0,
                    )
                )
                said.append("stored")
            except Exception as error:  # noqa: BLE001 - told below
                said.append(error.code)

        threads = [threading.Thread(target=store, args=(journal,)) for journal in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(said) == ["journal.conflict", "stored"]


@pytest.mark.parametrize(
    "at", [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2051, 1, 2, 3, 4, 5, tzinfo=UTC)]
)
def test_entries_say_when_and_why(signer, at):
    entries = [
        Entry("0f", at, "unspecified"),
        Entry("ff" * 20, at, "cACompromise"),
        Entry("7f", at, "privilegeWithdrawn"),
    ]
    read = x509.load_der_x509_crl(
        make_crl(signer, entries, number=300, now=datetime.now(UTC), life=timedelta(days=7)).der
    )
    assert [one.revocation_date_utc for one in read] == [at] * 3
    assert [len(one.extensions) for one in read] == [0, 1, 1]
    assert read.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 300
    assert read.next_update_utc - read.last_update_utc == timedelta(days=7)
