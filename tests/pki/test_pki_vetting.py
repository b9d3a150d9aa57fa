from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from pki_board import KEYGEN, UUID, Modem, b64url, unb64url, with_null

from infuse_cli.errors import CODES, PolicyError
from infuse_cli.pki.ca_certificates import key_usage
from infuse_cli.pki.csr import without_null
from infuse_cli.pki.vetting import VettedCsr, vet, vet_pem

MODEM_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=True,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def vetted(text: str, *, uuid: str = UUID, sec_tag: int = 4201, required: bool = True) -> VettedCsr:
    return vet(text, uuid=uuid, sec_tag=sec_tag, attestation_required=required)


def code_of(text: str, **options) -> str:
    with pytest.raises(PolicyError) as caught:
        vetted(text, **options)
    return caught.value.code


def flipped_signature(csr: bytes) -> bytes:
    return csr[:-1] + bytes([csr[-1] ^ 1])


def test_the_published_answer_of_a_modem_with_its_null():
    found = vetted(KEYGEN, sec_tag=17)
    body = unb64url(KEYGEN.partition(".")[0])
    assert found.body == body
    assert found.cose == unb64url(KEYGEN.partition(".")[2])
    assert found.attestation == "consistent"
    assert found.subject == f"CN={UUID}"
    assert found.spki_sha256 == hashlib.sha256(found.spki_der).hexdigest()
    assert len(found.spki_der) == 91
    repaired = x509.load_pem_x509_csr(found.csr_pem.encode())
    assert repaired.is_signature_valid
    assert len(repaired.public_bytes(Encoding.DER)) == len(body) - 2


@pytest.mark.parametrize("null", [False, True])
def test_a_good_board(null):
    modem = Modem()
    found = vetted(modem.keygen(modem.csr(MODEM_USAGE, null=null)))
    assert found.spki_der == modem.spki
    assert found.common_name == UUID


def test_the_digest_is_over_the_bytes_as_sent():
    """A CSR that was normalised on the way, with the attestation of the original: the digest no
    longer fits.
    """
    modem = Modem()
    body = modem.csr(null=True)
    assert (
        code_of(f"{b64url(without_null(body))}.{b64url(modem.cose(body))}")
        == "identity.digest-mismatch"
    )


def test_upper_case_uuid_of_the_board_is_the_same():
    assert vetted(Modem().keygen(), uuid=UUID.upper()).attestation == "consistent"


def test_what_peers_sign_and_we_refuse():
    modem = Modem()
    body = modem.csr()
    zeroed = modem.keygen(body, digest=bytes(32), signature=bytes(64))
    assert code_of(zeroed) == "identity.digest-mismatch"
    assert code_of(modem.keygen(flipped_signature(body))) == "identity.bad-signature"
    assert (
        code_of(modem.keygen(flipped_signature(modem.csr(null=True)))) == "identity.bad-signature"
    )
    assert (
        code_of(modem.keygen(body), uuid="50363154-3931-44f0-8022-000000000000")
        == "identity.uuid-mismatch"
    )
    assert code_of(modem.keygen(body), sec_tag=4202) == "identity.tag-mismatch"


def test_the_order_of_the_checks():
    modem = Modem()
    body = flipped_signature(modem.csr(x509.BasicConstraints(ca=True, path_length=None)))
    other = "00000000-0000-4000-8000-000000000000"
    assert (
        code_of(modem.keygen(body, digest=bytes(32), uuid=other), sec_tag=1)
        == "identity.digest-mismatch"
    )
    assert code_of(modem.keygen(body, uuid=other), sec_tag=1) == "identity.uuid-mismatch"
    assert code_of(modem.keygen(body), sec_tag=1) == "identity.tag-mismatch"
    assert code_of(modem.keygen(body)) == "identity.bad-signature"
    assert (
        code_of(modem.keygen(modem.csr(x509.BasicConstraints(ca=True, path_length=None))))
        == "identity.csr-policy"
    )


def test_attestation_may_be_absent_only_where_the_profile_says_so():
    bare = b64url(Modem().csr())
    assert code_of(bare) == "identity.attestation-missing"
    found = vetted(bare, required=False)
    assert (found.attestation, found.cose) == ("absent", None)


def test_without_attestation_the_subject_must_not_name_another_board():
    bare = b64url(Modem(uuid="50363154-3931-44f0-8022-000000000000").csr())
    assert code_of(bare, required=False) == "identity.uuid-mismatch"
    assert (
        vetted(b64url(Modem(common_name="sensor-7").csr()), required=False).common_name
        == "sensor-7"
    )


def test_a_malformed_attestation_is_refused_even_where_it_is_optional():
    assert (
        code_of(f"{b64url(Modem().csr())}.AAAA", required=False) == "identity.attestation-malformed"
    )
    assert code_of(f"{b64url(Modem().csr())}.", required=False) == "identity.attestation-malformed"


def test_an_attested_bare_public_key_is_no_csr():
    modem = Modem()
    assert code_of(modem.keygen(modem.spki, message=8)) == "identity.attestation-malformed"


def test_a_public_key_in_place_of_the_csr():
    modem = Modem()
    assert code_of(modem.keygen(modem.spki)) == "identity.csr-unreadable"


def names(*pairs) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


CN = x509.NameOID.COMMON_NAME


