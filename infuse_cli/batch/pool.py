"""Threads that do HTTP for the coordinator, and nothing else."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.model import Do, Failed, Found, NotStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.batch.model import Answer, Job


class Pool:
    """`threads` workers.

    A job that `brake` says True of is not begun; `hear` gives the answers back.

    `refusals` counts creates that were refused for certain, at once and not when the coordinator
    comes to it.
    """

    def __init__(
        self, carry_out: Callable[[Job], Answer], threads: int, brake: Callable[[Job], bool]
    ) -> None:
        self._carry_out: Final = carry_out
        self._brake: Final = brake
        self._asked: Final[queue.SimpleQueue[Job | None]] = queue.SimpleQueue()
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
        """Have a job carried out; for the coordinator alone."""
        self.busy += 1
        self._asked.put(job)

    def hear(self, timeout_s: float) -> list[tuple[Job, Answer]]:
        """All answers that are there, after waiting for the first one for `timeout_s` at most; for
        the coordinator alone.
        """
        heard: list[tuple[Job, Answer]] = []
        try:
            heard.append(self._answers.get(timeout=timeout_s))
            while True:
                heard.append(self._answers.get_nowait())
        except queue.Empty:
            self.busy -= len(heard)
            return heard

    def close(self) -> None:
        """Let the threads go; those that wait for the cloud end with the process."""
        for _ in self._threads:
            self._asked.put(None)

    def _work(self) -> None:
        while (job := self._asked.get()) is not None:
            answer: Answer = NotStarted() if self._brake(job) else self._carry_out(job)
            if _is_refusal(job, answer):
                with self._lock:
                    self.refusals += 1
            self._answers.put((job, answer))


def _is_refusal(job: Job, answer: Answer) -> bool:
    match answer:
        case Failed(error):
            return job.do is Do.CREATE and error.code == "cloud.refused"
        case Found(device):
            return device is None and job.refusal is not None
        case _:
            return False
