"""Global options at any place of the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infuse_cli.cli._argv import GLOBAL_VALUES, Globals, split

TAKES = frozenset({"--out", "--metadata"})
PLAIN = st.sampled_from(
    ["provision", "ca", "show", "x.csr", "--watch", "--count=3", "SN-00012", "-", ""]
)
GLOBALS = st.sampled_from(
    [
        ["--profile", "p"],
        ["--output=json"],
        ["--home", "/h"],
        ["--no-color"],
        ["-v"],
        ["-vv"],
        ["--verbose"],
    ]
)


@pytest.mark.parametrize(
    "argv",
    [
        ["--profile", "p", "--output", "json", "ca", "show"],
        ["ca", "--output=json", "show", "--profile=p"],
        ["ca", "show", "--profile", "p", "--output", "json"],
    ],
)
def test_a_global_option_means_the_same_before_and_after_the_command(argv):
    assert split(argv, TAKES) == (Globals(profile="p", output="json"), ["ca", "show"])


def test_nothing_after_two_dashes_is_taken():
    found, rest = split(["serial", "--", "--output", "json", "-v"], TAKES)
    assert found == Globals()
    assert rest == ["serial", "--", "--output", "json", "-v"]


def test_the_value_of_a_commands_own_option_is_not_taken():
    found, rest = split(["ca", "sign", "--out", "-v", "--metadata", "--output", "-v"], TAKES)
    assert found == Globals(verbose=1)
    assert rest == ["ca", "sign", "--out", "-v", "--metadata", "--output"]


@pytest.mark.parametrize("argv", [["--output"], ["ca", "--output="], ["--home", "--", "x"]])
def test_a_missing_value_is_said(argv):
    found, _ = split(argv, TAKES)
    assert found.problem is not None
    assert "needs a value" in found.problem


def test_verbose_counts_up_and_the_last_value_counts():
    found, rest = split(["-v", "a", "-vv", "--output", "json", "--output", "jsonl"], TAKES)
    assert (found.verbose, found.output, rest) == (3, "jsonl", ["a"])


@given(st.lists(st.one_of(PLAIN.map(lambda word: [word]), GLOBALS), max_size=8))
def test_what_is_not_global_is_kept_in_order(groups):
    argv = [word for group in groups for word in group]
    found, rest = split(argv, TAKES)
    assert rest == [
        group[0]
        for group in groups
        if len(group) == 1
        and not group[0].startswith(("--output", "--no-color", "-v", "--verbose"))
    ]
    assert found.problem is None


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_words_are_taken_without_an_exception_and_none_is_made_up(argv):
    found, rest = split(argv, TAKES)
    assert set(rest) <= set(argv)
    again, same = split(rest, TAKES) if "--" not in rest else (found, rest)
    assert same == rest or any(word in GLOBAL_VALUES for word in rest)
    assert again.verbose <= found.verbose or any(word in TAKES for word in rest)
