"""A row as it is taken: what the journal and the list of the cloud say of it, and so what has to be
done.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.model import Do, Ended, Job
from infuse_cli.batch.row_machine import PATIENCE, Course, End, Go
from infuse_cli.errors import JournalError
from infuse_cli.records.rows import BEGUN, RowOutcome
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infuse_cli.api_types import Device
    from infuse_cli.batch.existing import Existing
    from infuse_cli.batch.model import BatchParts
    from infuse_cli.batch.row_machine import Next
    from infuse_cli.records import TokenRecord
    from infuse_cli.records.rows import Row

_HOLD_S: Final = 0.2
_LIVE: Final = frozenset({TokenState.MINTED, TokenState.EXPOSED})
_ELSEWHERE: Final = frozenset({TokenState.CONSUMED, TokenState.HANDED_OVER})
"""Tokens whose device may be a board's by now, also after their time: it is never cleared from
here.
"""
_IN_DOUBT: Final = frozenset(
    {
        BEGUN,
        *(
            outcome.value
            for outcome in (RowOutcome.UNKNOWN, RowOutcome.CREATED, RowOutcome.EXISTED)
        ),
    }
)
"""States on record after which a device that the list lacks may exist, or may come to: it is looked
up before a POST.
"""


class Intake:
    """Makes jobs of rows.

    `began` is when this run began (monotonic seconds): what dead runs sent has arrived a grace
    later.
    """

    def __init__(self, parts: BatchParts, existing: Existing, course: Course, began: float) -> None:
        self._parts: Final = parts
        self._existing: Final = existing
        self._course: Final = course
        self._settled_at: Final = began + course.grace_s
        self._dead: Final[set[str]] = set()

    def take(self, rows: Sequence[Row]) -> Iterator[tuple[Job, Next]]:
        """The rows' jobs and what comes first for each; the journal and the list are asked once for
        all of them.
        """
        ids, resolved = [row.mcu_id for row in rows], self._parts.resolved
        records = self._parts.journal.rows(resolved.organisation.id, resolved.soc, ids)
        devices = self._existing.some(ids)
        for row in rows:
            job = Job(row=row, record=records.get(row.mcu_id), do=Do.CREATE, soc=resolved.soc)
            yield job, self._first(job, devices.get(row.mcu_id))

    def _first(self, job: Job, device: Device | None) -> Next:
        if self._is_held(job):
            return self._hold(job)
        if job.row.name is not None:
            self._find_tokens(job)
        if device is not None:
            return self._course.known(job, device)
        if job.record is not None and job.record.state in _IN_DOUBT:
            job.do, job.grace_end = Do.LOOK, self._settled_at
            return Go(self._settled_at)
        job.do = Do.CREATE if self._existing.complete else Do.LOOK
        return Go()

    def retake(self, job: Job) -> Next:
        """Look again at a row that another run had."""
        now = self._parts.clock.monotonic()
        job.record = self._parts.journal.row(
            self._parts.resolved.organisation.id, self._parts.resolved.soc, job.row.mcu_id
        )
        if self._is_held(job):
            if job.since is not None and now - job.since > PATIENCE * self._course.outage_s:
                return End(_still_held(job))
            return self._hold(job)
        job.since = None
        if job.row.name is not None:
            self._find_tokens(job)
        in_doubt = job.record is not None and job.record.state in {BEGUN, RowOutcome.UNKNOWN.value}
        job.do, job.grace_end = Do.LOOK, now + self._course.grace_s if in_doubt else 0.0
        return Go()

    def _is_held(self, job: Job) -> bool:
        record = job.record
        if (
            record is None
            or record.state != BEGUN
            or record.run == self._parts.run
            or record.run in self._dead
        ):
            return False
        if self._parts.journal.alive(record.run):
            return True
        self._dead.add(record.run)
        return False

    def _hold(self, job: Job) -> Go:
        now = self._parts.clock.monotonic()
        job.do, job.since = Do.HOLD, job.since or now
        return Go(now + _HOLD_S)

    def _find_tokens(self, job: Job) -> None:
        """A live token is kept; one whose mint may have happened unseen is looked up by name; else
        one is intended.
        """
        tokens = self._parts.journal.tokens(board=job.key)
        job.intents = frozenset(token.intent for token in tokens)
        live = next(
            (
                token
                for token in reversed(tokens)
                if token.name == job.row.name and self._is_live(token)
            ),
            None,
        )
        if live is not None:
            # An intent of before another run was faster with this row is none any more.
            job.live, job.intent, job.registry_device_id = (
                live.intent,
                None,
                live.registry_device_id,
            )
            return
        intended = next(
            (
                token
                for token in tokens
                if token.state is TokenState.INTENDED and token.name == job.row.name
            ),
            None,
        )
        if intended is not None:
            job.intent, job.minted_unseen, job.not_before, job.grace_end = (
                intended.intent,
                True,
                self._settled_at,
                self._settled_at,
            )
            return
        job.intent = uuid.uuid4().hex
        job.intents |= {job.intent}

    def _is_live(self, token: TokenRecord) -> bool:
        now = self._parts.clock.now()
        return token.state in _ELSEWHERE or (
            token.state in _LIVE and (token.expires_at is None or token.expires_at > now)
        )


def _still_held(job: Job) -> Ended:
    run = job.record.run if job.record is not None else "?"
    error = JournalError("journal.raced", f"run {run} still works on this row")
    return Ended(
        line=job.row.line,
        mcu_id=job.row.mcu_id,
        outcome=RowOutcome.UNKNOWN,
        name=job.row.name,
        error=error.as_json(),
    )
