"""The line in this process: the real adapters put together as `infuse provision` does, without its
start-up.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from _meter import Parts, TimedJournal, TimedSource, current, spending

from infuse_cli import composition
from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.config.source import load
from infuse_cli.provisioning.clock_guard import ClockGuard
from infuse_cli.provisioning.fleet import Fleet
from infuse_cli.provisioning.resolve import resolve
from infuse_cli.records import RunStart
from infuse_cli.settings import Settings
from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from _world import World

    from infuse_cli.provisioning.results import BoardResult
    from infuse_cli.types import Event


class NoEvents:
    """Nobody listens."""

    def emit(self, event: Event) -> None:
        """Nothing."""


class NotGreen(Exception):
    """A board did not PASS, so its time means nothing."""


@dataclass
class Line:
    """A run under way, to which boards are given."""

    context: Any
    profile: prof.Profile

    def __post_init__(self) -> None:
        self._fleet = self._new([])

    def _new(self, ports: Sequence[str]) -> Fleet:
        return Fleet(self.context, TimedSource(composition.source(self.profile, ports)))

    def batch(self, ports: Sequence[str]) -> list[BoardResult]:
        """Boards at once, a slot each; the results are all PASS."""
        results = self._new(ports).once(ports)
        bad = [result for result in results if result.outcome is not Outcome.PASS]
        if bad:
            raise NotGreen(f"slot {bad[0].slot}: {bad[0].error}")
        return results

    def board(self, port: str) -> tuple[Parts, BoardResult]:
        """One board in this thread, and where its time went."""
        parts = current.parts = Parts()
        try:
            with spending(parts.whole):
                result = self._fleet.take_port(1, port)
        finally:
            current.parts = None
        if result is None or result.outcome is not Outcome.PASS:
            raise NotGreen(str(result and result.error))
        return parts, result


@contextmanager
def line(world: World, home: Path) -> Iterator[Line]:
    """A run on a fresh home, resolved and ready for boards."""
    env = {"INFUSE_HOME": str(home), "INFUSE_SEALING_KEY_FILE": f"{home}.sealing"}
    profile = load(str(world.profile), env).profile
    clock, run = RunClock(), uuid.uuid4().hex
    adapters = composition.build(Settings(home, env=env), profile, clock)
    journal = adapters.journal
    journal.start_run(
        RunStart(
            run=run,
            command="provision",
            profile_name=profile.name,
            profile_hash=prof.digest(profile),
            profile=prof.to_json(profile),
            operator="benchmark",
        )
    )
    guard = ClockGuard(clock, adapters.cloud, journal)
    resolved = resolve(profile, adapters.cloud, journal, run)
    timed = replace(adapters, journal=TimedJournal(journal))
    context = composition.run_context(
        run,
        timed,
        profile,
        resolved,
        clock=clock,
        events=NoEvents(),
        check_clock=guard.check,
    )
    try:
        yield Line(context, profile)
    finally:
        journal.end_run(run, {})
        journal.close()
