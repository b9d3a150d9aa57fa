"""Work that a second process does while this one goes on: where a processor is free for it, else it is done here."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Generic, NoReturn, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

A = TypeVar("A")
B = TypeVar("B")


class Aside(Generic[A, B]):
    """`work`, a piece at a time: `begin` gives it one, `end` gives its result, or None where nothing was begun.

    The process is this one's copy as of now: make it before there are secrets, threads or an open journal. It ends
    with this one, however that ends. Whatever goes wrong in it is done again here, so `work` may be done twice.
    """

    def __init__(self, work: Callable[[A], B], *, apart: bool) -> None:
        self._work = work
        self._given: tuple[A] | None = None
        self._found: tuple[B] | None = None
        self._child: tuple[int, Connection] | None = _forked(work) if apart else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over()

    def begin(self, what: A) -> None:
        """Have a piece done; the one before has to be ended. Where there is no other process it is done now."""
        if self._child is not None:
            try:
                self._child[1].send(what)
            except OSError:
                self._over()
            else:
                self._given = (what,)
                return
        self._found = (self._work(what),)

    def end(self) -> B | None:
        """Wait for the piece that was begun. Raises what `work` raises."""
        given, found = self._given, self._found
        self._given = self._found = None
        if given is not None and self._child is not None:
            try:
                return self._child[1].recv()  # type: ignore[no-any-return]
            except (OSError, EOFError):
                self._over()
        if given is not None:
            return self._work(given[0])
        return None if found is None else found[0]

    def _over(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child[1].close()
            os.waitpid(child[0], 0)


def can_spare() -> bool:
    """Whether a process can be copied here as it runs, and a second processor is there for the copy."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1


def _forked(work: Callable[[A], B]) -> tuple[int, Connection]:
    from multiprocessing import Pipe

    ours, theirs = Pipe()
    if (child := os.fork()) == 0:
        ours.close()  # else it would never hear that the other end is gone
        _serve(work, theirs)
    theirs.close()
    return child, ours


def _serve(work: Callable[[A], B], end: Connection) -> NoReturn:
    """Work until the other end is closed; nothing of the copied program runs on."""
    try:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # meant for the program as a whole, which says when it is over
            signal.signal(number, signal.SIG_IGN)
        while True:
            end.send(work(end.recv()))
    finally:
        os._exit(0)
