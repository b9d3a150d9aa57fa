"""The batch room as a library: no command line, no terminal, values in and values out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infuse_cli import batch
from infuse_cli.batch.planning import RowPlan
from infuse_cli.clock import RunClock
from infuse_cli.errors import Exit, PolicyError, UsageError
from infuse_cli.records.rows import RowOutcome
from infuse_cli.settings import Settings
from tests.batch.conftest import Job, mcu_id

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "library" / "register_rows.py"
WITHOUT_COMMAND_LINE = """
import runpy, sys
sys.modules["typer"] = None
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert not [name for name in sys.modules if name.startswith("infuse_cli.cli")]
"""


def settings_of(job: Job) -> Settings:
    return Settings(job.home, str(job.profile), {**os.environ, **job.env})


def test_the_example_registers_a_file(job: Job) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_COMMAND_LINE, EXAMPLE, job.profile, path],
            env={**os.environ, **job.env},
            capture_output=True,
            text=True,
            check=True,
        )

    path = job.file(3)
    lines = sorted(run().stdout.splitlines())
    devices = job.devices()
    assert lines == [
        f"{mcu_id(number)} created {devices[mcu_id(number)]['deviceId']}" for number in (1, 2, 3)
    ]
    assert [line.split()[1] for line in run().stdout.splitlines()] == ["existed"] * 3


def test_results_are_values(job: Job) -> None:
    settings, path = settings_of(job), job.file(4, named=True)
    assert batch.plan(settings, batch.PlanRequest(path)).rows[RowPlan.CREATE] == 4
    result = batch.register(settings, batch.RegisterRequest(path))
    assert (result.exit, result.errors, result.left) == (Exit.OK, (), 0)
    assert result.totals[RowOutcome.CREATED] == 4
    assert batch.status(settings, path).totals == {"created": 4}
    ids = batch.export_ids(settings, batch.ExportRequest(path))
    assert [row["deviceId"] for row in ids.rows] == [
        job.devices()[mcu_id(number)]["deviceId"] for number in range(1, 5)
    ]
    onboarding = batch.export_onboarding(settings, batch.ExportRequest(path))
    assert (onboarding.count, len(onboarding.refused)) == (0, 4)
    assert isinstance(onboarding.error, PolicyError)


def test_a_stop_from_another_thread_ends_the_run(job: Job) -> None:
    job.world.set_faults("cloud:latency=50ms")
    clock = RunClock()

    class StopAtFirst:
        """Asks the run to stop when the first row has ended."""

        def __init__(self) -> None:
            self.seen = threading.Event()

        def emit(self, event: object) -> None:
            if getattr(event, "event", "") == "row-ended":
                clock.stop.set()
                self.seen.set()

    events, path = StopAtFirst(), job.file(60)
    request = batch.RegisterRequest(path, concurrency=2)
    result = batch.register(settings_of(job), request, clock, events)
    assert events.seen.is_set()
    assert (result.exit, result.errors[0].code) == (Exit.INTERRUPTED, "run.interrupted")
    assert 0 < result.left < 60
    assert batch.register(settings_of(job), batch.RegisterRequest(path)).exit is Exit.OK
    assert len(job.devices()) == 60


def test_a_bad_file_is_refused_before_anything_is_sent(job: Job) -> None:
    path = job.text("mcuId,metadata.serialNumber", "not-an-id,SN-1")
    with pytest.raises(UsageError) as caught:
        batch.register(settings_of(job), batch.RegisterRequest(path))
    assert caught.value.code == "batch.bad-rows"
    assert job.sent("POST /device") == 0
