"""A copy of each board's record in a folder or on a share, as boards end (bench.yaml `mirror`).

A thread of its own writes, so that a share that hangs delays nobody; what it could not write is
told at the end of the run and fails nothing. The journal stays the record; this is for people and
programs that read elsewhere.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import InfuseError
from infuse_cli.files import write_file
from infuse_cli.journal.board_json import record
from infuse_cli.text import json_line

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.cli.views.events import Renderer
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.types import Event

GRACE_S: Final = 5.0
"""How long the end of a run waits for what is still to be written."""


class Mirror:
    """Events of a run, passed on; each board's record is written when the board has ended."""

    def __init__(self, inner: Renderer, journal: SqliteJournal, folder: Path) -> None:
        self.leaves_errors = inner.leaves_errors
        self._inner: Final = inner
        self._journal: Final = journal
        self._folder: Final = folder
        self._work: Final[queue.SimpleQueue[str | None]] = queue.SimpleQueue()
        self._given: Final[list[str]] = []
        self._written: Final[list[str]] = []
        self._failed: Final[dict[str, str]] = {}
        self._stopped = threading.Event()
        self._thread: Final = threading.Thread(target=self._write_all, name="mirror", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        self._inner.emit(event)
        if event.event == "board-ended" and event.board is not None and event.state is not None:
            self._given.append(event.board)
            self._work.put(event.board)

    def close(self) -> None:
        """Wait a little for what is still to be written; then nothing more reads the journal."""
        self._work.put(None)
        self._thread.join(GRACE_S)
        self._stopped.set()
        self._inner.close()

    def told(self) -> dict[str, Any]:
        """How many records were written, and by board why one was not."""
        missing = {
            board: "the folder did not take it in time"
            for board in self._given
            if board not in self._written
        }
        return {
            "folder": str(self._folder),
            "written": len(set(self._written)),
            "failed": {**missing, **self._failed},
        }

    @staticmethod
    def warnings(told: dict[str, Any]) -> list[str]:
        """A line for each board that is not in the mirror."""
        return [
            f"warning: the record of board {board} was not copied to {told['folder']}: {why}; the"
            " journal has it"
            for board, why in told["failed"].items()
        ]

    def _write_all(self) -> None:
        while (board := self._work.get()) is not None and not self._stopped.is_set():
            try:
                text = json_line(record(self._journal, board))
                if not self._stopped.is_set():
                    self._write(board, text)
                self._written.append(board)
                self._failed.pop(board, None)
            except OSError as error:
                self._failed[board] = error.strerror or type(error).__name__
            except InfuseError as error:
                self._failed[board] = error.message

    def _write(self, board: str, text: str) -> None:
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in board)
        write_file(self._folder / f"{name}.json", f"{text}\n".encode())
