"""A jig whose port stays when its board goes: presence is an answer (`board.presence: answer`).

Asked for gently: an empty jig gets the question of the dialect, a board that has its result is
asked for its DEVICEUUID. Another UUID is another board; silence, and then the same again, is a
board that was put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from infuse_cli.dialect import operations
from infuse_cli.errors import InfuseError
from infuse_cli.provisioning.results import BoardResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.ports import BoardLink
    from infuse_cli.provisioning.fleet import Fleet

ASK_S: Final = 1.0
"""Pause between two questions."""

SILENT_S: Final = 30.0
"""A port that was silent for so long is told of: its jig is empty, or its board is mute."""

_HEARD_TWICE: Final = 2
"""Something that speaks and does not answer is told of at once, but not a board that is still
booting.
"""

_EMPTY: Final = frozenset({"serial.silent", "serial.protocol"})
_AWAY: Final = frozenset({"serial.no-port", "serial.unplugged"})


class Take(Protocol):
    """How a jig hands a board over to be worked on; None where the shift takes no more."""

    def __call__(self, link: BoardLink, slot: int, *, close: bool) -> BoardResult | None: ...  # noqa: D102


class FixturePoller:
    """Serves one port until it goes away or the run is stopped."""

    def __init__(
        self,
        fleet: Fleet,
        slot: int,
        port: str,
        *,
        take: Take,
        report: Callable[[BoardResult], None],
        left: Callable[[], None],
    ) -> None:
        self._fleet: Final = fleet
        self._slot: Final = slot
        self._port: Final = port
        self._take: Final = take
        self._report: Final = report
        self._left: Final = left
        self._told: str | None = None
        self._silence = SilenceMonitor(port)

    def run(self) -> None:
        """Take one board after another."""
        while (link := self._answering()) is not None:
            try:
                result = self._take(link, self._slot, close=False)
                if result is not None:
                    self._report(result)
                    gone = self._until_gone(link, result)
            finally:
                link.close()
            if result is None:
                self._pause()
            elif result.code in _AWAY and "://" not in self._port:
                return
            elif gone:
                self._left()

    def _pause(self) -> bool:
        return self._fleet.context.clock.wait(ASK_S)

    def _answering(self) -> BoardLink | None:
        """The open port with a board on it; None when the port is gone or the run is stopped."""
        clock = self._fleet.context.clock
        self._silence = SilenceMonitor(self._port, since=clock.monotonic())
        while not clock.wait(0):
            found = self._fleet.open(self._slot, self._port)
            if not isinstance(found, BoardResult):
                self._told = None
                return found
            self._announce_silence(found)
            code = found.code or ""
            if code in _AWAY and "://" not in self._port:
                return None
            if code not in _EMPTY | _AWAY and code != self._told:
                self._report(found)
                self._told = code
            self._pause()
        return None

    def _announce_silence(self, found: BoardResult) -> None:
        context = self._fleet.context
        finding = self._silence.after(found.error, context.clock.monotonic())
        if finding is not None:
            data = {"port": self._port, **finding}
            context.emit("slot-silent", slot=self._slot, data=data)

    def _until_gone(self, link: BoardLink, result: BoardResult) -> bool:
        """Wait until another board answers, or none does; False when the run is stopped before."""
        uuid = result.board
        while not self._pause():
            try:
                if uuid is None:
                    self._still_answers(link)
                else:
                    link.run(operations(link.dialect).same_board(uuid))
            except InfuseError:
                return True
        return False

    def _still_answers(self, link: BoardLink) -> None:
        """A board that could not say who it is: as long as it answers at all it is the same one."""
        link.close()
        found = self._fleet.open(self._slot, self._port)
        if isinstance(found, BoardResult):
            raise found.error or InfuseError("serial.silent", f"nothing on {self._port} answers")
        found.close()


class SilenceMonitor:
    """How long a port has been silent, and what it said instead of an answer; reported once each,
    until a board answers.

    Nobody but a person can tell an empty jig from one with a mute board: this is what makes one
    look.
    """

    def __init__(self, port: str, since: float = 0.0) -> None:
        self._port: Final = port
        self._since: Final = since
        self._heard = ("", 0)
        self._told: set[str] = set()

    def after(self, error: InfuseError | None, now: float) -> dict[str, str | None] | None:
        """What there is to be told after one more question, `why` in words and what was `heard`;
        None for nothing new. `now` in seconds.
        """
        if error is None or error.code != "serial.silent":
            return None
        heard = str(error.details.get("heard") or "")
        times = self._heard[1] + 1 if heard and heard == self._heard[0] else 1
        self._heard = (heard, times)
        if heard and times >= _HEARD_TWICE:
            return self._once(heard, f"{self._port} answers nothing, but is not empty: {heard}")
        if not heard and now - self._since >= SILENT_S:
            return self._once(
                "",
                f"{self._port} silent for {SILENT_S:.0f} s: no board, or a mute one (power?"
                " firmware? baud rate?)",
            )
        return None

    def _once(self, heard: str, why: str) -> dict[str, str | None] | None:
        if heard in self._told:
            return None
        self._told.add(heard)
        return {"why": why, "heard": heard or None}
