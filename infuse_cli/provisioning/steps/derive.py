"""derive: make the device's interface keys, and put them where the profile says.

Where the device's public key is known (it tells it over ePacket, a command reads it, a batch named
it) the root comes from it and the keys are made here; otherwise the cloud makes them. Keys change
with the day and the cloud's answer names none, so a difference is put on record and never fails a
board.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import TYPE_CHECKING, Any, ClassVar, Final

from infuse_cli.capabilities import Capability
from infuse_cli.dialect import capabilities
from infuse_cli.errors import BoardError, CloudError, ProfileError
from infuse_cli.keys import derivation as kd
from infuse_cli.provisioning.step import QueryStep, StepOutput
from infuse_cli.records import StoreSecret
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.config.model import Keys, Profile
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.records import Write

_KEY_BYTES: Final = 32
_COMMAND_S: Final = 5.0
_CHALLENGE_BYTES: Final = 16
_DEVICE: Final = "device"
_OUTAGE: Final = frozenset({"cloud.unreachable", "cloud.timeout", "cloud.unavailable"})


class Derive(QueryStep):
    """GET /key/publicKey once a run, then the root by the device's public key, or each key from the
    cloud.
    """

    name: ClassVar[str] = "derive"
    requires: ClassVar[frozenset[str]] = frozenset({"device"})
    provides: ClassVar[frozenset[str]] = frozenset({"derived"})
    summary: ClassVar[tuple[str, ...]] = ("derived", "deviceKey")

    def is_needed(self, profile: Profile) -> bool:
        """Whether the profile asks for keys."""
        return profile.keys is not None

    def run(self, ctx: BoardContext) -> StepOutput:
        """Derive each interface's key; record its source and day, never the key."""
        keys = ctx.profile.keys
        if keys is None:
            return StepOutput({"derived": []})
        cloud_key = (
            ctx.retry_through_outage(ctx.run.cloud_public_key)
            if ctx.run.cloud_public_key is not None
            else None
        )
        day = kd.day_index(kd.gps_seconds(ctx.run.clock.now()))
        public, where, theirs = _public_key(ctx, keys)
        root = None if public is None else _root(ctx, public)
        rows: list[dict[str, Any]] = []
        writes: list[Write] = []
        for interface in keys.interfaces:
            key = (
                _text(kd.packet_key(root, interface, day))
                if root is not None
                else _from_cloud(ctx, interface)
            )
            rows.append(
                {
                    "interface": interface,
                    "source": "cloud" if root is None else "local",
                    "dayIndex": day,
                }
            )
            writes += self._keep(ctx, interface, key, day)
        more: dict[str, Any] = {}
        if public is not None and root is not None:
            more["deviceKey"] = {
                "publicKey": base64.b64encode(public).decode(),
                "from": where,
                **_agreement(ctx, root, keys, day, where),
            }
            more["deviceKey"] |= (
                {}
                if cloud_key is None
                else {
                    "keyId": f"{kd.device_key_id(cloud_key, public):06x}",
                    **_another_cloud(theirs, cloud_key),
                }
            )
        return StepOutput({"derived": rows, **more}, tuple(writes))

    def _keep(self, ctx: BoardContext, interface: str, key: Secret, day: int) -> list[Write]:
        to = ctx.profile.keys.to if ctx.profile.keys is not None else "none"
        match to.partition(":")[0]:
            case "none":
                return []
            case "sealed":
                if ctx.run.sealer is None:
                    raise ProfileError("profile.invalid", "keys.to: sealed needs a sealing key")
                name = f"key:{ctx.attempt}:{interface}"
                return [StoreSecret(name=name, sealed=ctx.run.sealer.seal(key, name))]
            case "file" | "command" if ctx.run.key_sink is not None:
                seen = ctx.identity
                values = {
                    "deviceId": ctx.facts.device.device_id,
                    "interface": interface,
                    "dayIndex": str(day),
                    "uuid": ctx.uuid,
                    "imei": seen.imei or "",
                    "mcuId": seen.mcu_id or "",
                }
                ctx.run.key_sink.put(key, values)
                return []
            case _:
                raise ProfileError(
                    "profile.unsupported",
                    f"keys.to: {to} is not offered; none, sealed, file:TEMPLATE and"
                    " command:WORDS are",
                )