@pytest.mark.parametrize(
    ("extensions", "subject", "attributes", "word"),
    [
        ([key_usage(certificates=True)], None, (), "sign certificates"),
        ([x509.BasicConstraints(ca=True, path_length=0)], None, (), "become a CA"),
        (
            [x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])],
            None,
            (),
            "client authentication",
        ),
        (
            [x509.SubjectAlternativeName([x509.DNSName("broker.example")])],
            None,
            (),
            "alternative names",
        ),
        (
            [x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")],
            None,
            (),
            "1.2.3.4",
        ),
        ([], names((CN, "a"), (CN, "b")), (), "common name"),
        ([], names((CN, "a\nb")), (), "printable"),
        (
            [],
            names(*[(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, f"u{n}") for n in range(17)]),
            (),
            "17 attributes",
        ),
        (
            [],
            None,
            ((x509.ObjectIdentifier("1.2.840.113549.1.9.99"), b"secret"),),
            "1.2.840.113549.1.9.99",
        ),
    ],
)
def test_policy_names_what_it_refuses(extensions, subject, attributes, word):
    modem = Modem()
    text = modem.keygen(modem.csr(*extensions, subject=subject, attributes=attributes))
    with pytest.raises(PolicyError) as caught:
        vetted(text)
    assert caught.value.code == "identity.csr-policy"
    assert word in caught.value.message


@pytest.mark.parametrize(
    "extension",
    [
        MODEM_USAGE,
        x509.BasicConstraints(ca=False, path_length=None),
        x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]),
    ],
)
def test_harmless_requests_are_taken(extension):
    modem = Modem()
    assert vetted(modem.keygen(modem.csr(extension))).spki_der == modem.spki


def test_the_curve_is_policy():
    modem = Modem(curve=ec.SECP384R1())
    assert code_of(modem.keygen()) == "identity.csr-policy"
    assert (
        vet(
            modem.keygen(),
            uuid=UUID,
            sec_tag=4201,
            attestation_required=True,
            curves=("P-256", "P-384"),
        ).spki_der
        == modem.spki
    )
    assert code_of(Modem(curve=ec.SECP256K1()).keygen()) == "identity.csr-policy"


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()]
)
def test_other_kinds_of_key_are_refused(key):
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(names((CN, UUID))).sign(key, digest)
    with pytest.raises(PolicyError) as caught:
        vet_pem(csr.public_bytes(Encoding.PEM).decode())
    assert caught.value.code == "identity.csr-policy"


def pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


@pytest.mark.parametrize(
    "text",
    [
        pem(Modem().csr()),
        pem(Modem().csr(null=True)),
        pem(Modem().csr(), "NEW CERTIFICATE REQUEST"),
        "\n" + pem(Modem().csr()).replace("\n", "\r\n") + "  \n",
    ],
)
def test_a_pem_file(text):
    assert vet_pem(text).attestation == "absent"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----",
        pem(b"nonsense"),
        pem(Modem().csr()) * 2,
        pem(Modem().csr(), "CERTIFICATE"),
        pem(Modem().csr())[:-40],
        "A" * 1_000_000,
        pem(b"\x30\x84\xff\xff\xff\xff"),
    ],
)
def test_a_file_that_is_no_csr(text):
    with pytest.raises(PolicyError) as caught:
        vet_pem(text)
    assert caught.value.code == "identity.csr-unreadable"


def test_hostile_sizes_and_depths():
    assert code_of("A" * 1_000_000) == "identity.csr-unreadable"
    assert (
        code_of(b64url(b"\x30\x82\x10\x00" + b"\x30\x80" * 2000), required=False)
        == "identity.csr-unreadable"
    )
    whole = Modem().keygen()
    for cut in range(0, len(whole), 7):
        assert code_of(whole[:cut]).startswith("identity.")


def test_the_repair_touches_nothing_else():
    plain, old = (csr := Modem().csr()), with_null(csr)
    assert without_null(old) == plain
    for other in (
        plain,
        b"",
        b"\x30",
        old + b"\x00",
        old[:-1],
        b"\x30\x80\x00\x00",
        b"\x02\x01\x00",
    ):
        assert without_null(other) == other


TEXT = st.text(alphabet='ABCDEFabcdef0123456789-_.=\r\n"% ä', max_size=400)
GOOD = Modem()
GOOD_BODY = GOOD.csr(MODEM_USAGE, null=True)


def named_or_vetted(text: str) -> VettedCsr | None:
    try:
        return vet(text, uuid=UUID, sec_tag=4201, attestation_required=False)
    except PolicyError as error:
        assert error.code in CODES  # noqa: PT017
        return None


@given(TEXT)
def test_any_text_gives_a_named_error(text):
    assert named_or_vetted(text) is None


@given(st.binary(max_size=400))
def test_any_attested_body_gives_a_named_error(body):
    assert named_or_vetted(GOOD.keygen(body or b"\x00")) is None


@given(st.integers(0, len(GOOD_BODY) - 1), st.integers(1, 255), st.integers(0, len(GOOD_BODY)))
def test_a_changed_csr_is_never_vetted_for_another_key(at, change, cut):
    """Attested or not, what comes out of a damaged CSR is a named error, or the very same key."""
    body = bytearray(GOOD_BODY)
    body[at] ^= change
    for text in (
        b64url(bytes(body)),
        GOOD.keygen(bytes(body)),
        GOOD.keygen(bytes(body[:cut]) or b"\x00"),
    ):
        found = named_or_vetted(text)
        assert found is None or found.spki_der == GOOD.spki
