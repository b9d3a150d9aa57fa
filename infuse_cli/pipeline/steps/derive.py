"""derive: the interface keys exist and have the right form (contract: keys). They are not kept unless the profile says so."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, ClassVar

from infuse_cli.errors import CloudError, ProfileError
from infuse_cli.pipeline.step import Given, Reading
from infuse_cli.records import StoreSecret

if TYPE_CHECKING:
    from infuse_cli.pipeline.context import Context
    from infuse_cli.records import Write
    from infuse_cli.types import Secret

_KEY_BYTES = 32


class Derive(Reading):
    """GET /key/publicKey once a run, POST /key/derived/device for each interface."""

    name: ClassVar[str] = "derive"
    needs: ClassVar[frozenset[str]] = frozenset({"device"})
    gives: ClassVar[frozenset[str]] = frozenset({"derived"})

    def run(self, ctx: Context) -> Given:
        """Derive each interface's key in the cloud; record its source, never the key."""
        keys = ctx.profile.keys
        if keys is None:
            return Given({"derived": []})
        if ctx.deps.cloud_public_key is not None:
            ctx.patiently(ctx.deps.cloud_public_key)
        device_id = ctx.facts["device"]["deviceId"]
        day = int(ctx.deps.clock.now().timestamp() - 315964800 + 18) // 86400  # GPS day index, contract: keys
        rows: list[dict[str, Any]] = []
        writes: list[Write] = []
        for interface in keys.interfaces:
            key = ctx.patiently(lambda interface=interface: ctx.deps.cloud.derived_key(device_id, interface))  # type: ignore[misc]
            _check(key, interface)
            rows.append({"interface": interface, "source": "cloud", "dayIndex": day})
            writes += self._keep(ctx, interface, key)
        return Given({"derived": rows}, tuple(writes))

    def _keep(self, ctx: Context, interface: str, key: Secret) -> list[Write]:
        match ctx.profile.keys.to if ctx.profile.keys is not None else "none":
            case "none":
                return []
            case "sealed":
                if ctx.deps.sealer is None:
                    raise ProfileError("profile.invalid", "keys.to: sealed needs a sealing key")
                name = f"key:{ctx.attempt}:{interface}"
                return [StoreSecret(name=name, sealed=ctx.deps.sealer.seal(key, name))]
            case other:
                raise ProfileError("profile.cannot", f"keys.to: {other} is not offered; none and sealed are")


def _check(key: Secret, interface: str) -> None:
    try:
        size = len(base64.b64decode(key.reveal(), validate=True))
    except (binascii.Error, ValueError):
        size = -1
    if size != _KEY_BYTES:
        raise CloudError("cloud.bad-answer", f"POST /key/derived/device gave no 32-byte key for interface {interface}",
                         call="POST /key/derived/device")
