"""register: create the cloud device once, or adopt the one that exists.

A lost answer is looked up, never posted again.

Guaranteed: `docs/reference/guarantees.md#a-lost-answer-is-looked-up`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from infuse_cli.errors import CloudError, PolicyError
from infuse_cli.provisioning.step import Done, Effect, EffectStep, NotDone, Probe, StepOutput
from infuse_cli.provisioning.steps.lookup import check_answer, decide, find_device

if TYPE_CHECKING:
    from infuse_cli.api_types import Device
    from infuse_cli.provisioning.context import BoardContext


class Register(EffectStep):
    """POST /device, or adopt what exists and patch in what is missing."""

    name: ClassVar[str] = "register"
    effect: ClassVar[Effect] = Effect.CLOUD
    requires: ClassVar[frozenset[str]] = frozenset({"metadata", "existing", "patch"})
    provides: ClassVar[frozenset[str]] = frozenset({"device"})

    def run(self, ctx: BoardContext) -> StepOutput:
        """Create or adopt; raises CloudError with `unknown` when the answer to a POST or PUT was
        lost.
        """
        existing = ctx.facts.existing
        if existing is not None:
            return _output(self._adopt(ctx, existing), adopted=True)
        try:
            return _output(self._create(ctx), adopted=False)
        except CloudError as error:
            if error.status != 409 or error.unknown:
                raise
            return _output(self._after_conflict(ctx, error), adopted=True)

    def _create(self, ctx: BoardContext) -> Device:
        resolved = ctx.run.resolved
        made = ctx.retry_through_outage(
            lambda: ctx.run.cloud.create_device(
                mcu_id=ctx.identity.mcu_id or "",
                board_id=resolved.board.id,
                organisation_id=resolved.organisation.id,
                metadata=ctx.facts.metadata,
            )
        )
        check_answer(ctx, made, created=True)
        return made

    def _adopt(self, ctx: BoardContext, device: Device) -> Device:
        patch = decide(ctx, device, ctx.facts.metadata)
        if not patch:
            return device
        patched = ctx.retry_through_outage(
            lambda: ctx.run.cloud.patch_device_metadata(device.id, patch)
        )
        check_answer(ctx, patched, created=True)
        return patched

    def _after_conflict(self, ctx: BoardContext, error: CloudError) -> Device:
        """409 means that somebody was faster, or that metadata or device id clash with another
        device.
        """
        device = find_device(ctx)
        if device is None:
            raise PolicyError(
                "cloud.metadata-clash",
                f"the cloud refuses the device because a unique value is taken: {error.message}",
            )
        return self._adopt(ctx, device)

    def probe(self, ctx: BoardContext) -> Probe:
        """Look up by soc and mcuId for the grace time before any second POST may follow."""
        device = ctx.look_up_lost(lambda: find_device(ctx))
        if device is None:
            return NotDone({"existing": None})
        if decide(ctx, device, ctx.facts.metadata):
            return NotDone({"existing": msgspec.to_builtins(device)})
        given = _output(device, adopted=False)
        return Done(given.facts, given.writes)


def _output(device: Device, *, adopted: bool) -> StepOutput:
    facts: dict[str, Any] = {"device": msgspec.to_builtins(device), "adopted": adopted}
    return StepOutput(facts)
