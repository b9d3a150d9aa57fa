"""What is to be put into a modem: read from a file, never from a command line, and checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from infuse_cli.certificate_files import UnfitFileError, certificates_pem
from infuse_cli.dialect.commands import canonical_pem, wire_digest
from infuse_cli.effects.credentials import Credential
from infuse_cli.errors import UsageError
from infuse_cli.files import read_bounded
from infuse_cli.keys.files import read_private
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

SECRET_KINDS: Final = frozenset({CredentialType.CLIENT_KEY, CredentialType.PSK})
_CERTIFICATES: Final = frozenset({CredentialType.ROOT_CA, CredentialType.CLIENT_CERTIFICATE})
MAX_BYTES: Final = 64 * 1024
TOKEN: Final = "the registration token"  # noqa: S105 - a name, not a secret
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){1,128}")
_IDENTITY: Final = re.compile(r"[!#-~][ !#-~]{0,254}")


def kind_of(text: str) -> CredentialType:
    """The credential type of a word or number. Raises UsageError usage.bad-option."""
    word = text.lower().replace("_", "-")
    known = {**KINDS, **{str(int(kind)): kind for kind in CredentialType}}
    kind = known.get(_ALIASES.get(word, word))
    if kind is None:
        names = ", ".join(f"{name} ({int(kind)})" for name, kind in KINDS.items())
        raise UsageError("usage.bad-option", f"{text!r} is no credential type; known: {names}")
    return kind


def credential(sec_tag: int, kind: CredentialType, data: bytes) -> Credential:
    """The credential that a file holds. Raises UsageError usage.bad-option for another content."""
    if kind in _CERTIFICATES:
        content = _certificates(data)
    else:
        content = _READERS[kind](_text(data, name_of(kind)))
    return Credential(sec_tag, kind, content, secret=kind in SECRET_KINDS)


def name_of(kind: CredentialType) -> str:
    """A credential type in messages about a file."""
    return f"the {kind.name.lower().replace('_', ' ')}"


def token_credentials(
    sec_tag: int, token: Secret, registry_device_id: str
) -> tuple[Credential, ...]:
    """A registration token as store `psk` holds it: lower-case hex of its bytes, and the registry
    device id as identity.
    """
    raw, identity = token.reveal(), _identity(registry_device_id)
    # The modem lists the digest of what it stored: the hex text, or the bytes it stands for.
    digests = frozenset({wire_digest(raw)})
    return (
        Credential(sec_tag, CredentialType.PSK, raw.encode().hex(), digests, secret=True),
        Credential(sec_tag, CredentialType.PSK_IDENTITY, identity),
    )


def parse_token(data: bytes) -> Secret:
    """A registration token from the bytes of a file. Raises UsageError usage.bad-option."""
    text = _text(data, TOKEN).strip()
    if not re.fullmatch(r"[!-~]{1,1024}", text):
        raise UsageError(
            "usage.bad-option",
            "the registration token is not one line of plain characters without spaces",
        )
    return Secret(text)


def read_file(file: Path, what: str, *, secret: bool) -> bytes:
    """A file's first 64 KiB; one with a secret has to be 0600.

    Raises UsageError usage.bad-option, CredentialError credential.unsafe-file.
    """
    try:
        return read_private(file, what) if secret else read_bounded(file)[:MAX_BYTES]
    except OSError as error:
        raise UsageError(
            "usage.bad-option", f"{what} cannot be read from {file}: {error.strerror}"
        ) from None


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise UsageError("usage.bad-option", f"{what} is not plain text") from None


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
    value = text.strip()
    if not _HEX.fullmatch(value):
        raise UsageError(
            "usage.bad-option", "a pre-shared key is hex digits, two a byte, and nothing else"
        )
    return value.lower()


def _identity(text: str) -> str:
    value = text.strip()
    if not _IDENTITY.fullmatch(value):
        raise UsageError(
            "usage.bad-option", "a PSK identity is one line of plain characters without quotes"
        )
    return value


_READERS: Final[dict[CredentialType, Callable[[str], str]]] = {
    CredentialType.CLIENT_KEY: _key,
    CredentialType.PSK: _psk,
    CredentialType.PSK_IDENTITY: _identity,
}
