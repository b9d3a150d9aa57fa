"""Files sealed under a passphrase, of any length, in pieces: AES-256-GCM under scrypt (RFC 7914).

A file is a magic line of the caller's, version byte 1, three bytes log2(N), r, p, salt of 16 bytes,
nonce prefix of 7 bytes; then pieces of 64 KiB of plain text, each with its 16-byte tag. A piece's
nonce is the prefix, its number (u32, big-endian) and 1 for the last piece, else 0 (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015): a piece that is cut off, moved or
doubled does not open. All that stands before the pieces is associated data of each.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from infuse_cli.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infuse_cli.types import Secret

_VERSION: Final = 1
_FORM: Final = struct.Struct(">BBBB16s7s")
_LOG2_N, _R, _P = 16, 8, 1  # 64 MiB and about 0.2 s a guess
_MOST_LOG2_N: Final = 20  # a hostile file must not take all memory
_PIECE: Final = 65_536
_TAG: Final = 16


class Source(Protocol):
    """Where bytes come from: every read but the last gives all that was asked for."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


class Target(Protocol):
    """Where bytes go."""

    def write(self, piece: bytes, /) -> object: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Lock:
    """Key and nonces of one file."""

    aead: AESGCM
    prefix: bytes
    header: bytes

    def nonce(self, number: int, *, last: bool) -> bytes:
        return self.prefix + struct.pack(">IB", number, last)


def seal(source: Source, target: Target, passphrase: Secret, magic: bytes) -> None:
    """Write `magic` and all of `source`, sealed, to `target`."""
    form = _FORM.pack(_VERSION, _LOG2_N, _R, _P, os.urandom(16), os.urandom(7))
    lock = _lock(magic + form, form, passphrase)
    target.write(lock.header)
    for number, (piece, last) in enumerate(_pieces(source, _PIECE)):
        target.write(lock.aead.encrypt(lock.nonce(number, last=last), piece, lock.header))


def unseal(source: Source, target: Target, passphrase: Secret, magic: bytes) -> None:
    """Write what `seal` was given to `target`; on any error `target` is to be thrown away.

    Raises CredentialError credential.bad-passphrase: another passphrase, or the file was changed or
    cut off.
    """
    form = source.read(len(magic) + _FORM.size)[len(magic) :]
    if len(form) < _FORM.size:
        raise _refused("the file ends before its first piece")
    lock = _lock(magic + form, form, passphrase)
    for number, (piece, last) in enumerate(_pieces(source, _PIECE + _TAG)):
        try:
            target.write(lock.aead.decrypt(lock.nonce(number, last=last), piece, lock.header))
        except (InvalidTag, ValueError):
            why = (
                "the passphrase is another one, or the file was changed"
                if number == 0
                else "it was changed or cut off in the middle"
            )
            raise _refused(why) from None


def _lock(header: bytes, form: bytes, passphrase: Secret) -> _Lock:
    version, log2_n, r, p, salt, prefix = _FORM.unpack(form)
    if version != _VERSION or not 1 <= log2_n <= _MOST_LOG2_N or (r, p) != (_R, _P):
        raise _refused("it has a form that this version does not know")
    key = Scrypt(salt=salt, length=32, n=1 << log2_n, r=r, p=p).derive(passphrase.reveal().encode())
    return _Lock(AESGCM(key), prefix, header)


def _pieces(source: Source, size: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces, each with whether it is the last; an empty source is one empty piece."""
    piece = source.read(size)
    while True:
        ahead = source.read(size)
        yield piece, not ahead
        if not ahead:
            return
        piece = ahead


def _refused(why: str) -> CredentialError:
    return CredentialError("credential.bad-passphrase", f"the sealed file does not open: {why}")
