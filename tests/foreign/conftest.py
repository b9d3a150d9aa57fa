"""A bench as a user sets it up, at a cloud and boards that the tool's own simulator has no
part in.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.foreign.board import Board, Modem, Style
from tests.foreign.cloud import Cloud, Issuer
from tests.support.quick_keys import quicken
from tests.support.zygote import Ran, Zygote

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="session")
def ca_home(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the CA that `infuse ca init` made; copied for each bench."""
    folder = tmp_path_factory.mktemp("ca")
    secret = folder / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    ran = zygote.run(
        "ca",
        "init",
        "--passphrase-file",
        str(secret),
        "--root-out",
        str(folder / "safe"),
        "--home",
        str(folder / "home"),
    )
    assert ran.code == 0, ran.stderr
    quicken(folder / "home" / "ca" / "default", PASSPHRASE)
    return folder


@dataclass
class Bench:
    """A home, a profile written by hand, and the environment of a CI job."""

    folder: Path
    zygote: Zygote
    cloud: Cloud
    home: Path
    boards: list[Board] = field(default_factory=list)
    profile: Path = field(default_factory=Path)
    _numbers: Any = field(default_factory=lambda: itertools.count(10001))

    @property
    def env(self) -> dict[str, str]:
        return {
            "INFUSE_TOKEN": self.cloud.token,
            "INFUSE_HOME": str(self.home),
            "NO_COLOR": "1",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    def board(self, modem: Modem | None = None, style: Style | None = None) -> Board:
        made = Board(self.folder, modem, style, name=f"tty{len(self.boards)}")
        self.boards.append(made)
        return made

    def write(
        self,
        mode: str = "local-ca",
        *,
        name: str = "field-sensor",
        token: bool = False,
        **sections: Any,
    ) -> Path:
        """A whole profile, as far as a bench without scanner and probe can use it."""
        values = profile_values(self, mode, name, token=token)
        for section, changes in sections.items():
            if changes is None:
                values.pop(section, None)
            elif isinstance(values.get(section), dict):
                values[section] = {**values[section], **changes}
            else:
                values[section] = changes
        self.profile = self.folder / f"{name}.yaml"
        self.profile.write_text(yaml.safe_dump(values))
        return self.profile

    def start(
        self, *argv: str, failpoint: str = "", env: dict[str, str] | None = None
    ) -> tuple[int, Path]:
        return self.zygote.start(*argv, env={**self.env, **(env or {})}, failpoint=failpoint)

    def wait(self, started: tuple[int, Path]) -> Ran:
        return self.zygote.wait(*started)

    def infuse(self, *argv: str, failpoint: str = "", env: dict[str, str] | None = None) -> Ran:
        return self.wait(self.start(*argv, failpoint=failpoint, env=env))

    def provision_argv(
        self, *boards: Board, more: tuple[str, ...] = (), output: str = "json"
    ) -> list[str]:
        ports = [word for board in boards for word in ("--port", board.port)]
        return ["provision", "--profile", str(self.profile), *ports, "--output", output, *more]

    def provision(
        self, *boards: Board, more: tuple[str, ...] = (), failpoint: str = "", output: str = "json"
    ) -> Ran:
        return self.infuse(
            *self.provision_argv(*boards, more=more, output=output), failpoint=failpoint
        )

    def passes(self, *boards: Board, more: tuple[str, ...] = ()) -> dict[str, Any]:
        """Provision to PASS; the (first) board's object of the envelope."""
        ran = self.provision(*boards, more=more)
        assert ran.code == 0, ran.stdout + ran.stderr
        assert all(row["result"] == "PASS" for row in ran.envelope["data"]["boards"])
        found: dict[str, Any] = ran.envelope["data"]["boards"][0]
        return found

    def show(self, key: str) -> dict[str, Any]:
        ran = self.infuse("journal", "show", key, "--output", "json")
        assert ran.code == 0, ran.stdout + ran.stderr
        found: dict[str, Any] = ran.envelope["data"]
        return found


def profile_values(bench: Bench, mode: str, name: str, *, token: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": name,
        "board": {
            "soc": "nRF9151",
            "serial": {"baud": 115200, "rtscts": False, "dialect": "auto"},
            "presence": "port",
            "mcu_id": {"from": "imei"},
            "expect": {"model": "nRF9151-LACA", "modem_firmware": ">=2.0.2"},
        },
        "cloud": {
            "base_url": bench.cloud.url,
            "auth": {"scheme": "bearer"},
            "organisation": {"name": "Example Provider", "create": False},
            "board": {
                "name": "Example Sensor Board",
                "create": True,
                "description": "Low-power field sensor board",
                "metadata_fields": [{"name": "deploymentSite", "required": True, "unique": False}],
            },
            "network": {"name": "Field Network"},
        },
        "identity": {
            "mode": mode,
            "sec_tag": 4201,
            "existing": "refuse",
            "ca": "default",
            "passphrase": {"file": str(bench.folder / "passphrase")},
            "certificate": "device",
            "server_ca": "broker-ca.pem",
            "attestation": "if-offered",
        },
        "metadata": {"deploymentSite": "Brisbane"},
        "keys": {"interfaces": ["udp"], "to": "none"},
        "verify": {"possession": "if-offered", "active_wait_s": 0, "state_wait_s": 0, "rpc": None},
    }
    if token or mode in {"cloud-ca", "first-boot"}:
        values["registry"] = {
            "base_url": bench.cloud.url,
            "auth": "same",
            "name": "{deviceId}",
            "tags": ["line-1"],
            "siteId": None,
            "deviceProfileId": None,
            "token_ttl_s": 3600,
        }
    if token or mode == "first-boot":
        values["token"] = {"store": "psk", "sec_tag": 4202}
    if mode in {"first-boot", "none"}:
        values["identity"] = {"mode": mode}
    return values


@pytest.fixture
def make_bench(zygote: Zygote, ca_home: Path, tmp_path: Path) -> Iterator[Any]:
    made: list[Bench] = []

    def make(
        cloud: Cloud | None = None,
        *,
        seed: bool = True,
        fields: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> Bench:
        folder = tmp_path / f"bench{len(made)}"
        folder.mkdir()
        shutil.copytree(ca_home / "home", folder / "home")
        shutil.copy(ca_home / "passphrase", folder / "passphrase")
        if cloud is None:
            cloud = Cloud(**options)
            if seed:
                cloud.seed(fields=fields)
        bench = Bench(folder, zygote, cloud, folder / "home")
        (folder / "broker-ca.pem").write_text(_broker_ca())
        made.append(bench)
        return bench

    yield make
    for bench in made:
        for board in bench.boards:
            board.close()
        bench.cloud.close()


@pytest.fixture
def bench(make_bench: Any) -> Bench:
    found: Bench = make_bench()
    found.write()
    return found


_BROKER: list[str] = []


def _broker_ca() -> str:
    if not _BROKER:
        from cryptography.hazmat.primitives.serialization import Encoding

        _BROKER.append(Issuer().root.public_bytes(Encoding.PEM).decode())
    return _BROKER[0]


def storms(*rows: Any) -> list[Any]:
    """Parameters that only a storm goes through."""
    return [
        (
            pytest.param(*row, marks=pytest.mark.storm)
            if isinstance(row, tuple)
            else pytest.param(row, marks=pytest.mark.storm)
        )
        for row in rows
    ]


def openssl(*argv: str, stdin: str | None = None) -> str:
    ran = subprocess.run(
        ["openssl", *argv], input=stdin, capture_output=True, text=True, check=False, env=os.environ
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def events(ran: Ran) -> list[dict[str, Any]]:
    """The lines of --output jsonl, wherever a result belongs: stdout."""
    return [json.loads(line) for line in ran.stdout.splitlines()]
