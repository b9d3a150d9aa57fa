"""A CI job at a virtual cloud: a profile, a home, files of rows, and `infuse batch` in processes of
their own.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infuse_cli.journal.store import SqliteJournal, open_journal
from infuse_cli.sim.cloud_app import CloudOptions, World
from infuse_cli.sim.cloud_server import ServerThread
from tests.support.zygote import Ran, Zygote

TOKEN = "organisation-admin-9917"
ORGANISATION = "Example Provider"
MINT = "POST /api/v1/devices/registration/tokens"
PROFILE = """
name: sensor
board: {{soc: nRF9151, mcu_id: {{from: imei}}}}
identity: {{mode: none}}
metadata: {{serialNumber: {{from: scan}}, deploymentSite: Brisbane}}
cloud:
  base_url: {url}
  organisation: {{name: Example Provider}}
  board: {{name: Sensor, create: true, metadata_fields: [{{name: serialNumber, required: true, unique: true}}]}}
  lost_answer_grace_s: {grace}
  outage_wait_s: {outage}
  timeout_s: 5
  deadline_s: 10
registry: {{base_url: "{url}", auth: same, tags: [line-1]}}
"""


@dataclass
class Job:
    """One CI job; `home` is its own, unless two share one."""

    world: World
    url: str
    folder: Path
    zygote: Zygote
    home: Path
    profile: Path
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def env(self) -> dict[str, str]:
        return {
            "INFUSE_TOKEN": TOKEN,
            "INFUSE_HOME": str(self.home),
            "INFUSE_PROFILE": str(self.profile),
            "NO_COLOR": "1",
            "INFUSE_SEALING_KEY_FILE": f"{self.home}.sealing",
        }

    def file(self, rows: int, *, named: bool = False, first: int = 1) -> Path:
        """A file of rows with mcuIds from `first` on."""
        path = self.folder / f"rows{next(self._numbers)}.csv"
        with path.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["mcuId", "metadata.serialNumber", *(["name"] if named else [])])
            writer.writerows(
                [mcu_id(number), f"SN-{number:05}", *([f"sensor-{number}"] if named else [])]
                for number in range(first, first + rows)
            )
        return path

    def text(self, *lines: str) -> Path:
        """A file of these lines."""
        path = self.folder / f"rows{next(self._numbers)}.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    def register(
        self,
        path: Path,
        *more: str,
        failpoint: str = "",
        output: str = "json",
        env: dict[str, str] | None = None,
    ) -> Ran:
        return self.zygote.run(
            "batch",
            "register",
            str(path),
            "--output",
            output,
            *more,
            env={**self.env, **(env or {})},
            failpoint=failpoint,
        )

    def start(self, path: Path, *more: str, output: str = "jsonl") -> tuple[int, Path]:
        return self.zygote.start(
            "batch", "register", str(path), "--output", output, *more, env=self.env
        )

    def done(self, path: Path, *more: str) -> dict[str, Any]:
        """The data of a run that brought every row in."""
        ran = self.register(path, *more)
        assert ran.code == 0, ran.stdout + ran.stderr
        return ran.envelope["data"]

    def journal(self) -> SqliteJournal:
        return open_journal(self.home, create=False)

    def devices(self) -> dict[str, dict[str, Any]]:
        """The cloud's devices by mcuId; each is there once."""
        devices = self.world.state()["devices"]
        found = {device["mcuId"]: device for device in devices}
        assert len(found) == len(devices), "two cloud devices for one mcuId"
        return found

    def registry(self) -> dict[str, dict[str, Any]]:
        devices = self.world.state()["registryDevices"]
        found = {device["name"]: device for device in devices}
        assert len(found) == len(devices), "two registry devices of one name"
        return found

    def sent(self, call: str, status: str | None = None) -> int:
        entry = self.world.requests.get(call)
        if entry is None:
            return 0
        return entry.count if status is None else entry.statuses.get(status, 0)

    def other(self, name: str = "other") -> Job:
        """Another job with a home of its own at the same cloud."""
        return Job(
            self.world,
            self.url,
            self.folder,
            self.zygote,
            self.folder / name,
            self.profile,
            self._numbers,
        )


def mcu_id(number: int) -> str:
    return f"{number:016x}"


def report(data: dict[str, Any]) -> list[dict[str, str]]:
    with Path(data["report"]).open(newline="") as file:
        return list(csv.DictReader(file))


def matches(job: Job, data: dict[str, Any]) -> None:
    """The report says of every row what the cloud holds."""
    devices, registry = job.devices(), job.registry()
    for row in report(data):
        if row["outcome"] in {"created", "existed"}:
            device = devices[row["mcuId"]]
            assert (row["deviceId"], row["id"]) == (device["deviceId"], device["id"])
            if row["name"]:
                assert registry[row["name"]]["id"] == row["registryDeviceId"]


@pytest.fixture
def job(zygote: Zygote, tmp_path: Path) -> Iterator[Job]:
    yield from _job(zygote, tmp_path)


def _job(
    zygote: Zygote, folder: Path, *, grace: float = 0.2, outage: float = 120.0
) -> Iterator[Job]:
    server = ServerThread(CloudOptions(token=TOKEN, organisations=(ORGANISATION,)))
    url = server.start().base_url
    profile = folder / "sensor.yaml"
    profile.write_text(PROFILE.format(url=url, grace=grace, outage=outage))
    yield Job(server.world, url, folder, zygote, folder / "home", profile)
    server.stop()
