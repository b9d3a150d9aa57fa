"""Start-up is a feature: what --help and a completion may import."""

import functools
import os
import re
import subprocess
import sys

import pytest

from tests.support.thin import thin

ALLOWED = {"typer", "annotated_doc", "shellingham", "org", "infuse_cli", "infuse_line"}
"""What Typer itself brings along (`org` is a name that the standard library probes for), and this
program.
"""

HEAVY = (
    "httpx",
    "cryptography",
    "sqlalchemy",
    "keyring",
    "rich",
    "yaml",
    "msgspec",
    "serial",
    "cbor2",
    "tenacity",
    "platformdirs",
    "starlette",
)


def loaded(*argv, env=None):
    """Names of the modules that a run of Python imports, and the run."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *argv],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=30,
        check=False,
    )
    return set(re.findall(r"^import time:.*\| +(\S+)$", run.stderr, re.MULTILINE)), run


@functools.cache
def by_itself():
    """What this Python imports before any program: site hooks of the machine and of the virtual
    environment.
    """
    return loaded("-c", "pass")[0]


def imported(argv, env=None):
    """Top-level names of the modules outside the standard library that a run of `infuse`
    imports.
    """
    names, run = loaded("-m", "infuse_cli", *argv, env=env)
    return {name.split(".")[0] for name in names - by_itself()} - set(sys.stdlib_module_names) - {
        "__main__"
    }, run


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--output", "json", "--help"]])
def test_help_imports_nothing_but_typer(argv):
    tops, run = imported(argv)
    assert run.returncode == 0
    assert "provision" in run.stdout
    assert tops <= ALLOWED


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], "provision"),
        (["pro"], "profile"),
        (["profile", ""], "check"),
        (["provision", "--p"], "--port"),
        (["--output", "js"], "jsonl"),
        (["--profile", "nrf"], "nrf9151-dk"),
        (["profile", "check", "--out"], "--output"),
    ],
)
def test_a_completion_imports_nothing_but_typer(words, offered):
    tops, run = imported(words, {"_INFUSE_COMPLETE": "1"})
    assert offered in [line.split("\t")[0] for line in run.stdout.splitlines()]
    assert tops <= ALLOWED


def test_the_version_and_the_bare_command_import_not_even_typer():
    for argv in (["--version"], []):
        tops, run = imported(argv)
        assert run.returncode == 0
        assert "typer" not in tops


@pytest.mark.parametrize(
    "command",
    thin(
        [
            "provision",
            "resume",
            "journal",
            "profile",
            "ca",
            "auth",
            "sim",
            "completion",
            "org",
            "board",
            "network",
            "device",
            "key",
            "mqtt",
            "rpc",
            "registry",
            "doctor",
            "serial",
        ],
        3,
    ),
)
def test_a_commands_help_imports_no_heavy_library(command):
    tops, run = imported([command, "--help"])
    assert run.returncode == 0
    assert not tops & set(HEAVY)


def test_listing_ports_imports_no_journal_no_network_and_no_crypto(tmp_path):
    tops, run = imported(["serial", "ports"], {"INFUSE_HOME": str(tmp_path)})
    assert run.returncode == 0
    assert not tops & (set(HEAVY) - {"serial", "rich", "platformdirs"})


def page(*argv, columns, env=None):
    """What a help page looks like on a terminal of so many columns, and the modules that it
    took.
    """
    import fcntl
    import pty
    import struct
    import termios

    main_end, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "NO_COLOR", "TERM"}
    }
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "infuse_cli", *argv, "--help"],
        stdin=its_end,
        stdout=its_end,
        stderr=subprocess.PIPE,
        text=True,
        env={**surroundings, "TERM": "xterm", **(env or {})},
    ) as process:
        os.close(its_end)
        times = process.stderr.read()
    shown = b""
    while True:
        try:
            more = os.read(main_end, 65536)
        except OSError:
            break
        if not more:
            break
        shown += more
    os.close(main_end)
    return shown.decode().replace("\r\n", "\n"), set(
        re.findall(r"^import time:.*\| +(\S+)$", times, re.MULTILINE)
    )


@pytest.mark.posix
@pytest.mark.parametrize("columns", [80, 140])
def test_help_on_a_terminal_is_coloured_and_fits_without_rich(columns):
    shown, names = page(columns=columns)
    assert not [name for name in names if name.split(".")[0] in HEAVY]
    plain = re.sub(r"\x1b\[\d+m", "", shown)
    assert plain != shown
    assert max(map(len, plain.splitlines())) <= min(columns, 120)
    assert "..." not in plain.replace("[ARGS]...", "")
    assert "`" not in plain


@pytest.mark.posix
def test_help_without_colours_has_none():
    assert "\x1b" not in page("sim", columns=80, env={"NO_COLOR": "1"})[0]
