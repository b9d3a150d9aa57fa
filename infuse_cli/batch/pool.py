"""Threads that do HTTP for the coordinator, and nothing else."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.model import Failed, FoundDevice, NotStarted
from infuse_cli.batch.row_states import RowState

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.batch.model import Answer, Job


class Pool:
    """`threads` workers. A job for which `brake` is True is not begun.

    `refusals` counts creates that were refused for certain, at once and not when the coordinator
    comes to it. `busy` is how many jobs are submitted and not answered yet.
    """

    def __init__(
        self, call: Callable[[Job], Answer], threads: int, brake: Callable[[Job], bool]
    ) -> None:
        self._call: Final = call
        self._brake: Final = brake
        self._jobs: Final[queue.SimpleQueue[Job | None]] = queue.SimpleQueue()
        self._answers: Final[queue.SimpleQueue[tuple[Job, Answer]]] = queue.SimpleQueue()
        self._lock: Final = threading.Lock()
        self.refusals = 0
        self.busy = 0
        self._threads: Final = [
            threading.Thread(target=self._work, name=f"batch-{number + 1}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Have a job's call made; for the coordinator alone."""
        self.busy += 1
        self._jobs.put(job)

    def answers(self, timeout_s: float) -> list[tuple[Job, Answer]]:
        """All answers that are there, after waiting at most `timeout_s` for the first one.

        For the coordinator alone.
        """
        answers: list[tuple[Job, Answer]] = []
        try:
            answers.append(self._answers.get(timeout=timeout_s))
            while True:
                answers.append(self._answers.get_nowait())
        except queue.Empty:
            self.busy -= len(answers)
            return answers

    def close(self) -> None:
        """Let the threads go; those that wait for the cloud end with the process."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            answer: Answer = NotStarted() if self._brake(job) else self._call(job)
            if _is_refusal(job, answer):
                with self._lock:
                    self.refusals += 1
            self._answers.put((job, answer))


def _is_refusal(job: Job, answer: Answer) -> bool:
    match answer:
        case Failed(error):
            return job.progress.state is RowState.CREATE and error.code == "cloud.refused"
        case FoundDevice(device, _, refusal):
            return device is None and refusal is not None
        case _:
            return False
