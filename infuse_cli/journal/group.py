"""Commits of many threads with one fsync.

While one commit is on its way to the disk, those that come wait, and whoever is next makes all of
them durable together. Each is still all or nothing by itself: where one is refused, the whole is
undone and each is made alone.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.records import Write

    Apply = Callable[[Sequence[tuple[Write, ...]]], None]

_EVERYBODY: Final = frozenset(
    {"journal.locked", "journal.read-only", "journal.corrupt", "journal.newer", "journal.disk-full"}
)
"""What is wrong with the file and not with what was to be written: trying each alone would only
take longer.
"""


@dataclass(slots=True, eq=False)
class _Job:
    writes: tuple[Write, ...]
    over: bool = False
    error: Exception | None = None


class GroupCommit:
    """`apply` makes all writes it is given durable in one transaction, or none."""

    def __init__(self, apply: Apply) -> None:
        self._apply: Final = apply
        self._turn: Final = threading.Lock()
        self._waiting: Final[deque[_Job]] = deque()

    def commit(self, writes: tuple[Write, ...]) -> None:
        """Return once these writes are durable; raises what refused them, and then none is."""
        job = _Job(writes)
        self._waiting.append(job)
        with self._turn:
            if not job.over:
                self._work_off([self._waiting.popleft() for _ in range(len(self._waiting))])
        if job.error is not None:
            raise job.error

    def _work_off(self, jobs: list[_Job]) -> None:
        try:
            self._make(jobs)
        # also where this thread was stopped in the middle: nobody may take that for a commit
        finally:
            _settle(
                [job for job in jobs if not job.over],
                JournalError("journal.conflict", "the commit was broken off"),
            )

    def _make(self, jobs: list[_Job]) -> None:
        try:
            self._apply([job.writes for job in jobs])
        except Exception as error:  # noqa: BLE001 - it belongs to the thread whose writes were refused
            common = isinstance(error, JournalError) and error.code in _EVERYBODY
            if common or len(jobs) == 1:
                _settle(jobs, error)
                return
            for job in jobs:
                self._make([job])
        else:
            _settle(jobs, None)


def _settle(jobs: list[_Job], error: Exception | None) -> None:
    for job in jobs:
        job.error, job.over = error, True
