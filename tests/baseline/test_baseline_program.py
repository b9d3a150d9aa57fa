"""Not fewer commands, options, error codes, hints and fail-points than at commit dadc716."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import infuse_cli
from tests.baseline import program, renames

DATA = Path(__file__).parent / "data"
PACKAGE = Path(infuse_cli.__file__).parent
TESTS = Path(__file__).parents[1]


def stored(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


COMMANDS = stored("commands.json")
CODES = stored("codes.json")
FAIL_POINTS = stored("fail_points.json")


@cache
def commands_now() -> dict[str, Any]:
    return program.commands()


def test_every_command_is_still_there():
    was = {renames.COMMANDS.get(name, name) for name in COMMANDS}
    assert was - set(commands_now()) == set()


def test_every_command_takes_what_it_took():
    wrong = [row for name in COMMANDS for row in lost_options(name)]
    assert wrong == []


def lost_options(name: str) -> list[Any]:
    """The options of a command that are not as they were, and what they were to be."""
    was, now = COMMANDS[name], commands_now()[renames.COMMANDS.get(name, name)]
    assert (now["group"], now["hidden"]) == (was["group"], was["hidden"]), name
    rows = [row for row in now["parameters"] if row["kind"] == "option"]
    expected = [renamed_option(name, row) for row in was["parameters"] if row["kind"] == "option"]
    return [(name, row) for row in expected if not any(takes_all(found, row) for found in rows)]


def test_every_command_takes_the_same_arguments_in_the_same_order():
    for name in COMMANDS:
        was = arguments(COMMANDS[name])
        now = arguments(commands_now()[renames.COMMANDS.get(name, name)])
        expected = [{**row, **changed(f"{name} {row.get('metavar')}")} for row in was]
        assert now[: len(expected)] == expected, name
        assert not any(row.get("required") for row in now[len(expected) :]), name


def arguments(command: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in command["parameters"] if row["kind"] == "argument"]


def renamed_option(command: str, row: dict[str, Any]) -> dict[str, Any]:
    """The stored row as it is to be now."""
    options = {
        key: [
            renames.OPTIONS.get(f"{command} {option}", f"{command} {option}") for option in row[key]
        ]
        for key in ("options", "off")
        if key in row
    }
    expected = {key: [name.split()[-1] for name in names] for key, names in options.items()}
    return {**row, **expected, **changed(f"{command} {row['options'][0]}")}


def changed(parameter: str) -> dict[str, object]:
    return renames.PARAMETERS.get(parameter, {})


def takes_all(now: dict[str, Any], was: dict[str, Any]) -> bool:
    """Whether an option has the stored names, perhaps more, and else the stored values.

    It may offer more choices; nothing else may differ.
    """
    more = {"options", "off", "choices"}
    same = {key: value for key, value in was.items() if key not in more}
    return same == {key: value for key, value in now.items() if key not in more} and all(
        set(was.get(key, ())) <= set(now.get(key, ())) for key in more
    )


def test_every_error_code_is_still_there_and_means_the_same_to_a_program():
    now = program.codes()
    for code, was in CODES["codes"].items():
        row = now[renames.CODES.get(code, code)]
        for key in ("exit", "outcome", "boardSafe"):
            assert row[key] == was[key], (code, key)
        assert row["meaning"]


def test_the_exit_codes_are_the_same():
    assert program.exits() == CODES["exits"]


def test_every_hint_names_the_commands_and_options_that_it_named():
    now = program.codes()
    for code, row in CODES["codes"].items():
        hint = now[renames.CODES.get(code, code)]["hint"]
        assert hint, code
        lost = typed_words(row["hint"]) - typed_words(hint)
        assert lost <= renames.HINTS.get(code, frozenset()), (code, hint)


def typed_words(hint: str) -> set[str]:
    """What a person would type of a hint: commands, options, variables."""
    commands = re.findall(r"`infuse ([a-z-]+(?: [a-z-]+)*)", hint)
    named = {renames.COMMANDS.get(command, command) for command in commands}
    return named | set(re.findall(r"--[a-z-]+|INFUSE_[A-Z_]+", hint))


def test_the_states_are_the_same():
    was, now = stored("states.json"), program.states()
    tables = {"TokenState": renames.TOKEN_STATES}
    for kind, states in was.items():
        table = tables.get(kind, renames.STATES)
        assert {table.get(state, state) for state in states} <= set(now[kind]), kind


def test_every_fail_point_is_still_in_the_code():
    now = set(program.fail_points(PACKAGE))
    assert {renamed_point(point) for point in FAIL_POINTS["code"]} - now == set()


def test_every_place_where_tests_killed_is_still_named_in_them():
    now = set(program.killed_at(TESTS))
    assert {renamed_point(point) for point in FAIL_POINTS["tests"]} - now == set()


@pytest.mark.parametrize("mode", FAIL_POINTS["kills"])
def test_the_kill_matrix_has_all_of_its_rows(mode):
    was = {renamed_point(point) for point in FAIL_POINTS["kills"][mode]}
    assert was - set(program.kill_list()[mode]) == set()


def renamed_point(point: str) -> str:
    return renames.FAIL_POINTS.get(point, point)


def test_a_rename_is_done_everywhere():
    """Of a row only the new name is in use, of a planned row only the old one."""
    codes, states = set(program.codes()), set(program.states()["TokenState"])
    for table, planned, now in (
        (renames.CODES, renames.PLANNED_CODES, codes),
        (renames.TOKEN_STATES, renames.PLANNED_TOKEN_STATES, states),
    ):
        assert set(table) & now == set()
        assert set(table.values()) <= now
        assert set(planned) <= now
        assert set(planned.values()) & now == set()
