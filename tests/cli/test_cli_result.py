"""The envelope, word for word."""

import datetime as dt
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult, error_line, finish, json_line, tell
from infuse_cli.errors import BoardError, InfuseError
from infuse_cli.types import Outcome, Secret

GOLDEN = (
    '{"infuse":1,"command":"ca'
    ' show","status":"partial","data":{"path":"/x","at":"2026-01-02T03:04:05Z","result":"FAIL"},"errors":[{"code":"serial.timeout","message":"slot'
    ' 1 went silent","hint":"Reset the board, then run again: it goes on where it'
    ' was.","boardSafe":false}]}\n'
)


def result(**more):
    at = dt.datetime(2026, 1, 2, 4, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    error = BoardError("serial.timeout", "slot 1 went silent").as_json()
    return OperationResult(
        "ca show",
        {"path": Path("/x"), "at": at, "result": Outcome.FAIL},
        status="partial",
        errors=[error],
        exit_code=11,
        **more,
    )


@pytest.fixture
def output(tmp_path):
    def use(mode):
        context.prepare(lambda: context.Invocation(home=tmp_path, output=mode))

    return use


@pytest.mark.parametrize("mode", ["json", "jsonl"])
def test_the_envelope_is_one_line(mode, output, capsys):
    output(mode)
    with pytest.raises(typer.Exit) as ended:
        finish(result())
    assert ended.value.exit_code == 11
    assert capsys.readouterr().out == GOLDEN


def test_a_streamed_result_adds_nothing_to_its_lines(output, capsys):
    output("jsonl")
    with pytest.raises(typer.Exit):
        finish(result(streamed=True))
    assert capsys.readouterr().out == ""
    output("json")
    with pytest.raises(typer.Exit):
        finish(result(streamed=True))
    assert capsys.readouterr().out == GOLDEN


def test_people_get_text_on_stdout_and_errors_on_stderr(output, capsys):
    output("human")
    with pytest.raises(typer.Exit):
        finish(result(human="all there"))
    told = capsys.readouterr()
    assert told.out == "all there\n"
    assert (
        told.err
        == "error serial.timeout: slot 1 went silent. Reset the board, then run again: it goes on"
        " where it was. LEAVE BOARD: do not unplug it.\n"
    )


def test_a_callable_prints_on_a_console(output, capsys):
    output("human")
    with pytest.raises(typer.Exit):
        finish(OperationResult("x", {}, human=lambda console: console.print("[bold]here[/bold]")))
    assert capsys.readouterr().out == "here\n"


def test_an_error_is_one_line_whatever_its_message_holds():
    line = error_line(InfuseError("cloud.refused", "the server\nsaid\tno!").as_json())
    assert "\n" not in line
    assert line.startswith("error cloud.refused: the server said no! ")


def test_a_secret_is_never_made_json():
    with pytest.raises(TypeError):
        json_line({"token": Secret("x")})


def test_settings_take_a_flag_before_the_environment(tmp_path):
    env = {
        "INFUSE_HOME": "/from/env",
        "INFUSE_PROFILE": "env",
        "INFUSE_OUTPUT": "jsonl",
        "NO_COLOR": "1",
    }
    settings = context.settings_of(env, home=str(tmp_path), output="json", profile="flag")
    assert (settings.home, settings.output, settings.profile, settings.no_color) == (
        tmp_path,
        "json",
        "flag",
        True,
    )
    assert settings.env["INFUSE_HOME"] == str(tmp_path)
    assert settings.env["INFUSE_PROFILE"] == "flag"
    fallen_back = context.settings_of(env)
    assert (str(fallen_back.home), fallen_back.output, fallen_back.profile) == (
        "/from/env",
        "jsonl",
        "env",
    )


def test_a_terminal_folds_errors_between_words_and_never_a_command(monkeypatch, capsys):
    text = (
        "error serial.no-port: there is no port /dev/ttyACM0. `infuse serial ports` lists what is"
        " there."
    )
    for columns, told in (
        (0, [text]),
        (
            50,
            [
                "error serial.no-port: there is no port",
                "/dev/ttyACM0. `infuse serial ports` lists what is",
                "there.",
            ],
        ),
        (
            20,
            [
                "error",
                "serial.no-port:",
                "there is no port",
                "/dev/ttyACM0.",
                "`infuse serial ports`",
                "lists what is there.",
            ],
        ),
    ):
        monkeypatch.setattr("infuse_cli.cli.result._columns", lambda columns=columns: columns)
        tell(text)
        assert capsys.readouterr().err.splitlines() == told


def test_a_simulated_run_never_speaks_of_resume():
    from infuse_cli.cli.views.simulated import SimulatedEvents
    from infuse_cli.errors import Interrupted
    from infuse_cli.types import Event

    class Kept:
        leaves_errors = True

        def __init__(self):
            self.events = []

        def emit(self, event):
            self.events.append(event)

    kept, error = Kept(), Interrupted().as_json()
    assert "infuse resume" in error["hint"]
    SimulatedEvents(kept).emit(
        Event(
            ts=datetime.now(UTC),
            run="r",
            event="board-ended",
            error=error,
            data={"boards": [{"error": error}]},
        )
    )
    assert "resume" not in str(kept.events)
    assert kept.events[0].error["code"] == "run.interrupted"
