"""What a file of certificates or requests may hold, what is refused by its name, and that every
place that reads one gives the same answer.
"""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime

import hsm
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from hypothesis import example, given
from hypothesis import strategies as st

from infuse_cli import certificate_files as files
from infuse_cli.cloud._pool import Pool
from infuse_cli.cloud.urls import parse_base_url
from infuse_cli.composition import _server_ca
from infuse_cli.config import source
from infuse_cli.config.model import Identity, Profile
from infuse_cli.devices.broker_check import _context
from infuse_cli.errors import InfuseError, ProfileError
from infuse_cli.pki.ca_certificates import make_ca
from infuse_cli.serial_tools.content import credential
from infuse_cli.types import CredentialType

MADE = make_ca("Line 1", datetime.now(UTC))
ROOT, KEY = MADE.root, MADE.root_key
PEM, DER = ROOT.public_bytes(Encoding.PEM), ROOT.public_bytes(Encoding.DER)
CLEAN = PEM.decode()
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
KEY_DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
LOCKED = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
CSR = x509.CertificateSigningRequestBuilder().subject_name(ROOT.subject).sign(KEY, hashes.SHA256())
CRL = (
    x509.CertificateRevocationListBuilder()
    .issuer_name(ROOT.subject)
    .last_update(ROOT.not_valid_before_utc)
    .next_update(ROOT.not_valid_after_utc)
    .sign(KEY, hashes.SHA256())
)
P12 = pkcs12.serialize_key_and_certificates(b"x", KEY, ROOT, None, NoEncryption())


def block(label: str, der: bytes) -> bytes:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


