"""What holds between processes, and when one is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from journal_line import Line

from infuse_cli import records as rec
from infuse_cli.errors import BoardError, JournalError
from infuse_cli.journal.owner import Owners
from infuse_cli.journal.store import open_journal
from infuse_cli.types import StepState

if TYPE_CHECKING:
    from collections.abc import Iterator

S = StepState
HERE = str(Path(__file__).parent)
PRELUDE = f"""
import os, signal, sys
sys.path.insert(0, {HERE!r})
from pathlib import Path
from journal_line import Line
from infuse_cli import records as rec
from infuse_cli.journal import writes
from infuse_cli.journal.owner import Owners
from infuse_cli.journal.store import open_journal
from infuse_cli.types import StepState as S
home = Path(sys.argv[1])
def say(word):
    print(word, flush=True)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def child(home: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(body), str(home)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_was_committed_outlives_a_kill_and_what_was_not_is_gone(home: Path) -> None:
    body = """
    line = Line(open_journal(home, station="s"))
    line.start()
    a = line.open("b1", attempt="a1")
    line.move(a, "keygen", S.PENDING, S.BEGUN)
    step = writes._move_step
    writes._APPLY[rec.NoteRun] = lambda tx, write: die()
    done = rec.MoveStep(attempt=a, step="keygen", from_state=S.BEGUN, to_state=S.DONE)
    line.journal.commit(done, rec.NoteRun(run="run-1", what="x"))
    """
    with child(home, body) as process:
        assert process.wait(20) == -signal.SIGKILL
    with open_journal(home, station="s") as journal:
        found = journal.attempt("a1")
        assert not found.alive
        assert found.steps["keygen"].state is S.BEGUN
        assert journal.verify() == []
        assert not journal.run("run-1").alive


def test_an_owner_lives_until_it_is_killed(home: Path) -> None:
    body = """
    line = Line(open_journal(home, station="s"))
    line.start("theirs")
    line.open("b1", attempt="a1")
    say("ready")
    sys.stdin.read()
    """
    with child(home, body) as process, open_journal(home, station="s") as journal:
        assert heard(process) == "ready"
        line = Line(journal)
        line.start("ours")
        assert journal.attempt("a1").alive
        assert journal.run("theirs").alive
        with pytest.raises(BoardError) as caught:
            line.open("b1")
        assert caught.value.code == "board.in-use"
        process.kill()
        process.wait()
        assert not journal.attempt("a1").alive
        assert [path.name for path in (home / "locks").iterdir()] == ["ours.lock"]
        journal.commit(rec.TakeAttempt(attempt="a1", run="ours", slot=1, port="p"))


def test_two_processes_racing_for_a_board_have_one_winner(home: Path) -> None:
    body = """
    name = sys.stdin.readline().strip()
    journal = open_journal(home, station="s")
    line = Line(journal)
    line.start(name)
    say("ready")
    sys.stdin.readline()
    from infuse_cli.errors import InfuseError
    for number in range(20):
        try:
            line.open(f"b{number}", attempt=f"{name}-{number}")
        except InfuseError as error:
            say(error.code)
        else:
            say("won")
    sys.stdin.readline()
    """
    with child(home, body) as one, child(home, body) as two:
        for process, name in ((one, "r1"), (two, "r2")):
            print(name, file=process.stdin, flush=True)
        assert (heard(one), heard(two)) == ("ready", "ready")
        for process in (one, two):
            print(file=process.stdin, flush=True)
        for _ in range(20):
            assert sorted((heard(one), heard(two))) == ["board.in-use", "won"]
    with open_journal(home, station="s") as journal:
        assert len(journal.open_attempts()) == 20
        assert journal.verify() == []


def test_racing_for_a_dead_runs_board_has_one_winner(home: Path) -> None:
    with open_journal(home, station="s") as journal:
        line = Line(journal)
        line.start("dead")
        line.open("b1", attempt="a1")
    won: list[str] = []
    lost: list[str] = []
    barrier = threading.Barrier(4)
    journals = [open_journal(home, station="s") for _ in range(4)]

    def work(number: int) -> None:
        run = Line(journals[number]).start(f"r{number}")
        barrier.wait()
        try:
            journals[number].commit(rec.TakeAttempt(attempt="a1", run=run, slot=1, port="p"))
        except BoardError as error:
            lost.append(error.code)
        else:
            won.append(run)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journals[0].attempt("a1").run == won[0]
    assert lost == ["board.in-use"] * 3
    for one in journals:
        one.close()


def test_an_owner_lock_inside_one_process(home: Path) -> None:
    one, two = Owners(home), Owners(home)
    assert not two.alive("r")
    one.hold("r")
    assert one.alive("r")
    assert two.alive("r")
    assert two.alive("r"), "asking must not free it"
    with pytest.raises(JournalError):
        two.hold("r")
    with pytest.raises(JournalError):
        one.hold("r")
    assert two.alive("r")
    one.release("r")
    one.release("r")
    assert not two.alive("r")
    assert list((home / "locks").iterdir()) == []


@pytest.mark.parametrize("run", ["../../escape", "a b", "ä", "x" * 300, ""])
def test_a_strange_run_id_stays_in_the_folder(home: Path, run: str) -> None:
    owners = Owners(home)
    owners.hold(run)
    assert owners.path(run).parent == home / "locks"
    assert owners.path(run).stat().st_mode & 0o077 == 0
    assert Owners(home).alive(run)
    owners.release_all()


def test_locks_that_were_left_behind_are_swept(home: Path) -> None:
    import os

    owners = Owners(home)
    owners.hold("first")
    left, fresh = home / "locks" / "left.lock", home / "locks" / "fresh.lock"
    for path in (left, fresh):
        path.touch()
    for path in (left, owners.path("first")):
        os.utime(path, (1, 1))
    Owners(home).hold("second")
    assert sorted(path.stem for path in (home / "locks").iterdir()) == ["first", "fresh", "second"]
    owners.release_all()
