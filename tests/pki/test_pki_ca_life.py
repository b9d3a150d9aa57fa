"""A CA's life: an external root, issuers that follow one another, a key that moves into a token."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import hsm
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pki_board import Modem, request

from infuse_cli.errors import InfuseError
from infuse_cli.pki import renewal
from infuse_cli.pki.ca_certificates import intermediate_certificate, make_ca
from infuse_cli.pki.issuers import all_issuers, load_ca, load_root
from infuse_cli.pki.store import init_ca
from infuse_cli.types import Secret


def sign(infuse, bench, number: int, word: str = "word") -> dict:
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
        bench / word,
    )


def openssl_takes(bench, number: int) -> None:
    """A broker that trusts the root alone gets the board's chain: leaf, then its intermediate."""
    subprocess.run(
        [
            "openssl",
            "verify",
            "-x509_strict",
            "-CAfile",
            "root.pem",
            "-untrusted",
            "chain.pem",
            f"{number}.pem",
        ],
        cwd=bench,
        check=True,
        capture_output=True,
        timeout=30,
    )


def test_after_a_renewal_old_and_new_boards_are_good(infuse, bench, made_ca):
    word, stick = ("--passphrase-file", bench / "word"), made_ca.parent / "stick"
    sign(infuse, bench, 1)
    infuse("ca", "export", "--out", bench / "root.pem")
    infuse("ca", "export", "--chain", "--out", bench / "chain.pem")
    openssl_takes(bench, 1)
    assert infuse("ca", "renew", *word, code=9)["code"] == "ca.no-root-key"
    renewed = infuse("ca", "renew", "--root-key", stick, *word)
    assert renewed["intermediate"]["subject"] == "CN=Line 1 Intermediate 2"
    assert [one["serial"] for one in renewed["older"]] == [renewed["replaced"]["serial"]]
    second = sign(infuse, bench, 2)
    assert second["issuerSha256"] == renewed["intermediate"]["sha256"]
    infuse("ca", "export", "--chain", "--out", bench / "chain.pem")
    openssl_takes(bench, 2)
    for number in (1, 2):
        assert infuse("ca", "verify", bench / f"{number}.pem")["profile"] == "device"
    words = (
        "ca",
        "sign",
        bench / "1.csr",
        "--device-id",
        f"{1:016x}",
        *word,
        "--out",
        bench / "1.pem",
    )
    before, first = renewed["replaced"]["serial"], (bench / "1.pem").read_bytes()
    assert (
        infuse(*words)["already"] is True
    )  # what the issuer before it signed is as good as before
    assert (bench / "1.pem").read_bytes() == first
    infuse("ca", "export", "--chain", "--issuer", before[:8], "--out", bench / "chain.pem")
    openssl_takes(bench, 1)
    infuse(
        "ca",
        "export",
        "--der",
        "--issuer",
        renewed["older"][0]["sha256"][:12],
        "--out",
        bench / "old.der",
    )
    assert (
        f"{x509.load_der_x509_certificate((bench / 'old.der').read_bytes()).serial_number:x}"
        == before.lstrip("0")
    )
    named = [
        infuse("ca", "export", *more, "--out", bench / "x.pem")["certificates"][0]["subject"]
        for more in ((), ("--issuer", "root"), ("--issuer", "current"))
    ]
    assert named == ["CN=Line 1 Root", "CN=Line 1 Root", "CN=Line 1 Intermediate 2"]
    assert (
        infuse("ca", "export", "--issuer", "beef", "--out", bench / "x.pem", code=9)["code"]
        == "ca.not-found"
    )
    infuse("ca", "revoke", "--device", f"{1:016x}")
    old = infuse(
        "ca",
        "crl",
        "--issuer",
        renewed["replaced"]["serial"][:8],
        *word,
        "--out",
        bench / "old.crl",
    )
    assert (old["issuer"], old["entries"]) == ("CN=Line 1 Intermediate", 1)
    assert infuse("ca", "crl", *word)["entries"] == 0
    assert infuse("ca", "crl", "--issuer", "beef", *word, code=9)["code"] == "ca.not-found"
    sign(infuse, bench, 3)
    infuse("ca", "revoke", "--serial", renewed["intermediate"]["serial"])
    assert "was revoked" in infuse("ca", "verify", bench / "3.pem", code=9)["message"]
    infuse("ca", "renew", "--root-key", stick, *word)
    again = infuse(
        "ca", "sign", bench / "3.csr", "--device-id", f"{3:016x}", *word, "--out", bench / "3.pem"
    )
    assert again["already"] is False  # one of an issuer that was revoked is none
    infuse("ca", "verify", bench / "3.pem")
    assert infuse("ca", "list", "--format", "csv", "--since", "2199-01-01")["certificates"] == []


