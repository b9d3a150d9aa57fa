"""`infuse serial ports, probe, info, check`: what only looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from infuse_cli.cli.commands.serial.options import PortArgument, PortOption, on_port

if TYPE_CHECKING:
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings


def ports(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PORT]...", help="Only these ports.", show_default=False),
    ] = None,
) -> None:
    """Show each serial port: what it is, who holds it, and why it is or is not a board's.

    Nothing is opened.

    With a profile, its board.usb decides what a board is; without one, the table of known boards.
    """
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import serial as views
    from infuse_cli.serial_tools.ports import list_rows, load_profile

    settings = current().settings
    profile = load_profile(settings)
    finish(views.ports(list_rows(settings, profile, names or []), profile))


def probe(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Say whether a board answers on the port, and in which dialect; a silent port is told within 2
    seconds.
    """
    from infuse_cli.cli.views import serial as views
    from infuse_cli.serial_tools import board

    def work(_: Settings, target: BoardPort) -> OperationResult:
        return views.probed(target.port, board.probe(target))

    on_port("serial probe", port, port_, work)


def info(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Show who the board says it is, and what the journal knows of it.

    Nothing is written to the board.

    mcuId is read where a profile names its source.
    """
    from infuse_cli.cli.views import serial as views
    from infuse_cli.serial_tools import board

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.info(board.report(settings, target))

    on_port("serial info", port, port_, work)


def check(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Compare a board with the journal and, with a profile, with the product and the cloud.

    Nothing is written.

    Identity, slots and digests, the certificate's dates, possession of its key, the cloud device:
    each difference is named, and any of them ends the command with a code of its own. A board that
    nothing is known of is no difference.
    """
    from infuse_cli.cli.views import serial as views
    from infuse_cli.serial_tools import check as checks

    def work(settings: Settings, target: BoardPort) -> OperationResult:
        return views.checked(checks.check(settings, target))

    on_port("serial check", port, port_, work)
