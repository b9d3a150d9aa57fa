"""A cloud and boards (those of tests/foreign) that can be stored with a bench and set up again.

Runs of a program are only as good as the world around them: a board that was killed between two
bytes has to be that board again, with its key, and so has the cloud. `store` puts a folder with the
home of a bench, its secrets, its profile and its world into one archive; `restored` sets it up.

What a run records of its surroundings must hold anywhere: the cloud listens on a loopback address
of its own, and the profile names files by `/proc/self/cwd`, which only Linux has.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import infuse_cli
from tests.foreign.board import Board, Modem, pause
from tests.foreign.cloud import Cloud, _Handler, _Server

if TYPE_CHECKING:
    from collections.abc import Iterator

Key = ec.EllipticCurvePrivateKey

HERE: Final = Path("/proc/self/cwd")
"""The folder of the bench, under a name that is right wherever that folder is."""

PORT: Final = 9151
WAIT_S: Final = 60.0
"""How long another test run on this machine may keep the cloud's address."""

PASSPHRASE: Final = "correct horse battery staple"
OURS: Final = re.compile(r"INFUSE_\w+|HTTPS?_PROXY|https?_proxy")


class PlacedCloud(Cloud):
    """The cloud at an address of its own, so that a recorded base URL leads to it again."""

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        super().__init__(**options)

    def up(self) -> None:
        cloud = self

        class Handler(_Handler):
            owner = cloud

        self.port = PORT
        self._server = self._listening(Handler)
        serve = {"target": self._server.serve_forever, "kwargs": {"poll_interval": 0.02}}
        threading.Thread(**serve, daemon=True).start()

    def _listening(self, handler: type[_Handler]) -> _Server:
        for _ in range(int(WAIT_S / 0.1)):
            try:
                return _Server((self.address, PORT), handler)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                pause(0.1)
        raise TimeoutError(f"{self.address}:{PORT} is in use")

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}"


