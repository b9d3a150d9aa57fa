"""verify: read the cloud's answer once more, and compare it with the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from infuse_cli.errors import PolicyError
from infuse_cli.provisioning.step import QueryStep, StepOutput
from infuse_cli.provisioning.steps import token
from infuse_cli.provisioning.steps.lookup import find_device

if TYPE_CHECKING:
    from infuse_cli.provisioning.context import BoardContext


class Verify(QueryStep):
    """Cloud device and registry device as they are now."""

    name: ClassVar[str] = "verify"
    requires: ClassVar[frozenset[str]] = frozenset({"device"})
    provides: ClassVar[frozenset[str]] = frozenset({"verified"})
    rechecks: ClassVar[bool] = True

    def run(self, ctx: BoardContext) -> StepOutput:
        """Refuse with cloud.device-conflict when the cloud's answer is not what is on record."""
        recorded, device = ctx.facts.device, find_device(ctx)
        if device is None:
            raise PolicyError(
                "cloud.device-conflict",
                f"the cloud no longer knows soc {ctx.run.resolved.soc}, mcuId"
                f" {ctx.identity.mcu_id}",
            )
        if device.device_id != recorded.device_id:
            raise PolicyError(
                "cloud.device-conflict",
                f"the cloud's device id is {device.device_id!r}, not {recorded.device_id!r}",
                hint="If the cloud was at fault before and is right now, `--restart` begins anew.",
            )
        pairs: list[tuple[str, str | None, str | None]] = [
            ("organisation", ctx.run.resolved.organisation.id, device.organisation_id),
            ("board", ctx.run.resolved.board.id, device.board_id),
        ]
        pairs += [
            (f"metadata {key}", value, device.metadata.get(key))
            for key, value in ctx.facts.metadata.items()
        ]
        for what, want, have in pairs:
            if have != want:
                raise PolicyError(
                    "cloud.device-conflict", f"the cloud's {what} is {have!r}, not {want!r}"
                )
        self._registry(ctx)
        return StepOutput({"verified": True})

    def _registry(self, ctx: BoardContext) -> None:
        recorded = ctx.facts.registry_device
        if recorded is None or ctx.run.registry is None:
            return
        found = ctx.retry_through_outage(lambda: token.registry(ctx).device(recorded))
        if found is None:
            raise PolicyError(
                "identity.registry-conflict",
                f"the registry no longer knows device {recorded}",
            )