TAKEN = {
    "plain": PEM,
    "DER": DER,
    "a comment with an umlaut, UTF-8": "# Wurzel für Linie 2\n".encode() + PEM,
    "a comment with an umlaut, Latin-1": "# Wurzel für Linie 2\n".encode("latin-1") + PEM,
    "a byte order mark": b"\xef\xbb\xbf" + PEM,
    "CRLF": PEM.replace(b"\n", b"\r\n"),
    "CR": PEM.replace(b"\n", b"\r"),
    "blanks at line ends": PEM.replace(b"\n", b"  \n"),
    "no line end at the end": PEM.rstrip(),
    "an old heading": PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
    "attributes of a bag": b"Bag Attributes\n    friendlyName: PRIVATE KEY of nobody\n" + PEM,
    "long lines": b"-----BEGIN CERTIFICATE-----\n"
    + base64.b64encode(DER)
    + b"\n-----END CERTIFICATE-----",
    "a list beside it": CRL.public_bytes(Encoding.PEM) + PEM,
    "parameters beside it": block("EC PARAMETERS", b"\x06\x05\x2b\x81\x04\x00\x22") + PEM,
}
REFUSED = {
    "key before": (KEY_PEM + PEM, "private key"),
    "key behind": (PEM + KEY_PEM, "private key"),
    "encrypted key": (PEM + block("ENCRYPTED PRIVATE KEY", LOCKED), "private key"),
    "half a key": (PEM + KEY_PEM[:60], "private key"),
    "the end of a key": (KEY_PEM[60:] + PEM, "private key"),
    "key of OpenSSH": (PEM + block("OPENSSH PRIVATE KEY", b"x"), "private key"),
    "key under the heading of a certificate": (PEM + block("CERTIFICATE", KEY_DER), "private key"),
    "key under an unknown heading": (PEM + block("SECRET", KEY_DER), "private key"),
    "key in UTF-16": ((KEY_PEM + PEM).decode().encode("utf-16"), "private key"),
    "bare key": (KEY_PEM, "private key"),
    "bare key, DER": (KEY_DER, "private key"),
    "bare key, SEC 1": (
        KEY.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "private key",
    ),
    "bare key, encrypted DER": (LOCKED, "private key"),
    "key of PuTTY": (b"PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n" + PEM, "private key"),
    "PKCS#7": (pkcs7.serialize_certificates([ROOT], Encoding.PEM), r"PKCS#7"),
    "PKCS#7, DER": (pkcs7.serialize_certificates([ROOT], Encoding.DER), r"PKCS#7"),
    "PKCS#7 as a certificate": (
        block("CERTIFICATE", pkcs7.serialize_certificates([ROOT], Encoding.DER)),
        r"PKCS#7",
    ),
    "PKCS#12": (P12, r"PKCS#12"),
    "PKCS#12 in PEM": (PEM + block("PKCS12", P12), r"PKCS#12"),
    "PKCS#12, indefinite length": (b"\x30\x80\x02\x01\x03\x30\x80\x00\x00", r"PKCS#12"),
    "trusted": (block("TRUSTED CERTIFICATE", DER + b"\x30\x00"), "TRUSTED CERTIFICATE"),
    "trusted beside a plain one": (
        PEM + block("TRUSTED CERTIFICATE", DER + b"\x30\x00"),
        "TRUSTED CERTIFICATE",
    ),
    "trusted, DER": (DER + b"\x30\x00", "TRUSTED CERTIFICATE"),
    "UTF-16": (CLEAN.encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (CLEAN.encode("utf-16-le"), "UTF-16"),
    "Java keystore": (b"\xfe\xed\xfe\xed\0\0\0\x02", "Java keystore"),
    "request": (CSR.public_bytes(Encoding.PEM), "a certificate request"),
    "request, DER": (CSR.public_bytes(Encoding.DER), "a certificate request"),
    "list": (CRL.public_bytes(Encoding.DER), "revocation list"),
    "public key": (
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "a public key",
    ),
    "empty": (b"", "no certificate"),
    "text": (b"see the wiki", "no certificate"),
    "cut short": (PEM[:-20], "line 1 that has no end"),
    "cut in the middle": (b"# x\n" + PEM[:200] + b"\n" + PEM, "line 2 that has no end"),
    "no base64": (PEM.replace(b"M", b"*"), "not base64"),
    "damaged": (block("CERTIFICATE", DER[:-9]), "cannot be parsed"),
    "damaged, DER": (DER[:-9], "no certificate"),
    "too many": (PEM * 17, "17 certificates"),
    "too long": (PEM + b"#" * (1 << 20), "1 MiB"),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_what_is_taken_becomes_the_clean_certificate(data):
    assert files.certificates_pem(data) == CLEAN


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named(data, words):
    with pytest.raises(files.UnfitFileError, match=words) as caught:
        files.certificates_pem(data)
    assert caught.value.hint


@given(st.binary(max_size=300), st.binary(max_size=300))
@example(b"-----BEGIN ", b"")
def test_whatever_stands_around_a_certificate_never_comes_out_with_it(before, behind):
    try:
        found = files.certificates_pem(before + b"\n" + PEM + b"\n" + behind)
    except files.UnfitFileError:
        return
    assert found == CLEAN


@given(st.binary(max_size=400))
def test_rubbish_is_refused_and_no_crash(data):
    with pytest.raises(files.UnfitFileError):
        files.certificates_pem(data)
    with pytest.raises(files.UnfitFileError):
        files.certificates_pem(block("CERTIFICATE", data))


def test_an_order_of_several_is_theirs_and_bundles_are_taken_apart_on_demand():
    pair = [MADE.intermediate, ROOT]
    bundle = pkcs7.serialize_certificates(pair, Encoding.DER)
    ders = {certificate.public_bytes(Encoding.DER) for certificate in pair}
    assert set(files.certificates(bundle, bundles=True)) == ders
    chain = "".join(c.public_bytes(Encoding.PEM).decode() for c in pair)
    assert files.certificates_pem(f"# one\n{chain}# end\n".encode()) == chain


@pytest.mark.parametrize(
    "data",
    [
        CSR.public_bytes(Encoding.PEM),
        CSR.public_bytes(Encoding.DER),
        b"Certificate Request:\n    Data:\n" + CSR.public_bytes(Encoding.PEM),
        b"\xef\xbb\xbf" + CSR.public_bytes(Encoding.PEM),
        block("NEW CERTIFICATE REQUEST", CSR.public_bytes(Encoding.DER)).replace(b"\n", b"\r\n"),
    ],
)
def test_requests_as_other_tools_write_them(data):
    assert files.request(data) == CSR.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (CSR.public_bytes(Encoding.PEM).decode().encode("utf-16"), "UTF-16"),
        (CSR.public_bytes(Encoding.PEM) * 2, "2 requests"),
        (CSR.public_bytes(Encoding.PEM) + KEY_PEM, "private key"),
        (PEM, "holds a certificate"),
        (b"x", "no certificate request"),
    ],
)
def test_what_is_no_request_is_named(data, words):
    with pytest.raises(files.UnfitFileError, match=words):
        files.request(data)


# Every place that reads a file of certificates to trust


