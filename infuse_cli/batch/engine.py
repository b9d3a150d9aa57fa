"""The coordinator of a batch: takes rows, has the pool ask the cloud, commits, then reports.

Memory is flat: rows are taken while few are under way, and how they ended goes to disk.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli import failpoint
from infuse_cli.batch.calls import Caller
from infuse_cli.batch.existing import Existing
from infuse_cli.batch.model import Failed
from infuse_cli.batch.pool import Pool
from infuse_cli.batch.row_machine import AWAY, Continue, Finish, RowStateMachine, Suspend, stop
from infuse_cli.batch.row_planner import RowPlanner
from infuse_cli.batch.row_states import RowState
from infuse_cli.batch.row_writes import RowWrites, is_row
from infuse_cli.batch.totals import Totals
from infuse_cli.errors import CredentialError, InfuseError, JournalError
from infuse_cli.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infuse_cli import ports
    from infuse_cli.batch.model import Answer, EndedRow, Job, RunContext
    from infuse_cli.batch.row_machine import Next
    from infuse_cli.records import Write
    from infuse_cli.records.rows import Row

_AHEAD: Final = 4
"""Rows begun for each thread of the pool, so that none waits for a commit."""

_MOST_WAITING: Final = 2000
"""Rows that wait for a look-up or for the cloud to come back; more are not taken meanwhile."""

_PIECE: Final = 64
_MOST_PIECES: Final = 8
_POLL_S: Final = 0.1
"""How long the coordinator waits at a time: short, so that it notices a stop."""


@dataclass(slots=True)
class _Cycle:
    """What one turn of the coordinator makes durable together, and what follows once it is."""

    changes: list[tuple[Job, list[Write]]] = field(default_factory=list)
    going: list[tuple[Job, float]] = field(default_factory=list)
    ended: list[EndedRow] = field(default_factory=list)


class Batch:
    """One run over a file's rows; `total` is how many there are.

    `stopped_by` is the error that stops all rows, None while there is none.
    """

    def __init__(self, context: RunContext, total: int) -> None:
        self._context: Final = context
        resolved, cloud = context.resolved, context.profile.cloud
        self._machine: Final = RowStateMachine(
            organisation_id=resolved.organisation.id,
            board_id=resolved.board.id,
            update=context.request.update,
            grace_s=cloud.lost_answer_grace_s,
            outage_s=cloud.outage_wait_s,
        )
        self._writes: Final = RowWrites(context)
        self._existing: Final = Existing(context.spill_store())
        self._planner: Final = RowPlanner(
            context, self._existing, self._machine, context.clock.monotonic()
        )
        self._pool: Final = Pool(Caller(context).call, context.request.concurrency, self._braked)
        self._waiting: Final[list[tuple[float, int, Job]]] = []
        self._order: Final = itertools.count()
        self._total: Final = total
        self._away_in_a_row = 0
        self._last_contact = 0.0
        self._exhausted = False
        self._stop_reported = False
        self.totals: Final = Totals()
        self.ended_rows: Final[ports.SpillStore] = context.spill_store()
        self.stopped_by: InfuseError | None = None

    @property
    def left(self) -> int:
        """Rows that did not come to an end."""
        return self._total - self.totals.rows

    def run(self, rows: Iterator[Row]) -> None:
        """Bring the rows into the cloud, until none is left or something stops all.

        Raises what reading the list raises.
        """
        try:
            self._existing.read(
                self._context.patient_cloud, self._context.resolved, most_pages=self._total
            )
            while not self._is_over():
                self._turn(rows)
        except JournalError as error:
            # What is under way stays begun in the journal, and the next run looks it up.
            self.stopped_by = error
        finally:
            self._pool.close()

    def _turn(self, rows: Iterator[Row]) -> None:
        cycle = _Cycle()
        for job, answer in self._pool.answers(self._poll_s()):
            now = self._context.clock.monotonic()
            self._watch_cloud(answer, now)
            self._follow(cycle, job, self._machine.after(job, answer, now, self._last_contact))
        self._wake(cycle)
        self._take(cycle, rows)
        self._settle(cycle)

    def _poll_s(self) -> float:
        if self._may_take():
            return 0.0
        if not self._waiting:
            return _POLL_S
        soonest = self._waiting[0][0] - self._context.clock.monotonic()
        return min(max(soonest, 0.0), _POLL_S)

    def _is_over(self) -> bool:
        ending = self._exhausted or self._stopping() or self._too_many_failures()
        return ending and not self._pool.busy and not self._waiting

    def _stopping(self) -> bool:
        """Whether a person or an error stops all; a person's stop is reported once."""
        stopped = self._context.clock.wait(0)
        if stopped and not self._stop_reported:
            self._stop_reported = True
            self._emit("run-stopping")
        return stopped or self.stopped_by is not None

    def _emit(self, event: str, row: EndedRow | None = None) -> None:
        context = self._context
        if context.events is None:
            return
        context.events.emit(
            Event(
                ts=context.clock.now(),
                run=context.run,
                event=event,
                state=None if row is None else row.outcome.value,
                error=None if row is None else row.error,
                data={} if row is None else row.as_json(),
            )
        )

    def _too_many_failures(self) -> bool:
        most = self._context.request.max_failures
        return most is not None and max(self.totals.failures, self._pool.refusals) >= most

    def _braked(self, job: Job) -> bool:
        """For the pool's threads: what was not begun in the cloud yet is not begun any more."""
        if self._context.clock.wait(0) or self.stopped_by is not None:
            return True
        progress = job.progress
        first_post = progress.state is RowState.CREATE and not progress.waiting.lost
        return first_post and self._too_many_failures()

    def _watch_cloud(self, answer: Answer, now: float) -> None:
        """Count calls in a row that found the cloud away; a refused credential stops all."""
        error = answer.error if isinstance(answer, Failed) else None
        if error is not None and error.code in AWAY:
            self._away_in_a_row += 1
        else:
            self._away_in_a_row, self._last_contact = 0, now
        if isinstance(error, CredentialError):
            self.stopped_by = self.stopped_by or error

    # One turn

    def _follow(self, cycle: _Cycle, job: Job, following: Next) -> None:
        """Put what follows into the cycle; nothing new is sent once the run is being stopped."""
        job.progress = following.progress
        if isinstance(following, Continue) and job.begun and self._stopping():
            # A new intent is parked by the pool's brake: it has to be in the journal first.
            following = following if following.new_intent else stop(job)
        match following:
            case Continue(progress, at, new_intent):
                if progress.state is not RowState.WAIT and not job.begun:
                    cycle.changes.append((job, self._writes.begin(job)))
                elif new_intent:
                    cycle.changes.append((job, self._writes.renew(job)))
                cycle.going.append((job, at))
            case Finish(_, ended):
                cycle.changes.append((job, self._writes.end(job, following)))
                cycle.ended.append(ended)
            case Suspend():
                cycle.changes.append((job, self._writes.park(job)))

    def _wake(self, cycle: _Cycle) -> None:
        """Go on with the rows whose time has come; all of them, once the run is being stopped."""
        now, stopping = self._context.clock.monotonic(), self._stopping()
        while self._waiting and (stopping or self._waiting[0][0] <= now):
            job = heapq.heappop(self._waiting)[2]
            if stopping:
                self._follow(cycle, job, stop(job))
            elif job.progress.state is RowState.WAIT:
                self._follow(cycle, job, self._planner.retake(job))
            else:
                self._follow(cycle, job, Continue(job.progress))

    def _may_take(self) -> bool:
        concurrency, busy = self._context.request.concurrency, self._pool.busy
        has_room = busy < concurrency * _AHEAD and len(self._waiting) < _MOST_WAITING
        idle = not (busy or self._waiting)
        cloud_is_well = self._away_in_a_row < max(concurrency, 2) or idle
        ending = self._exhausted or self._stopping() or self._too_many_failures()
        return has_room and cloud_is_well and not ending

    def _take(self, cycle: _Cycle, rows: Iterator[Row]) -> None:
        """Take rows while few are under way; those that are there already need no room."""
        room = self._context.request.concurrency * _AHEAD - self._pool.busy - len(cycle.going)
        for _ in range(_MOST_PIECES):
            if room <= 0 or not self._may_take():
                return
            piece = self._next(rows, min(room, _PIECE))
            for job, following in self._planner.take(piece):
                self._follow(cycle, job, following)
                room -= isinstance(following, Continue)

    def _next(self, rows: Iterator[Row], most: int) -> list[Row]:
        piece: list[Row] = []
        try:
            piece.extend(itertools.islice(rows, most))
        except InfuseError as error:  # the file changed while it was read
            self.stopped_by = self.stopped_by or error
        self._exhausted = len(piece) < most
        return piece

    def _settle(self, cycle: _Cycle) -> None:
        """Make the turn durable; only then report what ended, and let go what was begun."""
        if cycle.ended:
            failpoint.hit("ran:row")
        self._commit(cycle)
        if cycle.ended:
            failpoint.hit("done:row")
            self._report(cycle.ended)
        now = self._context.clock.monotonic()
        for job, at in cycle.going:
            if job.progress.state is RowState.WAIT or at > now:
                heapq.heappush(self._waiting, (at, next(self._order), job))
            else:
                self._pool.submit(job)

    def _commit(self, cycle: _Cycle) -> None:
        changes = [(job, writes) for job, writes in cycle.changes if writes]
        if not changes:
            return
        try:
            self._context.journal.commit(
                *sorted((write for _, writes in changes for write in writes), key=is_row)
            )
        except JournalError as error:
            if error.code != "journal.conflict":
                raise
            self._commit_apart(changes)
        begun = [
            job
            for job, _ in cycle.going
            if job.progress.state is not RowState.WAIT and not job.begun
        ]
        for job in begun:
            job.begun = True
        if begun:
            failpoint.hit("begun:row")

    def _commit_apart(self, changes: Sequence[tuple[Job, list[Write]]]) -> None:
        """Another run was faster with one of these rows: that row waits, the others go on."""
        for job, writes in changes:
            try:
                self._context.journal.commit(*writes)
            except JournalError as error:
                if error.code != "journal.conflict" or job.begun:
                    raise
                job.progress = replace(job.progress, state=RowState.WAIT)

    def _report(self, ended: Sequence[EndedRow]) -> None:
        self.ended_rows.put((row.line, msgspec.json.encode(row)) for row in ended)
        for row in ended:
            self.totals.add(row)
            self._emit("row-ended", row)
