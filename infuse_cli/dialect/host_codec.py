"""What every host codec keeps: where it is, the replies that are ready, and what was heard beside
them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.base import PROBE_S, PROBES, LinkEvent, LinkState, after

if TYPE_CHECKING:
    from infuse_cli.types import Reply

MOST_UNSOLICITED: Final = 128
"""Lines beside an answer that are kept; older ones give way."""


class HostCodec:
    """The part of `base.Codec` that no dialect does differently."""

    NAME = ""
    _ASKS = ""
    _PROBE_S = PROBE_S
    _PROBES = PROBES

    def __init__(self) -> None:
        self._state = LinkState.IDLE
        self._rebooted = False
        self._replies: deque[Reply] = deque()
        self._unsolicited: deque[str] = deque(maxlen=MOST_UNSOLICITED)

    @property
    def name(self) -> str:
        """Name of the dialect."""
        return self.NAME

    @property
    def question(self) -> str:
        """What a probe asks."""
        return self._ASKS

    @property
    def questions(self) -> str:
        """All that the probes ask: always the same."""
        return self.question

    @property
    def probe_s(self) -> float:
        """How long the answer to a probe may take, in seconds."""
        return self._PROBE_S

    @property
    def probes(self) -> int:
        """How many probes a silent board gets."""
        return self._PROBES

    @property
    def state(self) -> LinkState:
        """Where the codec is."""
        return self._state

    @property
    def rebooted(self) -> bool:
        """Whether boot text was heard since the last reply."""
        return self._rebooted

    def next_reply(self) -> Reply | None:
        """The answer to the command under way, None as long as it is not complete."""
        return self._replies.popleft() if self._replies else None

    def desync(self) -> None:
        """Only a resync leads back."""
        self._state = after(self._state, LinkEvent.OUT_OF_STEP)
        self._replies.clear()

    def close(self) -> None:
        """The port is gone."""
        self._state = after(self._state, LinkEvent.CLOSE)

    def _note(self, line: str) -> None:
        self._unsolicited.append(line)
