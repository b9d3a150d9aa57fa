"""A run of the line from the command line: its picture, its keyboard and its signals around the
library's `Line`.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from infuse_cli.cli import context
from infuse_cli.cli.keyboard import TerminalPerson
from infuse_cli.cli.signals import StopOnSignals
from infuse_cli.cli.views.provision import Shown, provisioned, resumed
from infuse_cli.clock import RunClock
from infuse_cli.errors import UsageError
from infuse_cli.line import Line

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.provisioning.request import ProvisionRequest, RunSetup
    from infuse_cli.settings import Settings


def provision(
    request: ProvisionRequest, before: Callable[[], None] | None = None
) -> OperationResult:
    """`infuse provision`; `before` as for `RunSetup`."""
    result, shown = _on_line(
        context.current().settings, lambda line: line.provision(request, before=before)
    )
    return provisioned("provision", result, shown)


def run(setup: RunSetup, ports: Sequence[str]) -> OperationResult:
    """A run whose profile is known."""
    result, shown = _on_line(context.current().settings, lambda line: line.run(setup, ports))
    return provisioned(setup.command, result, shown)


def resume(request: ProvisionRequest) -> OperationResult:
    """`infuse resume`."""
    result, shown = _on_line(context.current().settings, lambda line: line.resume(request))
    return resumed(result, shown)


def provision_simulated(
    request: ProvisionRequest, boards: int, faults: str | None
) -> OperationResult:
    """`infuse provision --sim`: a world that is gone afterwards, with fresh boards, cloud and CA,
    and (unless --home says otherwise) a home of its own.
    """
    import tempfile

    from infuse_cli.cli.simulation import simulated, without_ours
    from infuse_cli.text import plural

    invocation = context.current()
    if invocation.profile_by_flag:
        raise UsageError(
            "usage.bad-option", "--sim brings its own profile; give --profile or --sim, not both"
        )
    if request.ports:
        raise UsageError(
            "usage.bad-option", "--sim brings its own boards; give --port or --sim, not both"
        )
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="infuse-sim-", ignore_cleanup_errors=True)
            )
        )
        home = invocation.home if invocation.home_by_flag else folder / "home"
        if invocation.output == "human":
            sys.stderr.write(f"Starting {plural(boards, 'virtual board')} and a virtual cloud…\n")
            sys.stderr.flush()
        world = stack.enter_context(simulated(boards, faults=faults))
        env = {
            **without_ours(os.environ),
            "INFUSE_HOME": str(home),
            "INFUSE_SEALING_KEY_FILE": str(folder / "sealing.key"),
        }
        settings = replace(invocation.settings, home=home, env=env, profile=world.profile)
        asked = replace(request, ports=world.ports)
        result, shown = _on_line(
            settings, lambda line: line.provision(asked, simulated=True), simulated=True
        )
    return provisioned("provision", result, shown)


def watching(
    request: ProvisionRequest, *, wished: bool, single: bool, sim: int | None
) -> ProvisionRequest:
    """Whether boards are waited for: where it is wished, and on a terminal where nothing says how
    many there are.

    `single`: the options are for one board only. Raises UsageError usage.bad-option.
    """
    fixed = single or sim is not None or request.options.dry_run
    if wished and fixed:
        raise UsageError(
            "usage.bad-option",
            "--watch takes boards as they come: it does not go with --sim, --dry-run, --metadata or"
            " --replaces",
            hint="Several boards take --metadata-from FILE.csv, or their labels are scanned.",
        )
    bounded = fixed or request.count is not None or request.ports
    on_terminal = sys.stderr.isatty() and context.current().output == "human"
    return replace(request, watch=wished or (on_terminal and not bounded))


def _on_line(
    settings: Settings, work: Callable[[Line], T], *, simulated: bool = False
) -> tuple[T, Shown]:
    from infuse_cli.cli.views.boards import RunRenderer
    from infuse_cli.cli.views.simulated import SimulatedEvents

    clock = RunClock()
    renderer = RunRenderer(context.current(), stderr_is_tty=sys.stderr.isatty())
    events = SimulatedEvents(renderer) if simulated else renderer
    with StopOnSignals(clock), closing(events):
        line = Line(
            settings,
            events=events,
            clock=clock,
            person=TerminalPerson(clock),
            record_text=_record_text,
        )
        result = work(line)
    return result, Shown(errors=renderer.leaves_errors, simulated=simulated)


def _record_text(journal: SqliteJournal, board: str) -> str:
    from infuse_cli.journal.board_json import record
    from infuse_cli.text import json_line

    return json_line(record(journal, board))
