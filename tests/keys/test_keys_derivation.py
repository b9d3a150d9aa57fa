"""Every vector of the page on key derivation, and that what one side seals the other opens."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.keys import derivation as kd

ROOT = bytes([0xFD]) + b"\xff" * 31
NETWORK = bytes(range(32))
DEVICE_PRIVATE = bytes(range(32))
SHARED = bytes.fromhex("997ba1e07c1d873a54857f531e0f45cabcf45c2121dadc4c0e158c5eb7da2756")
DEVICE_PUBLIC = bytes.fromhex("8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f")
BLOCK = bytes.fromhex(
    "a0a1a2a3a4a5a6a7a8a9aaab27628a507208377b5f47dc7bc07d2630f517364c4cc91e42a9c32660c964d95319499cd2663374858ce4df19aff4a652d4cbc9a11e29aed9"
)
HEADER = kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, DEVICE_PUBLIC, 0, 0)
PROOF = kd.SecurityProof(
    bytes(range(0x10, 0x20)), bytes.fromhex("0011223344556677").ljust(16, b"\0"), 0xD291D4D66BF0A955
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (kd.sign_key(ROOT), "d0d3c232b72fda85e5f4af95d62e40dbd921d8ef46fb491c25967b92c0a4bc48"),
        (kd.coap_psk(ROOT), "39cc663a393b1ad53a70a7fc79726f1d0f461fe5d013a280c4e3abb782582724"),
        (
            kd.packet_key(ROOT, "serial", 1),
            "68d948ce8cb7396b05e47f30ff5c4c33755ae460b7085df04245ccb62a03dcea",
        ),
        (
            kd.packet_key(ROOT, "udp", 1),
            "2b427a0179d8c57e57fe967e7666fe9f2af798b56ff31f1233b064e669348900",
        ),
        (
            kd.packet_key(ROOT, "bt_adv", 1),
            "53edb0790e6b067eac066f766632f1ccee9f68bba39b8ff3237eb690bc1cc34f",
        ),
        (
            kd.packet_key(ROOT, "bt_gatt", 1),
            "1a597461c61a88197d445a7fec451576c05e3ad4cd11c5080462dee51ba111f0",
        ),
        (
            kd.packet_key(NETWORK, "serial", 1),
            "c417704a9ea812ed35dbdc59fff6dbc5d37f1a9dcdfab326335f2fbfe85ee8ff",
        ),
        (
            kd.packet_key(NETWORK, "serial", 16203),
            "dc0ce5aa2f3b80f52c422cb1c3fbc19e7d2df12cfdd872c59cb289aa06b71751",
        ),
        (
            kd.packet_key(NETWORK, "udp", 1),
            "c79905f31d272097a565434c738f6f72e44e551a138590cb4fd1c4e3e4bc607d",
        ),
        (kd.public_key(DEVICE_PRIVATE), DEVICE_PUBLIC.hex()),
        (kd.shared_secret(DEVICE_PRIVATE, kd.CLOUD_PUBLIC_KEY), SHARED.hex()),
        (kd.sign_key(SHARED), "85acd7987788cdf4748671d95ec5662042c70fb5e761d3bd217c183309c67e6d"),
        (kd.coap_psk(SHARED), "835d0d00f8eab90aff9bd0287cffd10702865dc5930fc1a85ed57ffc22a65b13"),
    ],
)
def test_vectors(key, expected):
    assert key.hex() == expected


def test_device_key_id():
    assert kd.device_key_id(kd.CLOUD_PUBLIC_KEY, DEVICE_PUBLIC) == 0x7DB2FE


def test_security_state_block():
    assert kd.open_security_block(SHARED, HEADER, BLOCK) == PROOF
    assert kd.seal_security_block(SHARED, HEADER, PROOF, BLOCK[:12]) == BLOCK
    assert PROOF.device_id_hex == "d291d4d66bf0a955"
    assert kd.parse_security_header(HEADER.encode()) == HEADER
    assert len(HEADER.encode()) == 69


@pytest.mark.parametrize("position", [0, 12, 40, 67])
def test_a_changed_block_does_not_open(position):
    changed = bytearray(BLOCK)
    changed[position] ^= 1
    with pytest.raises(ValueError, match="not made with this root"):
        kd.open_security_block(SHARED, HEADER, bytes(changed))


def test_another_header_root_or_length_does_not_open():
    with pytest.raises(ValueError):
        kd.open_security_block(
            SHARED, kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, DEVICE_PUBLIC, 1), BLOCK
        )
    with pytest.raises(ValueError):
        kd.open_security_block(ROOT, HEADER, BLOCK)
    with pytest.raises(ValueError, match="68 bytes"):
        kd.open_security_block(SHARED, HEADER, BLOCK[:-1])
    with pytest.raises(ValueError, match="69 bytes"):
        kd.parse_security_header(bytes(68))
    with pytest.raises(ValueError, match="32 bytes"):
        kd.sign_key(b"short")


def test_gps_time():
    moment = datetime(2024, 5, 18, 16, 53, 2, tzinfo=UTC)
    assert kd.gps_seconds(moment) == 1400086400
    assert kd.day_index(1400000000) == 16203
    assert kd.gps_seconds(moment.astimezone(timezone(timedelta(hours=10)))) == 1400086400
    assert kd.gps_seconds(datetime(1980, 1, 6, tzinfo=UTC)) == 18
    with pytest.raises(ValueError, match="zone"):
        kd.gps_seconds(datetime(2024, 5, 18))  # noqa: DTZ001


@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_both_sides_get_the_same_secret(mine, theirs):
    assert kd.shared_secret(mine, kd.public_key(theirs)) == kd.shared_secret(
        theirs, kd.public_key(mine)
    )


@settings(max_examples=50)
@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=12, max_size=12),
)
def test_proofs_round_trip(challenge, hardware_id, device_id, network_id, nonce):
    header = kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, DEVICE_PUBLIC, network_id)
    proof = kd.SecurityProof(challenge, hardware_id, device_id)
    assert (
        kd.open_security_block(SHARED, header, kd.seal_security_block(SHARED, header, proof, nonce))
        == proof
    )


def test_a_serial_frame_opens_with_the_network_key_of_its_day():
    frame = bytes.fromhex(
        "d5ca2b0000000000000000d6d491d255a9f06b004e7253000034128acbcc6d90163bdb41813959096383e6abd0d8fe"
    )
    header, body = frame[4:27], frame[27:]
    key = kd.packet_key(NETWORK, "serial", kd.day_index(int.from_bytes(header[15:19], "little")))
    assert ChaCha20Poly1305(key).decrypt(header[11:], body, header[:11]) == b"ping"
