"""write-id: write the cloud's device id into the chip's one-time memory.

It can only ever be written once, so a board that carries another id is refused and nothing is
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from infuse_cli.errors import ProfileError
from infuse_cli.provisioning.step import Done, Effect, EffectStep, NotDone, Probe, StepOutput

if TYPE_CHECKING:
    from collections.abc import Collection

    from infuse_cli.config.model import Profile
    from infuse_cli.ports import ChipIds
    from infuse_cli.provisioning.context import BoardContext, RunContext


class WriteId(EffectStep):
    """Through the debug probe of the board's port (profile `board.write_id`)."""

    name: ClassVar[str] = "write-id"
    effect: ClassVar[Effect] = Effect.CHIP
    requires: ClassVar[frozenset[str]] = frozenset({"device"})
    provides: ClassVar[frozenset[str]] = frozenset({"writtenId"})

    def is_needed(self, profile: Profile) -> bool:
        """Whether the id goes into the chip's one-time memory."""
        return profile.board.write_id

    def run(self, ctx: BoardContext) -> StepOutput:
        """Look, write what is missing, read back.

        Raises BoardError board.other-id or board.id-not-written.
        """
        wanted = ctx.facts.device.device_id
        ctx.link.run(ctx.ops.same_board(ctx.uuid))
        chips(ctx).write_device_id(ctx.link.port, ctx.run.resolved.soc, wanted)
        return StepOutput({"writtenId": wanted})

    def probe(self, ctx: BoardContext) -> Probe:
        """Read it; half of it, or nothing, may be completed."""
        wanted = ctx.facts.device.device_id
        found = chips(ctx).device_id(ctx.link.port, ctx.run.resolved.soc)
        return Done({"writtenId": wanted}) if found == wanted else NotDone()


def check_bench(deps: RunContext, plan: Collection[str]) -> None:
    """Refuse a run that will write ids on a bench that cannot, before anything is registered.

    Raises ProfileError profile.unsupported.
    """
    if WriteId.name in plan:
        _chips(deps).can_write_device_id(deps.resolved.soc)


def check_probe(ctx: BoardContext) -> None:
    """Refuse a board whose probe is not known, before anything is registered for it.

    Raises BoardError board.id-not-written.
    """
    chips(ctx).knows_probe(ctx.link.port)


def chips(ctx: BoardContext) -> ChipIds:
    """What reaches the chip past its firmware.

    Raises ProfileError profile.unsupported where there is no such way.
    """
    return _chips(ctx.run)


def _chips(deps: RunContext) -> ChipIds:
    if deps.chip_ids is None:
        raise ProfileError(
            "profile.unsupported", "board.write_id needs a debug probe, and this run has none"
        )
    return deps.chip_ids
