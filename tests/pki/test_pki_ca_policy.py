"""What may be signed: hostile requests, weak keys, names, limits, profiles of one's own.

Refusals are on record.
"""

from __future__ import annotations

import base64
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki_board import DEVICE_ID, Modem, request

from infuse_cli import der
from infuse_cli.errors import PolicyError, SignerError
from infuse_cli.journal.store import open_journal
from infuse_cli.pki import issuing
from infuse_cli.pki.certificate_profiles import BROKER, DEVICE, from_values
from infuse_cli.pki.known_keys import known
from infuse_cli.pki.names import alternatives
from infuse_cli.pki.profile_check import points
from infuse_cli.pki.vetting import vet_file


def csr(
    key=None,
    *extensions: x509.ExtensionType,
    name: str = DEVICE_ID,
    curve: ec.EllipticCurve | None = None,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(
        key or ec.generate_private_key(curve or ec.SECP256R1()), hashes.SHA256()
    ).public_bytes(Encoding.DER)


def pem(body: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    text = base64.encodebytes(body).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = der.element(der.SEQUENCE, body)
    return body


GOOD = csr()
ZERO = GOOD.replace(
    x509.load_der_x509_csr(GOOD)
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    b"\x04" + bytes(64),
)
NAMES = csr(
    None,
    x509.SubjectAlternativeName([x509.DNSName(f"n{number}.example") for number in range(10_000)]),
)
USAGE = x509.KeyUsage(True, False, False, False, False, True, True, False, False)


def doubled() -> bytes:
    """A request that asks twice for the same extension, and is signed for all that."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    extension = der.element(
        der.SEQUENCE,
        bytes.fromhex("0603551d13"),
        der.element(der.OCTET_STRING, bytes.fromhex("3000")),
    )
    asked = der.element(
        der.SEQUENCE,
        bytes.fromhex("06092a864886f70d01090e"),
        der.element(0x31, der.element(der.SEQUENCE, extension, extension)),
    )
    inner = der.element(
        der.SEQUENCE,
        der.integer(0),
        x509.load_der_x509_csr(GOOD).subject.public_bytes(),
        spki,
        der.element(0xA0, asked),
    )
    signature = key.sign(inner, ec.ECDSA(hashes.SHA256()))
    return der.element(
        der.SEQUENCE,
        inner,
        bytes.fromhex("300a06082a8648ce3d040302"),
        der.element(0x03, b"\0", signature),
    )


HOSTILE = {
    "the same extension twice": doubled(),
    "empty": b"",
    "a megabyte": pem(b"\x30\x83\x0f\xff\xf0" + bytes(1 << 20)),
    "a megabyte of DER": b"\x30\x83\x0f\xff\xf0" + bytes(1 << 20),
    "nested": nested(3000),
    "nested PEM": pem(nested(900)),
    "truncated": GOOD[:-9],
    "truncated PEM": pem(GOOD)[:200],
    "longer": GOOD + b"\0",
    "two": pem(GOOD) * 2,
    "a certificate's label": pem(GOOD, "CERTIFICATE"),
    "a key's label": pem(GOOD, "PRIVATE KEY"),
    "zero key": ZERO,
    "10,000 names": NAMES,
    "10,000 names in PEM": pem(NAMES),
    "wrong curve": csr(curve=ec.SECP521R1()),
    "P-384 where P-256 is wanted": csr(curve=ec.SECP384R1()),
    "NUL in a name": csr(name="0011\x002233aabbccdd"),
    "a CA": csr(None, x509.BasicConstraints(True, 0)),
    "signs certificates": csr(None, USAGE),
    "a name of its own": csr(None, x509.SubjectAlternativeName([x509.DNSName("broker.example")])),
    "binary": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_request_is_refused_with_a_code(what):
    with pytest.raises(PolicyError) as caught:
        vet_file(HOSTILE[what])
    assert caught.value.code in {
        "identity.csr-unreadable",
        "identity.csr-policy",
        "identity.bad-signature",
    }


@pytest.mark.parametrize(
    "number", [1, 2, 128, 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721]
)
def test_a_key_that_anybody_has_is_refused(number):
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for scalar in (number, order - number):
        with pytest.raises(PolicyError) as caught:
            vet_file(csr(ec.derive_private_key(scalar, ec.SECP256R1())))
        assert caught.value.code == "identity.weak-key"
    assert known(ec.generate_private_key(ec.SECP384R1()).public_key()) is None


def test_the_cas_own_key_is_not_certified(signer):
    spki = (
        signer.chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(PolicyError) as caught:
        issuing.issue(
            signer,
            spki_der=spki,
            common_name=DEVICE_ID,
            serial=issuing.new_serial(),
            profile=DEVICE,
            now=datetime.now(UTC),
            validity_days=9,
        )
    assert caught.value.code == "identity.weak-key"


@pytest.mark.parametrize(
    "now", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)]
)
def test_a_clock_outside_the_issuers_life_signs_nothing(signer, now):
    from infuse_cli.pki.crl import make_crl

    with pytest.raises(SignerError) as caught:
        issuing.issue(
            signer,
            spki_der=Modem().spki,
            common_name=DEVICE_ID,
            serial=issuing.new_serial(),
            profile=DEVICE,
            now=now,
            validity_days=9,
        )
    assert caught.value.code == "ca.issuer-expired"
    with pytest.raises(SignerError):
        make_crl(signer, [], number=1, now=now, life=timedelta(days=1))


def signing(bench, out: str, *more) -> tuple:
    return ("ca", "sign", "--out", bench / out, "--passphrase-file", bench / "word", *more)


def test_a_folder_of_requests_is_signed_and_what_is_refused_is_on_record(infuse, bench, capsys):
    folder = bench / "csrs"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number}.csr").write_bytes(pem(csr(name=f"{number:016x}")))
    (folder / "3.der").write_bytes(csr(name=f"{3:016x}"))
    (folder / "0000000000000004.csr").write_bytes(pem(csr(name="free text")))
    (folder / "again.csr").write_bytes((folder / "1.csr").read_bytes())
    (folder / "clone.csr").write_bytes(pem(csr(name=f"{2:016x}")))
    (folder / "rubbish.csr").write_bytes(HOSTILE["a megabyte"])
    (folder / "notes.txt").write_text("not a request")
    from infuse_cli.cli.main import run

    words = [str(word) for word in signing(bench, "certs", "--batch", folder)]
    assert run([*words, "--output", "json"]) == 11
    import json

    answer = json.loads(capsys.readouterr().out)
    data = answer["data"]
    assert (answer["status"], data["signed"], data["already"], data["refused"]) == (
        "partial",
        4,
        1,
        2,
    )
    names = {one["csr"]: one["commonName"] for one in data["certificates"]}
    assert names == {
        "0000000000000004.csr": f"{4:016x}",
        "1.csr": f"{1:016x}",
        "2.csr": f"{2:016x}",
        "3.der": f"{3:016x}",
        "again.csr": f"{1:016x}",
        "clone.csr": None,
        "rubbish.csr": None,
    }
    assert sorted(path.name for path in (bench / "certs").iterdir()) == [
        "0000000000000004.pem",
        "1.pem",
        "2.pem",
        "3.pem",
        "again.pem",
    ]
    refused = infuse("ca", "list", "--state", "refused")["refused"]
    assert {one["source"]: one["code"] for one in refused} == {
        "clone.csr": "identity.name-taken",
        "rubbish.csr": "identity.csr-unreadable",
    }
    assert base64.b64decode(refused[0]["csr"]) == (folder / "clone.csr").read_bytes()
    before = (bench / "certs" / "1.pem").read_bytes()
    assert run([*words, "--output", "json"]) == 11
    assert json.loads(capsys.readouterr().out)["data"]["already"] == 5
    assert (bench / "certs" / "1.pem").read_bytes() == before
    run_of = infuse("ca", "list", "--device", f"{1:016x}")["certificates"][0]["run"]
    assert len(infuse("ca", "revoke", "--run", run_of)["revoked"]) == 4


def test_one_key_is_one_device_and_one_name_one_key(infuse, bench):
    first = request(bench, Modem(), "a.csr")
    infuse(*signing(bench, "a.pem", "--device-id", f"{1:016x}"), first)
    assert (
        infuse(*signing(bench, "b.pem", "--device-id", f"{2:016x}"), first, code=8)["code"]
        == "identity.key-reused"
    )
    assert (
        infuse(
            *signing(bench, "c.pem", "--device-id", f"{1:016x}"),
            request(bench, Modem(), "c.csr"),
            code=8,
        )["code"]
        == "identity.name-taken"
    )
    infuse("ca", "revoke", "--device", f"{1:016x}", "--reason", "key-compromise")
    infuse(*signing(bench, "c.pem", "--device-id", f"{1:016x}"), bench / "c.csr")
    assert (
        infuse(*signing(bench, "a.pem", "--device-id", f"{3:016x}"), first, code=8)["code"]
        == "identity.weak-key"
    )


PROFILE = """
subject: {CN: '{name}', O: Example Provider, OU: Gateways}
san:
  - dns: '{name}.gw.example'
allow: {CN: 'gw-[0-9]{4}', dns: 'gw-[0-9]{4}[.]gw[.]example'}
extended_key_usage: [clientAuth, serverAuth]
key_usage: [digitalSignature, keyAgreement]
curves: [P-256, P-384]
validity_days: 730
limits: {day: 2, batch: 3}
"""


def gateway(bench, number: int, curve: ec.EllipticCurve | None = None) -> Path:
    path = bench / f"gw{number}.csr"
    path.write_bytes(pem(csr(name=f"gw-{number:04}", curve=curve)))
    return path


def test_a_profile_of_ones_own_says_what_is_signed_and_how_many(infuse, bench):
    (bench / "home" / "certificates").mkdir()
    (bench / "home" / "certificates" / "gateway.yaml").write_text(PROFILE)
    with_profile = ("--certificate", "gateway")
    infuse(*signing(bench, "1.pem", *with_profile), gateway(bench, 1))
    infuse(*signing(bench, "2.pem", *with_profile), gateway(bench, 2, ec.SECP384R1()))
    made = x509.load_pem_x509_certificate((bench / "2.pem").read_bytes())
    assert made.subject.rfc4514_string() == "OU=Gateways,O=Example Provider,CN=gw-0002"
    assert made.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value.get_values_for_type(x509.DNSName) == ["gw-0002.gw.example"]
    assert infuse("ca", "verify", bench / "2.pem", *with_profile)["profile"] == "gateway"
    assert all(
        point["ok"] for point in infuse("ca", "lint", bench / "2.pem", *with_profile)["points"]
    )
    assert (
        infuse("ca", "lint", bench / "2.pem", "--certificate", "device", code=9)["code"]
        == "ca.verify-failed"
    )
    assert (
        infuse(*signing(bench, "3.pem", *with_profile), gateway(bench, 3), code=8)["code"]
        == "identity.quota"
    )
    folder = bench / "four"
    folder.mkdir()
    for number in range(4):
        gateway(folder, number)
    assert (
        infuse(*signing(bench, "out", *with_profile, "--batch", folder), code=8)["code"]
        == "identity.quota"
    )
    assert (
        infuse(*signing(bench, "5.pem", *with_profile), request(bench, Modem(), "x.csr"), code=8)[
            "code"
        ]
        == "identity.csr-policy"
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("foo: 1", "foo"),
        ("subject: {CN: '{nme}'}", "subject.CN"),
        ("subject: {O: x}", "subject"),
        ("subject: {XX: y, CN: z}", "subject.XX"),
        ("allow: {CN: '['}", "allow.CN"),
        ("san: [{dns: '{name}'}]", "allow"),
        ("caller_san: [dns]", "allow"),
        ("curves: [P-521]", "curves"),
        ("validity_days: 0", "validity_days"),
        ("validity_days: true", "validity_days"),
        ("limits: {day: 0}", "limits.day"),
        ("limits: {week: 1}", "limits"),
        ("key_usage: [keyCertSign]", "key_usage"),
        ("extended_key_usage: []", "extended_key_usage"),
        ("name: device", "name"),
        ("subject: {CN: '{name'}", "subject.CN"),
    ],
)
def test_a_mistake_in_a_profile_is_named_with_file_and_line(infuse, bench, text, key):
    fixed = "" if text.startswith("allow") else "allow: {CN: '.*'}\n"
    (bench / "own.yaml").write_text(f"# one's own\n{fixed}{text}\n")
    error = infuse(
        *signing(bench, "a.pem", "--certificate", bench / "own.yaml"), gateway(bench, 1), code=3
    )
    assert error["code"] == "profile.invalid"
    assert f": {key}: " in error["message"]
    assert "own.yaml:" in error["message"]


def test_people_and_brokers_get_key_and_certificate(infuse, bench):
    def issue(name: str, *more, code: int = 0) -> dict:
        return infuse(
            "ca",
            "issue",
            name,
            "--out",
            bench / "x.pem",
            "--key-out",
            bench / f"{len(name)}.key",
            "--passphrase-file",
            bench / "word",
            *more,
            code=code,
        )

    broker = issue(
        "broker.example",
        "--certificate",
        "broker",
        "--san",
        "ip:127.0.0.1",
        "--san",
        "dns:localhost",
    )
    assert (bench / "14.key").stat().st_mode & 0o777 == 0o600
    assert (
        infuse("ca", "verify", bench / "x.pem", "--certificate", "broker")["serial"]
        == broker["serial"]
    )
    assert "PRIVATE KEY" not in str(broker)
    assert issue("broker.example", code=2)["code"] == "usage.bad-option"
    for more in (("--san", "uri:urn:x"), ("--san", "ip:nonsense"), ("--san", "dns:*.example")):
        assert (
            issue("other.example", "--certificate", "broker", *more, code=8)["code"]
            == "identity.csr-policy"
        )
    assert issue("no host name", "--certificate", "broker", code=8)["code"] == "identity.csr-policy"
    issue("Line lead")
    assert infuse("ca", "lint", bench / "x.pem", "--certificate", "bench")["profile"] == "bench"


def test_a_revoked_intermediate_signs_nothing(infuse, bench):
    infuse("ca", "revoke", "--serial", infuse("ca", "show")["intermediate"]["serial"])
    shown = infuse("ca", "show")
    assert (shown["intermediate"]["revoked"], "infuse ca renew" in shown["warnings"][0]) == (
        True,
        True,
    )
    assert (
        infuse(*signing(bench, "a.pem", "--device-id", DEVICE_ID), request(bench, Modem()), code=9)[
            "code"
        ]
        == "ca.issuer-revoked"
    )


def test_names_have_bounds():
    with pytest.raises(PolicyError):
        alternatives(
            BROKER, {"name": "a.example"}, [("dns", f"n{number}.example") for number in range(40)]
        )
    found, mistakes = from_values({"subject": {"CN": "{name}"}, "allow": {"CN": "x+"}}, "own")
    assert (mistakes, found.takes_name("xx"), found.takes_name("y"), found.takes_name(None)) == (
        [],
        True,
        False,
        False,
    )
    assert [
        point.what
        for point in points(x509.load_pem_x509_certificate(issued_by_hand()), DEVICE)
        if not point.ok
    ][:1] == ["public key"]


def issued_by_hand() -> bytes:
    key = ec.derive_private_key(1, ec.SECP256R1())
    name, now = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DEVICE_ID)]),
        datetime.now(UTC),
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_the_journal_counts_a_day_across_processes(bench, infuse):
    (bench / "home" / "certificates").mkdir()
    (bench / "home" / "certificates" / "few.yaml").write_text(
        "allow: {CN: '.*'}\nlimits: {day: 1}\n"
    )
    infuse(*signing(bench, "1.pem", "--certificate", "few"), gateway(bench, 1))
    with open_journal(bench / "home") as journal:
        assert [one.profile for one in journal.certificates()] == ["few"]
    assert (
        infuse(*signing(bench, "2.pem", "--certificate", "few"), gateway(bench, 2), code=8)["code"]
        == "identity.quota"
    )


def sign_all(words: list[str], gate, told) -> None:
    from infuse_cli.cli.main import run

    gate.wait(20)
    told.put(run(words))


def test_two_processes_that_sign_the_same_folder_make_one_certificate_each(bench, infuse):
    folder = bench / "csrs"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.csr").write_bytes(pem(csr(name=f"{number + 1:016x}")))
    context = multiprocessing.get_context("fork")
    gate, told = context.Barrier(2), context.Queue()
    both = [
        context.Process(
            target=sign_all,
            args=(
                [str(word) for word in signing(bench, f"out{one}", "--batch", folder)],
                gate,
                told,
            ),
        )
        for one in range(2)
    ]
    for one in both:
        one.start()
    assert [told.get(timeout=60) for _ in both] == [0, 0]
    for one in both:
        one.join(30)
    listed = infuse("ca", "list")["certificates"]
    assert sorted(one["name"] for one in listed) == [f"{number:016x}" for number in range(1, 21)]
    assert len({one["serial"] for one in listed}) == 20
    for path in (bench / "out0").iterdir():
        assert path.read_bytes() == (bench / "out1" / path.name).read_bytes()
