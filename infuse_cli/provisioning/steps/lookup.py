"""lookup: read what the cloud knows of this board, and check its metadata.

Everything that would make a registration wrong is found here, before the board is touched: a
registration cannot be undone (there is no DELETE /device).

Guaranteed: `docs/reference/guarantees.md#an-existing-cloud-device-is-adopted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from infuse_cli.errors import BoardError, CloudError, PolicyError
from infuse_cli.identities import IdentityKind, blank_reason
from infuse_cli.provisioning import metadata
from infuse_cli.provisioning.step import QueryStep, StepOutput
from infuse_cli.provisioning.steps.expect import occupied
from infuse_cli.provisioning.steps.token import mints, refuse_held
from infuse_cli.records import NoteAttempt
from infuse_cli.types import DEVICE_ID

if TYPE_CHECKING:
    from infuse_cli.api_types import Device
    from infuse_cli.provisioning.context import BoardContext


class Lookup(QueryStep):
    """Adopt, patch, create or refuse: decided here, done by register."""

    name: ClassVar[str] = "lookup"
    requires: ClassVar[frozenset[str]] = frozenset({"identity"})
    provides: ClassVar[frozenset[str]] = frozenset({"metadata", "existing", "patch"})
    in_dry_run: ClassVar[bool] = True
    summary: ClassVar[tuple[str, ...]] = ("metadata",)

    def run(self, ctx: BoardContext) -> StepOutput:
        """Read the cloud device by soc and mcuId, and whether the board's metadata is complete and
        free.
        """
        if ctx.identity.mcu_id is None:
            raise BoardError(
                "board.no-mcu-id", "the profile names no source for mcuId (board.mcu_id)"
            )
        ctx.run.journal.check_identity(ctx.uuid, ctx.identity.imei, ctx.identity.mcu_id)
        device = find_device(ctx)
        values = board_metadata(ctx, device)
        patch = {} if device is None else decide(ctx, device, values)
        wanted = values if device is None else patch
        self._check_unique(ctx, wanted, device)
        if device is not None and mints(ctx.profile) and occupied(ctx):
            refuse_held(ctx, device.device_id, values)
        facts = {
            "metadata": values,
            "patch": patch,
            "existing": None if device is None else msgspec.to_builtins(device),
        }
        return StepOutput(facts, (NoteAttempt(attempt=ctx.attempt, facts={"metadata": values}),))

    def _check_unique(
        self, ctx: BoardContext, values: dict[str, str], device: Device | None
    ) -> None:
        board = ctx.run.resolved.board
        for field in board.metadata_fields:
            if not field.unique or field.name not in values:
                continue
            value = values[field.name]
            others = ctx.retry_through_outage(
                lambda name=field.name, value=value: ctx.run.cloud.devices_with_metadata(  # type: ignore[misc]
                    ctx.run.resolved.organisation.id, board.id, name, value
                )
            )
            taken = [other for other in others if device is None or other.id != device.id]
            if taken:
                raise PolicyError(
                    "cloud.metadata-clash",
                    f"{field.name} {value!r} already belongs to cloud device {taken[0].device_id}"
                    f" (mcuId {taken[0].mcu_id})",
                )


def board_metadata(ctx: BoardContext, device: Device | None = None) -> dict[str, str]:
    """Return this board's metadata; values recorded by an earlier run of the same attempt count as
    given.

    So do those that its cloud device was registered with, by a batch say, of what no source but a
    person could tell.
    """
    options = ctx.run.options
    asked = {
        *ctx.profile.metadata,
        *(field.name for field in ctx.run.resolved.board.metadata_fields),
    }
    registered = (
        {}
        if device is None
        else {
            key: value
            for key, value in device.metadata.items()
            if key in asked and _is_scanned(ctx, key)
        }
    )
    given = {
        **registered,
        **ctx.facts.metadata,
        **metadata.row_for(options.metadata_table, ctx.identity),
        **options.metadata,
    }
    scans = {
        name
        for name, rule in ctx.profile.metadata.items()
        if not isinstance(rule, str) and rule.source == "scan"
    }
    given |= ctx.scanned(scans - {name for name, value in given.items() if value})
    given.pop("mcuId", None)
    return metadata.values_for(
        ctx.profile.metadata, ctx.identity, given, ctx.run.resolved.board.metadata_fields
    )


def _is_scanned(ctx: BoardContext, key: str) -> bool:
    rule = ctx.profile.metadata.get(key)
    return rule is None or (not isinstance(rule, str) and rule.source == "scan")


def find_device(ctx: BoardContext) -> Device | None:
    """Look the cloud device up by its natural key, soc and mcuId.

    Raises CloudError cloud.bad-answer where the answer is not about this board.
    """
    mcu_id = ctx.identity.mcu_id or ""
    soc = ctx.run.resolved.soc
    device = ctx.retry_through_outage(lambda: ctx.run.cloud.device_by_mcu_id(soc, mcu_id))
    if device is not None:
        check_answer(ctx, device)
    return device


def check_answer(ctx: BoardContext, device: Device, *, created: bool = False) -> None:
    """Hold the cloud's answer against what was asked.

    An answer about another chip, without a usable id, or with the id of a board that PASSed here,
    would make this board that device. `created`: the answer is that of a POST, so it is unknown
    what was made. Raises CloudError cloud.bad-answer.
    """
    why = _wrong_answer(ctx, device, created=created)
    if why is not None:
        raise CloudError(
            "cloud.bad-answer",
            f"asked for the cloud device of mcuId {ctx.identity.mcu_id}, the cloud answered with"
            f" {why}",
            unknown=created,
            hint="The cloud is at fault, not the board: tell its operator, then run again.",
        )


def _wrong_answer(ctx: BoardContext, device: Device, *, created: bool) -> str | None:
    resolved = ctx.run.resolved
    pairs = [("mcuId", device.mcu_id.lower(), ctx.identity.mcu_id)]
    if created:
        pairs.append(("organisation", device.organisation_id, resolved.organisation.id))
        pairs.append(("board", device.board_id, resolved.board.id))
    for what, have, want in pairs:
        if have != want:
            return f"a device of {what} {have!r}"
    if not DEVICE_ID.fullmatch(device.device_id):
        return f"device id {device.device_id!r}, which is not 16 lower-case hex digits"
    blank = blank_reason(IdentityKind.DEVICE_ID, device.device_id)
    if blank is not None:
        return f"device id {device.device_id}, which is {blank}"
    other = ctx.run.journal.device_owner(device.device_id)
    if other is not None and other != ctx.uuid:
        return f"device {device.device_id}, which is board {other}'s"
    return None


def decide(ctx: BoardContext, device: Device, values: dict[str, str]) -> dict[str, str]:
    """Return what to patch into an existing device's metadata.

    Raises PolicyError cloud.wrong-owner for another organisation or board,
    cloud.device-conflict for values that differ, unless --update-metadata.
    """
    resolved = ctx.run.resolved
    for what, have, want in (
        ("organisation", device.organisation_id, resolved.organisation.id),
        ("board", device.board_id, resolved.board.id),
    ):
        if have != want:
            raise PolicyError(
                "cloud.wrong-owner",
                f"cloud device {device.device_id} belongs to {what} {have}, the profile's is"
                f" {want}",
            )
    missing = {key: value for key, value in values.items() if key not in device.metadata}
    differing = {
        key: value
        for key, value in values.items()
        if key in device.metadata and device.metadata[key] != value
    }
    if differing and not ctx.run.options.update_metadata:
        named = ", ".join(
            f"{key} is {device.metadata[key]!r}, not {value!r}"
            for key, value in sorted(differing.items())
        )
        raise PolicyError(
            "cloud.device-conflict",
            f"cloud device {device.device_id} exists with other metadata: {named}",
        )
    return {**missing, **differing}
