"""`infuse serial`: one board, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.profile import Profile

app = typer.Typer(help="One board by hand: ports, probe, info, at, creds, check.", no_args_is_help=True, add_completion=False)
creds = typer.Typer(help="The credentials in a board's modem.", no_args_is_help=True, add_completion=False)
app.add_typer(creds, name="creds")

_PORT_HELP = "Serial port or socket:// or rfc2217:// URL. [default: the one port that is a board's]"
PortArgument = Annotated[str | None, typer.Argument(metavar="[PORT]", help=_PORT_HELP, show_default=False)]
PortOption = Annotated[str | None, typer.Option("--port", metavar="PORT", help="The same as PORT.", show_default=False)]


@app.command()
def ports(
    names: Annotated[list[str] | None, typer.Argument(metavar="[PORT]...", help="Only these ports.", show_default=False)] = None,
) -> None:
    """Show each serial port: what it is, who holds it, and why it is or is not a board's. Nothing is opened.

    With a profile, its board.usb decides what a board is; without one, the table of known boards.
    """
    from infuse_cli.cli import serial_ports, serial_views
    from infuse_cli.cli.result import OperationResult, finish

    profile = serial_ports.profile_in_use()
    rows = serial_ports.look(names or [], profile)
    data = {"ports": rows, "profile": None if profile is None else profile.name}
    finish(OperationResult("serial ports", data, human=lambda console: serial_views.ports(console, rows)))


@app.command()
def probe(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Say whether a board answers on the port, and in which dialect; a silent port is told within 2 seconds."""
    from infuse_cli.cli import serial_board, serial_views
    from infuse_cli.cli.result import OperationResult

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_board.opened(named, profile) as link:
            data = {"port": named, "answers": True, "dialect": link.dialect}
        return OperationResult("serial probe", data, human=serial_views.probed(data))

    _on_port("serial probe", (port, port_), work)


@app.command()
def info(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Show who the board says it is, and what the journal knows of it. Nothing is written to the board.

    mcuId is read where a profile names its source.
    """
    from infuse_cli.cli import serial_board, serial_views
    from infuse_cli.cli.result import OperationResult

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_board.opened(named, profile) as link:
            found = serial_board.identify(link, profile)
        with serial_board.record() as journal:
            data = {**found.as_json(), "record": serial_board.on_record(journal, found.identity.uuid)}
        return OperationResult("serial info", data, human=lambda console: serial_views.board(console, data))

    _on_port("serial info", (port, port_), work)


@app.command()
def at(
    words: Annotated[list[str] | None, typer.Argument(metavar="[PORT] COMMAND...", help="AT commands, each in quotes. A first word that does not begin with AT is the port.", show_default=False)] = None,
    *,
    port_: PortOption = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Commands from a file, one a line; - is standard input. An open quote goes on in the next line.", show_default=False)] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=600.0, help="Longest wait for one answer.")] = 30.0,
) -> None:
    """Send AT commands, one after another, and stop at the first that fails.

    Without COMMAND and --file they are read from standard input. Error numbers are switched on first (AT+CMEE=1).
    What may change the board goes on record, without what stands in quotes. Answers are shown as they come: nothing
    in them is masked. Commands that carry keys, PINs or passwords are not shown again; give those by --file, because
    arguments can be seen by other users of this machine.
    """
    from infuse_cli.cli import serial_at

    named, given = serial_at.words(port_, words or [])
    texts = serial_at.gather(given, file)
    serial_at.warn(given)

    def work(port: str, profile: Profile | None) -> OperationResult:
        hand = serial_at.Hand(profile, texts, timeout)
        hand.run(port)
        return _of_hand(port, hand)

    _on_port("serial at", (named, None), work)


@creds.command("list")
def creds_list(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: Annotated[int | None, typer.Option("--tag", metavar="N", min=0, max=2147483647, help="Only this sec_tag.", show_default=False)] = None,
) -> None:
    """List the credentials in the modem with their digests, and whether this journal put them there."""
    from infuse_cli.cli import serial_board, serial_views
    from infuse_cli.cli.result import OperationResult

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_board.opened(named, profile) as link:
            found = serial_board.identify(link, None)
            entries = serial_board.stored(link, tag)
        with serial_board.record() as journal:
            rows = serial_board.credential_rows(entries, serial_board.history(journal, found.identity.uuid))
        data = {"port": named, "board": found.as_json()["board"], "credentials": rows}
        return OperationResult("serial creds list", data, human=lambda console: serial_views.credentials(console, rows))

    _on_port("serial creds list", (port, port_), work)


@creds.callback()
def _creds() -> None:
    """The credentials in a board's modem."""


@app.command()
def check(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Compare a board with the journal and, with a profile, with the product and the cloud. Nothing is written.

    Identity, slots and digests, the certificate's dates, possession of its key, the cloud device: each difference
    is named, and any of them ends the command with a code of its own. A board that nothing is known of is no difference.
    """
    from infuse_cli.cli import serial_check, serial_views
    from infuse_cli.cli.result import OperationResult

    def work(named: str, profile: Profile | None) -> OperationResult:
        made = serial_check.check(named, profile)
        data, errors = made.as_json(), [one.as_json() for one in made.differences]
        return OperationResult("serial check", data, status="error" if errors else "ok", errors=errors,
                               exit_code=int(made.differences[0].exit) if errors else 0, human=lambda console: serial_views.checked(console, data))

    _on_port("serial check", (port, port_), work)


def _on_port(command: str, named: tuple[str | None, str | None], work: Callable[[str, Profile | None], OperationResult]) -> NoReturn:
    """Do the work on the port that is meant; without one, show the ports there are."""
    from infuse_cli.cli import serial_ports, serial_views
    from infuse_cli.cli.result import OperationResult, finish

    profile = serial_ports.profile_in_use()
    try:
        port = serial_ports.only_port(serial_ports.named_port(*named), profile)
    except serial_ports.NoOnePort as error:
        rows = error.rows
        finish(OperationResult(command, {"ports": rows}, status="error", errors=[error.as_json()], exit_code=int(error.exit),
                               human=lambda console: serial_views.ports(console, rows)))
    finish(work(port, profile))


def _of_hand(port: str, hand: Any) -> OperationResult:
    from infuse_cli.cli import serial_views
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.dialect import at_text

    failed = next((one.error for one in hand.answers if one.error is not None), None)
    good = sum(one.ok for one in hand.answers)
    shown = [at_text.shown(text) for text in hand.texts]
    data = {"port": port, "dialect": hand.dialect, "board": hand.board, "commands": [one.as_json() for one in hand.answers],
            "notSent": len(hand.texts) - len(hand.answers)}
    return OperationResult("serial at", data, status="ok" if failed is None else "partial" if good else "error",
                           errors=[] if failed is None else [failed.as_json()], exit_code=0 if failed is None else int(failed.exit),
                           human=lambda console: serial_views.exchanges(console, hand.answers, shown))
