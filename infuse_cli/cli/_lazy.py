"""All contact with Typer's inside: commands that are imported on use, help without imports, errors
as values.

Typer's private names have moved between releases before; whatever moves again is mended here.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer import core
from typer.main import get_command

from infuse_cli.cli._registry import ROWS, Row
from infuse_cli.cli.result_files import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BY_NAME = {row.name: row for row in ROWS}
_HELP = """Bring nRF9151 boards into the Infuse IoT cloud: registered once, keyed in the modem, \
certified, read back.

The global options may stand before or after the command."""
_EPILOG = (
    "`infuse COMMAND --help` explains a command. Results go to stdout, progress and errors to"
    " stderr."
)


class LazyGroup(core.TyperGroup):
    """The root group: stubs with the registry's help, replaced by the real command when one is
    chosen.
    """

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for row in ROWS:
            self.commands[row.name] = core.TyperCommand(
                row.name, help=row.help, short_help=row.help
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command as Typer does, then import it."""
        name, found, rest = super().resolve_command(ctx, args)
        if name in _BY_NAME:
            found = self.commands[name] = load(_BY_NAME[name])
        return name, found, rest


@functools.cache
def load(row: Row) -> Any:
    """Import a row's command and make it Typer's, once a process."""
    target = getattr(importlib.import_module(row.module), row.attr)
    if not isinstance(target, typer.Typer):
        target = _single(target)
    target.rich_markup_mode = None
    target._add_completion = False  # noqa: SLF001 - `infuse completion` is the one way, on every group alike
    found = get_command(target)
    found.name = row.name
    _in_full(found)
    _guard_results(row.name, found)
    return found


def _in_full(command: Any) -> None:
    """A command's line in the list of its group is wrapped, not cut off."""
    command.short_help = command.get_short_help_str(1000)
    for below in getattr(command, "commands", {}).values():
        _in_full(below)


def _guard_results(words: str, command: Any) -> None:
    below = getattr(command, "commands", None)
    if below is None:
        guard(words, command)
    for name, sub in (below or {}).items():
        _guard_results(f"{words} {name}", sub)


def root() -> Any:
    """The root command."""
    app = typer.Typer(
        cls=LazyGroup,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=_HELP,
        epilog=_EPILOG,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_globals_for_help)
    return get_command(app)


def run(argv: Sequence[str], *, no_color: bool = False) -> int:
    """Run the command line (global options already taken out) and return the exit code.

    Raises UsageError usage.bad-option for whatever Typer calls a usage error, KeyboardInterrupt,
    and what commands raise. Typer's own `main` is not used: it would turn a closed pipe into exit 1
    and swallow Ctrl-C.
    """
    command, page = root(), {}
    if sys.stdout.isatty():
        page = {"max_content_width": _dress(command, plain=no_color)}
    try:
        with command.make_context("infuse", list(argv), **page) as ctx:
            command.invoke(ctx)
    except typer.Exit as ended:
        return int(ended.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        usage = _usage_error(error)
        if usage is None:
            raise
        raise usage from error
    return 0


def _dress(command: Any, *, plain: bool) -> int:
    """Make help pages fit for a terminal; how wide they are."""
    from infuse_cli.cli import _help

    if not plain and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        _help.use(command.context_class)
    return _help.width()


def walk(command: Any, path: tuple[str, ...] = ()) -> list[Command]:
    """All commands below and including `command`, each as a value, for the reference page and its
    tests.
    """
    own = Command(path, command)
    below = getattr(command, "commands", {})
    real = {
        name: load(_BY_NAME[name]) if not path and name in _BY_NAME else sub
        for name, sub in below.items()
    }
    return [own, *(one for name, sub in real.items() for one in walk(sub, (*path, name)))]


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the tree and the words that lead to it."""

    path: tuple[str, ...]
    command: Any

    @property
    def hidden(self) -> bool:
        """Whether help leaves it out."""
        return bool(self.command.hidden)

    @property
    def short_help(self) -> str:
        """Its help in one line."""
        return str(self.command.get_short_help_str(200))

    def value_options(self) -> set[str]:
        """Names of its options that take a value."""
        return {
            name
            for parameter in self.command.params
            if isinstance(parameter, core.TyperOption)
            and not parameter.is_flag
            and not parameter.count
            for name in (*parameter.opts, *parameter.secondary_opts)
        }

    def help_text(self) -> str:
        """Its help page, plain, 100 columns wide."""
        words = ("infuse", *self.path)
        with self.command.make_context(
            " ".join(words),
            ["--"],
            resilient_parsing=True,
            max_content_width=100,
            terminal_width=100,
            help_option_names=["-h", "--help"],
        ) as ctx:
            return str(ctx.get_help())


def complete(words: Sequence[str], incomplete: str) -> list[tuple[str, str]]:
    """Completions of a word as (value, help) pairs; a value "" with help "file" or "dir" asks the
    shell for paths.
    """
    from typer._click.shell_completion import ShellComplete

    class _Items(ShellComplete):
        name, source_template = "infuse", ""

        def format_completion(self, item: Any) -> str:
            return str(item.value)

        def get_completion_args(self) -> tuple[list[str], str]:
            return list(words), incomplete

        def source_vars(self) -> dict[str, Any]:
            return {}

    items = _Items(root(), {}, "infuse", "_INFUSE_COMPLETE").get_completions(
        list(words), incomplete
    )
    return [
        ("", item.type) if item.type in {"file", "dir"} else (item.value, item.help or "")
        for item in items
    ]


def _single(function: Callable[..., Any]) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(function)
    return app


def _usage_error(error: Exception) -> Exception | None:
    """What Typer means by an error, None when it is not one of Typer's."""
    from typer._click import exceptions as click

    from infuse_cli.errors import UsageError

    if isinstance(error, EOFError):
        return UsageError("usage.no-terminal", "the input ended where an answer was needed")
    if not isinstance(error, click.ClickException):
        return None
    ctx = getattr(error, "ctx", None)
    where = ctx.command_path if ctx is not None else "infuse"
    if isinstance(error, click.NoArgsIsHelpError):
        return UsageError(
            "usage.bad-option", f"`{where}` needs a command", hint=f"See `{where} --help`."
        )
    return UsageError(
        "usage.bad-option", " ".join(error.format_message().split()), hint=f"See `{where} --help`."
    )


def _globals_for_help(  # noqa: PLR0917 - read for the help page, never called with values
    profile: str = typer.Option(
        None, "--profile", metavar="NAME|PATH", help="Product profile (INFUSE_PROFILE)."
    ),
    home: str = typer.Option(
        None, "--home", metavar="DIR", help="Data folder of this bench (INFUSE_HOME)."
    ),
    output: str = typer.Option(
        None, "--output", metavar="human|json|jsonl", help="Form of the results (INFUSE_OUTPUT)."
    ),
    ca_bundle: str = typer.Option(
        None,
        "--ca-bundle",
        metavar="FILE",
        help="PEM certificates of whom to trust in the cloud (INFUSE_CA_BUNDLE).",
    ),
    no_color: bool = typer.Option(False, "--no-color", help="No colours (NO_COLOR)."),
    verbose: int = typer.Option(
        0,
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        help="Say more; -vv: details of errors.",
    ),
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    """Taken by `_argv.split` before Typer sees them; here for the help page."""
