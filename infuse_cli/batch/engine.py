"""The coordinator of a batch: takes rows, has the pool ask the cloud, commits intents and outcomes,
then tells.

Memory is flat: rows are taken while few are under way, and what is told goes to disk.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli import failpoint
from infuse_cli.batch.calls import Caller
from infuse_cli.batch.existing import Existing
from infuse_cli.batch.model import Do, Failed
from infuse_cli.batch.pool import Pool
from infuse_cli.batch.row_machine import AWAY, Course, End, Go, Park, given_up
from infuse_cli.batch.row_planner import Intake
from infuse_cli.batch.row_writes import Ledger, is_row
from infuse_cli.batch.totals import Tally
from infuse_cli.errors import CredentialError, InfuseError, JournalError
from infuse_cli.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infuse_cli import ports
    from infuse_cli.batch.model import Answer, BatchParts, Ended, Job
    from infuse_cli.batch.row_machine import Next
    from infuse_cli.records import Write
    from infuse_cli.records.rows import Row

_AHEAD: Final = 4
"""Rows begun for each thread of the pool, so that none waits for a commit."""

_MOST_WAITING: Final = 2000
"""Rows that wait for a look-up or for the cloud to come back; more are not taken meanwhile."""

_PIECE: Final = 64
_MOST_PIECES: Final = 8
_HEAR_S: Final = 0.1
"""How long the coordinator waits at a time: short, so that it keeps hearing signals."""


@dataclass(slots=True)
class _Cycle:
    """What one turn of the coordinator makes durable together, and what follows once it is."""

    changes: list[tuple[Job, list[Write]]] = field(default_factory=list)
    going: list[tuple[Job, float]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    begins: bool = False


class Batch:
    """One run over a file's rows; `total` is how many there are."""

    def __init__(self, parts: BatchParts, total: int) -> None:
        self._parts: Final = parts
        resolved, cloud = parts.resolved, parts.profile.cloud
        self._course: Final = Course(
            organisation_id=resolved.organisation.id,
            board_id=resolved.board.id,
            update=parts.options.update,
            grace_s=cloud.lost_answer_grace_s,
            outage_s=cloud.outage_wait_s,
        )
        self._ledger: Final = Ledger(
            parts.journal,
            parts.sealer,
            run=parts.run,
            organisation=resolved.organisation.id,
            soc=resolved.soc,
        )
        self._existing: Final = Existing(parts.shelf())
        self._intake: Final = Intake(parts, self._existing, self._course, parts.clock.monotonic())
        self._pool: Final = Pool(Caller(parts).carry_out, parts.options.concurrency, self._braked)
        self._waiting: Final[list[tuple[float, int, Job]]] = []
        self._count: Final = itertools.count()
        self._total: Final = total
        self._failing = 0
        self._heard = 0.0
        self._exhausted = False
        self._stop_told = False
        self.tally: Final = Tally()
        self.told: Final[ports.Shelf] = parts.shelf()
        self.trouble: InfuseError | None = None

    @property
    def left(self) -> int:
        """Rows that did not come to an end."""
        return self._total - self.tally.rows

    def run(self, rows: Iterator[Row]) -> None:
        """Bring the rows into the cloud, until none is left or something stops all (`trouble`).

        Raises what reading the list raises.
        """
        try:
            self._existing.read(self._parts.patient, self._parts.resolved, most_pages=self._total)
            while not self._is_over():
                self._turn(rows)
        except JournalError as error:
            self.trouble = (
                error  # what is under way stays begun on record, and is looked up by the next run
            )
        finally:
            self._pool.close()

    def _turn(self, rows: Iterator[Row]) -> None:
        cycle = _Cycle()
        for job, answer in self._pool.hear(self._patience_s()):
            now = self._parts.clock.monotonic()
            self._note(answer, now)
            self._follow(cycle, job, self._course.after(job, answer, now, self._heard))
        self._wake(cycle)
        self._take(cycle, rows)
        self._settle(cycle)

    def _patience_s(self) -> float:
        if self._may_take():
            return 0.0
        soonest = self._waiting[0][0] - self._parts.clock.monotonic() if self._waiting else _HEAR_S
        return min(max(soonest, 0.0), _HEAR_S)

    def _is_over(self) -> bool:
        ending = self._exhausted or self._stopping() or self._enough()
        return ending and not self._pool.busy and not self._waiting

    def _stopping(self) -> bool:
        """Whether a person or a trouble stops all; said once, so that nobody stops harder for want
        of an answer.
        """
        stopped = self._parts.clock.wait(0)
        if stopped and not self._stop_told:
            self._stop_told = True
            self._parts.events.emit(
                Event(ts=self._parts.clock.now(), run=self._parts.run, event="run-stopping")
            )
        return stopped or self.trouble is not None

    def _enough(self) -> bool:
        most = self._parts.options.max_failures
        return most is not None and max(self.tally.failures, self._pool.refusals) >= most

    def _braked(self, job: Job) -> bool:
        """For the pool's threads: what was not begun in the cloud yet is not begun any more."""
        if self._parts.clock.wait(0) or self.trouble is not None:
            return True
        return job.do is Do.CREATE and not job.tries and self._enough()

    def _note(self, answer: Answer, now: float) -> None:
        """Count calls in a row that found the cloud away; a credential that is refused
        stops all.
        """
        away = isinstance(answer, Failed) and answer.error.code in AWAY
        self._failing = self._failing + 1 if away else 0
        self._heard = self._heard if away else now
        if isinstance(answer, Failed) and isinstance(answer.error, CredentialError):
            self.trouble = self.trouble or answer.error

    # One turn

    def _follow(self, cycle: _Cycle, job: Job, following: Next) -> None:
        """Put what follows into the cycle; nothing new is sent once the run is being stopped."""
        if isinstance(following, Go) and job.begun and self._stopping():
            following = given_up(job)
        match following:
            case Go(at, fresh_intent):
                if job.do is not Do.HOLD and not job.begun:
                    cycle.changes.append((job, self._ledger.begin(job)))
                elif fresh_intent:
                    cycle.changes.append((job, self._ledger.renew(job)))
                cycle.going.append((job, at))
            case End(ended, retired):
                cycle.changes.append((job, self._ledger.end(job, ended, retired)))
                cycle.ended.append(ended)
            case Park():
                cycle.changes.append((job, self._ledger.park(job)))

    def _wake(self, cycle: _Cycle) -> None:
        """Go on with the rows whose time has come; all of them, once the run is being stopped."""
        now, stopping = self._parts.clock.monotonic(), self._stopping()
        while self._waiting and (stopping or self._waiting[0][0] <= now):
            job = heapq.heappop(self._waiting)[2]
            if stopping:
                self._follow(cycle, job, given_up(job))
            elif job.do is Do.HOLD:
                self._follow(cycle, job, self._intake.retake(job))
            else:
                self._follow(cycle, job, Go())

    def _may_take(self) -> bool:
        room = (
            self._pool.busy < self._parts.options.concurrency * _AHEAD
            and len(self._waiting) < _MOST_WAITING
        )
        well = self._failing < max(self._parts.options.concurrency, 2) or not (
            self._pool.busy or self._waiting
        )
        return room and well and not (self._exhausted or self._stopping() or self._enough())

    def _take(self, cycle: _Cycle, rows: Iterator[Row]) -> None:
        """Take rows while few are under way; those that are there already need no room."""
        room = self._parts.options.concurrency * _AHEAD - self._pool.busy - len(cycle.going)
        for _ in range(_MOST_PIECES):
            if room <= 0 or not self._may_take():
                return
            piece = self._next(rows, min(room, _PIECE))
            for job, following in self._intake.take(piece):
                self._follow(cycle, job, following)
                room -= isinstance(following, Go)

    def _next(self, rows: Iterator[Row], most: int) -> list[Row]:
        piece: list[Row] = []
        try:
            piece.extend(itertools.islice(rows, most))
        except InfuseError as error:  # the file changed while it was read
            self.trouble = self.trouble or error
        self._exhausted = len(piece) < most
        return piece

    def _settle(self, cycle: _Cycle) -> None:
        """Make the turn durable; only then tell what ended, and let go what was begun."""
        if cycle.ended:
            failpoint.hit("ran:row")
        self._commit(cycle)
        if cycle.ended:
            failpoint.hit("done:row")
            self._tell(cycle.ended)
        now = self._parts.clock.monotonic()
        for job, at in cycle.going:
            if job.do is Do.HOLD or at > now:
                heapq.heappush(self._waiting, (at, next(self._count), job))
            else:
                self._pool.submit(job)

    def _commit(self, cycle: _Cycle) -> None:
        changes = [(job, writes) for job, writes in cycle.changes if writes]
        if not changes:
            return
        try:
            self._parts.journal.commit(
                *sorted((write for _, writes in changes for write in writes), key=is_row)
            )
        except JournalError as error:
            if error.code != "journal.raced":
                raise
            self._commit_apart(changes)
        begun = [job for job, _ in cycle.going if job.do is not Do.HOLD and not job.begun]
        for job in begun:
            job.begun = True
        if begun:
            failpoint.hit("begun:row")

    def _commit_apart(self, changes: Sequence[tuple[Job, list[Write]]]) -> None:
        """Somebody was faster with one of these rows: it is held, the others are committed."""
        for job, writes in changes:
            try:
                self._parts.journal.commit(*writes)
            except JournalError as error:
                if error.code != "journal.raced" or job.begun:
                    raise
                job.do = Do.HOLD

    def _tell(self, ended: Sequence[Ended]) -> None:
        self.told.put((one.line, msgspec.json.encode(one)) for one in ended)
        for one in ended:
            self.tally.add(one)
            self._parts.events.emit(
                Event(
                    ts=self._parts.clock.now(),
                    run=self._parts.run,
                    event="row-ended",
                    state=one.outcome.value,
                    error=one.error,
                    data=shown(one),
                )
            )


def shown(ended: Ended) -> dict[str, object]:
    """A row as events and the report show it."""
    message = (ended.error or {}).get("message") or ended.note or None
    return {
        "line": ended.line,
        "mcuId": ended.mcu_id,
        "outcome": ended.outcome.value,
        "deviceId": ended.device_id,
        "id": ended.id,
        "name": ended.name,
        "registryDeviceId": ended.registry_device_id,
        "field": ended.field,
        "code": (ended.error or {}).get("code"),
        "message": message,
    }
