"""Runs `infuse` many times without paying for its start: a process that has everything imported and
forks per run.

As a program it reads a JSON line a run from stdin ({"argv", "env", "failpoint", "out",
"file_limit", "powerless", "usb", "cwd"}), forks, and answers with the wait status. `Zygote` is the
side that the tests use.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import posix
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CAPABILITIES_V3 = 0x20080522
"""Version of the kernel's capability sets, from linux/capability.h."""

LOADED = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.utf_8_sig",
    "sqlalchemy.dialects.sqlite",
    "serial",
    "yaml",
    "cryptography.hazmat.backends.openssl.backend",
    "infuse_cli.cli._argv",
    "infuse_cli.cli._lazy",
    "infuse_cli.batch.registration",
    "infuse_cli.cli.views.batch",
    "infuse_cli.cli.views.boards",
    "infuse_cli.pki.certificate_profile_files",
    "infuse_cli.cli.commands.batch",
    "infuse_cli.cli.commands.provision",
    "infuse_cli.line",
    "infuse_cli.cli.line_run",
    "infuse_cli.cli.main",
    "infuse_cli.provisioning.metadata_input",
    "infuse_cli.maintenance.support_bundle",
    "infuse_cli.maintenance.look_over",
    "infuse_cli.serial_tools.at",
    "infuse_cli.serial_tools.check",
    "infuse_cli.serial_tools.csr",
    "infuse_cli.serial_tools.ports",
    "infuse_cli.cloud.build",
    "infuse_cli.journal.queries",
    "infuse_cli.journal.store",
    "infuse_cli.keys.credentials",
    "infuse_cli.keys.seal",
    "infuse_cli.link.direct",
    "infuse_cli.link.nrfutil",
    "infuse_cli.link.source",
    "infuse_cli.batch.engine",
    "infuse_cli.provisioning.fleet",
    "infuse_cli.provisioning.resolve",
    "infuse_cli.pki.store",
    "infuse_cli.config.source",
    "infuse_cli.batch.source",
)
"""What a run of `infuse` imports sooner or later, so that it is there before the fork."""


@dataclass(frozen=True)
class Ran:
    """How a run ended: `code` is negative for a signal, as subprocess has it."""

    code: int
    stdout: str
    stderr: str

    @property
    def envelope(self) -> dict[str, Any]:
        return json.loads(self.stdout)


class Zygote:
    """Forks runs of `infuse`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="infuse-runs-")
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        *argv: str,
        env: dict[str, str] | None = None,
        failpoint: str = "",
        file_limit: int | None = None,
        powerless: bool = False,
        usb: Path | None = None,
        cwd: Path | None = None,
    ) -> tuple[int, Path]:
        """Begin a run; its process id, and the prefix of the files with its output.

        `file_limit` is the most bytes that it can write into any file: a disk that is full.
        `powerless` takes a superuser's power to ignore permissions away, `usb` is a table of ports
        as `tests.support.usb` writes it, `cwd` the folder that it runs in.
        """
        self._count += 1
        out = Path(self._folder.name) / f"run{self._count}"
        for name in (".stdout", ".stderr"):  # a run may be killed before it opens them
            out.with_suffix(name).touch(0o600)
        self._tell(
            {
                "do": "run",
                "argv": argv,
                "env": env or {},
                "failpoint": failpoint,
                "out": str(out),
                "file_limit": file_limit,
                "powerless": powerless,
                "usb": str(usb or ""),
                "cwd": str(cwd or ""),
            }
        )
        return int(self._process.stdout.readline()), out

    def wait(self, pid: int, out: Path, limit_s: float = 90.0) -> Ran:
        """Wait for a run to end."""
        self._tell({"do": "wait", "pid": pid, "limit_s": limit_s})
        code = os.waitstatus_to_exitcode(int(self._process.stdout.readline()))
        return Ran(
            code, out.with_suffix(".stdout").read_text(), out.with_suffix(".stderr").read_text()
        )

    def run(
        self, *argv: str, env: dict[str, str] | None = None, failpoint: str = "", **limits: Any
    ) -> Ran:
        return self.wait(*self.start(*argv, env=env, failpoint=failpoint, **limits))

    def _tell(self, what: dict[str, Any]) -> None:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)
        self._folder.cleanup()


def _child(what: dict[str, Any]) -> None:
    os.setsid()
    for number, name in ((1, ".stdout"), (2, ".stderr")):
        descriptor = os.open(what["out"] + name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(descriptor, number)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.environ.update(what["env"])
    if what["cwd"]:
        os.chdir(what["cwd"])
    _limit(what["file_limit"], powerless=what["powerless"])
    from infuse_cli import failpoint
    from infuse_cli.cli.main import run

    if what["usb"]:
        importlib.import_module("usb").show(what["usb"])  # beside this program
    failpoint.arm(what["failpoint"])
    # On a full disk the data of coverage finds no room either.
    _leave(run(what["argv"]), save=what["file_limit"] is None)


def _limit(file_limit: int | None, *, powerless: bool) -> None:
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    if powerless and os.geteuid() == 0:
        head, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None).capset(head, none):
            raise OSError("this superuser cannot give its powers up")


def _leave(code: int, *, save: bool) -> None:
    """End this process without the clean-up of the one that it was forked from.

    Under coverage the data of this run is saved. `os._exit` would then be the one that coverage
    puts there, which saves what the parent had measured before the fork as well, in each child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    measured = _measured()
    if measured is not None and save:
        measured.stop()
        measured.save()
    posix._exit(code)


def _measured() -> Any | None:
    """The coverage measurement of this process, where pytest runs with --cov."""
    coverage = sys.modules.get("coverage")
    return coverage and coverage.Coverage.current()


def _measure_what_runs() -> None:
    """A forked run that saves its data must not look for files that were never imported: that takes
    as long as the run, and the process of pytest does it.
    """
    measured = _measured()
    if measured is not None:
        measured.set_option("run:source", None)
        measured.set_option("run:include", ["*/infuse_cli/*"])


def _serve() -> None:
    for name in LOADED:
        importlib.import_module(name)
    _build_commands()
    _compile_statements()
    _measure_what_runs()
    gc.freeze()  # or every fork would copy all of it at its first collection
    for line in sys.stdin:
        what = json.loads(line)
        if what["do"] == "run":
            pid = os.fork()
            if pid == 0:
                _child(what)
            answer = pid
        else:
            answer = _reap(what["pid"], what["limit_s"])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _build_commands() -> None:
    from infuse_cli.cli._lazy import load
    from infuse_cli.cli._registry import ROWS

    for row in ROWS:
        load(row)


def _compile_statements() -> None:
    """The journal's queries, which a process compiles once: a tenth of a run's time."""
    from sqlalchemy import Executable, Insert
    from sqlalchemy.dialects.sqlite import dialect

    from infuse_cli.journal import prepared

    sqlite = dialect()
    modules = [
        module for name, module in sys.modules.items() if name.startswith("infuse_cli.journal")
    ]
    for statement in {
        id(value): value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Executable)
    }.values():
        if not isinstance(statement, Insert):
            prepared._compiled[id(statement), sqlite.name, ()] = prepared._compile(
                statement, sqlite, ()
            )


def _reap(pid: int, limit_s: float) -> int:
    """A run that does not end is ended, so that a test fails instead of hanging."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)  # noqa: TID251 - the parent of short-lived processes has nothing else to wait on
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    _serve()