def in_a_profile(key: str, path) -> None:
    section, name = key.split(".")
    host = "broker: {host: mqtt.example, " if section == "broker" else f"{section}: {{"
    profile = path.parent / "p.yaml"
    texts = {"cloud": "organisation: {name: O}, board: {name: B}, "}
    section_text = host + texts.get(section, "")
    rest = "" if section == "cloud" else "cloud: {organisation: {name: O}, board: {name: B}}\n"
    profile.write_text(f"name: p\nextends: nrf9151-dk\n{rest}{section_text}{name}: {path.name}}}\n")
    source.load(str(profile), {})


def for_the_cloud(path) -> ssl.SSLContext:
    pool = Pool(parse_base_url("https://cloud.example", "cloud.base_url"), str(path), {})
    pool.close()


READERS = {
    "the line": lambda path: _server_ca(Profile(name="p", identity=Identity(server_ca=str(path)))),
    "identity.server_ca": lambda path: in_a_profile("identity.server_ca", path),
    "cloud.ca_bundle": lambda path: in_a_profile("cloud.ca_bundle", path),
    "broker.ca": lambda path: in_a_profile("broker.ca", path),
    "--ca-bundle": for_the_cloud,
    "mqtt check": _context,
    "serial creds write": lambda path: (
        credential(1, CredentialType.ROOT_CA, path.read_bytes()).content
    ),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "what", ["plain", "DER", "a byte order mark", "a comment with an umlaut, Latin-1"]
)
def test_every_place_takes_the_same(tmp_path, read, what):
    path = tmp_path / "ca.pem"
    path.write_bytes(TAKEN[what])
    found = read(path)
    assert not isinstance(found, str) or found == CLEAN


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "what",
    ["key before", "bare key, DER", "PKCS#7", "PKCS#12", "trusted", "UTF-16", "damaged", "empty"],
)
def test_every_place_refuses_the_same(tmp_path, read, what):
    data, words = REFUSED[what]
    path = tmp_path / "ca.pem"
    path.write_bytes(data)
    with pytest.raises(InfuseError, match=words) as caught:
        read(path)
    assert KEY_PEM.splitlines()[1].decode() not in str(caught.value)


def test_profile_check_names_the_key_and_what_helps(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(KEY_PEM + PEM)
    with pytest.raises(ProfileError, match=r"identity\.server_ca.*private key.*of its own"):
        in_a_profile("identity.server_ca", path)


@pytest.mark.parametrize(
    "command",
    [
        ("ca", "verify"),
        ("ca", "lint"),
        ("ca", "revoke", "--file"),
    ],
)
def test_a_private_key_in_a_file_is_refused_by_the_commands_of_the_ca(bench, infuse, command):
    (bench / "both.pem").write_bytes(PEM + KEY_PEM)
    error = infuse(*command, "both.pem", code=9)
    assert error["code"] == "ca.verify-failed"
    assert "private key" in error["message"]


def test_commands_of_the_ca_read_der(bench, infuse):
    infuse("ca", "export", "--der", "--issuer", "current", "--out", "i.cer")
    infuse("ca", "export", "--der", "--out", "r.cer")
    assert infuse("ca", "verify", "i.cer", "--root", "r.cer")["profile"] is None


def test_an_error_that_a_token_left_behind_is_not_ours(token, tmp_path):
    """A PKCS#11 module leaves errors in OpenSSL's queue, which Python takes for its own."""
    from infuse_cli.pki.signers.pkcs11 import make_key
    from infuse_cli.types import Secret

    make_key(token.uri("stale"), Secret(hsm.PIN))
    path = tmp_path / "ca.pem"
    path.write_bytes(PEM)
    assert files.certificates_pem(PEM) == CLEAN
    for_the_cloud(path)


def test_a_private_key_beside_a_request_is_not_stored_with_the_refusal(bench, infuse):
    csr = bench / "both.csr"
    csr.write_bytes(CSR.public_bytes(Encoding.PEM) + KEY_PEM)
    word = ("--passphrase-file", bench / "word")
    error = infuse("ca", "sign", csr, "--out", bench / "x.pem", *word, code=8)
    assert (error["code"], "private key" in error["message"]) == ("identity.csr-unreadable", True)
    (refused,) = infuse("ca", "list", "--state", "refused")["refused"]
    assert (refused["source"], refused.get("csr")) == ("both.csr", None)
    line = KEY_PEM.splitlines()[2]
    stored = b"".join(path.read_bytes() for path in (bench / "home").glob("journal*"))
    assert line not in stored
    assert base64.b64encode(KEY_PEM)[:40] not in stored
