from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from pki_board import Modem, b64url

from infuse_cli.errors import PolicyError
from infuse_cli.pki.ca_certificates import make_ca
from infuse_cli.pki.certificate_profiles import DEVICE
from infuse_cli.pki.chain import pem_bundle
from infuse_cli.pki.issuing import issue, new_serial
from infuse_cli.pki.possession import Possession, verify_jwt
from infuse_cli.pki.signers.file import UnlockedIssuer

NOW = datetime.now(UTC)
MODEM = Modem()
CA = make_ca("x", NOW)
SIGNER = UnlockedIssuer(CA.intermediate_key, (CA.intermediate, CA.root))
PEM = issue(
    SIGNER,
    spki_der=MODEM.spki,
    common_name="00112233aabbccdd",
    serial=new_serial(),
    profile=DEVICE,
    now=NOW,
    validity_days=10,
).pem


def jwt(key=MODEM.key, header=None, **claims) -> str:
    head = {"alg": "ES256", "typ": "JWT"} if header is None else header
    body = {"sub": "board", "aud": "nonce-1", **claims}
    signed = f"{b64url(json.dumps(head).encode())}.{b64url(json.dumps(body).encode())}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def ask(text: str) -> Possession:
    return verify_jwt(text, PEM, subject="board", audience="nonce-1")


@pytest.mark.parametrize(
    "text", [jwt(), jwt(aud=["x", "nonce-1"]), jwt(iat=1, exp=2), f" {jwt()}\n"]
)
def test_the_key_of_the_certificate_proves_it(text):
    assert ask(text) is Possession.PROVEN


@pytest.mark.parametrize(
    "claims", [{"sub": "other"}, {"aud": "nonce-0"}, {"aud": None}, {"aud": []}, {"sub": 1}]
)
def test_an_answer_to_another_question_is_not_fresh(claims):
    assert ask(jwt(**claims)) is Possession.NOT_FRESH


def test_the_bundle_of_the_board_will_do():
    assert (
        verify_jwt(jwt(), PEM + pem_bundle([CA.intermediate]), subject="board", audience="nonce-1")
        is Possession.PROVEN
    )


GOOD = jwt()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b.c",
        GOOD[:-1],
        GOOD + "A",
        GOOD.replace(".", ":"),
        jwt(Modem().key),
        jwt(header={"alg": "none"}),
        jwt(header={"alg": "HS256"}),
        jwt(header=[]),
        jwt(header="ES256"),
        f"{GOOD.rpartition('.')[0]}.{b64url(bytes(64))}",
        f"{GOOD.rpartition('.')[0]}.{b64url(bytes([255]) * 64)}",
        "..",
        "A" * 100_000,
        f"!!.!!.{'A' * 86}",
        f"{b64url(b'[' * 3000)}.AAAA.{'A' * 86}",
        f"A.AAAA.{'A' * 86}",
    ],
)
def test_what_proves_nothing(text):
    with pytest.raises(PolicyError) as caught:
        ask(text)
    assert caught.value.code == "identity.possession-failed"


def test_another_certificate():
    other = issue(
        SIGNER,
        spki_der=Modem().spki,
        common_name="00112233aabbccdd",
        serial=new_serial(),
        profile=DEVICE,
        now=NOW,
        validity_days=10,
    ).pem
    with pytest.raises(PolicyError) as caught:
        verify_jwt(GOOD, other, subject="board", audience="nonce-1")
    assert caught.value.code == "identity.possession-failed"


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_any_change_proves_nothing(at, character):
    text = GOOD[:at] + character + GOOD[at + 1 :]
    try:
        proven = ask(text) is Possession.PROVEN
    except PolicyError as error:
        assert error.code == "identity.possession-failed"  # noqa: PT017
    else:  # the last character of a part carries bits that base64url leaves out
        assert proven
        assert text == GOOD or at == len(GOOD) - 1
