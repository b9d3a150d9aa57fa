from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pki_board import Modem

from infuse_cli.errors import PolicyError, ProfileError, SignerError
from infuse_cli.pki.certificate_profiles import DEVICE, PROFILES, certificate_profile
from infuse_cli.pki.issuing import check_clock, issue, issuer_id, new_serial, serial_hex
from infuse_cli.pki.profile_check import deviations
from infuse_cli.pki.store import init_ca, load_ca

NOW = datetime.now(UTC)
DEVICE_ID = "00112233aabbccdd"


def issued(signer, **changes):
    given = {
        "spki_der": Modem().spki,
        "common_name": DEVICE_ID,
        "serial": new_serial(),
        "profile": DEVICE,
        "now": NOW,
        "validity_days": 3650,
    }
    return issue(signer, **{**given, **changes})


def parsed(made) -> x509.Certificate:
    return x509.load_pem_x509_certificate(made.pem.encode())


def test_what_a_device_certificate_says(signer):
    modem, serial = Modem(), new_serial()
    made = issued(signer, spki_der=modem.spki, serial=serial)
    certificate = parsed(made)
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE_ID}"
    assert certificate.issuer == signer.chain[0].subject
    assert certificate.serial_number == serial
    assert [(extension.oid._name, extension.critical) for extension in certificate.extensions] == [
        ("basicConstraints", True),
        ("keyUsage", True),
        ("extendedKeyUsage", False),
        ("subjectKeyIdentifier", False),
        ("authorityKeyIdentifier", False),
    ]
    assert deviations(certificate, DEVICE) == ()
    assert len(certificate.public_bytes(Encoding.DER)) < 600  # credentials of a modem are small


def test_what_the_record_says_of_it(signer):
    modem = Modem()
    made = issued(signer, spki_der=modem.spki)
    certificate = parsed(made)
    assert made.sha256 == certificate.fingerprint(hashes.SHA256()).hex()
    assert made.spki_sha256 == hashlib.sha256(modem.spki).hexdigest()
    assert (
        made.issuer
        == issuer_id(signer)
        == hashlib.sha256(signer.chain[0].public_bytes(Encoding.DER)).hexdigest()
    )
    assert int(made.serial, 16) == certificate.serial_number
    assert (made.not_before, made.not_after) == (
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    assert made.pem.endswith("-----END CERTIFICATE-----\n")
    assert "\r" not in made.pem


def test_the_same_input_with_the_same_serial_is_the_same_certificate_but_for_the_signature(signer):
    modem, serial = Modem(), new_serial()
    one, two = (parsed(issued(signer, spki_der=modem.spki, serial=serial)) for _ in range(2))
    assert one.tbs_certificate_bytes == two.tbs_certificate_bytes


def test_not_before_is_back_dated_but_not_before_the_issuer(signer, tmp_path, secret):
    later = NOW + timedelta(days=30)
    assert issued(signer, now=later).not_before == (later - DEVICE.backdated).replace(microsecond=0)
    assert issued(signer).not_before >= signer.chain[0].not_valid_before_utc


@pytest.mark.parametrize("days", [3650, 36500, 2_000_000, 10**9])
def test_a_leaf_never_outlives_its_issuer(signer, days):
    end = signer.chain[0].not_valid_after_utc
    assert issued(signer, now=end - timedelta(days=10), validity_days=days).not_after == end


def test_short_lives_are_kept(signer):
    assert issued(signer, validity_days=7).not_after == NOW.replace(microsecond=0) + timedelta(
        days=7
    )


@pytest.mark.parametrize("days", [-400, 365 * 16])
def test_an_issuer_out_of_its_time_signs_nothing(signer, days):
    with pytest.raises(SignerError) as caught:
        issued(signer, now=NOW + timedelta(days=days))
    assert caught.value.code == "ca.issuer-expired"


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x00b"])
def test_unfit_names_are_refused(signer, name):
    with pytest.raises(PolicyError):
        issued(signer, common_name=name)


@pytest.mark.parametrize(
    "spki",
    [b"", b"\x30\x00", Modem(curve=ec.SECP384R1()).spki, Modem().spki[:-1]],
    ids=["empty", "no key", "P-384", "cut short"],
)
def test_unfit_keys_are_refused(signer, spki):
    with pytest.raises(PolicyError):
        issued(signer, spki_der=spki)


def test_serials():
    serials = {new_serial() for _ in range(1000)}
    assert len(serials) == 1000
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert {len(serial_hex(serial)) for serial in serials} == {40}
    assert serial_hex(0xABC) == "0abc"


@pytest.mark.parametrize(
    ("offset", "newest_s"),
    [(None, None), (0.0, 0.0), (299.0, -1.0), (-299.0, -86400.0), (300.0, 1.0)],
)
def test_a_clock_that_may_be_right(offset, newest_s):
    check_clock(NOW, offset, None if newest_s is None else NOW + timedelta(seconds=newest_s))


@pytest.mark.parametrize(
    ("offset", "newest_s", "word"),
    [(301.0, None, "behind"), (-7200.0, None, "120 minutes ahead"), (None, 60.0, "newest record")],
)
def test_a_clock_that_cannot_be_right(offset, newest_s, word):
    with pytest.raises(SignerError) as caught:
        check_clock(NOW, offset, None if newest_s is None else NOW + timedelta(seconds=newest_s))
    assert caught.value.code == "ca.clock"
    assert word in caught.value.message


def test_profiles_by_name():
    assert certificate_profile("device") is PROFILES["device"]
    with pytest.raises(ProfileError) as caught:
        certificate_profile("devise")
    assert "device" in caught.value.message


def test_a_ca_certificate_is_not_a_device_certificate(signer):
    found = " ".join(deviations(signer.chain[0], DEVICE))
    assert "basic constraints is a CA" in found
    assert "key usage" in found


@pytest.fixture(scope="module")
def files(made_ca, signer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaf")
    (folder / "leaf.pem").write_text(issued(signer).pem)
    return made_ca / "root.pem", made_ca / "intermediate.pem", folder / "leaf.pem"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_takes_the_chain_strictly(files):
    root, intermediate, leaf = map(str, files)
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-CAfile",
        root,
        "-untrusted",
        intermediate,
        leaf,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_independent_linter_finds_no_error(files):
    pytest.importorskip("pkilint", reason="pkilint is not installed")
    linter = (
        "from pkilint.bin.lint_pkix_cert import main; import sys; sys.exit(sum(main(['lint', '-s',"
        " 'ERROR', one]) for one in sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", linter, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_a_ca_that_is_about_to_expire_still_signs(tmp_path, secret):
    then = NOW - timedelta(days=365.25 * 15 - 1)
    init_ca(tmp_path / "old", "old", secret, now=then)
    signer = load_ca(tmp_path / "old", secret)
    assert issued(signer).not_after == signer.chain[0].not_valid_after_utc
