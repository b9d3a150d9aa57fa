"""Streams that take nothing, streams that nobody reads, and signals before and after the work:
`infuse` as a program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from infuse_cli.cli.main import run

INFUSE = [sys.executable, "-m", "infuse_cli"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this platform has no full device")  # noqa: PTH110
@pytest.mark.parametrize(
    "argv",
    [
        ["--version"],
        ["--output", "json", "profile", "list"],
        ["--output", "json", "profile", "show", "nope"],
    ],
)
def test_a_result_that_cannot_be_written_is_no_success(argv):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ran = subprocess.run(
            [*INFUSE, *argv], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.splitlines()[-1].startswith(
        "error usage.output-lost: standard output cannot be written: "
    )
    assert "Traceback" not in ran.stderr
    assert "internal.error" not in ran.stderr


@pytest.mark.storm
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this platform has no full device")  # noqa: PTH110
def test_an_error_that_cannot_be_told_keeps_its_exit_code():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ran = subprocess.run(
            [*INFUSE, "profile", "show", "nope"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert (ran.returncode, ran.stdout) == (3, "")


def test_a_reader_that_goes_away_gets_no_traceback():
    with subprocess.Popen(
        [*INFUSE, "profile", "new", "--full"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode in {0, 141}


_INTERRUPTED = """
import os, signal, sys
signal.signal(signal.{name}, signal.SIG_DFL)  # such as nohup sets it
from infuse_cli.cli import main
def at_work(argv):
    os.kill(os.getpid(), signal.{name})
    signal.pause()
if {after}:
    at_work, main.run = main.run, lambda argv: 0
    main.sys.exit = lambda code: (os.kill(os.getpid(), signal.{name}), signal.pause())
else:
    main._run = lambda found, rest: at_work(rest)
sys.argv = ["infuse", "profile", "list"]
main.main()
"""


@pytest.mark.posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("after", [False, True])
def test_a_signal_is_exit_130_before_and_after_a_run_too(name, after):
    ran = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED.format(name=name, after=after)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 130, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "infuse resume" not in ran.stderr, "nothing was begun"


@pytest.mark.posix
def test_a_signal_that_is_ignored_stays_so():
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom infuse_cli.cli import"
        " main\nmain._hear(main._interrupt)\nprint(signal.getsignal(signal.SIGHUP) is"
        " signal.SIG_IGN)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "True\n"
    )
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("plan", ["3:mute", "1:echo, 7:unplug@keygen"])
def test_a_fault_of_a_slot_that_is_not_there_is_named(plan, capsys):
    assert run(["sim", "up", "--boards", "2", "--faults", plan]) == 2
    assert (
        f"there is no slot {plan[-len(plan) :].rsplit(', ', maxsplit=1)[-1][0]}; the simulator"
        " has 2" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name: "a\\ud800b"\n', "half of a character"),
        ("name: x\nidentity: {sec_tag: " + "9" * 6000 + "}\n", "no number"),
    ],
)
@pytest.mark.parametrize("command", ["check", "show"])
def test_a_profile_with_an_impossible_value_is_told_so(text, said, command, tmp_path, capsys):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    code = run(["profile", command, str(path)])
    told = capsys.readouterr()
    assert "internal.error" not in told.err
    assert command == "show" or (code == 3 and said in told.out)
