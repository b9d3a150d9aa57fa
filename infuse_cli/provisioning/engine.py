"""One board, from its first answer to its result: choose what to do with it, walk, end the record
truthfully.

PASS is computed here and only here: the walk came to its end, so read-back, possession and the
cloud's own answer all agreed, and that is on disk.
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from infuse_cli.dialect import capabilities, operations
from infuse_cli.dialect.commands import FLIGHT_MODE
from infuse_cli.errors import BoardError, InfuseError, JournalError, PolicyError
from infuse_cli.provisioning.context import Context, mode_owed
from infuse_cli.provisioning.metadata import row_for
from infuse_cli.provisioning.plan import (
    already_plan,
    asks,
    check_dialect,
    check_firmware,
    plan_for,
    plan_hash,
    reached,
)
from infuse_cli.provisioning.steps.identify import McuIds, identify
from infuse_cli.provisioning.steps.lookup import find_device
from infuse_cli.provisioning.steps.write_id import check_bench
from infuse_cli.provisioning.walk import Walk
from infuse_cli.records import (
    EndAttempt,
    MoveCertificate,
    NoteAttempt,
    NoteRun,
    OpenAttempt,
    TakeAttempt,
)
from infuse_cli.types import AttemptState, Event, Outcome, StepState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import Board
    from infuse_cli.provisioning.context import Deps
    from infuse_cli.records import AttemptRecord, BoardRecord, Write
    from infuse_cli.types import BoardIdentity

_TRANSCRIPT_LIMIT = 65_536


@dataclass(frozen=True, slots=True)
class BoardResult:
    """How one board ended.

    `outcome` is None for a dry run; `ms` is in milliseconds.
    """

    slot: int
    port: str
    outcome: Outcome | None
    ms: float
    identity: BoardIdentity | None = None
    facts: dict[str, Any] | None = None
    already: bool = False
    failed_step: str | None = None
    error: InfuseError | None = None

    def as_json(self) -> dict[str, Any]:
        """The board's object in the envelope of `infuse provision`."""
        facts, seen = self.facts or {}, self.identity
        certificate = facts.get("certificate")
        device = facts.get("device") or facts.get("existing") or {}
        return {
            "slot": self.slot,
            "port": self.port,
            "board": (
                None
                if seen is None
                else {"uuid": seen.uuid, "imei": seen.imei, "mcuId": seen.mcu_id}
            ),
            "deviceId": device.get("deviceId"),
            "registryDeviceId": facts.get("registryDevice"),
            "already": self.already,
            "possession": facts.get("possession"),
            "result": None if self.outcome is None else self.outcome.value,
            "failedStep": self.failed_step,
            "error": None if self.error is None else self.error.as_json(),
            "certificate": (
                None
                if certificate is None
                else {"serial": certificate["serial"], "sha256": certificate["sha256"]}
            ),
            "ms": round(self.ms, 1),
        }


@dataclass(slots=True)
class _Course:
    """What was chosen for a board: the walk's context, its plan, and the writes that open it."""

    ctx: Context
    plan: tuple[str, ...]
    pending: list[Write]
    already: AttemptRecord | None = None


