"""`infuse serial slots`: which socket is which slot of this bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infuse_cli.link.places import By
    from infuse_cli.serial_tools.slots import LearnedSlots
    from infuse_cli.settings import Settings

app = typer.Typer(
    help="Which socket is which slot of this bench: show, learn, forget.", add_completion=False
)


@app.callback(invoke_without_command=True)
def _slots(context: typer.Context) -> None:
    """Which socket is which slot of this bench: show, learn, forget."""
    if context.invoked_subcommand is None:
        show()


@app.command("show")
def show() -> None:
    """Show the slots that were learned, and what is plugged into each now."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import slots as views
    from infuse_cli.serial_tools import slots

    finish(views.shown(slots.list_slots(current().settings)))


@app.command("learn")
def learn(
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
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import slots as views
    from infuse_cli.serial_tools import slots

    settings, tied = current().settings, _by(by)
    finish(
        views.learned(
            slots.learn_present(settings, tied) if present else _learn_plugged(settings, tied)
        )
    )


@app.command("forget")
def forget(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[SLOT]...", help="Numbers of slots.", show_default=False),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Forget them all.")] = False,
) -> None:
    """Forget slots that were learned; boards there are numbered in the order of the hub again."""
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import slots as views
    from infuse_cli.serial_tools import slots

    finish(views.forgotten(slots.forget(current().settings, numbers or [], everything=everything)))


def _by(text: str) -> By:
    from infuse_cli.errors import UsageError

    if text in {"hub", "serial"}:
        return "hub" if text == "hub" else "serial"
    raise UsageError("usage.bad-option", f"--by is hub or serial, not {text!r}")


def _learn_plugged(settings: Settings, by: By) -> LearnedSlots:
    from infuse_cli.cli.result import tell
    from infuse_cli.cli.signals import StopOnSignals
    from infuse_cli.clock import RunClock
    from infuse_cli.errors import UsageError
    from infuse_cli.serial_tools import slots

    if settings.prompt is None:
        raise UsageError(
            "usage.no-terminal",
            "learning slot by slot needs a person at a terminal",
            hint="--from-present learns the boards that are plugged in now.",
        )
    clock = RunClock()
    with StopOnSignals(clock):
        result = slots.learn_plugged(settings, by, clock, tell)
    tell("")
    return result
