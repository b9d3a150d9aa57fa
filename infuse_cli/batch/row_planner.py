"""A row as it is taken: what journal and cloud have of it, and so what has to be done first."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.model import EndedRow, Job, RowProgress
from infuse_cli.batch.row_machine import PATIENCE, Continue, Finish, RowStateMachine
from infuse_cli.batch.row_states import RowState
from infuse_cli.errors import JournalError
from infuse_cli.records.rows import BEGUN, RowOutcome
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infuse_cli.api_types import Device
    from infuse_cli.batch.existing import Existing
    from infuse_cli.batch.model import RunContext
    from infuse_cli.batch.row_machine import Next
    from infuse_cli.records import TokenRecord
    from infuse_cli.records.rows import Row, RowRecord

_WAIT_S: Final = 0.2
_LIVE: Final = frozenset({TokenState.MINTED, TokenState.DELIVERED})
_ELSEWHERE: Final = frozenset({TokenState.CONSUMED, TokenState.HANDED_OVER})
"""Tokens whose device may be a board's by now, also after their time: it is never cleared from
here.
"""
_UNSURE: Final = frozenset({BEGUN, RowOutcome.UNKNOWN.value})
_MAYBE_THERE: Final = _UNSURE | {RowOutcome.CREATED.value, RowOutcome.EXISTED.value}
"""Recorded states after which a device that the list lacks may exist, or may come to: it is looked
up before a POST.
"""


class RowPlanner:
    """Makes jobs of rows.

    `began` is when this run began (monotonic seconds): what dead runs sent has arrived a grace
    later.
    """

    def __init__(
        self, context: RunContext, existing: Existing, machine: RowStateMachine, began: float
    ) -> None:
        self._context: Final = context
        self._existing: Final = existing
        self._machine: Final = machine
        self._settled_at: Final = began + machine.grace_s
        self._dead_runs: Final[set[str]] = set()

    def take(self, rows: Sequence[Row]) -> Iterator[tuple[Job, Next]]:
        """The rows' jobs and what comes first for each.

        The journal and the list are asked once for all of them.
        """
        ids, resolved = [row.mcu_id for row in rows], self._context.resolved
        records = self._context.journal.rows(resolved.organisation.id, resolved.soc, ids)
        devices = self._existing.get_many(ids)
        for row in rows:
            progress = RowProgress(RowState.CREATE)
            job = Job(row, resolved.soc, records.get(row.mcu_id), progress)
            yield job, self._first(job, devices.get(row.mcu_id))

    def _first(self, job: Job, device: Device | None) -> Next:
        if self._is_held(job.record):
            return self._wait(job)
        row, settled_at = self._with_tokens(job, job.progress), self._settled_at
        if device is not None:
            return self._machine.with_device(job, row, device)
        if job.record is not None and job.record.state in _MAYBE_THERE:
            waiting = replace(row.waiting, grace_end=settled_at)
            return Continue(replace(row, state=RowState.LOOK_UP, waiting=waiting), settled_at)
        state = RowState.CREATE if self._existing.complete else RowState.LOOK_UP
        return Continue(replace(row, state=state))

    def retake(self, job: Job) -> Next:
        """What follows for a row that another run had."""
        now, resolved = self._context.clock.monotonic(), self._context.resolved
        job.record = self._context.journal.row(
            resolved.organisation.id, resolved.soc, job.row.mcu_id
        )
        if self._is_held(job.record):
            since = job.progress.waiting.since
            if since is not None and now - since > PATIENCE * self._machine.outage_s:
                return _still_held(job)
            return self._wait(job)
        unsure = job.record is not None and job.record.state in _UNSURE
        row = self._with_tokens(job, job.progress)
        grace_end = now + self._machine.grace_s if unsure else 0.0
        waiting = replace(row.waiting, since=None, grace_end=grace_end)
        return Continue(replace(row, state=RowState.LOOK_UP, waiting=waiting))

    def _is_held(self, record: RowRecord | None) -> bool:
        """Whether a living run works on the row."""
        if record is None or record.state != BEGUN or record.run == self._context.run:
            return False
        if record.run in self._dead_runs:
            return False
        if self._context.journal.alive(record.run):
            return True
        self._dead_runs.add(record.run)
        return False

    def _wait(self, job: Job) -> Continue:
        now, waiting = self._context.clock.monotonic(), job.progress.waiting
        waiting = replace(waiting, since=waiting.since or now)
        return Continue(replace(job.progress, state=RowState.WAIT, waiting=waiting), now + _WAIT_S)

    def _with_tokens(self, job: Job, row: RowProgress) -> RowProgress:
        """What the journal has of the row's token.

        A live token stays; one whose mint may have happened unseen is looked up by name; else one
        is intended.
        """
        if job.row.name is None:
            return row
        tokens = self._context.journal.tokens(board=job.key)
        known = frozenset(token.intent for token in tokens)
        same_name = [token for token in tokens if token.name == job.row.name]
        live = [token for token in same_name if self._is_live(token)]
        if live:
            newest = live[-1]
            token = replace(
                row.token,
                known=known,
                live=newest.intent,
                intent=None,  # another run was faster than an intent of before
                registry_device_id=newest.registry_device_id,
            )
            return replace(row, token=token)
        intended = [token for token in same_name if token.state is TokenState.INTENDED]
        if intended:
            token = replace(row.token, known=known, intent=intended[0].intent, maybe_minted=True)
            waiting = replace(row.waiting, list_from=self._settled_at, grace_end=self._settled_at)
            return replace(row, token=token, waiting=waiting)
        intent = uuid.uuid4().hex
        return replace(row, token=replace(row.token, known=known | {intent}, intent=intent))

    def _is_live(self, token: TokenRecord) -> bool:
        if token.state in _ELSEWHERE:
            return True
        unexpired = token.expires_at is None or token.expires_at > self._context.clock.now()
        return token.state in _LIVE and unexpired


def _still_held(job: Job) -> Finish:
    run = job.record.run if job.record is not None else "?"
    error = JournalError("journal.conflict", f"run {run} still works on this row")
    ended = EndedRow(
        line=job.row.line,
        mcu_id=job.row.mcu_id,
        outcome=RowOutcome.UNKNOWN,
        name=job.row.name,
        error=error.as_json(),
    )
    return Finish(job.progress, ended)
