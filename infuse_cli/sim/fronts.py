"""How a virtual board is talked to: one front a dialect, which turns bytes into commands and
answers into bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from infuse_cli.dialect import DIALECTS
from infuse_cli.dialect.at_device import AtDevice
from infuse_cli.dialect.shell_device import ShellDevice
from infuse_cli.sim.shell_commands import ALL, COMMANDS, REBOOT, ShellCommands, at_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from infuse_cli.sim.modem import Answer, Modem


@dataclass(frozen=True, slots=True)
class Request:
    """A command that a board was given: its text, AT commands without their shell, and what is
    echoed before its answer.
    """

    text: str
    line: str
    echo: bytes = b""


class Front(Protocol):
    """One way of talking to a board."""

    def set_echo(self, on: bool | None) -> None:
        """Echo on or off; None as the firmware has it from the start."""

    def echo(self, data: bytes) -> bytes:
        """What comes back at once for bytes, before they make a command."""

    def receive(self, data: bytes) -> Iterable[Request | bytes]:
        """Commands that the bytes complete, and echo that belongs to none."""

    def execute(self, modem: Modem, request: Request) -> Answer:
        """Have the modem or the firmware carry it out."""

    def answer(self, request: Request, answer: Answer) -> bytes:
        """The bytes of an answer."""

    def unsolicited(self, line: str) -> bytes:
        """The bytes of a line that nobody asked for."""

    def boot_text(self, lines: Iterable[str]) -> bytes:
        """What is printed when the board starts."""

    def reset(self) -> None:
        """Forget a half line, as a reboot does."""

    def reboots(self, request: Request) -> bool:
        """Whether this command restarts the board."""

    def wakes(self, request: Request) -> bool:
        """Whether the firmware looks at what it has and goes to its cloud after this, without
        having been offline.
        """


class AtFront:
    """An AT host."""

    def __init__(self, *, blank: bool = False) -> None:
        self._device: Final = AtDevice(blank_before_answer=blank)

    def set_echo(self, on: bool | None) -> None:
        """As `Front.set_echo`; an AT host begins without."""
        self._device.echo = bool(on)

    def echo(self, data: bytes) -> bytes:
        """As `Front.echo`."""
        return self._device.echo_of(data)

    def receive(self, data: bytes) -> list[Request]:
        """As `Front.receive`."""
        return [Request(text, text) for text in self._device.receive(data)]

    def execute(self, modem: Modem, request: Request) -> Answer:
        """As `Front.execute`."""
        echo_was = modem.echo
        answer = modem.execute(request.text)
        if modem.echo != echo_was:
            self._device.echo = modem.echo
        return answer

    def answer(self, request: Request, answer: Answer) -> bytes:  # noqa: ARG002 - an AT answer needs no question
        """As `Front.answer`."""
        return self._device.answer(info=answer.info, ok=answer.ok, cme=answer.cme)

    def unsolicited(self, line: str) -> bytes:
        """As `Front.unsolicited`."""
        return self._device.unsolicited(line)

    def boot_text(self, lines: Iterable[str]) -> bytes:
        """As `Front.boot_text`."""
        return b"".join(map(self._device.unsolicited, lines))

    def reset(self) -> None:
        """As `Front.reset`."""
        self._device.reset()

    def reboots(self, request: Request) -> bool:
        """An AT host has no such command here."""
        return request.text.upper() == "AT#XRESET"

    def wakes(self, request: Request) -> bool:  # noqa: ARG002
        """Never: the modem has to come back online."""
        return False


class ShellFront:
    """A Zephyr shell with the commands of `dialect` (at-shell or cred-shell)."""

    def __init__(self, dialect: str, *, colour: bool = True, prompt: str = "uart:~$ ") -> None:
        self._device: Final = ShellDevice(prompt=prompt, colour=colour)
        self._commands: Final = ShellCommands(COMMANDS[dialect])
        self._has_at: Final = "at" in COMMANDS[dialect]

    def set_echo(self, on: bool | None) -> None:
        """As `Front.set_echo`; a shell begins with it."""
        self._device.echo = on is not False

    def echo(self, data: bytes) -> bytes:  # noqa: ARG002 - it comes with the line, as the shell's thread prints it
        """Nothing: see `receive`."""
        return b""

    def receive(self, data: bytes) -> Iterable[Request | bytes]:
        """As `Front.receive`."""
        for echo, line in self._device.receive(data):
            if line is None:
                yield echo
            elif not line.strip():
                yield echo + self._device.shown_prompt()
            else:
                command = at_command(line) if self._has_at else None
                yield Request(line if command is None else command, line, echo)

    def execute(self, modem: Modem, request: Request) -> Answer:
        """As `Front.execute`."""
        return (
            modem.execute(request.text)
            if request.text != request.line
            else self._commands.execute(modem, request.line)
        )

    def answer(self, request: Request, answer: Answer) -> bytes:
        """As `Front.answer`; the AT shell ends the modem's text with an empty line."""
        if request.text == request.line:
            return self._device.answer(answer.info, failed=not answer.ok)
        final = (
            "OK" if answer.ok else "ERROR" if answer.cme is None else f"+CME ERROR: {answer.cme}"
        )
        return self._device.answer((*answer.info, final, ""))

    def unsolicited(self, line: str) -> bytes:
        """As `Front.unsolicited`."""
        return self._device.unsolicited(line)

    def boot_text(self, lines: Iterable[str]) -> bytes:
        """As `Front.boot_text`: the text, and the first prompt."""
        return (
            "".join(f"{line}\r\n" for line in lines).encode()
            + b"\r\n\r\n"
            + self._device.shown_prompt()
        )

    def reset(self) -> None:
        """As `Front.reset`."""
        self._device.reset()
        self._commands.reset()

    def reboots(self, request: Request) -> bool:
        """As `Front.reboots`."""
        return request.line.startswith(REBOOT)

    def wakes(self, request: Request) -> bool:
        """After a new credential in storage that no modem guards."""
        return request.line.startswith("cred add")


def front(
    dialect: str, *, blank: bool = False, colour: bool = True, cloud_public: bytes = b""
) -> Front:
    """The front of a dialect's name; `cloud_public` is for firmware that shares a secret with its
    cloud.
    """
    from infuse_cli.sim.epacket_front import AllFront, EpacketFront

    if dialect == ALL:
        shell = ShellFront(dialect, colour=colour)
        return AllFront(AtFront(blank=blank), shell, EpacketFront(cloud_public))
    row = DIALECTS[dialect]
    if row.sealed:
        return EpacketFront(cloud_public)
    return ShellFront(dialect, colour=colour) if row.shell_commands else AtFront(blank=blank)
