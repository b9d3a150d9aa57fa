"""What is done with a board that was identified: begin, go on, or prove it again."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.errors import BoardError, PolicyError
from infuse_cli.provisioning.metadata import row_for
from infuse_cli.provisioning.steps.lookup import find_device
from infuse_cli.records import EndAttempt, MoveCertificate, OpenAttempt, TakeAttempt
from infuse_cli.types import AttemptState, StepState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.provisioning.plan import RunPlan
    from infuse_cli.records import AttemptRecord, Write


class Choice(enum.Enum):
    """What is done with a board."""

    BEGIN = "begin"
    BEGIN_ANEW = "begin-anew"  # what was recorded of it is superseded
    CONTINUE = "continue"
    RECHECK = "recheck"  # it PASSed, and is only proved again


@dataclass(frozen=True, slots=True)
class AttemptDecision:
    """The steps that a board goes through, and the writes that open its attempt.

    `rechecked` is the PASS that is only proved again.
    """

    choice: Choice
    steps: tuple[str, ...]
    opening: tuple[Write, ...] = ()
    rechecked: AttemptRecord | None = None


def decide(ctx: BoardContext, plan: RunPlan) -> AttemptDecision:
    """Choose what to do with this board, and bring back what its record knows.

    Raises PolicyError identity.retired, plan.changed, cloud.device-conflict, identity.clone,
    BoardError board.in-use.
    """
    run = ctx.run
    record = run.journal.board(ctx.uuid)
    if record is None:
        return _new(ctx, plan)
    ctx.history = tuple(run.journal.attempts(ctx.uuid))
    _refuse_retired(ctx)
    if record.open is not None:
        return _open(ctx, plan, record.open)
    if record.passed is not None:
        return _passed(ctx, plan, record.passed)
    return _new(ctx, plan)


def _refuse_retired(ctx: BoardContext) -> None:
    """A board whose credentials were taken back comes back only where somebody says so."""
    retirement = ctx.history[-1].facts.get("retirement") or {} if ctx.history else {}
    if retirement.get("state") in {"begun", "done"} and not ctx.run.options.again:
        replaced = retirement.get("replacedBy")
        by = f", replaced by {replaced}" if replaced else ""
        raise PolicyError(
            "identity.retired",
            f"board {ctx.uuid} was retired on {str(retirement.get('begun'))[:10]}:"
            f" {retirement.get('reason')}{by}",
        )


def _open(ctx: BoardContext, plan: RunPlan, found: AttemptRecord) -> AttemptDecision:
    """Go on with an attempt that an earlier run began, unless it is at work or was made under
    another plan.
    """
    run, options = ctx.run, ctx.run.options
    if found.alive and found.run != run.id:
        raise BoardError("board.in-use", f"run {found.run[:8]} is working on board {found.board}")
    take = TakeAttempt(attempt=found.attempt, run=run.id, slot=ctx.slot, port=ctx.link.port)
    if options.restart or options.again or not found.steps:
        # Without a begun effect there is nothing to go on with.
        return _new(ctx, plan, (take, *_supersede(ctx, found)))
    if found.plan_hash != plan.digest:
        raise PolicyError(
            "plan.changed",
            f"board {found.board} was begun under another plan on {_when(found)}",
        )
    _load(ctx, found)
    return AttemptDecision(Choice.CONTINUE, found.plan, (take,))


def _passed(ctx: BoardContext, plan: RunPlan, found: AttemptRecord) -> AttemptDecision:
    """A board that PASSed before is only proved again, unless --again asks for a new identity.

    --restart begins anew where the cloud now has another device for the board than it PASSed as.
    """
    options = ctx.run.options
    if options.again or (options.restart and _is_other_device(ctx, found)):
        return _new(ctx, plan, _supersede(ctx, found))
    if found.plan_hash != plan.digest:
        raise PolicyError(
            "plan.changed",
            f"board {found.board} PASSed under another plan on {_when(found)}",
            hint="Use the profile it PASSed with, or --again for a new identity.",
        )
    ctx.run.journal.check_identity(ctx.uuid, ctx.identity.imei, ctx.identity.mcu_id)
    _load(ctx, found)
    _refuse_other_metadata(ctx)
    ctx.facts["already"] = True
    return AttemptDecision(Choice.RECHECK, plan.recheck, rechecked=found)


def _is_other_device(ctx: BoardContext, found: AttemptRecord) -> bool:
    """Whether the cloud has another device for this board than the one it PASSed as.

    That happens where the cloud answered wrongly at the time.
    """
    register = found.steps.get("register")
    recorded = None if register is None else register.facts.get("device")
    device = find_device(ctx)
    return recorded is not None and (device is None or device.device_id != recorded["deviceId"])


def _refuse_other_metadata(ctx: BoardContext) -> None:
    """Refuse a label that differs from the one the board PASSed with: it would be ignored in
    silence.
    """
    options = ctx.run.options
    table = row_for(options.metadata_table, ctx.identity)
    wanted = {**table, **options.metadata, **ctx.scanned(())}
    recorded = ctx.facts.metadata
    differing = [
        f"{key} is {recorded[key]!r}, not {value!r}"
        for key, value in sorted(wanted.items())
        if key in recorded and recorded[key] != value
    ]
    if differing:
        raise PolicyError(
            "cloud.device-conflict",
            f"board {ctx.uuid} PASSed with other metadata: {', '.join(differing)}",
            hint="Check the label. --again makes a new identity for the board.",
        )


def _supersede(ctx: BoardContext, found: AttemptRecord) -> tuple[Write, ...]:
    """The writes that end an attempt for another one, its certificates with it."""
    certificates = ctx.run.journal.certificates(attempt=found.attempt)
    return (
        EndAttempt(attempt=found.attempt, state=AttemptState.SUPERSEDED),
        *(
            MoveCertificate(serial=row.serial, issuer=row.issuer, to_state="superseded")
            for row in certificates
        ),
    )


def _new(ctx: BoardContext, plan: RunPlan, before: Sequence[Write] = ()) -> AttemptDecision:
    run, seen = ctx.run, ctx.identity
    opening = OpenAttempt(
        attempt=ctx.attempt,
        run=run.id,
        board=seen.uuid,
        soc=run.resolved.soc,
        slot=ctx.slot,
        port=ctx.link.port,
        plan=plan.steps,
        plan_hash=plan.digest,
        imei=seen.imei,
        mcu_id=seen.mcu_id,
        facts={
            "functionalMode": ctx.facts.functional_mode,
            "model": seen.model,
            "modemFirmware": seen.modem_firmware,
            "iccid": seen.iccid,
            "profile": run.profile.name,
            "profileHash": run.profile_hash,
        },
    )
    choice = Choice.BEGIN_ANEW if before else Choice.BEGIN
    return AttemptDecision(choice, plan.steps, (*before, opening))


def _load(ctx: BoardContext, found: AttemptRecord) -> None:
    """Bring back what the record knows; the functional mode is the one found first."""
    ctx.resumed = True
    ctx.attempt = found.attempt
    ctx.facts.update({key: value for key, value in found.facts.items() if key != "transcript"})
    mode = ctx.identity.functional_mode
    if ctx.facts.functional_mode == FLIGHT_MODE and mode is not None:
        ctx.facts["functionalMode"] = mode  # only others leave flight mode: this is found now
    if ctx.mode_owed is not None:
        ctx.facts["functionalMode"] = ctx.mode_owed
    order = {name: place for place, name in enumerate(found.plan)}
    for name, row in sorted(found.steps.items(), key=lambda item: order.get(item[0], len(order))):
        ctx.facts.update(row.facts)
        ctx.states[name] = StepState.UNKNOWN if row.state is StepState.BEGUN else row.state
        ctx.on_record[name] = row.facts


def _when(found: AttemptRecord) -> str:
    return f"{found.opened:%Y-%m-%d %H:%M} UTC"
