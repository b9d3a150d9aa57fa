"""Seals and opens ePacket frames with the key of a network
(`dialect.frames.FrameCipher`).
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from infuse_cli.dialect import AUTO, DIALECTS
from infuse_cli.errors import CredentialError
from infuse_cli.keys.derivation import KEY_SIZE, day_index, packet_key
from infuse_cli.keys.files import read_private

if TYPE_CHECKING:
    from infuse_cli.config.model import Serial

PUBLIC_NETWORK: Final = 0
_PUBLIC_KEY: Final = bytes(range(KEY_SIZE))
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{64}")


class NetworkCipher:
    """Frames under the serial key of a network, which changes with the day in the frame itself."""

    def __init__(self, key: bytes, network_id: int = PUBLIC_NETWORK) -> None:
        self._network_id: Final = network_id
        self._of_day: Final = functools.lru_cache(maxsize=4)(
            lambda day: ChaCha20Poly1305(packet_key(key, "serial", day))
        )

    @property
    def network_id(self) -> int:
        """24-bit id of the network."""
        return self._network_id

    def seal(self, gps_time: int, nonce: bytes, plain: bytes, clear: bytes) -> bytes:
        """As `dialect.frames.FrameCipher.seal`."""
        return self._of_day(day_index(gps_time)).encrypt(nonce, plain, clear)

    def open(self, gps_time: int, nonce: bytes, sealed: bytes, clear: bytes) -> bytes | None:
        """As `dialect.frames.FrameCipher.open`."""
        try:
            return self._of_day(day_index(gps_time)).decrypt(nonce, sealed, clear)
        except InvalidTag:
            return None


def board_cipher(serial: Serial) -> NetworkCipher | None:
    """What seals the frames of a product's boards; None where its dialect has no sealed frames.

    Raises CredentialError credential.unsafe-file or credential.malformed.
    """
    if serial.dialect != AUTO and not DIALECTS[serial.dialect].sealed:
        return None
    file = serial.network_key_file
    return network_cipher(None if file is None else Path(file), serial.network_id)


def network_cipher(file: Path | None = None, network_id: int = PUBLIC_NETWORK) -> NetworkCipher:
    """The cipher of a network whose key is in a private file, as 64 hex digits or base64; without
    one the SDK's public default.

    Raises CredentialError credential.unsafe-file or credential.malformed.
    """
    return NetworkCipher(_PUBLIC_KEY if file is None else _read(file), network_id)


def _read(file: Path) -> bytes:
    try:
        text = read_private(file, "the network's key").strip()
    except FileNotFoundError:
        raise CredentialError("credential.malformed", f"there is no network key {file}") from None
    try:
        key = (
            bytes.fromhex(text.decode())
            if _HEX.fullmatch(text)
            else base64.b64decode(text, validate=True)
        )
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_SIZE:
        raise CredentialError(
            "credential.malformed",
            f"{file} holds no network key: 64 hex digits, or {KEY_SIZE} bytes in base64",
        )
    return key
