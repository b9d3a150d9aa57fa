"""`infuse serial`: one board, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.config.model import Profile

T = TypeVar("T")

app = typer.Typer(
    help="By hand, one board: ports, console, at, creds, csr, write-id.",
    no_args_is_help=True,
    add_completion=False,
)
creds = typer.Typer(
    help="The credentials in a board's modem: list, write, delete.",
    no_args_is_help=True,
    add_completion=False,
)
token = typer.Typer(
    help="The registration token on a board: write.", no_args_is_help=True, add_completion=False
)
slots = typer.Typer(
    help="Which socket is which slot of this bench: show, learn, forget.", add_completion=False
)
app.add_typer(slots, name="slots")
app.add_typer(creds, name="creds")
app.add_typer(token, name="token")

_PORT_HELP = "Serial port or socket:// or rfc2217:// URL. [default: the one port that is a board's]"
PortArgument = Annotated[
    str | None, typer.Argument(metavar="[PORT]", help=_PORT_HELP, show_default=False)
]
PortOption = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="The same as PORT.", show_default=False)
]
TagOption = Annotated[
    int | None,
    typer.Option(
        "--sec-tag",
        "--tag",
        metavar="N",
        min=0,
        max=2147483647,
        help="The sec_tag.",
        show_default=False,
    ),
]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="ca, cert, key, psk or psk-id (or 0 to 4).",
        show_default=False,
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Where it is read from; - is standard input. [default: what is piped in]",
        show_default=False,
    ),
]
ReplaceOption = Annotated[
    bool,
    typer.Option("--replace", help="Delete what is in the way first; its digest goes on record."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
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
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import ports as serial_ports

    profile = serial_ports.profile_in_use()
    rows = serial_ports.look(names or [], profile)
    data = {"ports": rows, "profile": None if profile is None else profile.name}
    finish(
        OperationResult(
            "serial ports", data, human=lambda console: serial_views.ports(console, rows)
        )
    )


@slots.callback(invoke_without_command=True)
def _slots(context: typer.Context) -> None:
    """Which socket is which slot of this bench: show, learn, forget."""
    if context.invoked_subcommand is None:
        slots_show()


@slots.command("show")
def slots_show() -> None:
    """Show the slots that were learned, and what is plugged into each now."""
    from infuse_cli.cli.result import finish
    from infuse_cli.serial_tools import slots as serial_slots

    finish(serial_slots.show())


@slots.command("learn")
def slots_learn(
    *,
    present: Annotated[
        bool,
        typer.Option(
            "--from-present",
            help="Learn the boards that are plugged in now, in the order of the hub; asks nothing.",
        ),
    ] = False,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="hub|serial",
            help="Tie a slot to its USB socket, or to the USB serial number of its adapter.",
        ),
    ] = "hub",
) -> None:
    """Plug in one board after another: each new socket becomes the next slot, kept in bench.yaml.

    Ctrl-C when done.

    A slot keeps its number when ports are numbered anew, a hub is reset or another board is plugged
    in. Numbers that were learned before stay.
    """
    from infuse_cli.cli.result import finish
    from infuse_cli.serial_tools import slots as serial_slots

    tied = serial_slots.by_of(by)
    finish(serial_slots.learn_present(tied) if present else serial_slots.learn_one_by_one(tied))


@slots.command("forget")
def slots_forget(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[SLOT]...", help="Numbers of slots.", show_default=False),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Forget them all.")] = False,
) -> None:
    """Forget slots that were learned; boards there are numbered in the order of the hub again."""
    from infuse_cli.cli.result import finish
    from infuse_cli.serial_tools import slots as serial_slots

    finish(serial_slots.forget(numbers or [], everything=everything))


@app.command()
def probe(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Say whether a board answers on the port, and in which dialect; a silent port is told within 2
    seconds.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import board as serial_board

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_board.opened(named, profile) as link:
            data = {"port": named, "answers": True, "dialect": link.dialect}
        return OperationResult("serial probe", data, human=serial_views.probed(data))

    _on_port("serial probe", (port, port_), work)


@app.command()
def info(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Show who the board says it is, and what the journal knows of it.

    Nothing is written to the board.

    mcuId is read where a profile names its source.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import board as serial_board

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_board.opened(named, profile) as link:
            found = serial_board.identify(link, profile)
        with serial_board.record() as journal:
            data = {**found.as_json(), **serial_board.journalled(journal, found)}
        return OperationResult(
            "serial info", data, human=lambda console: serial_views.board(console, data)
        )

    _on_port("serial info", (port, port_), work)


@app.command()
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
    from infuse_cli.serial_tools import at as serial_at

    named, given = serial_at.words(port_, words or [])
    texts = serial_at.gather(given, file)
    serial_at.warn(given)

    def work(port: str, profile: Profile | None) -> OperationResult:
        hand = serial_at.Hand(profile, texts, timeout)
        hand.run(port)
        return _of_hand(port, hand)

    _on_port("serial at", (named, None), work)


@app.command()
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
    from infuse_cli.serial_tools import console as serial_console

    wish = serial_console.Wish(timestamps, log, reconnect)
    _on_port(
        "serial console",
        (port, port_),
        lambda named, profile: serial_console.run(named, profile, wish),
    )


@creds.command("list")
def creds_list(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: Annotated[
        int | None,
        typer.Option(
            "--sec-tag",
            "--tag",
            metavar="N",
            min=0,
            max=2147483647,
            help="Only this sec_tag.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the credentials in the modem with their digests, and whether this journal put them
    there.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import board as serial_board

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_board.opened(named, profile) as link:
            found = serial_board.identify(link, None)
            entries, own = serial_board.parted(serial_board.listed(link, tag))
        with serial_board.record() as journal:
            uuid = found.identity.uuid
            rows = serial_board.credential_rows(
                entries, serial_board.history(journal, uuid), serial_board.by_hand(journal, uuid)
            )
        data = {
            "port": named,
            "board": found.as_json()["board"],
            "credentials": rows,
            "modemOwn": own,
        }
        return OperationResult(
            "serial creds list",
            data,
            human=lambda console: serial_views.listed(console, rows, own, tag),
        )

    _on_port("serial creds list", (port, port_), work)


@creds.command("write")
def creds_write(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: TagOption = None,
    kind: TypeOption = None,
    file: FileOption = None,
    replace: ReplaceOption = False,
    yes: YesOption = False,
) -> None:
    """Write a credential: PEM, or the hex digits of a pre-shared key, from a file or standard
    input.

    One that is there already is left alone; another one in its place is refused, unless --replace
    is given. The modem is taken offline and back, the digest is compared afterwards, and all of it
    is on record. A file that holds a key has to be 0600.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import content as serial_content
    from infuse_cli.serial_tools import credentials as serial_write

    place, what = _needed(tag, "--sec-tag"), serial_content.kind_of(_needed(kind, "--type"))
    item = serial_content.item(what, file)

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_write.opened("serial creds write", named, profile) as hand:
            rows = serial_write.write(hand, place, [item], replace=replace, yes=yes)
            return OperationResult(
                "serial creds write",
                hand.as_json(credentials=rows),
                human=lambda console: serial_views.written(console, rows, hand.notes),
            )

    _on_port("serial creds write", (port, port_), work)


