from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_board import ATTESTTOKEN, KEYGEN, UUID, Modem, b64url, unb64url

from infuse_cli.errors import PolicyError
from infuse_cli.pki.attestation import (
    MAX_TEXT,
    Attestation,
    MessageType,
    decode,
    decode_identity_token,
    digest_of,
    split,
)


def test_the_published_answer_of_a_modem():
    body, cose = split(KEYGEN)
    assert len(body) == 270
    found = decode(cose)
    assert found == Attestation(
        message=MessageType.CSR,
        uuid=UUID,
        sec_tag=17,
        digest=bytes.fromhex("702a3d56f05b2f72531d650825e20041e2e9d9318c34b6853ab9066e5c72e80c"),
        nonce=bytes.fromhex("1b8722ee1deb581566e2cb1359b27cd2"),
        key_id=-2,
        signature=found.signature,
    )
    assert len(found.signature) == 64
    assert digest_of(body) == found.digest


def test_the_published_attestation_token():
    found = decode_identity_token(ATTESTTOKEN)
    assert found.uuid == UUID
    assert found.device_type == 3
    assert found.firmware_uuid == "1aff3acb-f1a6-4764-a263-4c2646c1c654"
    assert found.nonce.hex() == "d3efdd7f04f1fc60e5858b2087343d6a"


@pytest.mark.parametrize(
    ("encoded", "tag"),
    [
        ("11", 17),
        ("1904d3", 1235),
        ("1a7fffffff", 2**31 - 1),
        ("3a7fffffff", 2**31),
        ("20", 2**32 - 1),
    ],
)
def test_sec_tags_beyond_31_bits_come_as_negative_numbers(encoded, tag):
    assert decode(Modem().cose(b"x", tag=bytes.fromhex(encoded))).sec_tag == tag


def test_a_public_key_is_told_from_a_csr():
    assert decode(Modem().cose(b"x", message=8)).message is MessageType.PUBLIC_KEY


def test_the_cose_part_may_be_cut_off():
    assert split(KEYGEN.partition(".")[0])[1] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "=",
        "a",
        "abcde",
        "a b",
        "ab\ncd",
        "äöü",
        ".abcd",
        "\x00",
        "A" * (MAX_TEXT + 1),
        "A" * 1_000_000,
    ],
)
def test_a_body_that_is_not_base64url(text):
    with pytest.raises(PolicyError) as caught:
        split(text)
    assert caught.value.code == "identity.csr-unreadable"


def wrong_cose() -> dict[str, bytes]:
    modem = Modem()
    good = modem.cose(b"x")
    parts = [
        b"\xa1\x01\x26",
        {4: b"\x21"},
        b"\xd9\xd9\xf7" + cbor2.dumps([9, b"u" * 16, b"\x11", b"d" * 32, b"n"]),
        b"s" * 64,
    ]

    def sign1(*items, tag: int = 18) -> bytes:
        return cbor2.dumps(cbor2.CBORTag(tag, list(items)))

    def payload(*items) -> bytes:
        return sign1(parts[0], parts[1], b"\xd9\xd9\xf7" + cbor2.dumps(list(items)), parts[3])

    return {
        "empty array": b"\x80",
        "truncated": good[:-1],
        "trailing": good + b"\x00",
        "nested": b"\x81" * 900,
        "indefinite": b"\x9f" * 500,
        "huge length": b"\x9b" + b"\xff" * 8,
        "huge text": b"\x7b" + b"\xff" * 8,
        "too long": good + b"\x00" * 2000,
        "other tag": sign1(*parts, tag=17),
        "three items": sign1(*parts[:3]),
        "short signature": sign1(*parts[:3], b"s"),
        "payload no bytes": sign1(parts[0], parts[1], [1], parts[3]),
        "payload detached": sign1(parts[0], parts[1], None, parts[3]),
        "not self-described": sign1(parts[0], parts[1], b"\x01", parts[3]),
        "short uuid": payload(9, b"u", b"\x11", b"d" * 32, b"n"),
        "short digest": payload(9, b"u" * 16, b"\x11", b"d", b"n"),
        "type 7": payload(7, b"u" * 16, b"\x11", b"d" * 32, b"n"),
        "tag is text": payload(9, b"u" * 16, b"\x61a", b"d" * 32, b"n"),
        "tag is true": payload(9, b"u" * 16, b"\xf5", b"d" * 32, b"n"),
        "tag of 40 bits": payload(9, b"u" * 16, cbor2.dumps(1 << 40), b"d" * 32, b"n"),
        "bare tag": payload(9, b"u" * 16, 17, b"d" * 32, b"n"),
        "big exponent": b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x01",
        "pattern": b"\xd8\x23\x64((((",
    }


@pytest.mark.parametrize("name", list(wrong_cose()))
def test_a_cose_part_that_is_none(name):
    with pytest.raises(PolicyError) as caught:
        decode(wrong_cose()[name])
    assert caught.value.code == "identity.attestation-malformed"


@pytest.mark.parametrize(
    "text",
    [
        "x=.y",
        "AAAA.AAAA",
        KEYGEN,
        ATTESTTOKEN.partition(".")[0],
        "AAAA.===",
        f"{ATTESTTOKEN}A",
        f"{ATTESTTOKEN}.AAAA",
    ],
)
def test_what_is_no_identity_token(text):
    with pytest.raises(PolicyError):
        decode_identity_token(text)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_the_named_error(data):
    try:
        decode(data)
    except PolicyError as error:
        assert error.code == "identity.attestation-malformed"  # noqa: PT017


@given(st.data())
def test_any_change_of_the_published_answer_gives_a_value_or_the_named_error(data):
    cose = bytearray(unb64url(KEYGEN.partition(".")[2]))
    for _ in range(data.draw(st.integers(1, 3))):
        cose[data.draw(st.integers(0, len(cose) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(split(f"AAAA.{b64url(bytes(cose))}")[1])
    except PolicyError as error:
        assert error.code == "identity.attestation-malformed"  # noqa: PT017
