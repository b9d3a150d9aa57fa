"""One board's walk through its plan: begin, run, finish; probe what is unknown; park or fail
truthfully.

Two rules carry everything here. An effect begins only after its intent is durable, and the end of
one effect is committed together with the beginning of the next, so nothing is told before
it is on disk. An effect whose outcome is unknown is left only through its probe.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, assert_never

from infuse_cli import failpoint
from infuse_cli.errors import BoardError, CloudError, InfuseError, Interrupted, PolicyError
from infuse_cli.provisioning import state as states
from infuse_cli.provisioning.plan import STEPS
from infuse_cli.provisioning.step import Done, Effect, Given, NotDone, Rewind, RewindNeeded
from infuse_cli.records import MoveStep, NoteRun
from infuse_cli.records.modes import MODE, mode_facts
from infuse_cli.types import StepState

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.provisioning.context import Context
    from infuse_cli.provisioning.step import Step
    from infuse_cli.records import Write

    Notify = Callable[[str, str, float | None, InfuseError | None], None]

_TRIES: Final = {Effect.NONE: 2, Effect.BOARD: 2, Effect.CHIP: 2, Effect.CLOUD: 4, Effect.CA: 1}
_REREAD: Final = frozenset({"serial.timeout", "serial.garbled"})


class StoppedAtError(InfuseError):
    """The run was asked to stop after a step (--until)."""

    def __init__(self, step: str) -> None:
        super().__init__("run.until", f"stopped after {step}, as asked")


class Walk:
    """The walk of one attempt. `pending` are writes that wait for the next commit."""

    def __init__(
        self, ctx: Context, plan: tuple[str, ...], pending: list[Write], notify: Notify
    ) -> None:
        self.ctx = ctx
        self.plan = plan
        self.pending = pending
        self.notify = notify
        self.step: str | None = None
        self.offline = False
        self._told: list[tuple[str, float]] = []  # steps that are done, but not yet on disk
        self._rewinds: dict[str, int] = {}

    def run(self, until: str | None = None) -> None:
        """Walk to the end of the plan.

        Raises what stopped the walk; `pending` then holds what is still to be committed.
        """
        index = 0
        while index < len(self.plan):
            if self.ctx.deps.clock.wait(0):
                raise Interrupted
            name = self.plan[index]
            try:
                self._one(name)
            except RewindNeeded as turn:
                index = self._rewind(name, turn)
                continue
            if name == until:
                raise StoppedAtError(name)
            index += 1

    def flush(self, *more: Write) -> None:
        """Commit what is pending together with `more`, then tell of the steps that are done."""
        writes = (*self.pending, *more)
        if writes:
            self.ctx.commit(*writes)
        self.pending.clear()
        told, self._told = self._told, []
        for name, ms in told:
            self.notify("step-done", name, ms, None)
            failpoint.hit(f"done:{name}")

    def restore(self) -> None:
        """Put the functional mode back that was found."""
        mode = self.ctx.facts.get("functionalMode")
        if self.offline and mode is not None:
            self.ctx.link.run(self.ctx.ops.same_board(self.ctx.uuid))
            self.ctx.link.run(self.ctx.ops.restore(mode))
            self._settle_mode(mode)
        self.offline = False

    def _settle_mode(self, mode: int) -> None:
        """What a change by hand owed is paid, and on record with the next commit."""
        if self.ctx.mode_owed is not None:
            self.ctx.mode_owed = None
            facts = {
                "port": self.ctx.link.port,
                "board": self.ctx.uuid,
                **mode_facts(mode, restored=True),
            }
            self.pending.append(NoteRun(run=self.ctx.deps.run, what=MODE, facts=facts))

    # -- one step ----------------------------------------------------------------------------------

    def _one(self, name: str) -> None:
        step: Any = STEPS[name]
        self.step = name
        self.ctx.link.label = name
        failpoint.hit(f"before:{name}")
        if step.effect is not Effect.NONE:
            self._acting(step)
            return
        self.notify("step-begun", name, None, None)
        if step.online:
            self.flush()
            self.restore()
        started = time.monotonic()
        try:
            given = self._reading(step)
        except InfuseError:
            self._void(step)
            raise
        self._take(given)
        self.notify("step-done", name, _ms(started), None)

    def _reading(self, step: Step) -> Given:
        for left in reversed(range(_TRIES[Effect.NONE])):
            try:
                return step.run(self.ctx)
            except BoardError as error:
                if error.code not in _REREAD or left == 0:
                    raise
                self.ctx.forget_stored()
        raise AssertionError("unreachable: the last try returns or raises")

    def _acting(self, step: Step) -> None:
        while True:
            match self.ctx.states.get(step.name, StepState.PENDING):
                case StepState.DONE:
                    if self.ctx.resumed:
                        step.confirm(self.ctx)
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

    def _make(self, step: Step) -> None:
        name, ctx = step.name, self.ctx
        ctx.deps.check_clock()
        intent = step.prepare(ctx)
        ctx.facts.update(intent.facts)
        self.pending += intent.writes
        self._move(name, StepState.BEGUN, facts=intent.facts)
        self.flush()
        self.notify("step-begun", name, None, None)
        failpoint.hit(f"begun:{name}")
        ctx.tries[name] = ctx.tries.get(name, 0) + 1
        started = time.monotonic()
        try:
            if step.effect is Effect.BOARD:
                self._go_offline()
            given = step.run(ctx)
        except RewindNeeded:
            self._move(name, StepState.FAILED, facts=intent.facts)
            raise
        except InfuseError as error:
            self._broken_off(step, error, intent)
            return
        except BaseException:
            self._move(name, StepState.UNKNOWN, facts=intent.facts)
            raise
        finally:
            if ctx.states[name] is not StepState.BEGUN:
                ctx.forget_stored()  # it broke off, and what it wrote is not known
        failpoint.hit(f"ran:{name}")
        self._finish(step, {**intent.facts, **given.facts}, given, _ms(started))

    def _finish(self, step: Step, facts: dict[str, Any], given: Given, ms: float) -> None:
        self.ctx.facts.update(given.facts)
        self._move(step.name, StepState.DONE, facts=facts, ms=ms)
        self.pending += given.writes
        self._told.append((step.name, ms))
        later = self.plan[self.plan.index(step.name) + 1 :]
        if all(STEPS[name].effect is Effect.NONE for name in later):
            self.flush()  # no later intent would carry it to the disk

    def _broken_off(self, step: Step, error: InfuseError, intent: Given) -> None:
        """Record how the effect ended; return where a probe may follow in this run, else raise the
        error.
        """
        again = self.ctx.tries[step.name] < _TRIES[step.effect]
        if error.unknown or error.code in _REREAD:
            self._move(step.name, StepState.UNKNOWN, facts=intent.facts, error=error)
            self.flush()
            lasting = isinstance(error, BoardError) and error.code not in _REREAD
            if again and not lasting and isinstance(error, BoardError | CloudError):
                return
            raise error
        self._move(step.name, StepState.FAILED, facts=intent.facts, error=error)
        raise error

    def _probe(self, step: Step) -> None:
        name = step.name
        self.notify("step-begun", name, None, None)
        started = time.monotonic()
        try:
            found = step.probe(self.ctx)
        except PolicyError as error:
            self._move(name, StepState.CONFLICT, error=error)
            raise
        self.ctx.facts.update(found.facts)
        match found:
            case Done():
                self._move(
                    name, StepState.DONE, facts={**self._kept(name), **found.facts}, ms=_ms(started)
                )
                self.pending += found.writes
                self._told.append((name, _ms(started)))
            case NotDone():
                self._move(name, StepState.PENDING, facts=self._kept(name))
                self.pending += found.writes
            case Rewind():
                self._move(name, StepState.PENDING, facts=self._kept(name))
                raise RewindNeeded(
                    found, PolicyError("run.conflict", f"step {name} cannot go on: {found.why}")
                )
            case other:
                assert_never(other)

    # -- turns -------------------------------------------------------------------------------------

    def _rewind(self, name: str, turn: RewindNeeded) -> int:
        """Go back to the step whose effect does not hold, once; the steps between keep what they
        did.
        """
        to = turn.rewind.to
        self._rewinds[to] = self._rewinds.get(to, 0) + 1
        if self._rewinds[to] > 1 or to not in self.plan:
            self._void(STEPS[name])
            self._disown(to)
            raise turn.otherwise
        self.pending += turn.rewind.writes
        self._move(to, StepState.PENDING, facts={**self._kept(to), "rewound": turn.rewind.why})
        self.ctx.token = None
        self.ctx.forget_stored()
        self.flush()
        return self.plan.index(to)

    def _disown(self, name: str) -> None:
        """What a step wrote to the board did not hold: whatever is in its place may be written over
        by a later run.
        """
        if STEPS[name].effect is Effect.BOARD and self.ctx.states.get(name) is StepState.DONE:
            self._move(name, StepState.FAILED, facts=self._kept(name))

    def _void(self, step: Any) -> None:
        for name in step.voids:
            if self.ctx.states.get(name) is StepState.DONE:
                self._move(name, StepState.FAILED, facts=self._kept(name))

    def _go_offline(self) -> None:
        if not self.offline:
            self.ctx.link.run(self.ctx.ops.same_board(self.ctx.uuid))
            self.offline = True  # set first: a time-out in between still has to be restored
            self.ctx.link.run(self.ctx.ops.go_offline())

    def _take(self, given: Given) -> None:
        self.ctx.facts.update(given.facts)
        self.pending += given.writes

    def _kept(self, name: str) -> dict[str, Any]:
        """Facts of the step that stay on record through a move, so that what it wrote is still
        known as ours.
        """
        return self.ctx.on_record.get(name, {})

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
        have = self.ctx.states.get(name, StepState.PENDING)
        states.check(name, have, to)
        if facts is not None:
            self.ctx.on_record[name] = facts
        self.ctx.states[name] = to
        self.pending.append(
            MoveStep(
                attempt=self.ctx.attempt,
                step=name,
                from_state=have,
                to_state=to,
                facts=self._kept(name) if facts is None else facts,
                ms=ms,
                error=None if error is None else error.as_json(),
            )
        )


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
