"""How much the host adds to a board: `python benchmarks/line.py [--quick] [--peer PYTHON]
[FOLDER]`.

Three figures, each beside its bound, as ratios and medians of one run:

1. One board after another, nothing takes any time but the host (no wire pace, no delays, no
  latency): wall clock less
   the time in which the host's thread sat in `select` for the board or in `recv` for the cloud.
   Then the same with
   the pace of a real wire, where every step finds the host cold. The journal is fsynced, and that
   is in the figure;
   the disk's own share is named beside it.
2. 8 and 32 boards at once over one board: from the first port opened to the last board's result.
3. CPU a board: what one more board costs this machine, and what the simulator takes beside it.

All of it twice: on boards that don't echo what they hear, and on boards that do, where each
certificate comes back.

The peer is nrfcredstore, on a virtual board of the same world: `--peer` names a Python that has it,
else this one is tried. Boards and cloud are processes of their own. The journal is made beside this
file unless a folder is named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _host import line
from _meter import Parts, watch_http, watch_serial
from _world import world

from infuse_cli._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SERIAL_MS = 6.0
WHOLE_MS = 25.0
RATIOS = {8: 1.10, 32: 1.35}
PEER_BOARDS, ECHO_PEER_BOARDS = 5, 2
"""On a board with echo the peer waits a tenth of a second for every line of a certificate: seconds
a board.
"""
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=HERE,
        help="where the journals are made; not in memory",
    )
    parser.add_argument("--quick", action="store_true", help="fewer boards and repetitions, for CI")
    parser.add_argument(
        "--peer",
        default=sys.executable,
        metavar="PYTHON",
        help="a Python in which nrfcredstore is installed",
    )
    asked = parser.parse_args()
    watch_serial()
    watch_http()
    print(machine())
    for echo in (False, True):
        one_board(
            asked.folder,
            asked.peer,
            boards=8 if asked.quick else 30,
            slow=3 if asked.quick else 8,
            echo=echo,
        )
    for echo in (False, True):
        together(asked.folder, repetitions=2 if asked.quick else 5, echo=echo)


# -- one board -------------------------------------------------------------------------------------


def one_board(folder: Path, peer: str, *, boards: int, slow: int, echo: bool) -> None:
    theirs = ECHO_PEER_BOARDS if echo else PEER_BOARDS
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        world(boards + 2 + theirs, slow=False, echo=echo) as sim,
        line(sim, Path(name) / "home") as run,
    ):
        sync_ms = fsync_ms(Path(name))
        first, certificate = run.board(sim.ports[0])
        run.board(sim.ports[1])
        rows = [run.board(port)[0] for port in sim.ports[2 : boards + 2]]
        other = peer_rows(peer, sim, certificate, sim.ports[boards + 2 :])
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        world(slow + 2, slow=True, echo=echo) as sim,
        line(sim, Path(name) / "home") as run,
    ):
        paced = [run.board(port)[0] for port in sim.ports][2:]
    print(
        f"\none board, {told(echo)}, host time beyond wire, board and cloud; median of {boards}"
        " boards, one after another"
    )
    serial = ms(rows, lambda parts: parts.serial.host)
    print(
        bounded("  serial part", serial, SERIAL_MS, spread(rows, lambda parts: parts.serial.host))
    )
    print(
        bounded(
            "  whole",
            ms(rows, lambda parts: parts.whole.host),
            WHOLE_MS,
            spread(rows, lambda parts: parts.whole.host),
        )
    )
    tell_parts(rows, sync_ms)
    print(f"  the first board of a run: {first.whole.host * 1000:.1f} ms")
    print(
        f"  at the pace of 115200 bit/s, NVM 20 ms, KEYGEN 300 ms, cloud 20 ms ({slow} boards):"
        f" serial {ms(paced, lambda parts: parts.serial.host):.1f} of"
        f" {ms(paced, lambda parts: parts.serial.wall):.0f} ms, whole"
        f" {ms(paced, lambda parts: parts.whole.host):.1f} of"
        f" {ms(paced, lambda parts: parts.whole.wall):.0f} ms"
    )
    tell_peer(other, serial, ms(rows, lambda parts: parts.serial.wall))


def tell_parts(rows: Sequence[Parts], sync_ms: float) -> None:
    commits = ms(rows, lambda parts: parts.commits.wall)
    count = rows[-1].commits.times
    rest = ms(
        rows,
        lambda parts: parts.whole.host - parts.serial.host - parts.commits.wall - parts.reads.wall,
    )
    print(
        f"  of it: {count} durable commits {commits:.1f} ms ({count} bare fsyncs of this disk:"
        f" {count * sync_ms:.1f} ms), other journal calls"
        f" {ms(rows, lambda parts: parts.reads.wall):.1f} ms, HTTP, checks, signing and the rest"
        f" {rest:.1f} ms"
    )
    print(
        f"  CPU of the host's thread: serial {ms(rows, lambda parts: parts.serial.cpu):.1f} ms,"
        f" whole {ms(rows, lambda parts: parts.whole.cpu):.1f} ms"
    )


# -- the peer --------------------------------------------------------------------------------------


def peer_rows(
    python: str, sim: Any, certificate: Any, ports: Sequence[str]
) -> dict[str, Any] | str:
    """What nrfcredstore took on these boards, or why there is nothing to tell."""
    with tempfile.TemporaryDirectory() as name:
        ca, leaf = Path(name) / "ca.pem", Path(name) / "leaf.pem"
        ca.write_bytes((sim.profile.parent / "server-ca.pem").read_bytes())
        found = certificate.facts["certificate"]
        leaf.write_text(found["pem"] + found["chain"][0])
        done = subprocess.run(
            [python, str(HERE / "_peer.py"), str(ca), str(leaf), *ports],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it failed"])[-1]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tell_peer(other: dict[str, Any] | str, serial_ms: float, wall_ms: float) -> None:
    if isinstance(other, str):
        print(f"  peer: {other}")
        return
    host = statistics.median(row["host"] for row in other["rows"]) * 1000
    wall = statistics.median(row["wall"] for row in other["rows"]) * 1000
    print(
        f"  peer: nrfcredstore {other['version']} on the same boards, its serial part alone (mode,"
        f" CFUN, IMEI, key, 2 credentials, 3 checks), median of {len(other['rows'])}: host"
        f" {host:.0f} of {wall:.0f} ms; {host / serial_ms:.0f} times ours ({serial_ms:.1f} of"
        f" {wall_ms:.1f} ms)"
    )


# -- many boards -----------------------------------------------------------------------------------


def together(folder: Path, *, repetitions: int, echo: bool) -> None:
    walls: dict[int, list[float]] = {1: [], **{count: [] for count in RATIOS}}
    cpu: list[dict[str, float]] = []
    for _ in range(repetitions):
        with (
            tempfile.TemporaryDirectory(dir=folder) as name,
            world(1 + sum(walls), slow=True, echo=echo) as sim,
            line(sim, Path(name) / "home") as run,
        ):
            ports = list(sim.ports)
            run.batch([ports.pop()])
            for count, took in walls.items():
                chosen, ports = ports[:count], ports[count:]
                with used_cpu(sim, cpu if count == max(walls) else []):
                    began = time.perf_counter()
                    run.batch(chosen)
                    took.append(time.perf_counter() - began)
    print(
        f"\nmany boards at once, {told(echo)}, 115200 bit/s, NVM 20 ms, KEYGEN 300 ms, cloud 20 ms;"
        f" medians of {repetitions} repetitions"
    )
    one = statistics.median(walls[1])
    print(f"  one board {one:.3f} s")
    for count, bound in RATIOS.items():
        ratio = statistics.median(
            many / single for many, single in zip(walls[count], walls[1], strict=True)
        )
        print(
            bounded(
                f"  {count} boards ÷ one",
                ratio,
                bound,
                f"{statistics.median(walls[count]):.3f} s",
                unit="",
            )
        )
    tell_cpu(cpu, max(walls), statistics.median(walls[max(walls)]))


@contextlib.contextmanager
def used_cpu(sim: Any, into: list[dict[str, float]]) -> Iterator[None]:
    before = {**sim.cpu_s(), "host": time.process_time()}
    yield
    after = {**sim.cpu_s(), "host": time.process_time()}
    into.append({name: after[name] - before[name] for name in after})


def tell_cpu(rows: Sequence[dict[str, float]], boards: int, wall: float) -> None:
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    shares = ", ".join(
        f"{name} {seconds / boards * 1000:.0f} ms" for name, seconds in sorted(middle.items())
    )
    total = sum(middle.values())
    print(
        f"  CPU a board among {boards}: {shares}; together {total:.2f} s of the {wall:.2f} s x"
        f" {os.cpu_count()} cores that passed"
        + ("" if len(middle) > 1 else " (the simulator's is not known here)")
    )
    print(
        f"  The simulator shares these cores: on a real bench the host's {middle['host']:.2f} s for"
        f" {boards} boards would be alone."
    )


# -- telling ---------------------------------------------------------------------------------------


def told(echo: bool) -> str:
    return "echo on" if echo else "echo off"


def ms(rows: Sequence[Parts], of: Callable[[Parts], float]) -> float:
    return statistics.median(of(row) for row in rows) * 1000


def spread(rows: Sequence[Parts], of: Callable[[Parts], float]) -> str:
    values = sorted(of(row) * 1000 for row in rows)
    return f"{values[0]:.1f} to {values[-1]:.1f}"


def bounded(what: str, value: float, bound: float, more: str, unit: str = " ms") -> str:
    verdict = "within" if value <= bound else "OVER"
    return f"{what:22} {value:7.2f}{unit}   bound {bound:g}{unit}: {verdict}   ({more})"


def fsync_ms(folder: Path) -> float:
    """What the disk takes for as much as a commit writes, into a file that grows."""
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 16384)
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def machine() -> str:
    try:
        names = [
            text.partition(":")[2].strip()
            for text in Path("/proc/cpuinfo").read_text().splitlines()
            if text.startswith("model name")
        ]
    except OSError:
        names = []
    load = f", load {os.getloadavg()[0]:.1f} before the start" if hasattr(os, "getloadavg") else ""
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("httpx", "pyserial", "SQLAlchemy", "cryptography")
    )
    return (
        f"{names[0] if names else platform.processor() or 'unknown CPU'}, {os.cpu_count()}"
        f" cores{load}, {platform.platform()}\nPython {platform.python_version()}, infuse"
        f" {__version__}, {versions}"
    )


if __name__ == "__main__":
    threading.current_thread().name = "benchmark"
    main()