@creds.command("delete")
def creds_delete(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    tag: TagOption = None,
    kind: TypeOption = None,
    yes: YesOption = False,
) -> None:
    """Delete a credential, or with no --type all that is under the sec_tag.

    Asks first; --yes says so in advance.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import board as serial_board
    from infuse_cli.serial_tools import content as serial_content
    from infuse_cli.serial_tools import credentials as serial_write

    place, what = _needed(tag, "--sec-tag"), None if kind is None else serial_content.kind_of(kind)

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_write.opened("serial creds delete", named, profile) as hand:
            there = [
                row
                for row in serial_board.stored(hand.link, place)
                if what is None or row.type == what
            ]
            rows = serial_write.delete(hand, there, yes=yes) if there else []
            return OperationResult(
                "serial creds delete",
                hand.as_json(deleted=rows),
                human=lambda console: serial_views.deleted(console, rows, hand.notes),
            )

    _on_port("serial creds delete", (port, port_), work)


@app.command()
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
        typer.Option(
            "--sec-tag",
            "--tag",
            metavar="N",
            min=0,
            max=2147483647,
            help=(
                "Where the key is made. [default: the first free one from the profile's, else from"
                " 4201]"
            ),
            show_default=False,
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
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import credentials as serial_write
    from infuse_cli.serial_tools import csr as serial_csr

    files = serial_csr.Files(out)

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_write.opened("serial csr", named, profile) as hand:
            made = serial_csr.make(hand, tag, files, attributes, key_usage)
            return OperationResult(
                "serial csr",
                hand.as_json(**made),
                human=lambda console: serial_views.requested(console, made, hand.notes),
            )

    _on_port("serial csr", (port, port_), work)


@token.command("write")
def token_write(
    port: PortArgument = None,
    *,
    port_: PortOption = None,
    file: FileOption = None,
    device_id: Annotated[
        str | None,
        typer.Option(
            "--device-id",
            metavar="ID",
            help=(
                "The registry device id, which becomes the PSK identity. [default: the one on"
                " record for this token]"
            ),
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        int | None,
        typer.Option(
            "--sec-tag",
            "--tag",
            metavar="N",
            min=0,
            max=2147483647,
            help="Where it goes. [default: the profile's, else 4202]",
            show_default=False,
        ),
    ] = None,
    replace: ReplaceOption = False,
    yes: YesOption = False,
) -> None:
    """Put a registration token onto a board, from a 0600 file or standard input, as the profile's
    store says.

    A token that was minted here is marked as delivered first; one that is spent, or was minted for
    another board, is refused.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import content as serial_content
    from infuse_cli.serial_tools import credentials as serial_write
    from infuse_cli.serial_tools import token as serial_token

    secret = serial_content.token(file)

    def work(named: str, profile: Profile | None) -> OperationResult:
        with serial_write.opened("serial token write", named, profile) as hand:
            made = serial_token.write_token(
                hand, secret, (tag, device_id), replace=replace, yes=yes
            )
            return OperationResult(
                "serial token write",
                hand.as_json(**made),
                human=lambda console: serial_views.token(console, made, hand.notes),
            )

    _on_port("serial token write", (port, port_), work)


