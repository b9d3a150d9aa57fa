"""What `infuse batch register` does a second: `python benchmarks/batch.py [--quick] [FOLDER]`.

Devices a second against a cloud that costs next to nothing, beside a plain httpx client that posts
one by one to the same cloud; 10,000 rows against a cloud with 50 ms latency; the share of a limit
of 100 requests a second that is used, and how many 429 it cost, with `--rate` and without, counted
by that cloud from its first request to its last; peak memory at 10^3 and 10^5 rows. Elsewhere the
whole program is timed, its start included. The home is made beside this file unless a folder is
named, because a temporary folder may lie in memory.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import resource
    from collections.abc import Iterator

LIMIT = 100.0
PROFILE = """name: benchmark
board: {{soc: nRF9151, mcu_id: {{from: imei}}}}
identity: {{mode: none}}
cloud: {{base_url: '{url}', organisation: {{name: Example Provider}}, board: {{name: Sensor}}}}
"""


@dataclass(frozen=True)
class Figure:
    """One run: seconds, rows, peak resident memory in MiB, and what the cloud saw."""

    seconds: float
    rows: int
    peak_mib: float
    seen: dict[str, float]

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


@contextmanager
def cloud(*, latency_ms: float = 0, limit: float = 0) -> Iterator[str]:
    """A cloud in a process of its own; its URL."""
    program = Path(__file__).with_name("_batch_cloud.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(latency_ms), str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        process.wait(30)


def rows_file(folder: Path, rows: int) -> Path:
    path = folder / "rows.csv"
    with path.open("w") as out:
        out.write("mcuId,metadata.serialNumber,metadata.site\n")
        out.writelines(f"{number:016x},SN-{number:07},Brisbane\n" for number in range(1, rows + 1))
    return path


def register(beside: Path, url: str, rows: int, *more: str) -> Figure:
    """The program from its start to its end, on a fresh home."""
    with tempfile.TemporaryDirectory(dir=beside) as name:
        folder = Path(name)
        profile, path = folder / "benchmark.yaml", rows_file(folder, rows)
        profile.write_text(PROFILE.format(url=url))
        env = {
            **os.environ,
            "INFUSE_HOME": str(folder / "home"),
            "INFUSE_TOKEN": "benchmark",
            "INFUSE_PROFILE": str(profile),
        }
        command = [
            sys.executable,
            "-m",
            "infuse_cli",
            "batch",
            "register",
            str(path),
            "--output",
            "json",
            *more,
        ]
        with (folder / "out").open("w+") as out:
            began = time.perf_counter()
            pid = os.posix_spawn(
                sys.executable, command, env, file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)]
            )
            _, status, used = os.wait4(pid, 0)
            seconds = time.perf_counter() - began
            out.seek(0)
            told = out.read()
    if status != 0 or json.loads(told)["data"]["totals"]["created"] != rows:
        raise SystemExit(f"the batch did not end well: {told}")
    return Figure(seconds, rows, _mib(used), seen(url))


def _mib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def seen(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/_stats") as answer:
        found: dict[str, float] = json.load(answer)
        return found


def one_by_one(url: str, rows: int) -> float:
    """A plain client, as a script would do it: devices a second."""
    headers = {"Authorization": "Bearer benchmark"}
    with httpx.Client(base_url=url, headers=headers) as client:
        organisation = client.get("/organisation/name/Example%20Provider").json()["id"]
        board = client.get("/board", params={"organisationId": organisation}).json()[0]["id"]
        began = time.perf_counter()
        for number in range(1, rows + 1):
            body: dict[str, Any] = {
                "mcuId": f"{number + (1 << 40):016x}",
                "boardId": board,
                "organisationId": organisation,
                "metadata": {"serialNumber": f"SN-{number}"},
            }
            client.post("/device", json=body).raise_for_status()
        return rows / (time.perf_counter() - began)


def speed(beside: Path, rows: int) -> None:
    with cloud() as url:
        peer = one_by_one(url, rows // 4)
    with cloud() as url:
        ours = register(beside, url, rows)
    print(
        f"{rows} rows, no latency         {ours.rate:7.0f}/s   bound 300/s, journal and start"
        " included"
    )
    print(f"  a client one by one          {peer:7.0f}/s   without any journal")


def latency(beside: Path, rows: int) -> None:
    with cloud(latency_ms=50) as url:
        ours = register(beside, url, rows)
    with cloud(latency_ms=50) as url:
        peer = one_by_one(url, min(rows, 200))
    print(f"{rows} rows, 50 ms latency      {ours.rate:7.0f}/s   16 under way, so at most 320/s")
    print(f"  a client one by one          {peer:7.0f}/s")


def limited(beside: Path, rows: int) -> None:
    for words, more in ((f"--rate {LIMIT:.0f}", ("--rate", f"{LIMIT:.0f}")), ("no --rate", ())):
        with cloud(latency_ms=20, limit=LIMIT) as url:
            ours = register(beside, url, rows, *more)
        share = (ours.seen["requests"] - ours.seen["refused"]) / ours.seen["seconds"] / LIMIT
        print(
            f"limit of {LIMIT:.0f}/s, {words:12}    {share:7.1%}  "
            f" {'bound 95 %; ' if more else ''}{ours.seen['refused']:.0f} times 429 in"
            f" {ours.seen['requests']:.0f} requests"
        )


def memory(beside: Path, small: int, large: int) -> None:
    for rows in (small, large):
        with cloud() as url:
            ours = register(beside, url, rows)
        print(f"peak memory at {rows:6} rows   {ours.peak_mib:7.1f} MiB {ours.rate:7.0f}/s")


def main() -> None:
    quick = "--quick" in sys.argv
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    beside = folders[0] if folders else Path(__file__).parent
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load"
        f" {os.getloadavg()[0]:.1f}"
    )
    speed(beside, 1000 if quick else 5000)
    latency(beside, 1000 if quick else 10_000)
    limited(beside, 1000 if quick else 3000)
    memory(beside, 1000, 10_000 if quick else 100_000)


if __name__ == "__main__":
    main()
