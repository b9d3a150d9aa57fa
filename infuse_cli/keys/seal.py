"""Sealing secrets at rest: AES-256-GCM under the bench's data key.

A sealed value is version byte 1, a random 96-bit nonce, ciphertext and 16-byte tag; the context
(which row it belongs to) and the version are associated data, so a value moved to another row does
not open.
"""

from __future__ import annotations

import base64
import binascii
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infuse_cli.config.bench import SEALING_KEY_VARIABLE, sealing_key_file
from infuse_cli.errors import CredentialError, ProfileError
from infuse_cli.files import create_private
from infuse_cli.keys import files, ring
from infuse_cli.keys.rekey import NEXT, OLD, FilePlace, KeyPlace, RingPlace
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

KEY_SIZE: Final = 32

_VERSION: Final = b"\x01"
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_DOMAIN: Final = b"infuse sealed v1\x00"
_RING_USER: Final = "sealing-key"
_WHAT: Final = "the sealing key file"


@dataclass(frozen=True, slots=True)
class BenchKeys:
    """Where the data key of this bench is: the keyring, else `key_file`. `home` is INFUSE_HOME."""

    home: Path
    key_file: Path
    keyring: bool = False


class _Sealing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `sealing` of bench.yaml."""

    key_file: str | None = None
    keyring: bool = False


def bench_keys(home: Path, sealing: Mapping[str, Any], env: Mapping[str, str]) -> BenchKeys:
    """Where the data key is, by environment INFUSE_SEALING_KEY_FILE, bench.yaml's `sealing`, or the
    default file.

    Raises ProfileError profile.invalid when `sealing` has unknown keys, wrong types, or names both
    sources.
    """
    try:
        wanted = msgspec.convert(dict(sealing), _Sealing)
    except msgspec.ValidationError as error:
        raise ProfileError("profile.invalid", f"bench.yaml, sealing: {error}") from error
    if wanted.keyring and wanted.key_file:
        raise ProfileError(
            "profile.invalid", "bench.yaml, sealing: name key_file or keyring, not both"
        )
    keyring = wanted.keyring and not env.get(SEALING_KEY_VARIABLE)
    return BenchKeys(home, sealing_key_file(home, wanted.key_file, env), keyring)


class FileSealer:
    """`ports.Sealer` under one data key; `where` says where the key came from.

    `others` are keys that open too, as long as a change of keys (`rekey.py`) is under way. `again`
    reads the keys anew, for a sealer that lives longer than such a change: before the first
    sealing, by when the caller's run is on record and its keys are kept, and once where no key
    opens.
    """

    def __init__(
        self,
        key: bytes,
        where: str,
        others: Sequence[bytes] = (),
        again: Callable[[], Sequence[bytes]] | None = None,
    ) -> None:
        self._all = tuple(map(AESGCM, (key, *others)))
        self._again: Final = again
        self._stale = again is not None
        self.where: Final = where

    def seal(self, secret: Secret, context: str) -> bytes:
        """Seal the UTF-8 bytes of a secret for the row that `context` names.

        Raises CredentialError credential.sealing-key.
        """
        if self._stale:
            self._refresh()
        nonce = os.urandom(_NONCE_SIZE)
        return (
            _VERSION
            + nonce
            + self._all[0].encrypt(nonce, secret.reveal().encode(), _associated(context))
        )

    def unseal(self, sealed: bytes, context: str) -> Secret:
        """Open what `seal` made.

        Raises CredentialError credential.sealing-key for another key, row or version.
        """
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE_SIZE + _TAG_SIZE:
            raise CredentialError(
                "credential.sealing-key",
                f"the sealed value of '{context}' has a form that this version does not know",
            )
        found = self._open(sealed, context)
        if found is None and self._again is not None:
            self._refresh()
            found = self._open(sealed, context)
        if found is not None:
            return found
        raise CredentialError(
            "credential.sealing-key",
            f"the sealed value of '{context}' does not open with the key from {self.where}: another"
            " key, or it was changed",
        )

    def _open(self, sealed: bytes, context: str) -> Secret | None:
        nonce, body = sealed[1 : 1 + _NONCE_SIZE], sealed[1 + _NONCE_SIZE :]
        for aead in self._all:
            with suppress(InvalidTag):
                return Secret(aead.decrypt(nonce, body, _associated(context)).decode())
        return None

    def _refresh(self) -> None:
        if self._again is not None:
            self._all, self._stale = tuple(map(AESGCM, self._again())), False


def _associated(context: str) -> bytes:
    return _DOMAIN + context.encode()


def load_sealer(bench: BenchKeys, *, create: bool) -> FileSealer:
    """The sealer of this bench; with `create` a missing key is made.

    Raises CredentialError credential.sealing-key when there is no key, it is inside INFUSE_HOME (a
    copy of the home would carry its own key) or not 32 bytes of base64; credential.unsafe-file when
    others can read it.
    """

    def keys() -> Sequence[bytes]:
        return (_from_ring(create=False) if bench.keyring else _from_file(bench, create=False))[1]

    where, (key, *others) = (
        _from_ring(create=create) if bench.keyring else _from_file(bench, create=create)
    )
    return FileSealer(key, where, others, keys)


class Rekey:
    """A change of the data key, step by step; each may be done again after a crash at any point."""

    def __init__(self, bench: BenchKeys) -> None:
        """Raise CredentialError credential.sealing-key where there is no key to change."""
        load_sealer(bench, create=False)
        self._place: Final[KeyPlace] = _place(bench)

    def sealer(self) -> FileSealer:
        """Seals under the next key, which is made durable first, and opens with every key that
        there is.
        """
        if self._place.get(NEXT) is None:
            self._place.put(NEXT, _fresh() + b"\n")
        texts = (self._place.get(which) for which in (NEXT, "", OLD))
        first, *others = (_decode(text, _WHAT) for text in texts if text is not None)
        return FileSealer(first, "the next key", others)

    def promote(self) -> None:
        """The next key becomes the one in use; the one before stays until `forget`."""
        current, following = self._place.get(""), self._place.get(NEXT)
        if following is None or current is None:
            raise _trouble("the next sealing key is gone")
        if current.strip() != following.strip():
            self._place.put(OLD, current)
        self._place.put("", following)
        self._place.drop(NEXT)

    def forget(self) -> None:
        """The key before goes: what was sealed under it and was copied away opens no more."""
        self._place.drop(OLD)


def _place(bench: BenchKeys) -> KeyPlace:
    return RingPlace(_RING_USER) if bench.keyring else FilePlace(bench.key_file)


def _others(place: KeyPlace) -> list[bytes]:
    texts = (place.get(which) for which in (NEXT, OLD))
    return [_decode(text, _WHAT) for text in texts if text is not None]


def _from_file(bench: BenchKeys, *, create: bool) -> tuple[str, list[bytes]]:
    """Where the key is; it, and others that open too."""
    path = bench.key_file
    if path.resolve().is_relative_to(bench.home.resolve()):
        raise _trouble(
            f"{_WHAT} {path} lies inside {bench.home}, together with what it seals; move it out"
        )
    if create and not path.exists():
        _create(path)
    try:
        text = files.read_private(path, _WHAT)
    except FileNotFoundError:
        raise _trouble(f"there is no sealing key file {path}") from None
    return str(path), [_decode(text, f"{_WHAT} {path}"), *_others(FilePlace(path))]


def _create(path: Path) -> None:
    try:
        # Losing the race is fine: the other's key is then read.
        create_private(path, _fresh() + b"\n")
    except OSError as error:
        raise _trouble(f"{_WHAT} {path} cannot be made: {error.strerror}") from error


def _from_ring(*, create: bool) -> tuple[str, list[bytes]]:
    found = ring.get(_RING_USER)
    if found.value is None and not found.trouble and create:
        fresh = Secret(_fresh().decode())
        stored = ring.put(_RING_USER, fresh)
        if not stored.value:
            raise _trouble(stored.trouble or "the keyring does not keep what it is given")
        found = ring.RingAnswer(fresh)
    if found.value is None:
        raise _trouble(found.trouble or "the keyring holds no sealing key")
    key = _decode(found.value.reveal().encode(), "the sealing key in the keyring")
    return "the keyring", [key, *_others(RingPlace(_RING_USER))]


def _fresh() -> bytes:
    return base64.b64encode(os.urandom(KEY_SIZE))


def _decode(text: bytes, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_SIZE:
        raise _trouble(f"{what} is not base64 of {KEY_SIZE} bytes")
    return key


def _trouble(message: str) -> CredentialError:
    return CredentialError("credential.sealing-key", message)