@dataclass
class Ran:
    """How a run of `infuse` ended; `code` is negative for a signal."""

    code: int
    stdout: str
    stderr: str

    @property
    def envelope(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@dataclass
class StoredBench:
    """The folder of a bench, and the world around it."""

    folder: Path
    cloud: PlacedCloud
    boards: dict[str, Board] = field(default_factory=dict)
    """Boards by what happened to them, such as the name of a fail-point."""
    zygote: Any = None
    """What starts runs quickly; without it each is a process of its own."""

    def board(self, name: str, modem: Modem | None = None) -> Board:
        self.boards[name] = Board(self.folder, modem, name=f"tty{len(self.boards)}")
        return self.boards[name]

    def infuse(self, *argv: str, failpoint: str = "", home: str = "home") -> Any:
        """Run the program in the folder of the bench."""
        env = {
            "INFUSE_TOKEN": self.cloud.token,
            "INFUSE_HOME": str(HERE / home),
            "INFUSE_SEALING_KEY_FILE": str(HERE / "sealing.key"),
            "INFUSE_PROFILE": str(HERE / "profile.yaml"),
            "NO_COLOR": "1",
        }
        run = self.zygote.run if self.zygote is not None else start_program
        return run(*argv, env=env, failpoint=failpoint, cwd=self.folder)

    def on(self, command: str, *boards: Board, more: tuple[str, ...] = (), **options: str) -> Any:
        """`provision` or `resume` on the ports of these boards."""
        ports = [word for board in boards for word in ("--port", str(HERE / board.path.name))]
        secret = ("--passphrase-file", str(HERE / "passphrase"))
        return self.infuse(command, *ports, *secret, *more, "--output", "json", **options)

    def close(self) -> None:
        for board in self.boards.values():
            board.close()
        self.cloud.close()


def start_program(*argv: str, env: dict[str, str], failpoint: str, cwd: Path) -> Ran:
    """Run the program as a user does."""
    others = {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}
    package = {"PYTHONPATH": str(Path(infuse_cli.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "infuse_cli", *argv],
        cwd=cwd,
        env={**others, **package, **env, "INFUSE_FAILPOINT": failpoint},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")


def write_packed(path: Path, value: Any) -> None:
    """Write JSON, packed."""
    path.write_bytes(lzma.compress(json.dumps(value, sort_keys=True).encode(), preset=9))


def read_packed(path: Path) -> Any:
    """Read what `write_packed` wrote."""
    return json.loads(lzma.decompress(path.read_bytes()))


def write_profile(bench: StoredBench, profile: dict[str, Any]) -> None:
    (bench.folder / "profile.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")


# Storing


def world_of(bench: StoredBench) -> dict[str, Any]:
    """All that cloud and boards hold, as JSON."""
    cloud = bench.cloud
    issuer = cloud.issuer
    return {
        "address": cloud.address,
        "token": cloud.token,
        "state": asdict(cloud.state),
        "issuer": {
            "keys": [_key_text(issuer.root_key), _key_text(issuer.key)],
            "certificates": [_text(issuer.root), _text(issuer.intermediate)],
            "issued": [_text(certificate) for certificate in issuer.issued],
        },
        "boards": {name: _modem_values(board.modem) for name, board in bench.boards.items()},
    }


def _modem_values(modem: Modem) -> dict[str, Any]:
    names = ("uuid", "imei", "model", "firmware", "iccid", "mode", "cmee", "lie")
    return {
        **{name: getattr(modem, name) for name in names},
        "store": [[tag, kind, content.hex()] for (tag, kind), content in modem.store.items()],
        "keys": [[tag, _key_text(key)] for tag, key in modem.keys.items()],
        "identity": _key_text(modem.identity),
    }


def _key_text(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def store(bench: StoredBench, archive: Path) -> None:
    """Put the bench's files and its world into an archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    world = json.dumps(world_of(bench)).encode()
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        entry = tarfile.TarInfo("world.json")
        entry.size, entry.mode = len(world), 0o600
        tar.addfile(entry, io.BytesIO(world))
        for path in sorted(bench.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                tar.add(path, str(path.relative_to(bench.folder)), filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


# Setting up again


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack the files of a bench into a folder, and return its world."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="tar")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    world: dict[str, Any] = json.loads((folder / "world.json").read_text(encoding="utf-8"))
    return world


@contextlib.contextmanager
def restored(archive: Path, folder: Path, zygote: Any = None) -> Iterator[StoredBench]:
    """The bench of an archive with its world, as it was when it was stored."""
    world = unpack(archive, folder)
    cloud = PlacedCloud(world["address"])
    bench = StoredBench(folder, cloud, zygote=zygote)
    try:
        _fill_cloud(cloud, world)
        for name, values in world["boards"].items():
            board = bench.board(name, _modem(values))
            board.modem.mode = values["mode"]
        yield bench
    finally:
        bench.close()


def _fill_cloud(cloud: PlacedCloud, world: dict[str, Any]) -> None:
    cloud.token = world["token"]
    tables = dict(world["state"])
    minted = tables.pop("minted")
    for name, rows in tables.items():
        getattr(cloud.state, name).update(rows)
    cloud.state.minted.extend(cloud.state.tokens.get(row["id"], row) for row in minted)
    stored, issuer = world["issuer"], cloud.issuer
    issuer.root_key, issuer.key = (_key(text) for text in stored["keys"])
    issuer.root, issuer.intermediate = (_certificate(text) for text in stored["certificates"])
    issuer.issued.extend(_certificate(text) for text in stored["issued"])


def _modem(values: dict[str, Any]) -> Modem:
    names = ("uuid", "imei", "model", "firmware", "iccid", "mode", "cmee", "lie")
    return Modem(
        **{name: values[name] for name in names},
        store={(tag, kind): bytes.fromhex(content) for tag, kind, content in values["store"]},
        keys={tag: _key(text) for tag, text in values["keys"]},
        identity=_key(values["identity"]),
    )


def _key(text: str) -> Key:
    key = load_pem_private_key(text.encode(), None)
    assert isinstance(key, Key)
    return key


def _certificate(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())