@app.command("write-id")
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
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.serial_tools import write_id as serial_id

    def work(named: str, profile: Profile | None) -> OperationResult:
        made = serial_id.write_id(named, profile, device_id, yes=yes)
        return OperationResult(
            "serial write-id", made, human=lambda console: serial_id.show(console, made)
        )

    _on_port("serial write-id", (port, port_), work)


@creds.callback()
def _creds() -> None:
    """The credentials in a board's modem: list, write, delete."""


@token.callback()
def _token() -> None:
    """The registration token on a board: write."""


@app.command()
def check(port: PortArgument = None, *, port_: PortOption = None) -> None:
    """Compare a board with the journal and, with a profile, with the product and the cloud.

    Nothing is written.

    Identity, slots and digests, the certificate's dates, possession of its key, the cloud device:
    each difference is named, and any of them ends the command with a code of its own. A board that
    nothing is known of is no difference.
    """
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import check as serial_check

    def work(named: str, profile: Profile | None) -> OperationResult:
        made = serial_check.check(named, profile)
        data, errors = made.as_json(), [one.as_json() for one in made.differences]
        return OperationResult(
            "serial check",
            data,
            status="error" if errors else "ok",
            errors=errors,
            exit_code=int(made.differences[0].exit) if errors else 0,
            human=lambda console: serial_views.checked(console, data),
        )

    _on_port("serial check", (port, port_), work)


def _needed(value: T | None, option: str) -> T:
    """A required option; asked for here, so that PORT may stay away."""
    from infuse_cli.errors import UsageError

    if value is None:
        raise UsageError("usage.bad-option", f"{option} is missing")
    return value


def _on_port(
    command: str,
    named: tuple[str | None, str | None],
    work: Callable[[str, Profile | None], OperationResult],
) -> NoReturn:
    """Do the work on the port that is meant; without one, show the ports there are."""
    from infuse_cli.cli.result import OperationResult, finish
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.serial_tools import ports as serial_ports

    profile = serial_ports.profile_in_use()
    try:
        port = serial_ports.only_port(serial_ports.named_port(*named), profile)
    except serial_ports.NoOnePort as error:
        rows = error.rows
        finish(
            OperationResult(
                command,
                {"ports": rows},
                status="error",
                errors=[error.as_json()],
                exit_code=int(error.exit),
                human=lambda console: serial_views.ports(console, rows),
            )
        )
    finish(work(port, profile))


def _of_hand(port: str, hand: Any) -> OperationResult:
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.cli.views import serial as serial_views
    from infuse_cli.dialect import at_text

    failed = next((one.error for one in hand.answers if one.error is not None), None)
    good = sum(one.ok for one in hand.answers)
    shown = [at_text.shown(text) for text in hand.texts]
    data = {
        "port": port,
        "dialect": hand.dialect,
        "board": hand.board,
        "commands": [one.as_json() for one in hand.answers],
        "notSent": len(hand.texts) - len(hand.answers),
    }
    return OperationResult(
        "serial at",
        data,
        status="ok" if failed is None else "partial" if good else "error",
        errors=[] if failed is None else [failed.as_json()],
        exit_code=0 if failed is None else int(failed.exit),
        human=lambda console: serial_views.exchanges(console, hand.answers, shown),
    )
