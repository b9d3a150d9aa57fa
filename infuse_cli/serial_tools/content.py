"""What a person wants to put into a modem: read from a file or standard input, never from the
command line, and checked.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

from infuse_cli.certificate_files import UnfitFileError, certificates_pem
from infuse_cli.dialect.commands import canonical_pem, wire_digest
from infuse_cli.errors import UsageError
from infuse_cli.files import read_bounded
from infuse_cli.keys.files import read_private
from infuse_cli.serial_tools.credentials import Item
from infuse_cli.types import CredentialType, Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS: Final = {
    "ca": CredentialType.ROOT_CA,
    "cert": CredentialType.CLIENT_CERTIFICATE,
    "key": CredentialType.CLIENT_KEY,
    "psk": CredentialType.PSK,
    "psk-id": CredentialType.PSK_IDENTITY,
}
_ALIASES: Final = {
    "root-ca": "ca",
    "ca-cert": "ca",
    "root-ca-cert": "ca",
    "client-cert": "cert",
    "certificate": "cert",
    "client-key": "key",
    "private-key": "key",
    "client-private-key": "key",
    "psk-identity": "psk-id",
}
"""As other tools call them."""

_SECRET: Final = frozenset({CredentialType.CLIENT_KEY, CredentialType.PSK})
_CERTIFICATES: Final = frozenset({CredentialType.ROOT_CA, CredentialType.CLIENT_CERTIFICATE})
_MOST: Final = 64 * 1024
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){1,128}")
_IDENTITY: Final = re.compile(r"[!#-~][ !#-~]{0,254}")


def kind_of(text: str) -> CredentialType:
    """The credential type of a word or number. Raises UsageError usage.bad-option."""
    word = text.lower().replace("_", "-")
    word = _ALIASES.get(word, word)
    if word in KINDS:
        return KINDS[word]
    found = next((kind for kind in CredentialType if str(int(kind)) == text), None)
    if found is None:
        names = ", ".join(f"{name} ({int(kind)})" for name, kind in KINDS.items())
        raise UsageError("usage.bad-option", f"{text!r} is no credential type; known: {names}")
    return found


def item(kind: CredentialType, file: Path | None) -> Item:
    """The credential in a file, or on standard input (`-`, or piped).

    A file with a secret has to be 0600.

    Raises UsageError usage.bad-option for content that does not fit its type, CredentialError
    credential.unsafe-file.
    """
    what, is_secret = f"the {kind.name.lower().replace('_', ' ')}", kind in _SECRET
    if kind in _CERTIFICATES:
        content = _certificates(_bytes(file, what, secret=False))
    else:
        content = _READERS[kind](read(file, what, secret=is_secret))
    return Item(kind, content, secret=is_secret)


def token_items(token: Secret, registry_device_id: str) -> list[Item]:
    """A registration token as the store `psk` keeps it: lower-case hex of its bytes, and the
    registry device id.
    """
    raw, identity = token.reveal(), _identity(registry_device_id)
    coded = raw.encode().hex()
    # The modem lists the digest of what it stored, which is the hex text or the bytes it stands
    # for.
    return [
        Item(CredentialType.PSK, coded, frozenset({wire_digest(raw)}), secret=True),
        Item(CredentialType.PSK_IDENTITY, identity),
    ]


def token(file: Path | None) -> Secret:
    """A registration token in a 0600 file or on standard input.

    Raises UsageError, CredentialError.
    """
    text = read(file, "the registration token", secret=True).strip()
    if not re.fullmatch(r"[!-~]{1,1024}", text):
        raise UsageError(
            "usage.bad-option",
            "the registration token is not one line of plain characters without spaces",
        )
    return Secret(text)


def read(file: Path | None, what: str, *, secret: bool) -> str:
    """Plain text from a file or standard input, at most 64 KiB.

    Raises UsageError, CredentialError credential.unsafe-file.
    """
    try:
        return _bytes(file, what, secret=secret).decode("ascii")
    except UnicodeDecodeError:
        raise UsageError("usage.bad-option", f"{what} is not plain text") from None


def _bytes(file: Path | None, what: str, *, secret: bool) -> bytes:
    if file is None and sys.stdin.isatty():
        raise UsageError(
            "usage.bad-option",
            f"{what} is read from a file or from standard input, and neither was given",
            hint="--file FILE, or pipe it in.",
        )
    try:
        if file is None or str(file) == "-":
            return _standard_input()
        return _content(file, what, secret=secret)
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"{what} cannot be read from {file}: {error.strerror}"
        ) from None


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise UsageError(
            "usage.bad-option",
            f"standard input holds more than {_MOST // 1024} KiB: that is no credential",
        )
    return data


def _content(file: Path, what: str, *, secret: bool) -> bytes:
    return read_private(file, what) if secret else read_bounded(file)[:_MOST]


def _certificates(data: bytes) -> str:
    """Clean PEM of the certificates in a file. Raises UsageError usage.bad-option."""
    try:
        return certificates_pem(data)
    except UnfitFileError as error:
        raise UsageError("usage.bad-option", f"the file {error.reason}", hint=error.hint) from None


def _key(text: str) -> str:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        load_pem_private_key(text.encode(), None)
        return canonical_pem(text)
    except Exception:  # noqa: BLE001 - whatever the parser says, and it may repeat what it was given
        raise UsageError(
            "usage.bad-option",
            "this is not a private key in unencrypted PEM, which is what a modem takes",
        ) from None


def _psk(text: str) -> str:
    found = text.strip()
    if not _HEX.fullmatch(found):
        raise UsageError(
            "usage.bad-option", "a pre-shared key is hex digits, two a byte, and nothing else"
        )
    return found.lower()


def _identity(text: str) -> str:
    found = text.strip()
    if not _IDENTITY.fullmatch(found):
        raise UsageError(
            "usage.bad-option", "a PSK identity is one line of plain characters without quotes"
        )
    return found


_READERS: Final[dict[CredentialType, Callable[[str], str]]] = {
    CredentialType.CLIENT_KEY: _key,
    CredentialType.PSK: _psk,
    CredentialType.PSK_IDENTITY: _identity,
}