def _public_key(ctx: BoardContext, keys: Keys) -> tuple[bytes | None, str, bytes | None]:
    """The device's X25519 public key, where it is from, and the cloud's key that the device was
    built with, where it tells that.

    It is from the profile's command, from the device itself over ePacket, or from the batch that
    registered the board.
    """
    if keys.public_key is not None:
        text = ctx.link.run(
            ctx.ops.raw(keys.public_key.command, keys.public_key.pattern, _COMMAND_S)
        )
        found = _bytes_of(text)
        if found is None:
            raise BoardError(
                "serial.protocol",
                f"the answer to {keys.public_key.command!r} holds no public key of {_KEY_BYTES}"
                " bytes in hex or base64",
            )
        return found, "command", None
    if Capability.PUBLIC_KEY in capabilities(ctx.link.dialect):
        try:
            device, cloud = ctx.link.run(ctx.ops.public_keys())
        except BoardError as error:
            if not error.code.startswith("modem."):
                raise  # firmware that does not tell it: the cloud makes the keys
        else:
            return device, _DEVICE, cloud
    known = (
        ctx.run.known_key(ctx.run.resolved.soc, ctx.identity.mcu_id or "")
        if ctx.run.known_key is not None
        else None
    )
    return (None, "", None) if known is None else (_bytes_of(known), "batch", None)


def _another_cloud(told: bytes | None, ours: bytes) -> dict[str, str]:
    """A device that was built for another cloud shares another root with it; that is told and fails
    no board.
    """
    return (
        {}
        if told in {None, ours}
        else {
            "otherCloud": (
                "the firmware was built for another cloud's public key than GET /key/publicKey"
                " gives"
            )
        }
    )


def _security_state(ctx: BoardContext, where: str) -> dict[str, Any] | None:
    """What a device that tells its own key proves of it, for the cloud; None where it does not."""
    if where != _DEVICE:
        return None
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    try:
        return kd.as_cloud_takes_it(ctx.link.run(ctx.ops.security_state(challenge)), challenge)
    except BoardError as error:
        if not error.code.startswith("modem."):
            raise
        return None


def _root(ctx: BoardContext, public: bytes) -> bytes:
    secret = ctx.retry_through_outage(lambda: ctx.run.cloud.shared_secret(public))
    root = _bytes_of(secret.reveal())
    if root is None:
        raise CloudError(
            "cloud.bad-answer",
            f"POST /key/sharedSecret gave no secret of {_KEY_BYTES} bytes",
            call="POST /key/sharedSecret",
        )
    return root


def _agreement(ctx: BoardContext, root: bytes, keys: Keys, day: int, where: str) -> dict[str, Any]:
    """Whether the cloud has the same root for this device: by the secret itself, else by a derived
    key of today.
    """
    device_id, state = ctx.facts.device.device_id, _security_state(ctx, where)
    attempts: list[tuple[str, Callable[[], Secret], bytes]] = [
        (
            "POST /key/sharedSecret/device",
            lambda: ctx.run.cloud.device_secret(device_id, state),
            root,
        )
    ]
    if keys.interfaces:
        first = keys.interfaces[0]
        attempts.append(
            (
                f"POST /key/derived/device {first}",
                lambda: ctx.run.cloud.derived_key(device_id, first),
                kd.packet_key(root, first, day),
            )
        )
    for call, ask, ours in attempts:
        try:
            theirs = _bytes_of(ask().reveal())
        except CloudError as error:
            if error.code in _OUTAGE:
                return {"agrees": None}  # nothing hangs on it
            continue  # this cloud does not offer the call
        agrees = theirs == ours
        warning = (
            {}
            if agrees
            else {
                "warning": (
                    f"{call} differs from what was derived here for day {day}; at the turn of a day"
                    " a packet key may"
                )
            }
        )
        return {"agrees": agrees, "comparedWith": call, **warning}
    return {"agrees": None}


def _from_cloud(ctx: BoardContext, interface: str) -> Secret:
    key = ctx.retry_through_outage(
        lambda: ctx.run.cloud.derived_key(ctx.facts.device.device_id, interface)
    )
    if _bytes_of(key.reveal()) is None:
        raise CloudError(
            "cloud.bad-answer",
            f"POST /key/derived/device gave no 32-byte key for interface {interface}",
            call="POST /key/derived/device",
        )
    return key


def _bytes_of(text: str) -> bytes | None:
    """32 bytes from hex or base64, None for anything else."""
    text = text.strip()
    try:
        found = (
            bytes.fromhex(text)
            if re.fullmatch(r"[0-9a-fA-F]{64}", text)
            else base64.b64decode(text, validate=True)
        )
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == _KEY_BYTES else None


def _text(key: bytes) -> Secret:
    return Secret(base64.b64encode(key).decode())