def test_a_ca_that_may_not_be_looked_at_is_told_as_one(infuse, bench, made_ca, monkeypatch):
    """As where another user's folder is named; the tests may run as root, who may look at all."""

    def refuse(path, *_, **_more):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("infuse_cli.pki.issuers.read_bounded", refuse)
        error = infuse("ca", "show", code=9)
    assert (error["code"], "Permission denied" in error["message"]) == ("ca.corrupt", True)
    long = bench / ("a" * 300)
    assert (
        infuse("ca", "renew", "--root-key", long, "--passphrase-file", bench / "word", code=9)[
            "code"
        ]
        == "ca.no-root-key"
    )


def own_root(days: int = 3000) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    made = make_ca("Company", datetime.now(UTC))
    return made.root_key, made.root


def signed(
    csr_pem: bytes,
    root_key,
    root: x509.Certificate,
    *,
    public_key=None,
    now: datetime | None = None,
) -> bytes:
    csr = x509.load_pem_x509_csr(csr_pem)
    assert csr.is_signature_valid
    name = csr.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    made = intermediate_certificate(
        name, public_key or csr.public_key(), root, root_key, now or datetime.now(UTC)
    )
    return made.public_bytes(Encoding.PEM)


def test_an_external_root_signs_the_request_and_it_is_imported(infuse, bench):
    word, ca = ("--passphrase-file", bench / "word"), ("--ca", "corporate")
    asked = infuse(
        "ca", "init", "--name", "corporate", "--external-root", "--csr-out", bench / "r.csr", *word
    )
    assert asked["subject"] == "CN=corporate Intermediate"
    assert "import" in infuse("ca", "show", *ca, code=9)["hint"]
    root_key, root = own_root()
    (bench / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    pem = (bench / "r.csr").read_bytes()

    def imported(name: str, content: bytes, *more, code: int = 9) -> dict:
        (bench / name).write_bytes(content)
        return infuse("ca", "import", bench / name, *more, *ca, *word, code=code)

    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert (
        imported(
            "other.pem", signed(pem, root_key, root, public_key=other), "--root", bench / "root.pem"
        )["code"]
        == "ca.key-mismatch"
    )
    assert imported("alone.pem", signed(pem, root_key, root))["code"] == "ca.corrupt"
    assert (
        imported("forged.pem", signed(pem, *own_root()), "--root", bench / "root.pem")["code"]
        == "ca.corrupt"
    )
    (bench / "leaf.pem").write_bytes(not_a_ca(pem, root_key, root))
    assert (
        infuse(
            "ca", "import", bench / "leaf.pem", "--root", bench / "root.pem", *ca, *word, code=9
        )["code"]
        == "ca.corrupt"
    )
    done = imported("good.pem", signed(pem, root_key, root), "--root", bench / "root.pem", code=0)
    assert done["root"]["subject"] == "CN=Company Root"
    assert imported("again.pem", signed(pem, root_key, root))["code"] == "ca.not-found"
    infuse(
        "ca",
        "sign",
        request(bench, Modem()),
        "--out",
        bench / "d.pem",
        "--device-id",
        "00112233aabbccdd",
        *ca,
        *word,
    )
    assert infuse("ca", "verify", bench / "d.pem", *ca)["root"] == "CN=Company Root"
    infuse("ca", "renew", "--external-root", "--csr-out", bench / "r2.csr", *ca, *word)
    assert (
        infuse("ca", "renew", "--external-root", "--csr-out", bench / "r3.csr", *ca, *word, code=9)[
            "code"
        ]
        == "ca.exists"
    )
    renewed = imported(
        "second.pem", signed((bench / "r2.csr").read_bytes(), root_key, root), code=0
    )
    assert renewed["intermediate"]["subject"] == "CN=corporate Intermediate 2"
    assert infuse("ca", "verify", bench / "d.pem", *ca)["root"] == "CN=Company Root"


def not_a_ca(csr_pem: bytes, root_key, root: x509.Certificate) -> bytes:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(root.subject)
        .public_key(x509.load_pem_x509_csr(csr_pem).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def test_the_key_moves_into_a_token(infuse, bench, made_ca, token):
    (bench / "pin").write_text(hsm.PIN)
    (bench / "pin").chmod(0o600)
    sign(infuse, bench, 1)
    moved = infuse(
        "ca",
        "renew",
        "--root-key",
        made_ca.parent / "stick",
        "--key",
        token.uri("moved"),
        "--pin-file",
        bench / "pin",
        "--passphrase-file",
        bench / "word",
    )
    assert moved["key"] == token.uri("moved")
    issuer = all_issuers(bench / "home/ca/default")[0].folder
    assert sorted(path.name for path in issuer.iterdir()) == [
        "intermediate.key.uri",
        "intermediate.pem",
        "root.pem",
    ]
    sign(infuse, bench, 2, "pin")
    for number in (1, 2):
        infuse("ca", "verify", bench / f"{number}.pem")
    assert infuse("ca", "crl", "--passphrase-file", bench / "pin")["entries"] == 0
    assert (
        infuse(
            "ca",
            "sign",
            bench / "2.csr",
            "--out",
            bench / "3.pem",
            "--device-id",
            f"{3:016x}",
            "--passphrase-file",
            bench / "word",
            code=9,
        )["code"]
        == "ca.bad-passphrase"
    )
    made = infuse(
        "ca",
        "init",
        "--name",
        "fresh",
        "--key",
        token.uri("fresh"),
        "--pin-file",
        bench / "pin",
        "--passphrase-file",
        bench / "word",
    )
    assert made["key"] == token.uri("fresh")
    assert (
        infuse(
            "ca",
            "init",
            "--name",
            "other",
            "--key",
            "file:/x",
            "--passphrase-file",
            bench / "word",
            code=2,
        )["code"]
        == "usage.bad-option"
    )


def begin(folder: str, gate, told) -> None:
    gate.wait(20)
    try:
        init_ca(__import__("pathlib").Path(folder), "line", Secret("correct horse"))
        told.put("made")
    except InfuseError as error:
        told.put(error.code)


@pytest.mark.storm
def test_of_two_processes_that_make_a_ca_one_wins(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, told = context.Barrier(2), context.Queue()
    both = [
        context.Process(target=begin, args=(str(tmp_path / "ca"), gate, told)) for _ in range(2)
    ]
    for one in both:
        one.start()
    said = sorted(told.get(timeout=30) for _ in both)
    for one in both:
        one.join(30)
    assert said == ["ca.exists", "made"]
    load_ca(tmp_path / "ca", Secret("correct horse"))


WITHOUT_END = """
import sys
from pathlib import Path
from infuse_cli.pki.issuers import load_root
from infuse_cli.pki.renewal import new_key, renew
from infuse_cli.types import Secret
folder, word = Path(sys.argv[1]), Secret("correct horse")
root = load_root(folder, None, word)
while True:
    renew(folder, root, new_key(word))
    print("renewed", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by SIGKILL")
def test_a_killed_renewal_leaves_the_old_issuer_or_the_new_one(tmp_path, secret):
    init_ca(tmp_path / "ca", "line", secret)
    for kills in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", WITHOUT_END, str(tmp_path / "ca")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(1 + 2 * kills):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=10)
        assert (
            load_ca(tmp_path / "ca", secret).chain[1]
            == load_root(tmp_path / "ca", None, secret).chain[0]
        )
        assert len(all_issuers(tmp_path / "ca")) > 1


@pytest.mark.storm
def test_a_root_key_of_another_ca_renews_nothing(tmp_path, secret):
    init_ca(tmp_path / "a", "a", secret)
    init_ca(tmp_path / "b", "b", secret)
    with pytest.raises(InfuseError) as caught:
        load_root(tmp_path / "a", tmp_path / "b", secret)
    assert caught.value.code == "ca.key-mismatch"
    assert renewal.next_name(tmp_path / "a") == "a Intermediate 2"
