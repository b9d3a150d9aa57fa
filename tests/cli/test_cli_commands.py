"""The command tree, usage errors and the two forms in which trouble is told."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infuse_cli.cli import _argv, _lazy, main, reference
from infuse_cli.cli._registry import ROWS, VALUE_OPTIONS
from infuse_cli.errors import CODES, Exit

DOCS = Path(__file__).parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def tree():
    return _lazy.walk(_lazy.root())


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_static_help_is_the_real_one(row):
    assert _lazy.load(row).get_short_help_str(200) == row.help


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_static_help_fits_eighty_columns(row):
    assert len(row.help) <= 66


def test_every_option_with_a_value_is_known_to_the_pre_parser(tree):
    takes = {name for one in tree for name in one.value_options() if name.startswith("-")}
    assert takes - set(_argv.GLOBAL_VALUES) <= VALUE_OPTIONS


def test_no_command_takes_a_global_option_for_itself(tree):
    for one in tree[1:]:
        own = {name for parameter in one.command.params for name in parameter.opts}
        assert not own & {"--home", "--output", "--no-color", "-v", "--verbose"}, one.path


def test_every_command_says_what_it_does(tree):
    assert [one.path for one in tree[1:] if not one.short_help] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["--bogus"],
        ["provision", "--bogus"],
        ["profile", "chekc"],
        ["profile"],
        ["nonsense"],
        ["--output", "xml", "profile", "list"],
        ["--home"],
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(argv, capsys):
    assert main.run(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("error usage.bad-option: ")
    assert "safe to unplug" in told.err


def test_a_mistyped_command_names_the_nearest(capsys):
    assert main.run(["provison"]) == 2
    assert "'provision'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [["provision", "--bogus", "--output", "json"], ["--output=jsonl", "provision", "--bogus"]],
)
def test_a_usage_error_is_an_envelope_when_json_was_asked(argv, capsys):
    assert main.run(argv) == 2
    told = capsys.readouterr()
    assert told.err == ""
    envelope = json.loads(told.out)
    assert (envelope["infuse"], envelope["command"], envelope["status"], envelope["data"]) == (
        1,
        "provision",
        "error",
        {},
    )
    assert set(envelope["errors"][0]) == {"code", "message", "hint", "boardSafe"}


def test_the_environment_can_ask_for_json(capsys, monkeypatch):
    monkeypatch.setenv("INFUSE_OUTPUT", "json")
    assert main.run(["profile", "check", "no-such-profile"]) == 3
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "profile.not-found"


def test_a_wrong_environment_is_named(capsys, monkeypatch):
    monkeypatch.setenv("INFUSE_OUTPUT", "yaml")
    assert main.run(["profile", "list"]) == 2
    assert "INFUSE_OUTPUT" in capsys.readouterr().err


def test_a_fault_of_ours_has_no_traceback_unless_asked(capsys, monkeypatch):
    monkeypatch.setattr(_lazy, "run", lambda *_, **__: 1 // 0)
    assert main.run(["provision"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error internal.error: ZeroDivisionError")
    assert told.count("\n") == 1
    assert "LEAVE BOARD" in told
    assert main.run(["provision", "-vv"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_exit_130(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_lazy, "run", interrupted)
    assert main.run(["provision"]) == 130
    assert "run.interrupted" in capsys.readouterr().err


def test_ctrl_c_inside_a_command_is_told_in_json_too(capsys, monkeypatch):
    from infuse_cli.config import source as profile_source

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(profile_source, "read", interrupted)
    assert main.run(["profile", "check", "x", "--output", "json"]) == 130
    told = json.loads(capsys.readouterr().out)
    assert (told["command"], told["errors"][0]["code"]) == ("profile check", "run.interrupted")


def test_bare_infuse_says_what_to_type_next(capsys):
    assert main.run([]) == 0
    told = capsys.readouterr().out
    for command in ("infuse provision --sim 4", "infuse profile new NAME", "infuse provision"):
        assert command in told


def test_bare_infuse_in_json(capsys):
    assert main.run(["--output", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["data"]["next"]) == 3


def test_a_reader_that_goes_away_is_no_trouble():
    command = f"{sys.executable} -m infuse_cli profile new --full | head -n 1"
    run = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.stderr == ""


def test_global_options_reach_the_command(tmp_path, capsys):
    assert (
        main.run(
            [
                "profile",
                "new",
                "one",
                "--organisation",
                "A",
                "--board",
                "B",
                "--home",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert main.run(["--home", str(tmp_path), "profile", "list", "--output", "json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["data"]["profiles"]
    assert listed[0]["name"] == "one"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_scripts_name_the_program(shell, capsys):
    assert main.run(["completion", shell]) == 0
    assert "_INFUSE_COMPLETE=1" in capsys.readouterr().out


def test_the_bash_script_completes(tmp_path):
    script = tmp_path / "infuse.bash"
    script.write_text(
        subprocess.run(
            [sys.executable, "-m", "infuse_cli", "completion", "bash"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    fake = tmp_path / "infuse"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -m infuse_cli "$@"\n')
    fake.chmod(0o755)
    asked = (
        'source "$0"; COMP_WORDS=(infuse profile ch); COMP_CWORD=2; _infuse_complete infuse ch;'
        ' echo "${COMPREPLY[@]}"'
    )
    run = subprocess.run(
        ["bash", "-c", asked, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert run.stdout.split() == ["check"]


def test_every_exit_code_has_its_meaning():
    assert set(reference.MEANINGS) == set(Exit)
    assert {info.exit for info in CODES.values()} <= set(Exit)


def test_the_reference_pages_are_those_of_this_program():
    for name, page in reference.pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == page, (
            f"{name}: python -m infuse_cli.cli.reference docs/reference"
        )


def on_a_terminal(*argv):
    """What a wide terminal shows of a run of `infuse`, without its colours."""
    import pty

    main_end, other = pty.openpty()
    env = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "infuse_cli", *argv],
        stdin=other,
        stdout=other,
        stderr=other,
        env=env,
    )
    os.close(other)
    shown = b""
    try:
        while data := os.read(main_end, 65536):
            shown += data
    except OSError:
        pass
    os.close(main_end)
    assert process.wait(10) == 0
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", shown.decode(errors="replace")).split())


@pytest.mark.posix
def test_a_terminal_loses_nothing_of_the_help():
    # A program that waits for a virtual board may write to the number of its terminal, which is
    # this one's now: not three times.
    assert any(
        "[default: those they were on]" in on_a_terminal("resume", "--help") for _ in range(3)
    )


def test_a_real_port_and_virtual_boards_exclude_each_other(capsys):
    assert main.run(["provision", "--sim", "1", "--port", "/dev/ttyACM0"]) == Exit.USAGE
    assert "give --port or --sim, not both" in capsys.readouterr().err