class Engine:
    """Takes boards one at a time; one engine is shared by all slots and keeps no state of a
    board.
    """

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self._in_hand: set[str] = set()
        self._lock = threading.Lock()
        self._proved: set[str | None] = set()  # modem firmware that PASSed with this profile and CA
        self._plan = plan_for(deps.profile)
        self._plan_hash = plan_hash(deps.profile, deps.certificate)
        self._asks = asks(self._plan, deps.profile)
        if (named := deps.profile.board.serial.dialect) != "auto":
            check_dialect(self._asks, named, capabilities(named))
        check_bench(deps, reached(self._plan, deps.options.until))
        self._mcu_ids = McuIds(
            deps.profile.board.mcu_id,
            deps.options.metadata,
            deps.chip_ids,
            deps.resolved.soc,
            deps.cloud.shared_secret,
        )

    def board(
        self, link: Board, slot: int, *, only: Collection[str] | None = None
    ) -> BoardResult | None:
        """Take the board on this link to its result; None when it is not one of `only` (board
        keys).
        """
        started = time.monotonic()
        identity: BoardIdentity | None = None
        try:
            link.label = "identify"
            ops = self._operations(link)
            identity = identify(link, ops, self._ids(link, ops, slot))
            if only is not None and identity.uuid not in only:
                return None
            self._tell(
                "board-found",
                slot,
                identity.uuid,
                data={"port": link.port, "imei": identity.imei, "mcuId": identity.mcu_id},
            )
            with self._held(identity.uuid):
                return self._walk(self._course(link, ops, slot, identity), started)
        except InfuseError as error:
            return self._refused(slot, link, identity, error, started)
        except Exception as error:  # noqa: BLE001 - a slot's thread must end its board, not the line
            return self._refused(slot, link, identity, bug(error), started)

    def _ids(self, link: Board, ops: Operations, slot: int) -> McuIds:
        """Where the mcuId comes from.

        One that is scanned may stand in the table of metadata, or on record: a board that was bound
        to its label needs no second scan. Else the label is waited for as long as the board is
        there.
        """
        labels, table, journal = (
            self.deps.labels,
            self.deps.options.metadata_table,
            self.deps.journal,
        )

        def scanned(seen: BoardIdentity) -> str:
            label = {} if labels is None else labels.bound(slot, seen.imei, seen.uuid)
            given = label.get("mcuId") or row_for(table, seen).get("mcuId")
            record = None if given or not seen.uuid else journal.board(seen.uuid)
            found = given or (None if record is None else record.mcu_id)
            if found or labels is None:
                return found or ""
            return labels.await_for(
                slot,
                seen.imei,
                seen.uuid,
                ("mcuId",),
                look=lambda: link.run(ops.same_board(seen.uuid)) if seen.uuid else None,
                waiting=lambda why: self._tell("board-waiting", slot, seen.uuid, data={"why": why}),
            )["mcuId"]

        return replace(self._mcu_ids, scanned=scanned)

    def _operations(self, link: Board) -> Operations:
        """What can be done to this board.

        Raises ProfileError profile.cannot where that is not enough for the plan.
        """
        ops = operations(
            link.dialect, credential_buffer=self.deps.profile.board.serial.credential_buffer
        )
        wanted = check_dialect(self._asks, link.dialect, capabilities(link.dialect))
        check_firmware(self._asks, link.run(ops.lacks(wanted)))
        return ops

    @contextmanager
    def _held(self, board: str) -> Iterator[None]:
        """Keep a board that two ports show (two interfaces of one probe) from being taken by two
        slots.
        """
        with self._lock:
            if board in self._in_hand:
                raise BoardError(
                    "board.in-use", f"another slot of this run is working on board {board}"
                )
            self._in_hand.add(board)
        try:
            yield
        finally:
            with self._lock:
                self._in_hand.discard(board)

    # -- choosing ----------------------------------------------------------------------------------

    def _course(self, link: Board, ops: Operations, slot: int, identity: BoardIdentity) -> _Course:
        deps = self.deps
        record = deps.journal.board(identity.uuid)
        owed = mode_owed(deps, identity)
        ctx = Context(
            deps=deps,
            link=link,
            ops=ops,
            identity=identity,
            slot=slot,
            mode_owed=owed,
            attempt=uuid.uuid4().hex,
            facts={
                "identity": identity.uuid,
                "functionalMode": identity.functional_mode if owed is None else owed,
            },
        )
        ctx.waiting = lambda why: self._tell(
            "board-waiting", slot, identity.uuid, data={"why": why}
        )
        if record is None:
            return self._new(ctx, [])
        ctx.history = tuple(deps.journal.attempts(identity.uuid))
        if deps.options.dry_run:
            return self._new(ctx, [])
        self._not_retired(ctx)
        if record.open is not None:
            return self._open(ctx, record.open)
        if record.passed is not None:
            return self._passed(ctx, record)
        return self._new(ctx, [])

    def _not_retired(self, ctx: Context) -> None:
        """A board whose credentials were taken back comes back only where somebody says so."""
        told = ctx.history[-1].facts.get("retirement") or {} if ctx.history else {}
        if told.get("state") in {"begun", "done"} and not self.deps.options.again:
            by = f", replaced by {told['replacedBy']}" if told.get("replacedBy") else ""
            raise PolicyError(
                "identity.retired",
                f"board {ctx.uuid} was retired on {str(told.get('begun'))[:10]}:"
                f" {told.get('reason')}{by}",
            )

    def _open(self, ctx: Context, found: AttemptRecord) -> _Course:
        """Go on with an attempt that an earlier run began, unless it is at work or was made under
        another plan.
        """
        options = self.deps.options
        if found.alive and found.run != self.deps.run:
            raise BoardError(
                "board.in-use", f"run {found.run[:8]} is working on board {found.board}"
            )
        take = TakeAttempt(
            attempt=found.attempt, run=self.deps.run, slot=ctx.slot, port=ctx.link.port
        )
        if (
            options.restart or options.again or not found.steps
        ):  # without a begun effect there is nothing to go on with
            return self._new(
                ctx,
                [
                    take,
                    EndAttempt(attempt=found.attempt, state=AttemptState.SUPERSEDED),
                    *self._superseded(found),
                ],
            )
        if found.plan_hash != self._plan_hash:
            raise PolicyError(
                "plan.changed",
                f"board {found.board} was begun under another plan on"
                f" {found.opened:%Y-%m-%d %H:%M} UTC",
            )
        self._load(ctx, found)
        ctx.resumed = True
        return _Course(ctx, found.plan, [take])

    def _passed(self, ctx: Context, record: BoardRecord) -> _Course:
        """A board that PASSed before is only proved again, unless --again asks for a new
        identity.
        """
        found = record.passed
        if found is None:
            raise AssertionError("unreachable: the caller looked")
        if self.deps.options.again or (self.deps.options.restart and _is_other_device(ctx, found)):
            return self._new(
                ctx,
                [
                    EndAttempt(attempt=found.attempt, state=AttemptState.SUPERSEDED),
                    *self._superseded(found),
                ],
            )
        if found.plan_hash != self._plan_hash:
            raise PolicyError(
                "plan.changed",
                f"board {found.board} PASSed under another plan on"
                f" {found.opened:%Y-%m-%d %H:%M} UTC",
                hint="Use the profile it PASSed with, or --again for a new identity.",
            )
        self.deps.journal.check_identity(ctx.uuid, ctx.identity.imei, ctx.identity.mcu_id)
        self._load(ctx, found)
        self._same_metadata(ctx)
        ctx.facts["already"] = True
        ctx.resumed = True
        return _Course(ctx, already_plan(self.deps.profile), [], already=found)

    def _same_metadata(self, ctx: Context) -> None:
        """Refuse a label that differs from the one the board PASSed with: it would be ignored in
        silence.
        """
        options = self.deps.options
        given = {
            **row_for(options.metadata_table, ctx.identity),
            **options.metadata,
            **ctx.scanned(()),
        }
        recorded = ctx.facts.get("metadata", {})
        differing = [
            f"{key} is {recorded[key]!r}, not {value!r}"
            for key, value in sorted(given.items())
            if key in recorded and recorded[key] != value
        ]
        if differing:
            raise PolicyError(
                "cloud.device-conflict",
                f"board {ctx.uuid} PASSed with other metadata: {', '.join(differing)}",
                hint="Check the label. --again makes a new identity for the board.",
            )

    def _superseded(self, found: AttemptRecord) -> list[Write]:
        rows = self.deps.journal.certificates(attempt=found.attempt)
        return [
            MoveCertificate(serial=row.serial, issuer=row.issuer, to_state="superseded")
            for row in rows
        ]

    def _new(self, ctx: Context, before: list[Write]) -> _Course:
        plan, seen = self._plan, ctx.identity
        facts = {
            "functionalMode": ctx.facts["functionalMode"],
            "model": seen.model,
            "modemFirmware": seen.modem_firmware,
            "iccid": seen.iccid,
            "profile": self.deps.profile.name,
            "profileHash": self.deps.profile_hash,
        }
        opening = OpenAttempt(
            attempt=ctx.attempt,
            run=self.deps.run,
            board=seen.uuid,
            soc=self.deps.resolved.soc,
            slot=ctx.slot,
            port=ctx.link.port,
            plan=plan,
            plan_hash=self._plan_hash,
            imei=seen.imei,
            mcu_id=seen.mcu_id,
            facts=facts,
        )
        return _Course(ctx, plan, [*before, opening])

    def _load(self, ctx: Context, found: AttemptRecord) -> None:
        """Bring back what the record knows; the functional mode is the one found first."""
        ctx.attempt = found.attempt
        ctx.facts.update({key: value for key, value in found.facts.items() if key != "transcript"})
        if (
            ctx.facts.get("functionalMode") == FLIGHT_MODE
            and ctx.identity.functional_mode is not None
        ):
            ctx.facts["functionalMode"] = (
                ctx.identity.functional_mode
            )  # only others leave flight mode: this is what is found now
        if ctx.mode_owed is not None:
            ctx.facts["functionalMode"] = ctx.mode_owed
        for name, row in sorted(
            found.steps.items(), key=lambda item: _position(found.plan, item[0])
        ):
            ctx.facts.update(row.facts)
            ctx.states[name] = StepState.UNKNOWN if row.state is StepState.BEGUN else row.state
            ctx.on_record[name] = row.facts

    # -- walking -----------------------------------------------------------------------------------

    def _walk(self, course: _Course, started: float) -> BoardResult:
        ctx = course.ctx
        steps = ("identify", *course.plan)
        ctx.ahead = reached(course.plan, self.deps.options.until)

        def notify(event: str, step: str, ms: float | None, error: InfuseError | None) -> None:
            place = steps.index(step) + 1 if step in steps else None
            self._tell(
                event,
                ctx.slot,
                ctx.uuid,
                step=step,
                ms=ms,
                error=error,
                data={
                    "index": place,
                    "steps": len(steps),
                    "serialNumber": ctx.facts.get("metadata", {}).get("serialNumber"),
                },
            )

        walk = Walk(ctx, course.plan, course.pending, notify)
        left = (
            ctx.resumed
            and course.already is None
            and ctx.facts.get("functionalMode") != ctx.identity.functional_mode
        )
        walk.offline = left or ctx.mode_owed is not None
        try:
            if self.deps.options.dry_run:
                return self._dry(walk, started)
            walk.run(self.deps.options.until)
            walk.step = None
            if not walk.offline:  # restore looks by itself
                ctx.link.run(
                    ctx.ops.same_board(ctx.uuid)
                )  # what was read last was read from this very board
            walk.restore()
            self._record_pass(walk, course)
        except InfuseError as error:
            return self._ended(walk, course, self._blamed(ctx, error), started)
        except Exception as error:  # noqa: BLE001 - a slot's thread must end its board, not the line
            return self._ended(walk, course, bug(error), started)
        return self._result(ctx, Outcome.PASS, started, already=course.already is not None)

    def _record_pass(self, walk: Walk, course: _Course) -> None:
        ctx = walk.ctx
        if course.already is not None:
            note = {
                "rechecked": {
                    "run": self.deps.run,
                    "at": self.deps.clock.now().isoformat(),
                    "result": "PASS",
                }
            }
            walk.flush(NoteAttempt(attempt=course.already.attempt, facts=note))
            return
        facts = {**_summary(ctx), **self._first_article(ctx)}
        walk.flush(
            EndAttempt(
                attempt=ctx.attempt,
                state=AttemptState.PASSED,
                outcome=Outcome.PASS.value,
                facts=facts,
            )
        )
        self._proved.add(ctx.identity.modem_firmware)

    def _first_article(self, ctx: Context) -> dict[str, str]:
        """Mark the first board with this profile, CA and modem firmware, and whether the cloud
        heard from it.
        """
        firmware = ctx.identity.modem_firmware
        issuer = ctx.facts.get("certificate", {}).get("issuer")
        if firmware in self._proved or self.deps.journal.passed_with(
            profile_hash=self.deps.profile_hash, ca=issuer, modem_firmware=firmware
        ):
            return {}
        return {"firstArticle": "seen" if ctx.facts.get("heard") else "unconfirmed"}

    def _dry(self, walk: Walk, started: float) -> BoardResult:
        walk.plan = walk.plan[:2]  # expect and lookup: GETs and reading AT commands only
        walk.run()
        return self._result(walk.ctx, None, started)

    def _ended(
        self, walk: Walk, course: _Course, error: InfuseError, started: float
    ) -> BoardResult:
        """End the record after trouble: FAIL and its step stay to be tried again, anything else is
        parked.
        """
        ctx = walk.ctx
        if not self.deps.options.dry_run:
            self._restore_quietly(walk, error)
            self._record_trouble(walk, course, error)
        self._tell("step-failed", ctx.slot, ctx.uuid, step=walk.step, error=error)
        return self._result(ctx, error.info.outcome, started, error=error, failed_step=walk.step)

    def _blamed(self, ctx: Context, error: InfuseError) -> InfuseError:
        """A FAIL is this board's only if it is still the one on the port; else what was read was
        another board's.
        """
        if error.info.outcome is not Outcome.FAIL:
            return error
        try:
            ctx.link.run(ctx.ops.same_board(ctx.uuid))
        except BoardError as other:
            return other if other.code == "board.changed" else error
        return error

    def _restore_quietly(self, walk: Walk, error: InfuseError) -> None:
        """The board may be gone or another one; then the next run restores it from the record."""
        if error.code in {"serial.unplugged", "board.changed", "serial.line-ended"}:
            return
        try:
            walk.restore()
        except InfuseError:
            return

    def _record_trouble(self, walk: Walk, course: _Course, error: InfuseError) -> None:
        outcome = error.info.outcome
        facts = {
            "failedStep": walk.step,
            "transcript": walk.ctx.link.transcript()[-_TRANSCRIPT_LIMIT:],
        }
        state = AttemptState.FAILED if outcome is Outcome.FAIL else AttemptState.PARKED
        end: Write
        if course.already is not None:
            end = NoteAttempt(
                attempt=course.already.attempt,
                facts={"rechecked": {"run": self.deps.run, "error": error.as_json()}},
            )
        else:
            end = EndAttempt(
                attempt=walk.ctx.attempt,
                state=state,
                outcome=outcome.value,
                error=error.as_json(),
                facts=facts,
            )
        try:
            walk.flush(end)
        except JournalError:
            return  # nothing can be recorded now, and the record is true as far as it goes
        except InfuseError:
            self._note_refusal(walk.ctx.identity, error)

    def _refused(
        self,
        slot: int,
        link: Board,
        identity: BoardIdentity | None,
        error: InfuseError,
        started: float,
    ) -> BoardResult:
        """Trouble before there was an attempt: nothing was done to the board."""
        if identity is not None and not self.deps.options.dry_run:
            self._note_refusal(identity, error)
        uuid_text = None if identity is None else identity.uuid
        self._tell("step-failed", slot, uuid_text, step="identify", error=error)
        return BoardResult(
            slot=slot,
            port=link.port,
            outcome=error.info.outcome,
            ms=_ms(started),
            identity=identity,
            failed_step="identify",
            error=error,
        )

    def _note_refusal(self, identity: BoardIdentity, error: InfuseError) -> None:
        facts = {
            "board": identity.uuid,
            "imei": identity.imei,
            "mcuId": identity.mcu_id,
            "error": error.as_json(),
        }
        try:
            self.deps.journal.commit(NoteRun(run=self.deps.run, what="board refused", facts=facts))
        except InfuseError:
            return  # the journal itself is the trouble, and that is already the board's error

    def _result(
        self,
        ctx: Context,
        outcome: Outcome | None,
        started: float,
        *,
        already: bool = False,
        error: InfuseError | None = None,
        failed_step: str | None = None,
    ) -> BoardResult:
        return BoardResult(
            slot=ctx.slot,
            port=ctx.link.port,
            outcome=outcome,
            ms=_ms(started),
            identity=ctx.identity,
            facts=ctx.facts,
            already=already,
            error=error,
            failed_step=failed_step,
        )

    def _tell(
        self,
        event: str,
        slot: int,
        board: str | None,
        *,
        step: str | None = None,
        ms: float | None = None,
        error: InfuseError | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        state = event.removeprefix("step-") if event.startswith("step-") else None
        self.deps.events.emit(
            Event(
                ts=self.deps.clock.now(),
                run=self.deps.run,
                event=event,
                slot=slot,
                board=board,
                step=step,
                state=state,
                ms=ms,
                error=None if error is None else error.as_json(),
                data=data or {},
            )
        )


def _is_other_device(ctx: Context, found: AttemptRecord) -> bool:
    """Whether the cloud has another device for this board than the one it PASSed as.

    That happens where the cloud answered wrongly at the time; then there is an identity to make.
    """
    steps = found.steps
    recorded = steps["register"].facts.get("device") if "register" in steps else None
    device = find_device(ctx)
    return recorded is not None and (device is None or device.device_id != recorded["deviceId"])


def _summary(ctx: Context) -> dict[str, Any]:
    """What the record of a PASS shows at a glance; the steps hold the rest."""
    names = (
        "possession",
        "possessionWhy",
        "attestation",
        "readBack",
        "derived",
        "deviceKey",
        "heard",
        "metadata",
        "registryDevice",
    )
    device = ctx.facts.get("device") or {}
    return {
        "deviceId": device.get("deviceId"),
        **{name: ctx.facts[name] for name in names if name in ctx.facts},
    }


def _position(plan: tuple[str, ...], step: str) -> int:
    return plan.index(step) if step in plan else len(plan)


def bug(error: Exception) -> InfuseError:
    """Wrap a fault of our own; the traceback is for -vv only."""
    import traceback

    return InfuseError(
        "tool.bug",
        f"{type(error).__name__} in infuse itself",
        details={"traceback": "".join(traceback.format_exception(error))},
    )


def _ms(started: float) -> float:
    return (time.monotonic() - started) * 1000
