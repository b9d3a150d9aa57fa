"""Verifiers that others wrote: openssl, GnuTLS and pkilint must find no error in anything that is
signed here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pki_board import DEVICE_ID, Modem

from infuse_cli.pki import issuing
from infuse_cli.pki.certificate_profiles import PROFILES, from_values
from infuse_cli.pki.crl import Entry, make_crl
from infuse_cli.pki.issuers import load_root

OWN, _ = from_values(
    {
        "subject": {"CN": "{name}", "O": "Example Provider", "C": "AU", "serialNumber": "{name}"},
        "san": [{"dns": "{name}.gw.example"}, {"ip": "127.0.0.1"}],
        "allow": {"CN": ".*", "dns": ".*", "serialNumber": ".*"},
        "extended_key_usage": ["clientAuth", "serverAuth"],
        "key_usage": ["digitalSignature", "keyAgreement"],
        "curves": ["P-256", "P-384"],
    },
    "own",
)
NAMES = {"device": DEVICE_ID, "bench": "Line lead", "broker": "broker.example", "own": "gw-0001"}
LINT = "from pkilint.bin.{} import main; import sys; sys.exit(main())"


@pytest.fixture(scope="module")
def files(signer, made_ca, secret, tmp_path_factory) -> Path:
    """root.pem, intermediate.pem, a certificate of every profile, and a list of each issuer."""
    folder, now = tmp_path_factory.mktemp("judged"), datetime.now(UTC)
    root = load_root(made_ca, made_ca.parent / "stick", secret)
    (folder / "root.pem").write_bytes(signer.chain[1].public_bytes(Encoding.PEM))
    (folder / "intermediate.pem").write_bytes(signer.chain[0].public_bytes(Encoding.PEM))
    (folder / "cas.pem").write_bytes(
        (folder / "intermediate.pem").read_bytes() + (folder / "root.pem").read_bytes()
    )
    for profile in (*PROFILES.values(), OWN):
        made = issuing.issue(
            signer,
            spki_der=Modem().spki,
            common_name=NAMES[profile.name],
            serial=issuing.new_serial(),
            profile=profile,
            now=now,
            validity_days=profile.validity_days,
        )
        (folder / f"{profile.name}.pem").write_text(made.pem)
    revoked = x509.load_pem_x509_certificate((folder / "bench.pem").read_bytes()).serial_number
    entries = [Entry(f"{revoked:x}", now, "keyCompromise"), Entry("0badcafe", now, "unspecified")]
    for name, ca, listed in (("intermediate", signer, entries), ("root", root, [])):
        (folder / f"{name}.crl").write_bytes(
            make_crl(ca, listed, number=1, now=now, life=timedelta(days=30)).pem
        )
    return folder


def run(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    told = done.stdout + done.stderr
    assert done.returncode == code, told
    return told


@pytest.mark.parametrize("name", NAMES)
def test_openssl(files, name):
    run(
        files,
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "intermediate.pem",
        f"{name}.pem",
    )
    told = run(
        files,
        "openssl",
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-CAfile",
        "cas.pem",
        "-CRLfile",
        "intermediate.crl",
        "-CRLfile",
        "root.crl",
        f"{name}.pem",
        code=2 if name == "bench" else 0,
    )
    assert ("revoked" in told) == (name == "bench")


@pytest.mark.parametrize("name", ["intermediate", "root"])
def test_openssl_takes_the_lists(files, name):
    assert "verify OK" in run(
        files, "openssl", "crl", "-in", f"{name}.crl", "-noout", "-CAfile", "cas.pem"
    )


@pytest.mark.skipif(
    shutil.which("certtool") is None, reason="certtool (Debian: gnutls-bin) is not installed"
)
def test_gnutls(files):
    for name in ("device", "broker", "own"):
        (files / "chain.pem").write_bytes(
            (files / f"{name}.pem").read_bytes() + (files / "cas.pem").read_bytes()
        )
        assert "Chain verification output: Verified" in run(
            files, "certtool", "--verify-chain", "--infile", "chain.pem"
        )
    for name in ("intermediate", "root"):
        run(
            files,
            "certtool",
            "--verify-crl",
            "--load-ca-certificate",
            f"{name}.pem",
            "--infile",
            f"{name}.crl",
        )


def lint(files, tool: str, *argv: str) -> str:
    """Run one of pkilint's programs with the Python that runs this, whatever is on the PATH."""
    return run(files, sys.executable, "-c", LINT.format(tool), "lint", *argv)


@pytest.mark.storm
@pytest.mark.parametrize("name", [*NAMES, "intermediate", "root"])
def test_pkilint_finds_no_error_in_a_certificate(files, name):
    assert "ERROR" not in lint(files, "lint_pkix_cert", "-s", "ERROR", f"{name}.pem")


@pytest.mark.storm
def test_pkilint_finds_no_error_in_chains_and_lists(files):
    for issuer, subject in (("root", "intermediate"), *(("intermediate", name) for name in NAMES)):
        assert "ERROR" not in lint(
            files,
            "lint_pkix_signer_signee_cert_chain",
            "-s",
            "ERROR",
            f"{issuer}.pem",
            f"{subject}.pem",
        )
    for name in ("intermediate", "root"):
        assert "ERROR" not in lint(
            files, "lint_crl", "-t", "CRL", "-p", "PKIX", "-s", "ERROR", f"{name}.crl"
        )
