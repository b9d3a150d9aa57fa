"""Work that a second process does while this one goes on: where a processor is free for it, else it
is done here.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, NoReturn, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

A = TypeVar("A")
B = TypeVar("B")
_STOPS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Meant for the program as a whole, which says when it is over."""


class ForkedWorker(Generic[A, B]):
    """`work`, a piece at a time: `submit` gives it one, `result` gives what came of it, or None
    where nothing was submitted.

    The process is this one's copy as of now: make it before there are secrets, threads or an open
    journal. It ends with this one, however that ends. Whatever goes wrong in it is done again here,
    so `work` may be done twice.
    """

    def __init__(self, work: Callable[[A], B], *, fork: bool) -> None:
        self._work = work
        self._submitted: tuple[A] | None = None
        self._done: tuple[B] | None = None
        self._child: tuple[int, Connection] | None = _forked(work) if fork else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def submit(self, piece: A) -> None:
        """Have a piece done; the result of the one before has to be taken.

        Where there is no other process it is done now.
        """
        if self._child is not None:
            try:
                self._child[1].send(piece)
            except OSError:
                self._close()
            else:
                self._submitted = (piece,)
                return
        self._done = (self._work(piece),)

    def result(self) -> B | None:
        """Wait for the piece that was submitted. Raises what `work` raises."""
        submitted, done = self._submitted, self._done
        self._submitted = self._done = None
        if submitted is not None and self._child is not None:
            try:
                return self._child[1].recv()  # type: ignore[no-any-return]
            except (OSError, EOFError):
                self._close()
        if submitted is not None:
            return self._work(submitted[0])
        return None if done is None else done[0]

    def _close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child[1].close()
            with suppress(
                ChildProcessError
            ):  # whoever started us ignores SIGCHLD: then no child is waited for
                os.waitpid(child[0], 0)


def can_spare() -> bool:
    """Whether a process can be copied here as it runs, and a second processor is there for the
    copy.
    """
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1


def _forked(work: Callable[[A], B]) -> tuple[int, Connection] | None:
    """A copy at work, and our end of its pipe; None where there may be no more processes, then the
    work is done here.
    """
    if sys.platform == "win32":
        return None
    from multiprocessing import Pipe

    ours, theirs = Pipe()
    masked = signal.pthread_sigmask(
        signal.SIG_BLOCK, _STOPS
    )  # a stop in this moment must not unwind the program in its copy too
    try:
        if (child := os.fork()) == 0:
            _serve(work, ours, theirs)
    except OSError:
        ours.close()
        return None
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    return child, ours


def _serve(work: Callable[[A], B], others: Connection, end: Connection) -> NoReturn:
    """Work until the other end is closed; nothing of the copied program runs on."""
    try:
        others.close()  # else it would never hear that the other end is gone
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        while True:
            end.send(work(end.recv()))
    finally:
        os._exit(0)
