"""Encrypted PKCS#8 with a key derivation that makes a stolen bench expensive to open.

The library's own encryption stops at 2,048 rounds of PBKDF2. This writes the same standard
container (RFC 8018 PBES2, AES-256-CBC) with scrypt (RFC 7914), which OpenSSL and the library read.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infuse_cli import der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from infuse_cli.types import Secret

# 16 MiB of memory for each guess, about 50 ms on a line PC. OpenSSL refuses more than 32 MiB.
_COST: Final = 1 << 14
_BLOCK: Final = 8
_PARALLEL: Final = 1

_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")


def encrypted_pem(key: EllipticCurvePrivateKey, passphrase: Secret) -> bytes:
    """The key as an ENCRYPTED PRIVATE KEY in PEM."""
    salt, vector = os.urandom(16), os.urandom(16)
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PARALLEL).derive(
        passphrase.reveal().encode()
    )
    return _pem(
        der.element(
            der.SEQUENCE,
            _algorithm(salt, vector),
            der.element(der.OCTET_STRING, _encrypt(secret, vector, plain)),
        )
    )


def _algorithm(salt: bytes, vector: bytes) -> bytes:
    parameters = der.element(
        der.SEQUENCE,
        der.element(der.OCTET_STRING, salt),
        *map(der.integer, (_COST, _BLOCK, _PARALLEL)),
    )
    derivation = der.element(der.SEQUENCE, _SCRYPT, parameters)
    cipher = der.element(der.SEQUENCE, _AES_256_CBC, der.element(der.OCTET_STRING, vector))
    return der.element(der.SEQUENCE, _PBES2, der.element(der.SEQUENCE, derivation, cipher))


def _encrypt(secret: bytes, vector: bytes, plain: bytes) -> bytes:
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(secret), CBC(vector)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def _pem(content: bytes) -> bytes:
    text = base64.b64encode(content)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join(
        [
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
            *lines,
            b"-----END ENCRYPTED PRIVATE KEY-----",
            b"",
        ]
    )
