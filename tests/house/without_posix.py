"""A machine without POSIX, as far as one process can be made into it: imports the product and works
with it.

Run as a program with a folder to work in. Prints one JSON object: what was done, and null or how it
went wrong.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - these pick their half for the platform when they are loaded; on Windows it is another one
import importlib.util
import json
import os
import pkgutil
import signal
import subprocess  # noqa: F401
import sys
import traceback
from pathlib import Path

import platformdirs  # noqa: F401
import serial.tools.list_ports  # noqa: F401

MODULES = {"pty", "tty", "termios", "fcntl", "pwd", "grp", "resource"}
CALLS = (
    "chown",
    "fchmod",
    "fchown",
    "fork",
    "forkpty",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpgrp",
    "getuid",
    "killpg",
    "lchown",
    "mkfifo",
    "openpty",
    "setpgid",
    "setsid",
    "statvfs",
    "ttyname",
    "uname",
    "O_DIRECTORY",
    "O_NOCTTY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
)
SIGNALS = (
    "SIGALRM",
    "SIGCHLD",
    "SIGHUP",
    "SIGKILL",
    "SIGPIPE",
    "SIGQUIT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
)

PROFILE = """\
name: field-sensor
extends: nrf9151-dk
cloud: {organisation: {name: Example Provider}, board: {name: Example Sensor Board}}
"""


class Without:
    """A finder of modules that doesn't know those of POSIX."""

    def __init__(self, finder) -> None:
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name in MODULES else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


def take_posix_away() -> None:
    for name in MODULES & set(sys.modules):
        del sys.modules[name]
    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
    for module, names in ((os, CALLS), (signal, SIGNALS)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


def infuse(*argv: str, code: int = 0) -> None:
    from infuse_cli.cli.main import run

    ended = run(list(argv))
    assert ended == code, f"infuse {' '.join(argv)}: exit {ended}"


def import_all(folder: Path) -> None:
    import infuse_cli

    assert not [name for name in MODULES if importlib.util.find_spec(name)]
    wanted = [
        one.name
        for one in pkgutil.walk_packages(infuse_cli.__path__, "infuse_cli.", onerror=lambda _: None)
        if not one.name.startswith("infuse_cli.sim")
    ]
    assert len(wanted) > 100, wanted
    for name in wanted:
        importlib.import_module(name)


def make_a_ca(folder: Path) -> None:
    (folder / "passphrase").touch(mode=0o600)
    (folder / "passphrase").write_text("correct horse\n")
    infuse("ca", "init", "--passphrase-file", str(folder / "passphrase"))
    infuse("ca", "show")


def sign(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )
    (folder / "csr.pem").write_bytes(request.public_bytes(Encoding.PEM))
    infuse(
        "ca",
        "sign",
        str(folder / "csr.pem"),
        "--out",
        str(folder / "leaf.pem"),
        "--device-id",
        "00000000deadbeef",
        "--passphrase-file",
        str(folder / "passphrase"),
    )
    infuse("ca", "verify", str(folder / "leaf.pem"))


def check_a_profile(folder: Path) -> None:
    (folder / "profile.yaml").write_text(PROFILE)
    infuse("profile", "list")
    infuse("profile", "check", str(folder / "profile.yaml"))


def keep_a_credential(folder: Path) -> None:
    (folder / "profile.yaml").write_text(PROFILE)
    (folder / "credential").touch(mode=0o600)
    (folder / "credential").write_text("a-credential-of-this-test")
    infuse(
        "auth",
        "login",
        "--profile",
        str(folder / "profile.yaml"),
        "--token-file",
        str(folder / "credential"),
    )
    infuse("auth", "status", "--profile", str(folder / "profile.yaml"))
    infuse("auth", "logout", "--profile", str(folder / "profile.yaml"))


def own_a_run(folder: Path) -> None:
    """Two journals of one home: a run has one owner, and both see that it lives."""
    from infuse_cli import records as rec
    from infuse_cli.errors import JournalError
    from infuse_cli.journal.store import open_journal
    from infuse_cli.types import AttemptState

    start = rec.RunStart(
        run="r1",
        command="provision",
        profile_name="p",
        profile_hash="h",
        profile={"name": "p"},
        operator="day shift",
    )
    opening = rec.OpenAttempt(
        attempt="a1",
        run="r1",
        board="b1",
        soc="nRF9151",
        slot=1,
        port="COM3",
        plan=("keygen",),
        plan_hash="h",
    )
    with open_journal(folder / "home") as journal, open_journal(folder / "home") as other:
        journal.start_run(start)
        journal.commit(opening)
        assert [one.alive for one in other.open_attempts()] == [True]
        try:
            other.start_run(start)
        except JournalError as error:
            assert error.code == "journal.conflict", error  # noqa: PT017 - a program, not a test
        else:
            raise AssertionError("one run has two owners")
        journal.commit(rec.EndAttempt(attempt="a1", state=AttemptState.CLOSED, outcome="ABORTED"))
        journal.end_run("r1", {})
    infuse("journal", "list")
    infuse("journal", "show", "b1")


def seal(folder: Path) -> None:
    from infuse_cli.keys.seal import BenchKeys, load_sealer
    from infuse_cli.types import Secret

    keys = BenchKeys(home=folder / "home", key_file=folder / "sealing.key")
    sealed = load_sealer(keys, create=True).seal(Secret("token"), "token:1")
    assert load_sealer(keys, create=False).unseal(sealed, "token:1") == Secret("token")


def name_the_operator(folder: Path) -> None:
    """Without the database of users a name comes from the environment, or is not known; the run
    goes on.
    """
    from infuse_cli.composition import operator_name
    from infuse_cli.config.bench import load_bench

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        os.environ.pop(name, None)
    assert operator_name(load_bench(folder / "home"))


def begin_a_run(folder: Path) -> None:
    """All parts of a run are built; what ends it is a cloud that nobody serves."""
    (folder / "run.yaml").write_text(
        PROFILE.replace("cloud: {", "cloud: {base_url: 'http://127.0.0.1:9', deadline_s: 1, ")
    )
    os.environ["INFUSE_TOKEN"] = "a-credential-of-this-test"
    infuse(
        "provision",
        "--profile",
        str(folder / "run.yaml"),
        "--port",
        sys.executable,
        "--passphrase-file",
        str(folder / "passphrase"),
        code=5,
    )


def miss_the_simulator(folder: Path) -> None:
    """The simulator alone needs POSIX, and says so."""
    infuse("sim", "up", code=2)
    infuse("provision", "--sim", "1", code=2)


WORKS = {
    "help": lambda folder: infuse("--help"),
    "import": import_all,
    "ca init": make_a_ca,
    "ca sign": sign,
    "profile check": check_a_profile,
    "journal": own_a_run,
    "seal": seal,
    "credential": keep_a_credential,
    "run": begin_a_run,
    "operator": name_the_operator,
    "no simulator": miss_the_simulator,
}


def main(folder: Path) -> None:
    os.environ["INFUSE_HOME"] = str(folder / "home")
    take_posix_away()
    ended: dict[str, str | None] = {}
    answer, sys.stdout = sys.stdout, sys.stderr
    for name, work in WORKS.items():
        try:
            work(folder)
            ended[name] = None
        except BaseException:  # noqa: BLE001 - whatever it is, the test tells it
            ended[name] = traceback.format_exc()
    answer.write(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
