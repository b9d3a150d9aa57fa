"""Start-up is a feature: what --help and a completion may import."""

import os
import re
import subprocess
import sys

import pytest

ALLOWED = {"typer", "annotated_doc", "shellingham", "org", "infuse_cli", "infuse_line"}
"""What Typer itself brings along (`org` is a name that the standard library probes for), and this program."""

HEAVY = ("httpx", "cryptography", "sqlalchemy", "keyring", "rich", "yaml", "msgspec", "serial", "cbor2", "tenacity", "platformdirs", "starlette")


def imported(argv, env=None):
    """Top-level names of the modules outside the standard library that a run of `infuse` imports."""
    run = subprocess.run([sys.executable, "-X", "importtime", "-m", "infuse_cli", *argv], capture_output=True, text=True,
                         env={**os.environ, **(env or {})}, timeout=30, check=False)
    names = re.findall(r"^import time:.*\| +(\S+)$", run.stderr, re.MULTILINE)
    site = {"sitecustomize", "usercustomize", "distutils-precedence", "_distutils_hack", "__main__", "_virtualenv"}
    tops = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - site
    return {top for top in tops if not top.startswith(("__editable__", "_sysconfigdata"))}, run


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
                                     "org", "board", "network", "device", "key", "mqtt", "rpc", "registry"])
def test_a_commands_help_imports_no_heavy_library(command):
    tops, run = imported([command, "--help"])
    assert run.returncode == 0
    assert not tops & set(HEAVY)
