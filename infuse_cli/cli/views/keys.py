"""Results of `infuse key`, and of exchanging an IAM key."""

from __future__ import annotations

import base64
from datetime import UTC
from typing import TYPE_CHECKING, Any

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views

if TYPE_CHECKING:
    from rich.console import Console

    from infuse_cli.devices.key_derivation import KeyId, VerifiedState
    from infuse_cli.devices.keys import Exchange, KeyResult


def public(key: bytes) -> OperationResult:
    """`key public`."""
    from infuse_cli.keys.derivation import CLOUD_PUBLIC_KEY

    is_built_in = key == CLOUD_PUBLIC_KEY
    text = base64.b64encode(key).decode()
    data = {"key": text, "hex": key.hex(), "builtIn": is_built_in}
    note = f"{'' if is_built_in else 'not '}the key that the firmware has built in"
    return OperationResult("key public", data, human=f"{text}\n{note}")


def key(command: str, name: str, result: KeyResult, *, reveal: bool) -> OperationResult:
    """`key shared-secret|derive|network`: the fingerprint, and the key where it was asked for."""
    shown = {
        "interface": result.interface,
        "dayIndex": result.day_index,
        "source": result.source,
        "agrees": result.agrees,
        "deviceId": result.device_id,
        "root": result.root,
        "keyId": result.key_id,
        "fingerprint": result.fingerprint,
    }
    always = {"dayIndex", "agrees"} if command == "key derive" else set()
    shown = {name: value for name, value in shown.items() if value is not None or name in always}

    def human(console: Console) -> None:
        views.fields(console, shown)
        for line in views.secret_lines(result.secret, name, out=result.out, reveal=reveal):
            views.say(console, line)
        if result.agrees is False:
            views.say(
                console,
                "Note: cloud and local derivation differ; at the turn of a day (UTC) that is"
                " normal.",
            )
        if result.out is None and not reveal:
            views.say(
                console,
                "The key itself: --out FILE writes it (0600), --reveal shows it on a terminal.",
            )

    return OperationResult(command, {**shown, "out": result.out}, human=human)


def key_id(result: KeyId) -> OperationResult:
    """`key id`."""
    data = {
        "keyId": result.key_id,
        "cloudPublicKey": base64.b64encode(result.cloud_public_key).decode(),
        "cloudKeyFrom": result.cloud_key_from,
    }
    return OperationResult("key id", data, human=result.key_id)


def verified(result: VerifiedState) -> OperationResult:
    """`key verify`."""
    shown: dict[str, Any] = {
        "challenge": result.challenge.hex(),
        "hardwareId": result.hardware_id.hex(),
        "deviceId": result.device_id,
        "devicePublicKey": base64.b64encode(result.device_public_key).decode(),
        "networkId": f"{result.network_id:06x}",
        "keyId": result.key_id,
    }
    if result.cloud_key_is_ours is not None:
        shown["cloudKeyIsOurs"] = result.cloud_key_is_ours
    first = "The device holds the key of this root."
    if "challenge" not in result.compared:
        first += "\nNote: without --challenge an answer that was recorded earlier looks the same."

    def human(console: Console) -> None:
        views.say(console, first)
        views.fields(console, shown)

    data = {"verified": True, **shown, "compared": list(result.compared)}
    return OperationResult("key verify", data, human=human)


def exchanged(result: Exchange, *, reveal: bool) -> OperationResult:
    """`auth exchange`."""
    ends = "an unknown time"
    if result.expires_at is not None:
        ends = f"{result.expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    data = {
        "expiresAt": result.expires_at,
        "sha256": result.token.sha256(),
        "out": result.out,
    }
    lines = views.secret_lines(result.token, "Bearer token", out=result.out, reveal=reveal)
    return OperationResult(
        "auth exchange", data, human="\n".join([*lines, f"It expires at {ends}."])
    )
