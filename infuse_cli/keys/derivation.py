"""Infuse-IoT key derivation.

Sources: infuse-sdk, `lib/security`; `docs/reference/interfaces/key-derivation.md`.
Pure functions over bytes; all keys are 32 bytes. A root is the X25519 secret that device and cloud
share, or the 32-byte key of a network.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE: Final = 32

CLOUD_PUBLIC_KEY: Final = bytes.fromhex(
    "ca6632ab038172b6ef6a0540d08bc72e9cce293668dfa87cd51d64741c53e00a"
)
"""The Infuse-IoT cloud's X25519 public key as the SDK has it built in."""

GPS_EPOCH_UNIX_S: Final = 315964800
LEAP_SECONDS: Final = 18
SECONDS_A_DAY: Final = 86400

_SIGN_SALT: Final = bytes.fromhex("34120000")
_COAP_SALT: Final = bytes.fromhex("5678")

Interface = Literal["serial", "udp", "bt_adv", "bt_gatt"]


def public_key(private: bytes) -> bytes:
    """X25519 public key of a private one. Raises ValueError unless it is 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def shared_secret(private: bytes, peer_public: bytes) -> bytes:
    """X25519 of one's private and the other's public key: the root.

    Raises ValueError for bad sizes or points.
    """
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(peer_public)
    )


def sign_key(root: bytes) -> bytes:
    """Key of the `security_state` block."""
    return _hkdf(root, _SIGN_SALT, b"sign")


def coap_psk(root: bytes) -> bytes:
    """Pre-shared key of the CoAP file server's DTLS."""
    return _hkdf(root, _COAP_SALT, b"coap")


def packet_key(root: bytes, interface: Interface, day: int) -> bytes:
    """Packet key of an interface for one day, `day` as `day_index` gives it (little-endian u32
    salt).
    """
    return _hkdf(root, struct.pack("<I", day), interface.encode())


def _hkdf(root: bytes, salt: bytes, info: bytes) -> bytes:
    if len(root) != KEY_SIZE:
        raise ValueError(f"a root key has {KEY_SIZE} bytes, not {len(root)}")
    return HKDF(algorithm=hashes.SHA256(), length=KEY_SIZE, salt=salt, info=info).derive(root)


def device_key_id(cloud_public: bytes, device_public: bytes) -> int:
    """24-bit id of a device's key: CRC-32 of both public keys, cloud's first, without its upper
    byte.
    """
    return zlib.crc32(cloud_public + device_public) & 0xFFFFFF


def gps_seconds(moment: datetime) -> int:
    """GPS time of an aware time. Raises ValueError for a naive one, which could mean anything."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone has no GPS time")
    whole = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(seconds=1)
    return whole - GPS_EPOCH_UNIX_S + LEAP_SECONDS


def day_index(gps: int) -> int:
    """The day that packet keys belong to: whole days of GPS time."""
    return gps // SECONDS_A_DAY


@dataclass(frozen=True, slots=True)
class SecurityHeader:
    """The clear part of a `security_state` answer: 69 bytes, integers little-endian."""

    SIZE = 69

    cloud_public: bytes
    device_public: bytes
    network_id: int
    response_type: int = 0

    def encode(self) -> bytes:
        """The 69 bytes, which are the associated data of the block."""
        return struct.pack(
            "<32s32sIB", self.cloud_public, self.device_public, self.network_id, self.response_type
        )


def parse_security_header(data: bytes) -> SecurityHeader:
    """Read the 69 header bytes. Raises ValueError for another length."""
    if len(data) != SecurityHeader.SIZE:
        raise ValueError(
            f"a security_state header has {SecurityHeader.SIZE} bytes, not {len(data)}"
        )
    return SecurityHeader(*struct.unpack("<32s32sIB", data))


def as_cloud_takes_it(state: bytes, challenge: bytes) -> dict[str, Any]:
    """A `security_state` answer as `securityState` of the cloud's key calls: bytes in base64.

    Raises ValueError for a short one.
    """
    header = parse_security_header(state[: SecurityHeader.SIZE])
    told = {
        "cloudPublicKey": header.cloud_public,
        "devicePublicKey": header.device_public,
        "challenge": challenge,
        "challengeResponse": state[SecurityHeader.SIZE :],
    }
    return {
        **{name: base64.b64encode(value).decode() for name, value in told.items()},
        "networkId": header.network_id,
        "challengeResponseType": header.response_type,
    }


@dataclass(frozen=True, slots=True)
class SecurityProof:
    """What a device proves in its `security_state` block: our challenge and its own ids (16, 16
    bytes, u64).
    """

    challenge: bytes
    hardware_id: bytes
    device_id: int

    @property
    def device_id_hex(self) -> str:
        """The id as the cloud writes it: 16 lower-case hex digits."""
        return f"{self.device_id:016x}"


_NONCE_SIZE: Final = 12
_BLOCK_SIZE: Final = 68
_PROOF: Final = struct.Struct("<16s16sQ")


def open_security_block(root: bytes, header: SecurityHeader, block: bytes) -> SecurityProof:
    """Decrypt a block: nonce 12, ciphertext 40, tag 16.

    Raises ValueError when it is not of this root and header.
    """
    if len(block) != _BLOCK_SIZE:
        raise ValueError(f"a security_state block has {_BLOCK_SIZE} bytes, not {len(block)}")
    try:
        plain = ChaCha20Poly1305(sign_key(root)).decrypt(
            block[:_NONCE_SIZE], block[_NONCE_SIZE:], header.encode()
        )
    except InvalidTag as error:
        raise ValueError(
            "the security_state block was not made with this root and header"
        ) from error
    return SecurityProof(*_PROOF.unpack(plain))


def seal_security_block(
    root: bytes, header: SecurityHeader, proof: SecurityProof, nonce: bytes
) -> bytes:
    """What a device answers, for virtual boards: nonce 12, ciphertext 40, tag 16."""
    plain = _PROOF.pack(proof.challenge, proof.hardware_id.ljust(16, b"\0"), proof.device_id)
    return nonce + ChaCha20Poly1305(sign_key(root)).encrypt(nonce, plain, header.encode())
