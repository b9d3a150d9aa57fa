"""Key material of the cloud, which leaves only into a private file or in a result's `Secret`.

The fingerprint of a key is the first 16 hex digits of the SHA-256 of its bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.devices import session as tools
from infuse_cli.devices.secret_file import SecretFile
from infuse_cli.errors import UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from infuse_cli.config.model import Cloud
    from infuse_cli.settings import Settings

_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class KeyResult:
    """A key (base64), where it is from, and what it is for; None or 0 where that has no meaning.

    `key_id` is 24 bits in hex. `agrees` says whether cloud and local derivation gave the same key,
    None where only one was asked. `root` is how the root of a derived key was come by.
    """

    secret: Secret
    source: str
    out: Path | None = None
    interface: str | None = None
    day_index: int | None = None
    agrees: bool | None = None
    device_id: str | None = None
    root: str | None = None
    key_id: str | None = None

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the key's bytes."""
        return hashlib.sha256(base64.b64decode(self.secret.reveal())).hexdigest()[:16]

    def stored(self) -> KeyResult:
        """Itself, once the key is in its file."""
        SecretFile(self.out).write(self.secret)
        return self


@dataclass(frozen=True, slots=True)
class Exchange:
    """A bearer token that an IAM key was exchanged for; its end is None where the cloud names
    none.
    """

    token: Secret
    expires_at: datetime | None
    out: Path | None


def cloud_public_key(settings: Settings) -> bytes:
    """The cloud's X25519 public key, which is no secret."""
    with tools.opened(settings) as session:
        return session.cloud.cloud_public_key()


def shared_secret(
    settings: Settings,
    *,
    device: str | None = None,
    public_key: str | None = None,
    security_state: Mapping[str, Any] | None = None,
    out: Path | None = None,
) -> KeyResult:
    """The root secret that device and cloud share, by the device's public key (base64 or hex) or by
    the device.

    `security_state` is what the device reported of its keys, passed on with `device`.
    """
    if (device is None) == (public_key is None):
        raise UsageError(
            "usage.bad-option", "whose secret: give either --public-key BASE64 or --device DEVICE"
        )
    if security_state is not None and device is None:
        raise UsageError("usage.bad-option", "--security-state goes with --device")
    peer = None if public_key is None else parse_public_key(public_key)
    with tools.opened(settings) as session:
        cloud = session.cloud
        if peer is not None:
            return KeyResult(
                cloud.shared_secret(peer),
                "POST /key/sharedSecret",
                out,
                key_id=key_id_of(cloud.cloud_public_key(), peer),
            ).stored()
        from infuse_cli.devices.cloud_devices import find

        device_id = find(session, device or "").device_id
        state = None if security_state is None else dict(security_state)
        return KeyResult(
            cloud.device_secret(device_id, state),
            "POST /key/sharedSecret/device",
            out,
            device_id=device_id,
        ).stored()


def parse_public_key(text: str, option: str = "--public-key") -> bytes:
    """An X25519 public key from base64 or 64 hex digits. Raises UsageError."""
    try:
        key = (
            bytes.fromhex(text) if len(text) == 2 * _SIZE else base64.b64decode(text, validate=True)
        )
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _SIZE:
        raise UsageError("usage.bad-option", f"{option} is not {_SIZE} bytes in base64 or hex")
    return key


def key_id_of(cloud: bytes, device: bytes) -> str:
    """The id of a device's key over both public keys: 24 bits in hex."""
    from infuse_cli.keys.derivation import device_key_id

    return f"{device_key_id(cloud, device):06x}"


def exchange_iam_key(cloud: Cloud, key: Secret, out: Path | None) -> Exchange:
    """Exchange an IAM key for a bearer token, which is in its file before this returns.

    Raises CredentialError credential.malformed for what is none, before it is sent.
    """
    from infuse_cli.cloud.build import connect_openly
    from infuse_cli.cloud.scheme import check_iam_key

    check_iam_key(key)
    client = connect_openly(cloud, threading.Event().wait)
    try:
        answer = client.exchange_key(key)
    finally:
        client.close()
    token = Secret(answer.token)
    SecretFile(out).write(token)
    return Exchange(token, answer.expires_at, out)
