"""The CA as a library: what a program that imports it can do, and what it need not have."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pki_board import Modem

from infuse_cli.ca.authority import CertificateAuthority
from infuse_cli.ca.crl import CrlRequest
from infuse_cli.ca.revocation import RevokeRequest
from infuse_cli.errors import PolicyError, SignerError
from infuse_cli.settings import Settings

DEVICE = "0123456789abcdef"


@pytest.fixture
def ca(bench, secret):
    return CertificateAuthority.open(bench / "home", "default", secret)


def test_a_request_is_signed_once(ca):
    csr = Modem().csr()
    issued = ca.sign(csr, device_id=DEVICE.upper())
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE}"
    certificate.verify_directly_issued_by(ca.issuers[0].certificate)
    assert ca.sign(csr, device_id=DEVICE) == issued
    assert ca.sign(csr, device_id=DEVICE, again=True).serial != issued.serial


def test_a_refused_request_raises_and_is_recorded(ca, infuse):
    with pytest.raises(PolicyError) as caught:
        ca.sign(b"no request", device_id=DEVICE)
    assert caught.value.code == "identity.csr-unreadable"
    (refused,) = infuse("ca", "list", "--state", "refused")["refused"]
    assert refused["code"] == "identity.csr-unreadable"


def test_a_key_for_a_broker(ca):
    made = ca.issue(
        "mqtt.example", certificate="broker", names=[("dns", "mqtt.example")], valid_for=DAY
    )
    leaf, above = x509.load_pem_x509_certificates(made.bundle.encode())
    key = load_pem_private_key(made.key.reveal().encode(), None)
    assert leaf.public_key() == key.public_key()
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= 2 * DAY
    assert above == ca.issuers[0].certificate
    assert made.key.reveal() not in repr(made)


DAY = timedelta(days=1)


def test_what_is_revoked_is_on_the_list(ca):
    issued = ca.sign(Modem().csr(), device_id=DEVICE)
    revoked = ca.revoke(RevokeRequest(serials=(issued.serial,), reason="key-compromise"))
    assert [row.serial for row in revoked.new] == [issued.serial]
    signed = ca.crl(CrlRequest(days=7))
    crl = x509.load_der_x509_crl(signed.crl.der)
    assert [f"{entry.serial_number:x}" for entry in crl] == [issued.serial]
    assert signed.file.read_bytes() == signed.crl.der
    assert ca.crl(CrlRequest(days=7)).already


def test_a_home_without_that_ca_is_named(bench):
    with pytest.raises(SignerError) as caught:
        CertificateAuthority.open(Settings(bench / "home"), "nowhere")
    assert caught.value.code == "ca.not-found"


def test_neither_typer_nor_rich_is_needed(bench, secret):
    """A program that has only the library: both are blocked, and so is the command line."""
    script = f"""
import sys
for name in ("typer", "rich", "click", "infuse_cli.cli"):
    sys.modules[name] = None
from pathlib import Path
from infuse_cli.ca.authority import CertificateAuthority
from infuse_cli.types import Secret
home, word = Path({str(bench / "home")!r}), Secret({secret.reveal()!r})
ca = CertificateAuthority.open(home, "default", word)
print(ca.sign(Path("request.csr").read_bytes(), device_id={DEVICE!r}).name)
"""
    (bench / "request.csr").write_bytes(Modem().csr())
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=bench,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.returncode) == (DEVICE, 0), done.stderr
