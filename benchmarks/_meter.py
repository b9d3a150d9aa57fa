"""How long a thread waited for others: measured at the system calls that block, from outside the
program measured.

pyserial waits in `select` and nowhere else, httpx in `recv` and `connect`. Both are wrapped here,
so the same meter serves this program and any other that stands on pyserial. What is left of the
wall clock is the host's own: its code, its disk, its pauses, and its waiting for a free CPU.
"""

from __future__ import annotations

import select
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Waited(threading.local):
    """Seconds that this thread waited so far, by what for."""

    board = 0.0
    cloud = 0.0


waited = _Waited()


@dataclass
class Spent:
    """Seconds of one thread: wall clock, of it waiting for the board and for the cloud, and CPU;
    times it was added to.
    """

    wall: float = 0.0
    cpu: float = 0.0
    board: float = 0.0
    cloud: float = 0.0
    times: int = 0

    @property
    def host(self) -> float:
        """What nobody else can be blamed for."""
        return self.wall - self.board - self.cloud


@contextmanager
def spending(into: Spent) -> Iterator[None]:
    """Add what passes inside to `into`."""
    cpu, board, cloud = time.thread_time(), waited.board, waited.cloud
    began = time.perf_counter()
    try:
        yield
    finally:
        into.cpu += time.thread_time() - cpu
        into.wall += time.perf_counter() - began
        into.board += waited.board - board
        into.cloud += waited.cloud - cloud
        into.times += 1


def watch_serial() -> None:
    """Have pyserial's waiting counted from now on."""
    from serial import serialposix

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return select.select(*args)
        finally:
            waited.board += time.perf_counter() - began

    serialposix.select = SimpleNamespace(select=timed, error=select.error)
    with suppress(ImportError):  # the peer's Python may not have this project
        from infuse_cli.link import direct

        direct.select = SimpleNamespace(select=timed)


def watch_http() -> None:
    """Have httpx's waiting counted from now on."""
    from httpcore._backends import sync

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                waited.cloud += time.perf_counter() - began

        return call

    sync.SyncStream.read = timed(sync.SyncStream.read)
    sync.SyncBackend.connect_tcp = timed(sync.SyncBackend.connect_tcp)


@dataclass
class Parts:
    """Where one board's time went."""

    whole: Spent = field(default_factory=Spent)
    serial: Spent = field(default_factory=Spent)
    commits: Spent = field(default_factory=Spent)
    reads: Spent = field(default_factory=Spent)


class _Current(threading.local):
    parts: Parts | None = None


current = _Current()


class TimedSource:
    """A board source whose open ports count what their conversations take."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def open(self, port: str) -> Any:
        parts = current.parts
        if parts is None:
            return self._source.open(port)
        with spending(parts.serial):
            session = self._source.open(port)
        session.run = _spending(session.run, parts.serial)
        session.close = _spending(session.close, parts.serial)
        return session


class TimedJournal:
    """A journal whose commits and reads are counted apart."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._journal, name)
        parts = current.parts
        if parts is None or not callable(value):
            return value
        return _spending(value, parts.commits if name == "commit" else parts.reads)


def _spending(call: Callable[..., Any], into: Spent) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with spending(into):
            return call(*args, **kwargs)

    return timed
