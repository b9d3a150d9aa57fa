"""The line from Python: values in, values out, and nothing loaded that isn't used."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infuse_cli import Journal, Line, Options, ProvisionRequest, Settings, errors, load_profile
from infuse_cli.clock import RunClock
from infuse_cli.types import Outcome

EXAMPLES = Path(__file__).parents[2] / "examples" / "library"
HEAVY = ("sqlalchemy", "sqlite3", "httpcore", "httpx", "ssl", "serial", "typer", "rich", "keyring")
IMPORT = """
import sys
from infuse_cli import CertificateAuthority, InfuseClient, Journal, Line, Profile
from infuse_cli import RegistryClient, Secret, Settings, load_profile, errors
print([name for name in {heavy!r} if name in sys.modules])
"""
BLOCKED = """
import sys
from pathlib import Path
sys.modules["typer"] = sys.modules["click"] = None
from infuse_cli import Line, ProvisionRequest, Settings
settings = Settings(Path({home!r}), profile={profile!r}, env={env!r})
print(Line(settings).provision(ProvisionRequest(ports=({port!r},))).totals["pass"])
"""


class Heard:
    def __init__(self):
        self.events = []
        self.lock = threading.Lock()

    def emit(self, event):
        with self.lock:
            self.events.append(event.event)


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(8) as made:
        yield made


def settings(bench):
    return Settings(bench.home, profile=bench.profile, env=bench.env)


def test_importing_it_loads_neither_network_nor_database():
    # Coverage would bring sqlite3 in.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT.format(heavy=HEAVY)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


def test_boards_become_values(bench):
    heard = Heard()
    ports = (bench.world.port(bench.slot()), bench.world.port(bench.slot()))
    result = Line(settings(bench), events=heard).provision(ProvisionRequest(ports=ports))
    assert result.totals == {"pass": 2, "fail": 0, "error": 0, "aborted": 0}
    assert [board.outcome for board in result.boards] == [Outcome.PASS] * 2
    assert (result.status, result.exit) == ("ok", 0)
    assert heard.events[0] == "run-started"
    assert heard.events[-1] == "run-ended"
    assert heard.events.count("board-ended") == 2
    with Journal.open(bench.home) as journal:
        assert journal.run(result.run).totals == result.totals


def test_a_parked_board_goes_on(bench):
    port = bench.world.port(bench.slot())
    request = ProvisionRequest(Options(until="register"), ports=(port,))
    parked = Line(settings(bench)).provision(request)
    assert parked.boards[0].code == "run.until"
    resumed = Line(settings(bench)).resume()
    assert [run.totals["pass"] for run in resumed.runs] == [1]
    assert resumed.absent == ()
    assert Line(settings(bench)).resume().runs == ()


def test_a_stop_parks_what_is_in_hand(bench):
    clock = RunClock()
    clock.stop.set()
    port = bench.world.port(bench.slot())
    result = Line(settings(bench), clock=clock).provision(ProvisionRequest(ports=(port,)))
    assert result.interrupted
    assert result.exit == 130


def test_the_examples_do_what_they_say(bench):
    port = bench.world.port(bench.slot())
    ran = example("provision_boards.py", bench, bench.profile, str(bench.home), port)
    assert ran.returncode == 0, ran.stderr
    assert "register done in" in ran.stdout
    assert "Outcome.PASS" in ran.stdout
    ran = example("read_journal.py", bench, str(bench.home))
    assert ran.returncode == 0, ran.stderr
    assert "'pass': 1}" in ran.stdout


def example(name, bench, *argv):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *argv],
        env={**os.environ, **bench.env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_stops_all_is_raised(tmp_path, bench):
    with pytest.raises(errors.ProfileError):
        load_profile(None)
    with pytest.raises(errors.UsageError, match="--until"):
        Line(settings(bench)).provision(
            ProvisionRequest(Options(until="provision"), ports=(bench.world.port(1),))
        )
    with pytest.raises(errors.JournalError):
        Journal.open(tmp_path / "nowhere")


def test_it_runs_where_there_is_no_typer(bench):
    text = BLOCKED.format(
        home=str(bench.home),
        profile=bench.profile,
        env=bench.env,
        port=bench.world.port(bench.slot()),
    )
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "1", ran.stderr
