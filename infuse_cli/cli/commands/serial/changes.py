"""`infuse serial at, console, csr, write-id`: what may change a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infuse_cli.cli.commands.serial.options import (
    PortArgument,
    PortOption,
    YesOption,
    on_port,
    sec_tag,
    uninterrupted,
)

if TYPE_CHECKING:
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings


def at(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PORT] COMMAND...",
            help=(
                "AT commands, each in quotes. A first word that does not begin with AT is the port."
            ),
            show_default=False,
        ),
    ] = None,
    *,
    port_: PortOption = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help=(
                "Commands from a file, one a line; - is standard input. An open quote goes on in"
                " the next line."
            ),
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0.1, max=600.0, help="Longest wait for one answer."
        ),
    ] = 30.0,
) -> None:
    """Send AT commands, one after another, and stop at the first that fails.

    Without COMMAND and --file they are read from standard input. Error numbers are switched on
    first (AT+CMEE=1). What may change the board goes on record, without what stands in quotes.
    Answers are shown as they come: nothing in them is masked. Commands that carry keys, PINs or
    passwords are not shown again; give those by --file, because arguments can be seen by other
    users of this machine.
    """
    from infuse_cli.cli.views import serial as views
    from infuse_cli.dialect import at_text
    from infuse_cli.serial_tools.at import AtRequest, send_commands

    texts, port = list(words or ()), None
    if port_ is None and texts and not at_text.is_command(texts[0]):
        port = texts.pop(0)
    request = AtRequest(_commands(texts, file), timeout)
    _warn(texts)

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.exchanged(send_commands(settings, target, request))

    on_port("serial at", port, port_, work)


def _commands(texts: list[str], file: Path | None) -> tuple[str, ...]:
    """Commands from arguments, a file, or what is piped in. Raises UsageError usage.bad-option."""
    import sys

    from infuse_cli.dialect import at_text
    from infuse_cli.errors import UsageError
    from infuse_cli.serial_tools.at import parse_commands, read_commands

    if texts and file is not None:
        raise UsageError("usage.bad-option", "commands were given both as arguments and by --file")
    if texts:
        return parse_commands(texts)
    if file is not None and str(file) != "-":
        commands = read_commands(file)
    elif file is None and sys.stdin.isatty():
        commands = ()
    else:
        commands = at_text.script(sys.stdin.read().splitlines())
    if not commands:
        raise UsageError(
            "usage.bad-option",
            "no command was given",
            hint="For example `infuse serial at AT+CGMM`, or --file FILE.",
        )
    return commands


def _warn(texts: list[str]) -> None:
    """Say to a person what is not kept secret here; a program's author reads the documentation."""
    import sys

    from infuse_cli.cli.context import current
    from infuse_cli.dialect import at_text

    if current().output != "human":
        return
    if any(map(at_text.carries_secret, texts)):
        sys.stderr.write(
            "note: a secret on the command line can be seen by every user of this machine; --file"
            " keeps it from them\n"
        )
    if sys.stderr.isatty():
        sys.stderr.write("note: answers are shown as they come; nothing in them is masked\n")


def console(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="Add everything, with times, to this file (0600); secrets are left out.",
            show_default=False,
        ),
    ] = None,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="When the port goes away, wait for it to come back.")
    ] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps/--no-timestamps", help="Show when each line came.")
    ] = True,
) -> None:
    """A terminal on the port: line editing, history, times, error numbers in words. Ctrl-] leaves.

    Lines are sent at Enter; an AT command with an open quote goes on in the next line, so that PEM
    can be pasted. What may change the board goes on record before it is sent. Needs a terminal;
    `infuse serial at --file -` is for scripts.
    """
    from infuse_cli.cli import console as terminal
    from infuse_cli.cli.views import serial as views
    from infuse_cli.serial_tools.console import ConsoleRequest

    request = ConsoleRequest(log, reconnect)

    def work(_: Settings, target: BoardPort) -> OperationResult:
        ended = terminal.run(target, request, timestamps=timestamps)
        return views.console_left(target.port, ended.board)

    on_port("serial console", port, port_, work)


def csr(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the CSR goes (PEM); beside it, FILE.keygen keeps what the modem said.",
            show_default=False,
        ),
    ],
    tag: Annotated[
        int | None,
        sec_tag(
            "Where the key is made. [default: the first free one from the profile's, else from"
            " 4201]"
        ),
    ] = None,
    attributes: Annotated[
        str | None,
        typer.Option(
            "--attributes",
            metavar="TEXT",
            help="Subject of the CSR, such as CN=…,O=…. [default: the profile's, else the modem's]",
            show_default=False,
        ),
    ] = None,
    key_usage: Annotated[
        str | None,
        typer.Option(
            "--key-usage",
            metavar="BITS",
            help="Nine bits, in the order of X.509.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a key in the modem and give out its CSR, checked: attestation, board, sec_tag,
    signature, policy.

    The key never leaves the modem, and none is overwritten. `infuse ca sign` signs the CSR, `infuse
    serial creds write` puts the certificate beside the key.
    """
    from infuse_cli.cli.views import credentials as views
    from infuse_cli.serial_tools.csr import CsrRequest, make_csr

    request = CsrRequest(out, tag, attributes, key_usage)
    request.check()

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.requested(make_csr(settings, target, request, uninterrupted))

    on_port("serial csr", port, port_, work)


def write_id(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    device_id: Annotated[
        str | None,
        typer.Option(
            "--device-id",
            metavar="ID",
            help=(
                "The cloud device's id, 16 hex digits. [default: the one that this board was"
                " registered with here]"
            ),
            show_default=False,
        ),
    ] = None,
    yes: YesOption = False,
) -> None:
    """Write the cloud's device id into the chip's one-time memory, through its debug probe, and
    read it back.

    Needs Nordic's nrfutil with its command device. A board that carries another id is refused and
    nothing is written.
    """
    from infuse_cli.cli.views import serial as views
    from infuse_cli.serial_tools import write_id as ids

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.id_written(ids.write_id(settings, target, device_id, yes=yes))

    on_port("serial write-id", port, port_, work)
