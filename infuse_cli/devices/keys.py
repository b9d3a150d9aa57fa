"""`infuse key` and `infuse mqtt`: key material and tokens, which leave only into a private file or
onto a terminal.

What is shown otherwise is a fingerprint: the first 16 hex digits of the SHA-256 of the key's bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.errors import UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.config.model import Cloud

_SIZE: Final = 32
_MIN_TTL_S: Final = 60
_MAX_TTL_S: Final = 86400


@dataclass(frozen=True, slots=True)
class Which:
    """Whose key, and where it goes: a device that the cloud knows, or its public key in base64."""

    device: str | None
    public_key: str | None
    out: Path | None
    reveal: bool
    security_state: str | None = None

    def check(self) -> dict[str, Any] | None:
        """The security state.

        Raises UsageError for none that can be, and for one that no device goes with.
        """
        if self.security_state is not None and self.device is None:
            raise UsageError("usage.bad-option", "--security-state goes with --device")
        return tools.json_object(self.security_state, "--security-state")


def public() -> OperationResult:
    """The cloud's public key, which is no secret."""
    from infuse_cli.keys.derivation import CLOUD_PUBLIC_KEY

    with tools.opened() as session:
        key = session.cloud.cloud_public_key()
    data = {
        "key": base64.b64encode(key).decode(),
        "hex": key.hex(),
        "builtIn": key == CLOUD_PUBLIC_KEY,
    }
    note = (
        "the key that the firmware has built in"
        if data["builtIn"]
        else "not the key that the firmware has built in"
    )
    return OperationResult("key public", data, human=f"{data['key']}\n{note}")


def shared(which: Which) -> OperationResult:
    """The root secret that device and cloud share, by the device's public key or by the device."""
    if (which.device is None) == (which.public_key is None):
        raise UsageError(
            "usage.bad-option", "whose secret: give either --public-key BASE64 or --device DEVICE"
        )
    place, state = tools.Destination(which.out, reveal=which.reveal), which.check()
    peer = None if which.public_key is None else public_key(which.public_key)
    with tools.opened() as session:
        if peer is not None:
            secret = session.cloud.shared_secret(peer)
            more: dict[str, Any] = {
                "source": "POST /key/sharedSecret",
                "keyId": _key_id(session, peer),
            }
        else:
            from infuse_cli.devices.cloud_devices import find

            device = find(session, which.device or "")
            secret = session.cloud.device_secret(device.device_id, state)
            more = {"source": "POST /key/sharedSecret/device", "deviceId": device.device_id}
    return given("key shared-secret", "Shared secret", secret, place, more)


def public_key(text: str, option: str = "--public-key") -> bytes:
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


@dataclass(frozen=True, slots=True)
class MqttWish:
    """An MQTT token: for how long, and who gets it. With `watch` it is renewed until a signal."""

    organisation: str | None
    ttl_s: int
    out: Path | None
    reveal: bool
    watch: bool
    command: tuple[str, ...]
    timeout_s: float


def mqtt_token(wish: MqttWish) -> OperationResult:
    """A short-lived token for the organisation's broker."""
    from infuse_cli.devices.mqtt_token import Receiver, watched

    ttl_s, needed = wish.ttl_s, None if wish.command or wish.watch else "the MQTT token"
    if not _MIN_TTL_S <= ttl_s <= _MAX_TTL_S:
        raise UsageError(
            "usage.bad-option",
            f"--ttl is {ttl_s}, but must be from {_MIN_TTL_S} to {_MAX_TTL_S} seconds",
        )
    place = tools.Destination(wish.out, reveal=wish.reveal, needed=needed)
    receiver = Receiver(place, wish.command, wish.timeout_s)
    if wish.watch:
        return watched(wish.organisation, ttl_s, receiver)
    receiver.check()
    with tools.opened() as session:
        owner = session.organisation(wish.organisation)
        found = session.cloud.mqtt_token(owner.id, ttl_s)
    secret = Secret(found.token)
    receiver.give(secret)
    data = {
        "organisationId": owner.id,
        "issuedAt": found.issued_at,
        "expiresAt": found.expires_at,
        "sha256": secret.sha256(),
        "out": wish.out,
    }
    lines = [
        *place.shown(secret, "MQTT token"),
        f"It expires at {found.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC.",
    ]
    return OperationResult("mqtt token", data, human="\n".join(lines))


def exchanged(
    cloud: Cloud, key: Secret, place: tools.Destination
) -> tuple[dict[str, Any], list[str]]:
    """Data and lines of an exchange of an IAM key.

    Raises CredentialError credential.malformed for what is none, before it is sent.
    """
    from infuse_cli.cloud.build import connect_openly
    from infuse_cli.cloud.scheme import check_iam_key

    check_iam_key(key)
    client = connect_openly(cloud, threading.Event().wait)
    try:
        found = client.exchange_key(key)
    finally:
        client.close()
    secret = Secret(found.token)
    place.take(secret)
    ends = (
        "an unknown time"
        if found.expires_at is None
        else f"{found.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )
    data = {"expiresAt": found.expires_at, "sha256": secret.sha256(), "out": place.out}
    return data, [*place.shown(secret, "Bearer token"), f"It expires at {ends}."]


def given(
    command: str, name: str, secret: Secret, place: tools.Destination, more: dict[str, Any]
) -> OperationResult:
    """The result of a command that made a key: its fingerprint, and the key where it was
    asked for.
    """
    place.take(secret)
    print_ = hashlib.sha256(base64.b64decode(secret.reveal())).hexdigest()[:16]
    data = {**more, "fingerprint": print_, "out": place.out}
    shown = {name: value for name, value in data.items() if name != "out"}

    def human(console: Any) -> None:
        views.fields(console, shown)
        for line in place.shown(secret, name):
            views.say(console, line)
        if data.get("agrees") is False:
            views.say(
                console,
                "Note: cloud and local derivation differ; at the turn of a day (UTC) that is"
                " normal.",
            )
        if place.out is None and not place.reveal:
            views.say(
                console,
                "The key itself: --out FILE writes it (0600), --reveal shows it on a terminal.",
            )

    return OperationResult(command, data, human=human)


def _key_id(session: tools.Session, peer: bytes) -> str:
    from infuse_cli.keys.derivation import device_key_id

    return f"{device_key_id(session.cloud.cloud_public_key(), peer):06x}"


def today() -> int:
    """Day index of packet keys, now."""
    from infuse_cli.keys.derivation import day_index, gps_seconds

    return day_index(gps_seconds(datetime.now(UTC)))
