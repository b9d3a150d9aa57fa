"""Which dialect a board speaks: a codec that is all of them until one has answered, and that one
from then on.

Every probe is harmless to the boards that it is not meant for. `AT` comes first: an AT host answers
it, a shell says that it knows no such command and shows its prompt, and is then asked in its own
way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.dialect.at import AtCodec
from infuse_cli.dialect.base import Heard
from infuse_cli.dialect.epacket import EpacketCodec
from infuse_cli.dialect.shell import CredCodec, ShellCodec

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Codec, CodecOptions, LinkState
    from infuse_cli.types import Command, Reply

_FIRST_S: Final = 0.1
"""How long the very first probe is waited for, before another dialect is asked: what comes later
still counts.
"""

_PING_S: Final = 0.2

_LATER_S: Final = 0.45
_MOST: Final = 5

_PINGS: Final = {2, 4}
"""Which of the probes are pings; a device answers one a second."""

_PINGS_AFTER_BOOT: Final = {4, 6, 8}
"""The same for a board that boots just now: an AT host gets the time that it needs to be there
first.
"""

_MOST_A_SHELL: Final = 2


class AutoCodec:
    """A codec for a board that has not answered yet; see `base.Codec`."""

    def __init__(self, options: CodecOptions) -> None:
        self._at: Final = AtCodec(options)
        self._shells: Final = (ShellCodec(options), CredCodec(options))
        self._epacket: Final = EpacketCodec(options) if options.cipher is not None else None
        frames: tuple[Codec, ...] = () if self._epacket is None else (self._epacket,)
        self._all: Final[tuple[Codec, ...]] = (self._at, *self._shells, *frames)
        self._asked: Codec = self._at
        self._asked_shells = [0, 0]
        self._made = 0
        self._tried: list[Codec] = []
        self._chosen: Codec | None = None

    @property
    def _now(self) -> Codec:
        return self._chosen or self._asked

    @property
    def name(self) -> str:
        """Name of the dialect that answered; `auto` before."""
        return "auto" if self._chosen is None else self._chosen.name

    @property
    def question(self) -> str:
        """What the newest probe asks."""
        return self._now.question

    @property
    def questions(self) -> str:
        """What every dialect that was tried has asked, the first one first."""
        return " or ".join(
            dict.fromkeys(
                codec.question
                for codec in (self._tried if self._chosen is None else [self._chosen])
            )
        )

    @property
    def probe_s(self) -> float:
        """How long the answer to the newest probe may take, in seconds."""
        if self._chosen is not None:
            return self._chosen.probe_s
        if self._asked is self._epacket:
            return _PING_S
        return _FIRST_S if self._made == 1 else _LATER_S

    @property
    def probes(self) -> int:
        """How many probes a silent board gets."""
        return _MOST if self._chosen is None else self._chosen.probes

    @property
    def state(self) -> LinkState:
        """Where the codec is."""
        return self._now.state

    @property
    def rebooted(self) -> bool:
        """Whether boot text was heard since the last reply."""
        return self._now.rebooted

    def encode(self, command: Command) -> bytes:
        """As `base.Codec.encode`."""
        return self._now.encode(command)

    def receive(self, data: bytes) -> None:
        """Take bytes of the board; before one answered all of them listen."""
        for codec in self._all if self._chosen is None else (self._chosen,):
            codec.receive(data)

    def next_reply(self) -> Reply | None:
        """As `base.Codec.next_reply`."""
        return self._now.next_reply()

    def desync(self) -> None:
        """As `base.Codec.desync`."""
        for codec in self._all if self._chosen is None else (self._chosen,):
            codec.desync()

    def abandon(self) -> Reply:
        """As `base.Codec.abandon`."""
        return self._now.abandon()

    def probe(self) -> bytes:
        """The next question: a shell's own once a prompt was seen."""
        if self._chosen is None:
            self._made += 1
            self._asked = self._next()
            self._tried.append(self._asked)
        return self._now.probe()

    def probed(self) -> Heard:
        """What came back; REFUSED as soon as another dialect is to be asked."""
        heard = self._now.probed()
        if (
            self._chosen is None
            and self._asked is self._at
            and self._has_prompt
            and heard in {Heard.NOTHING, Heard.REFUSED}
        ):
            return Heard.REFUSED
        if (
            self._chosen is None
            and self._asked is self._epacket
            and heard is Heard.NOTHING
            and self._is_text
        ):
            # a late answer to the question before: what of a ping is in that board's line is ended
            # next
            return Heard.REFUSED
        return heard

    def settle(self) -> None:
        """The one that was asked has answered: the board speaks that."""
        self._chosen = self._now
        self._chosen.settle()

    def close(self) -> None:
        """The port is gone."""
        for codec in self._all:
            codec.close()

    @property
    def _is_text(self) -> bool:
        return self._has_prompt or self._at.probed() is not Heard.NOTHING

    @property
    def _has_prompt(self) -> bool:
        return any(shell.prompted for shell in self._shells)

    def _next(self) -> Codec:
        if self._has_prompt:
            for index, shell in enumerate(self._shells):
                refused = shell is self._asked and shell.probed() is Heard.REFUSED
                if self._asked_shells[index] < _MOST_A_SHELL and not refused:
                    self._asked_shells[index] += 1
                    return shell
                self._asked_shells[index] = _MOST_A_SHELL
        pings = _PINGS_AFTER_BOOT if self._at.rebooted else _PINGS
        # A ping in an AT host's line would spoil its next command, so one that answers anything is
        # not pinged.
        quiet = self._at.probed() is Heard.NOTHING
        return (
            self._epacket
            if self._epacket is not None and quiet and self._made in pings
            else self._at
        )
