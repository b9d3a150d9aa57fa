"""One board's attempt, from the first step of its plan to a result that is recorded.

Two promises are kept here. An effect begins only after its intent is durable, and the end of one
effect is committed together with the beginning of the next, so nothing is shown before it is on
disk. An effect whose outcome is unknown is left only through its probe. PASS is given here and only
here: the plan came to its end, so read-back, possession and the cloud's own answer all agreed, and
that is on disk.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, assert_never

from infuse_cli import failpoint
from infuse_cli.errors import (
    BoardError,
    CloudError,
    InfuseError,
    Interrupted,
    JournalError,
    PolicyError,
    internal_error,
)
from infuse_cli.provisioning import state as states
from infuse_cli.provisioning.plan import STEPS, reached
from infuse_cli.provisioning.results import BoardResult
from infuse_cli.provisioning.step import (
    Done,
    Effect,
    EffectStep,
    NotDone,
    Rollback,
    RollbackRequired,
    StepOutput,
)
from infuse_cli.records import EndAttempt, MoveStep, NoteAttempt, NoteRun
from infuse_cli.records.modes import mode_facts
from infuse_cli.records.notes import NoteKind
from infuse_cli.types import AttemptState, Outcome, StepState

if TYPE_CHECKING:
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.provisioning.decision import AttemptDecision
    from infuse_cli.provisioning.step import QueryStep
    from infuse_cli.records import Write

_TRIES: Final = {Effect.NONE: 2, Effect.BOARD: 2, Effect.CHIP: 2, Effect.CLOUD: 4, Effect.CA: 1}
_REREAD: Final = frozenset({"serial.timeout", "serial.protocol"})
_GONE: Final = frozenset({"serial.unplugged", "board.changed", "serial.closed"})
"""Errors after which the board of this attempt is not on the port any more."""

_TRANSCRIPT_LIMIT: Final = 65_536


class StoppedAtError(InfuseError):
    """The run was asked to stop after a step (--until)."""

    def __init__(self, step: str) -> None:
        super().__init__("run.until", f"stopped after {step}, as asked")


class AttemptRunner:
    """Runs one attempt; owned by its slot's thread, for one board."""

    def __init__(self, ctx: BoardContext, decision: AttemptDecision, started: float) -> None:
        self._ctx: Final = ctx
        self._run: Final = ctx.run
        self._plan = decision.steps
        self._decision: Final = decision
        self._rechecked: Final = decision.rechecked
        self._started: Final = started
        self._pending: list[Write] = list(decision.opening)  # they wait for the next commit
        self._unshown: list[tuple[str, float]] = []  # steps that are done, but not yet on disk
        self._rollbacks: dict[str, int] = {}
        self._step: str | None = None
        left_offline = (
            ctx.resumed
            and decision.rechecked is None
            and ctx.facts.functional_mode != ctx.identity.functional_mode
        )
        self._offline = left_offline or ctx.mode_owed is not None
        ctx.ahead = reached(decision.steps, ctx.run.options.until)

    def run(self) -> BoardResult:
        """Take the board to its result; never raises."""
        try:
            if self._run.options.dry_run:
                # What proves a PASS again only reads, so a dry run does all of it.
                if self._rechecked is None:
                    self._plan = tuple(name for name in self._plan if STEPS[name].in_dry_run)
                self._run_steps(None)
                return self._result(None)
            self._run_steps(self._run.options.until)
            self._step = None
            if not self._offline:  # restore looks by itself
                # What was read last was read from this very board.
                self._ctx.link.run(self._ctx.ops.same_board(self._ctx.uuid))
            self._restore()
            self._record_pass()
        except InfuseError as error:
            return self._fail(self._board_still_there(error))
        except Exception as error:  # noqa: BLE001 - a slot's thread must end its board, not the line
            return self._fail(internal_error(error))
        return self._result(Outcome.PASS)

    def _run_steps(self, until: str | None) -> None:
        """Run to the end of the plan; what is still to be committed is pending then."""
        index = 0
        while index < len(self._plan):
            if self._run.clock.wait(0):
                raise Interrupted
            name = self._plan[index]
            try:
                self._run_step(name)
            except RollbackRequired as turn:
                if self._run.options.dry_run:
                    raise turn.fallback_error from turn
                index = self._roll_back(name, turn)
                continue
            if name == until:
                raise StoppedAtError(name)
            index += 1

    def _flush(self, *more: Write) -> None:
        """Commit what is pending together with `more`, then show the steps that are done."""
        writes = (*self._pending, *more)
        if writes:
            self._ctx.commit(*writes)
        self._pending.clear()
        done, self._unshown = self._unshown, []
        for name, ms in done:
            self._notify("step-done", name, ms)
            failpoint.hit(f"done:{name}")

    # -- one step ----------------------------------------------------------------------------------

    def _run_step(self, name: str) -> None:
        step = STEPS[name]
        self._step = name
        self._ctx.link.current_step = name
        failpoint.hit(f"before:{name}")
        if isinstance(step, EffectStep):
            self._advance(step)
            return
        self._notify("step-begun", name)
        if step.online:
            self._flush()
            self._restore()
        started = time.monotonic()
        try:
            output = self._query(step)
        except InfuseError:
            self._void(step)
            raise
        self._ctx.facts.update(output.facts)
        self._pending += output.writes
        self._notify("step-done", name, _ms(started))

    def _query(self, step: QueryStep | EffectStep) -> StepOutput:
        for left in reversed(range(_TRIES[Effect.NONE])):
            try:
                return step.run(self._ctx)
            except BoardError as error:
                if error.code not in _REREAD or left == 0:
                    raise
                self._ctx.credentials.forget()
        raise AssertionError("unreachable: the last try returns or raises")

    def _advance(self, step: EffectStep) -> None:
        """Lead a step from the state it is in to done."""
        while True:
            match self._ctx.states.get(step.name, StepState.PENDING):
                case StepState.DONE:
                    if self._ctx.resumed:
                        step.confirm(self._ctx)
                    return
                case StepState.PENDING:
                    self._make(step)
                case StepState.UNKNOWN:
                    self._probe(step)
                case StepState.BEGUN:  # its owner died
                    self._move(step.name, StepState.UNKNOWN)
                case StepState.FAILED:
                    self._move(step.name, StepState.PENDING)
                case StepState.CONFLICT:
                    self._move(step.name, StepState.UNKNOWN)
                case other:
                    assert_never(other)

    def _make(self, step: EffectStep) -> None:
        name, ctx = step.name, self._ctx
        self._run.check_clock()
        intent = step.prepare(ctx)
        ctx.facts.update(intent.facts)
        self._pending += intent.writes
        self._move(name, StepState.BEGUN, facts=intent.facts)
        self._flush()
        self._notify("step-begun", name)
        failpoint.hit(f"begun:{name}")
        ctx.tries[name] = ctx.tries.get(name, 0) + 1
        started = time.monotonic()
        try:
            if step.effect is Effect.BOARD:
                self._go_offline()
            output = step.run(ctx)
        except RollbackRequired:
            self._move(name, StepState.FAILED, facts=intent.facts)
            raise
        except InfuseError as error:
            self._break_off(step, error, intent)
            return
        except BaseException:
            self._move(name, StepState.UNKNOWN, facts=intent.facts)
            raise
        finally:
            if ctx.states[name] is not StepState.BEGUN:
                ctx.credentials.forget()  # it broke off, and what it wrote is not known
        failpoint.hit(f"ran:{name}")
        self._finish(step, {**intent.facts, **output.facts}, output, _ms(started))

    def _finish(
        self, step: EffectStep, facts: dict[str, Any], output: StepOutput, ms: float
    ) -> None:
        self._ctx.facts.update(output.facts)
        self._move(step.name, StepState.DONE, facts=facts, ms=ms)
        self._pending += output.writes
        self._unshown.append((step.name, ms))
        later = self._plan[self._plan.index(step.name) + 1 :]
        if all(STEPS[name].effect is Effect.NONE for name in later):
            self._flush()  # no later intent would carry it to the disk

    def _break_off(self, step: EffectStep, error: InfuseError, intent: StepOutput) -> None:
        """Record how the effect ended; return where a probe may follow in this run, else raise the
        error.
        """
        again = self._ctx.tries[step.name] < _TRIES[step.effect]
        if error.unknown or error.code in _REREAD:
            self._move(step.name, StepState.UNKNOWN, facts=intent.facts, error=error)
            self._flush()
            lasting = isinstance(error, BoardError) and error.code not in _REREAD
            if again and not lasting and isinstance(error, BoardError | CloudError):
                return
            raise error
        self._move(step.name, StepState.FAILED, facts=intent.facts, error=error)
        raise error

    def _probe(self, step: EffectStep) -> None:
        name = step.name
        self._notify("step-begun", name)
        started = time.monotonic()
        try:
            found = step.probe(self._ctx)
        except PolicyError as error:
            self._move(name, StepState.CONFLICT, error=error)
            raise
        self._ctx.facts.update(found.facts)
        match found:
            case Done():
                facts = {**self._recorded(name), **found.facts}
                self._move(name, StepState.DONE, facts=facts, ms=_ms(started))
                self._pending += found.writes
                self._unshown.append((name, _ms(started)))
            case NotDone():
                self._move(name, StepState.PENDING)
                self._pending += found.writes
            case Rollback():
                self._move(name, StepState.PENDING)
                conflict = PolicyError("run.conflict", f"step {name} cannot go on: {found.why}")
                raise RollbackRequired(found, conflict)
            case other:
                assert_never(other)

    # -- turns -------------------------------------------------------------------------------------

    def _roll_back(self, name: str, turn: RollbackRequired) -> int:
        """Go back to the step whose effect does not hold, once; the steps between stay done."""
        to = turn.rollback.to
        self._rollbacks[to] = self._rollbacks.get(to, 0) + 1
        if self._rollbacks[to] > 1 or to not in self._plan:
            self._void(STEPS[name])
            self._disown(to)
            raise turn.fallback_error
        self._pending += turn.rollback.writes
        facts = {**self._recorded(to), "rewound": turn.rollback.why}
        self._move(to, StepState.PENDING, facts=facts)
        self._ctx.token = None
        self._ctx.credentials.forget()
        self._flush()
        return self._plan.index(to)

    def _disown(self, name: str) -> None:
        """What a step wrote to the board did not hold: whatever is in its place may be written over
        by a later run.
        """
        if STEPS[name].effect is Effect.BOARD:
            self._refuse(name)

    def _void(self, step: QueryStep | EffectStep) -> None:
        for name in step.voids:
            self._refuse(name)

    def _refuse(self, name: str) -> None:
        if self._ctx.states.get(name) is StepState.DONE:
            self._move(name, StepState.FAILED)

    def _recorded(self, name: str) -> dict[str, Any]:
        """Facts of the step that stay on record through a move, so that what it wrote is still
        known as ours.
        """
        return self._ctx.on_record.get(name, {})

    def _move(
        self,
        name: str,
        to: StepState,
        *,
        facts: dict[str, Any] | None = None,
        ms: float | None = None,
        error: InfuseError | None = None,
    ) -> None:
        """Queue a transition; it is durable with the next flush."""
        have = self._ctx.states.get(name, StepState.PENDING)
        states.check(name, have, to)
        if facts is not None:
            self._ctx.on_record[name] = facts
        self._ctx.states[name] = to
        self._pending.append(
            MoveStep(
                attempt=self._ctx.attempt,
                step=name,
                from_state=have,
                to_state=to,
                facts=self._recorded(name),
                ms=ms,
                error=None if error is None else error.as_json(),
            )
        )

    # -- the board's functional mode ---------------------------------------------------------------

    def _go_offline(self) -> None:
        if not self._offline:
            self._ctx.link.run(self._ctx.ops.same_board(self._ctx.uuid))
            self._offline = True  # set first: a time-out in between still has to be restored
            self._ctx.link.run(self._ctx.ops.go_offline())

    def _restore(self) -> None:
        """Put the functional mode back that was found."""
        ctx, mode = self._ctx, self._ctx.facts.functional_mode
        if self._offline and mode is not None:
            ctx.link.run(ctx.ops.same_board(ctx.uuid))
            ctx.link.run(ctx.ops.restore(mode))
            if ctx.mode_owed is not None:
                # What a manual change left undone is done, recorded with the next commit.
                ctx.mode_owed = None
                place = {"port": ctx.link.port, "board": ctx.uuid}
                facts = {**place, **mode_facts(mode, restored=True)}
                self._pending.append(
                    NoteRun(run=self._run.id, what=NoteKind.FUNCTIONAL_MODE, facts=facts)
                )
        self._offline = False

    # -- the end -----------------------------------------------------------------------------------

    def _record_pass(self) -> None:
        ctx = self._ctx
        if self._rechecked is not None:
            at = self._run.clock.now().isoformat()
            note = {"rechecked": {"run": self._run.id, "at": at, "result": "PASS"}}
            self._flush(NoteAttempt(attempt=self._rechecked.attempt, facts=note))
            return
        self._flush(
            EndAttempt(
                attempt=ctx.attempt,
                state=AttemptState.PASSED,
                outcome=Outcome.PASS.value,
                facts={**self._summary(), **self._first_article()},
            )
        )
        self._run.proved.add(ctx.identity.modem_firmware)

    def _summary(self) -> dict[str, Any]:
        """What the record of a PASS shows at a glance; the steps hold the rest."""
        facts = self._ctx.facts
        names = [name for step in STEPS.values() for name in step.summary if name in facts]
        return {"deviceId": facts.device_id, **{name: facts[name] for name in names}}

    def _first_article(self) -> dict[str, str]:
        """Mark the first board with this profile, CA and modem firmware, and whether the cloud
        heard from it.
        """
        firmware = self._ctx.identity.modem_firmware
        certificate = self._ctx.facts.certificate
        issuer = None if certificate is None else certificate.issuer
        if firmware in self._run.proved or self._run.journal.passed_with(
            profile_hash=self._run.profile_hash, ca=issuer, modem_firmware=firmware
        ):
            return {}
        return {"firstArticle": "seen" if self._ctx.facts.is_heard else "unconfirmed"}

    def _board_still_there(self, error: InfuseError) -> InfuseError:
        """A FAIL is this board's only if it is still the one on the port; else what was read was
        another board's.
        """
        if error.info.outcome is not Outcome.FAIL:
            return error
        try:
            self._ctx.link.run(self._ctx.ops.same_board(self._ctx.uuid))
        except BoardError as other:
            return other if other.code == "board.changed" else error
        return error

    def _fail(self, error: InfuseError) -> BoardResult:
        """End the record after trouble: FAIL and its step stay to be tried again, anything else is
        parked.
        """
        if not self._run.options.dry_run:
            if error.code not in _GONE:
                self._restore_quietly()
            self._record_trouble(error)
        ctx = self._ctx
        self._run.emit("step-failed", slot=ctx.slot, board=ctx.uuid, step=self._step, error=error)
        return self._result(error.info.outcome, error)

    def _restore_quietly(self) -> None:
        """A board that can't be asked now is restored from the record by the next run."""
        try:
            self._restore()
        except InfuseError:
            return

    def _record_trouble(self, error: InfuseError) -> None:
        outcome = error.info.outcome
        end: Write
        if self._rechecked is not None:
            note = {"rechecked": {"run": self._run.id, "error": error.as_json()}}
            end = NoteAttempt(attempt=self._rechecked.attempt, facts=note)
        else:
            end = EndAttempt(
                attempt=self._ctx.attempt,
                state=AttemptState.FAILED if outcome is Outcome.FAIL else AttemptState.PARKED,
                outcome=outcome.value,
                error=error.as_json(),
                facts={
                    "failedStep": self._step,
                    "transcript": self._ctx.link.transcript()[-_TRANSCRIPT_LIMIT:],
                },
            )
        try:
            self._flush(end)
        except JournalError:
            return  # nothing can be recorded now, and the record is true as far as it goes
        except InfuseError:
            self._run.note_refusal(self._ctx.identity, error)

    def _result(self, outcome: Outcome | None, error: InfuseError | None = None) -> BoardResult:
        ctx = self._ctx
        return BoardResult(
            slot=ctx.slot,
            port=ctx.link.port,
            outcome=outcome,
            ms=(time.monotonic() - self._started) * 1000,
            identity=ctx.identity,
            facts=ctx.facts,
            already=outcome in {Outcome.PASS, None} and self._rechecked is not None,
            decision=self._decision if self._run.options.dry_run else None,
            error=error,
            failed_step=None if error is None else self._step,
        )

    def _notify(self, event: str, step: str, ms: float | None = None) -> None:
        steps = ("identify", *self._plan)
        self._run.emit(
            event,
            slot=self._ctx.slot,
            board=self._ctx.uuid,
            step=step,
            ms=ms,
            data={
                "index": steps.index(step) + 1 if step in steps else None,
                "steps": len(steps),
                "serialNumber": self._ctx.facts.metadata.get("serialNumber"),
            },
        )


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
