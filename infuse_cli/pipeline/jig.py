"""A jig whose port stays when its board goes: presence is an answer (rule 6, `board.presence: answer`).

Asked for gently: an empty jig gets the question of the dialect, a board that has its result is asked for its
DEVICEUUID. Another UUID is another board; silence, and then the same again, is a board that was put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from infuse_cli.dialect import operations
from infuse_cli.errors import InfuseError
from infuse_cli.pipeline.engine import BoardResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.pipeline.fleet import Fleet
    from infuse_cli.ports import Board

ASK_S: Final = 1.0
"""Pause between two questions."""

_EMPTY: Final = frozenset({"serial.silent", "serial.garbled"})
_AWAY: Final = frozenset({"serial.no-port", "serial.unplugged"})


class Take(Protocol):
    """How a jig hands a board over to be worked on; None where the shift takes no more."""

    def __call__(self, link: Board, slot: int, *, close: bool) -> BoardResult | None: ...  # noqa: D102


class Jig:
    """Serves one port until it goes away or the run is stopped."""

    def __init__(self, fleet: Fleet, slot: int, port: str, *, take: Take, tell: Callable[[BoardResult], None], left: Callable[[], None]) -> None:
        self._fleet: Final = fleet
        self._slot: Final = slot
        self._port: Final = port
        self._take: Final = take
        self._tell: Final = tell
        self._left: Final = left
        self._told: str | None = None

    def run(self) -> None:
        """Take one board after another."""
        while (link := self._answering()) is not None:
            try:
                result = self._take(link, self._slot, close=False)
                if result is not None:
                    self._tell(result)
                    gone = self._until_gone(link, result)
            finally:
                link.close()
            if result is None:
                self._pause()
            elif result.error is not None and result.error.code in _AWAY and "://" not in self._port:
                return
            elif gone:
                self._left()

    def _pause(self) -> bool:
        return self._fleet.deps.clock.wait(ASK_S)

    def _answering(self) -> Board | None:
        """The open port with a board on it; None when the port is gone or the run is stopped."""
        while not self._fleet.deps.clock.wait(0):
            found = self._fleet.opened(self._slot, self._port)
            if not isinstance(found, BoardResult):
                self._told = None
                return found
            code = "" if found.error is None else found.error.code
            if code in _AWAY and "://" not in self._port:
                return None
            if code not in _EMPTY | _AWAY and code != self._told:
                self._tell(found)
                self._told = code
            self._pause()
        return None

    def _until_gone(self, link: Board, result: BoardResult) -> bool:
        """Wait until another board answers, or none does; False when the run is stopped before."""
        uuid = None if result.identity is None else result.identity.uuid
        while not self._pause():
            try:
                if uuid is None:
                    self._still_answers(link)
                else:
                    link.run(operations(link.dialect).same_board(uuid))
            except InfuseError:
                return True
        return False

    def _still_answers(self, link: Board) -> None:
        """A board that could not say who it is: as long as it answers at all it is the same one."""
        link.close()
        found = self._fleet.opened(self._slot, self._port)
        if isinstance(found, BoardResult):
            raise found.error or InfuseError("serial.silent", f"nothing on {self._port} answers")
        found.close()
