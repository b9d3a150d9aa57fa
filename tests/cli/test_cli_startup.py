"""Start-up is a feature: what --help and a completion may import."""

import functools
import os
import re
import subprocess
import sys

import pytest

ALLOWED = {"typer", "annotated_doc", "shellingham", "org", "infuse_cli", "infuse_line"}
"""What Typer itself brings along (`org` is a name that the standard library probes for), and this program."""

HEAVY = ("httpx", "cryptography", "sqlalchemy", "keyring", "rich", "yaml", "msgspec", "serial", "cbor2", "tenacity", "platformdirs", "starlette")


def loaded(*argv, env=None):
    """Names of the modules that a run of Python imports, and the run."""
    run = subprocess.run([sys.executable, "-X", "importtime", *argv], capture_output=True, text=True,
                         env={**os.environ, **(env or {})}, timeout=30, check=False)
    return set(re.findall(r"^import time:.*\| +(\S+)$", run.stderr, re.MULTILINE)), run


@functools.cache
def by_itself():
    """What this Python imports before any program: site hooks of the machine and of the virtual environment."""
    return loaded("-c", "pass")[0]


def imported(argv, env=None):
    """Top-level names of the modules outside the standard library that a run of `infuse` imports."""
    names, run = loaded("-m", "infuse_cli", *argv, env=env)
    return {name.split(".")[0] for name in names - by_itself()} - set(sys.stdlib_module_names) - {"__main__"}, run


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--output", "json", "--help"]])
def test_help_imports_nothing_but_typer(argv):
    tops, run = imported(argv)
    assert run.returncode == 0
    assert "provision" in run.stdout
    assert tops <= ALLOWED


@pytest.mark.parametrize(("words", "offered"), [
    ([""], "provision"), (["pro"], "profile"), (["profile", ""], "check"), (["provision", "--p"], "--port"),
    (["--output", "js"], "jsonl"), (["--profile", "nrf"], "nrf9151-dk"), (["profile", "check", "--out"], "--output"),
])
def test_a_completion_imports_nothing_but_typer(words, offered):
    tops, run = imported(words, {"_INFUSE_COMPLETE": "1"})
    assert offered in [line.split("\t")[0] for line in run.stdout.splitlines()]
    assert tops <= ALLOWED


def test_the_version_and_the_bare_command_import_not_even_typer():
    for argv in (["--version"], []):
        tops, run = imported(argv)
        assert run.returncode == 0
        assert "typer" not in tops


@pytest.mark.parametrize("command", ["provision", "resume", "journal", "profile", "ca", "auth", "sim", "completion",
                                     "org", "board", "network", "device", "key", "mqtt", "rpc", "registry", "doctor", "serial"])
def test_a_commands_help_imports_no_heavy_library(command):
    tops, run = imported([command, "--help"])
    assert run.returncode == 0
    assert not tops & set(HEAVY)
