"""A copy of each board's record in a folder or on a share, as boards end (bench.yaml `mirror`).

A thread of its own writes, so that a share that hangs delays nobody; what it could not write is
named at the end of the run and fails nothing. The journal stays the record; this is for people and
programs that read elsewhere.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import InfuseError
from infuse_cli.files import write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from infuse_cli.ports import Events
    from infuse_cli.types import Event

GRACE_S: Final = 5.0
"""How long the end of a run waits for what is still to be written."""


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """How many records were written to the folder, and by board why one was not."""

    folder: Path
    written: int
    failed: Mapping[str, str]


class Mirror:
    """Events of a run, passed on; each board's record is written when the board has ended.

    `record` gives the record of a board as text.
    """

    def __init__(self, inner: Events, folder: Path, record: Callable[[str], str]) -> None:
        self._inner: Final = inner
        self._folder: Final = folder
        self._record: Final = record
        self._work: Final[queue.SimpleQueue[str | None]] = queue.SimpleQueue()
        self._boards: Final[set[str]] = set()
        self._written: Final[set[str]] = set()
        self._failed: Final[dict[str, str]] = {}
        self._stopped = threading.Event()
        self._thread: Final = threading.Thread(target=self._write_all, name="mirror", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        self._inner.emit(event)
        if event.event == "board-ended" and event.board is not None and event.state is not None:
            self._boards.add(event.board)
            self._work.put(event.board)

    def close(self) -> None:
        """Wait a little for what is still to be written; then nothing more reads the journal."""
        self._work.put(None)
        self._thread.join(GRACE_S)
        self._stopped.set()

    def report(self) -> MirrorReport:
        """What was written and what was not, so far."""
        late = "the folder did not take it in time"
        missing = dict.fromkeys(self._boards - self._written, late)
        return MirrorReport(self._folder, len(self._written), {**missing, **self._failed})

    def _write_all(self) -> None:
        while (board := self._work.get()) is not None and not self._stopped.is_set():
            try:
                text = self._record(board)
                if not self._stopped.is_set():
                    self._write(board, text)
                self._written.add(board)
                self._failed.pop(board, None)
            except OSError as error:
                self._failed[board] = error.strerror or type(error).__name__
            except InfuseError as error:
                self._failed[board] = error.message

    def _write(self, board: str, text: str) -> None:
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in board)
        write_file(self._folder / f"{name}.json", f"{text}\n".encode())
