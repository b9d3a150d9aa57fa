"""Whose CA issued a certificate, and that "revoked" is said only of what a list of ours holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from pki_board import Modem

from infuse_cli.ca.origins import KnownIssuers, Origin
from infuse_cli.journal.store import open_journal
from infuse_cli.pki.issuers import all_issuers
from infuse_cli.records import ReserveSerial, StoreCertificate
from infuse_cli.settings import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
CLOUD, STRANGER = "c1" * 32, "f0" * 32
DEVICE = "0123456789abcdef"


def stored(bench, serial: str, issuer: str, profile: str, name: str = DEVICE) -> str:
    """A certificate in the journal that no CA of this bench signed."""
    row = StoreCertificate(
        serial=serial,
        issuer=issuer,
        sha256=serial * 32,
        spki_sha256=serial * 32,
        not_before=NOW,
        not_after=NOW + timedelta(days=90),
        pem="",
        profile=profile,
        device_id=name,
        name=name,
    )
    with open_journal(bench / "home") as journal:
        journal.commit(ReserveSerial(serial=serial, issuer=issuer), row)
    return serial


@pytest.fixture
def certificates(infuse, bench):
    """One certificate of each origin for the same device: origin to serial."""
    word = ("--passphrase-file", bench / "word")
    infuse("ca", "init", "--name", "other", *word)

    def sign(name: str, *more: str) -> str:
        (bench / f"{name}.csr").write_bytes(Modem().csr())
        out = bench / f"{name}.pem"
        found = infuse("ca", "sign", bench / f"{name}.csr", "--out", out, *more, *word)
        return found["serial"]

    return {
        Origin.THIS_CA: sign("mine", "--device-id", DEVICE),
        Origin.OTHER_CA: sign("other", "--device-id", "0" * 15 + "2", "--ca", "other"),
        Origin.CLOUD: stored(bench, "aa01", CLOUD, "cloud-ca"),
        Origin.UNKNOWN: stored(bench, "bb02", STRANGER, "device", "0" * 15 + "3"),
    }


def on_lists(infuse, bench) -> set[str]:
    """The serials on the lists of every CA of this bench, made now."""
    serials = set()
    for ca in ("default", "other"):
        out = bench / f"{ca}.crl"
        infuse("ca", "crl", "--ca", ca, "--out", out, "--passphrase-file", bench / "word")
        serials |= {
            f"{entry.serial_number:x}" for entry in x509.load_pem_x509_crl(out.read_bytes())
        }
    return serials


def test_the_origin_of_each_certificate(bench, certificates):
    with open_journal(bench / "home") as journal:
        known = KnownIssuers(Settings(bench / "home"))
        found = {row.serial: known.origin(row, journal) for row in journal.certificates()}
    assert found == {serial: origin for origin, serial in certificates.items()}


def test_a_ca_outside_of_the_home_is_known_by_the_run_that_signed_with_it(bench, ca_copy):
    from infuse_cli import records as rec

    issuer = all_issuers(ca_copy)[0].sha256
    with open_journal(bench / "home") as journal:
        start = rec.RunStart(
            run="r1",
            command="provision",
            profile_name="p",
            profile_hash="",
            profile={"identity": {"ca": str(ca_copy)}},
            operator="o",
        )
        journal.start_run(start)
        row = rec.CertificateRecord(
            serial="aa",
            issuer=issuer,
            sha256="",
            spki_sha256="",
            not_before=NOW,
            not_after=NOW,
            pem="",
            profile="device",
            state="issued",
            run="r1",
        )
        known = KnownIssuers(Settings(bench / "home"), bench / "home" / "ca" / "gone")
        # The home's own CA is a copy of the same one.
        assert known.origin(row, journal) is Origin.OTHER_CA
        (bench / "home" / "ca" / "default").rename(bench / "elsewhere")
        assert KnownIssuers(Settings(bench / "home")).origin(row, journal) is Origin.OTHER_CA
        journal.end_run("r1", {})


def test_each_word_revoked_is_on_a_list(infuse, bench, certificates):
    ours = {certificates[Origin.THIS_CA], certificates[Origin.OTHER_CA]}
    said, live = set(), set()
    for device in (DEVICE, "0" * 15 + "2"):
        found = infuse("ca", "revoke", "--device", device)
        said |= {row["serial"] for row in found["revoked"]}
        live |= {(row["serial"], row["issuedBy"]) for row in found["live"]}
    assert said == ours
    assert live == {(certificates[Origin.CLOUD], "cloud")}
    assert on_lists(infuse, bench) == ours
    states = {row["serial"]: row["state"] for row in infuse("ca", "list")["certificates"]}
    assert {serial for serial, state in states.items() if state == "revoked"} == ours
    again = infuse("ca", "revoke", "--device", DEVICE)
    assert (again["revoked"], [row["serial"] for row in again["already"]]) == (
        [],
        [certificates[Origin.THIS_CA]],
    )


@pytest.mark.parametrize(
    ("origin", "words"), [(Origin.CLOUD, "cloud"), (Origin.UNKNOWN, "not on this bench")]
)
def test_what_is_somebody_elses_is_refused_by_its_serial_and_stays_valid(
    infuse, bench, certificates, origin, words
):
    serial = certificates[origin]
    error = infuse("ca", "revoke", "--serial", serial, code=9)
    assert error["code"] == "ca.verify-failed"
    assert words in error["message"]
    assert "stays valid" in error["message"]
    assert serial not in on_lists(infuse, bench)
    states = {row["serial"]: row["state"] for row in infuse("ca", "list")["certificates"]}
    assert states[serial] == "issued"


def test_people_are_told_who_can_end_what_stays_valid(bench, certificates, capsys, infuse):
    from infuse_cli.cli.main import run

    assert run(["ca", "revoke", "--device", DEVICE]) == 0
    text = capsys.readouterr().out
    assert f"Revoked: {DEVICE}, serial {certificates[Origin.THIS_CA]}" in text
    assert f"Stays valid: {DEVICE}, serial {certificates[Origin.CLOUD]}" in text
    assert "only whoever runs the cloud can end it" in text


def test_a_list_of_one_ca_has_its_certificates_alone(infuse, certificates):
    def of(*words: str) -> set[str]:
        return {row["serial"] for row in infuse("ca", "list", *words)["certificates"]}

    assert of("--ca", "default") == {certificates[Origin.THIS_CA]}
    assert of("--ca", "other") == {certificates[Origin.OTHER_CA]}
    assert of() == set(certificates.values())
    assert infuse("ca", "list", "--ca", "nowhere", code=9)["code"] == "ca.not-found"
    assert infuse("ca", "list", "--ca", "default", "--state", "reserved")["serials"] == []
    refused = infuse("ca", "list", "--ca", "default", "--state", "refused", code=2)
    assert refused["code"] == "usage.bad-option"
