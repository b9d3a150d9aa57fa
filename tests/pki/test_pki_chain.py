from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pki_board import Modem

from infuse_cli.errors import PolicyError, SignerError
from infuse_cli.pki import chain
from infuse_cli.pki.ca_certificates import make_ca
from infuse_cli.pki.certificate_profiles import DEVICE
from infuse_cli.pki.issuing import issue, new_serial

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def device(signer):
    modem = Modem()
    made = issue(
        signer,
        spki_der=modem.spki,
        common_name="00112233aabbccdd",
        serial=new_serial(),
        profile=DEVICE,
        now=NOW,
        validity_days=365,
    )
    return made, x509.load_pem_x509_certificate(made.pem.encode())


@pytest.fixture(scope="module")
def texts(signer):
    return [chain.pem_bundle([certificate]) for certificate in signer.chain]


def test_a_board_gets_leaf_and_intermediate_without_the_root(device, texts):
    made, leaf = device
    wanted = made.pem + texts[0]
    for given in (
        texts,
        texts[::-1],
        ["".join(texts)],
        [texts[0]],
        [*texts, made.pem, *texts],
        [f"Issuer:\r\n{texts[0]}".replace("\n", "\r\n"), "", texts[1]],
    ):
        assert chain.board_bundle(made.pem, given) == wanted
    assert chain.board_bundle(made.pem.replace("\n", "\r\n") + "\n\n", texts) == wanted
    assert chain.split_pem(wanted)[0] == leaf


def test_strangers_in_the_chain_are_left_out(device, texts):
    other = make_ca("other", NOW)
    assert (
        chain.board_bundle(
            device[0].pem, [chain.pem_bundle([other.intermediate, other.root]), texts[0]]
        )
        == device[0].pem + texts[0]
    )


def test_the_root_of_a_chain(texts):
    assert chain.root_of(texts) == texts[1]
    assert chain.root_of(["".join(texts)]) == texts[1]
    assert chain.root_of(texts[:1]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----",
        "A" * 2_000_000,
    ],
)
def test_what_is_no_certificate(text):
    for read in (
        chain.split_pem,
        chain.spki_sha256_of_pem,
        lambda text: chain.check_certificate_fits(text, "0" * 64),
    ):
        with pytest.raises(PolicyError) as caught:
            read(text)
        assert caught.value.code == "identity.certificate-mismatch"


def test_too_many_certificates_are_refused(texts):
    with pytest.raises(PolicyError):
        chain.split_pem(texts[0] * 17)


def verify(leaf, above, roots, now=NOW) -> str:
    try:
        chain.verify_chain(leaf, above, roots, now)
    except SignerError as error:
        assert error.code == "ca.verify-failed"  # noqa: PT017
        return error.message
    return ""


def test_a_whole_chain_verifies_in_any_order(device, signer):
    intermediate, root = signer.chain
    assert verify(device[1], [intermediate], [root]) == ""
    assert verify(device[1], [root, intermediate], [root]) == ""
    assert verify(intermediate, [], [root]) == ""


def test_what_does_not_hold_is_named(device, signer):
    intermediate, root = signer.chain
    other = make_ca("Line 1", NOW)
    assert "Line 1 Intermediate" in verify(device[1], [], [root])
    assert "no trusted root" in verify(device[1], [intermediate], [other.root])
    assert "no trusted root" in verify(device[1], [other.intermediate], [root])
    assert "valid from" in verify(device[1], [intermediate], [root], NOW + timedelta(days=400))
    assert "valid from" in verify(device[1], [intermediate], [root], NOW - timedelta(days=400))


def signed_by(
    key, issuer: x509.Certificate, *extensions: tuple[x509.ExtensionType, bool], name: str = "made"
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    own = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(own.public_key())
        .serial_number(new_serial())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return own, builder.sign(key, hashes.SHA256())


def test_a_device_cannot_play_ca():
    made = make_ca("x", NOW)
    leaf_key, leaf = signed_by(made.intermediate_key, made.intermediate)
    _, below = signed_by(leaf_key, leaf, name="below")
    assert verify(leaf, [made.intermediate], [made.root]) == ""
    assert "made" in verify(below, [leaf, made.intermediate], [made.root])


def test_a_ca_below_pathlen_zero_is_refused():
    made = make_ca("x", NOW)
    usage = made.root.extensions.get_extension_for_class(x509.KeyUsage).value
    sub_key, sub = signed_by(
        made.intermediate_key,
        made.intermediate,
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (usage, True),
        name="sub",
    )
    _, leaf = signed_by(sub_key, sub)
    assert "0 CAs below" in verify(leaf, [sub, made.intermediate], [made.root])


def test_an_unknown_critical_extension_is_refused():
    made = make_ca("x", NOW)
    _, leaf = signed_by(
        made.intermediate_key,
        made.intermediate,
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True),
    )
    assert "1.2.3" in verify(leaf, [made.intermediate], [made.root])


def test_a_certificate_fits_its_key_name_and_time(device):
    made, leaf = device
    assert (
        chain.check_certificate_fits(
            made.pem, made.spki_sha256, common_name="00112233aabbccdd", now=NOW
        )
        == leaf
    )
    assert chain.spki_sha256_of_pem(made.pem) == chain.spki_sha256_of(leaf) == made.spki_sha256
    for wrong in (
        {"spki_sha256": "0" * 64},
        {"common_name": "ffff"},
        {"now": NOW + timedelta(days=400)},
    ):
        given = {"spki_sha256": made.spki_sha256, **wrong}
        with pytest.raises(PolicyError) as caught:
            chain.check_certificate_fits(made.pem, **given)
        assert caught.value.code == "identity.certificate-mismatch"
