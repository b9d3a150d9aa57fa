"""What a durable commit costs: `python benchmarks/journal_commit.py`.

Prints the time of a commit of five writes as a board makes them, of the disk's own fsync beside it,
of what the host adds, of `board()`, and of 64 threads with 20 commits each. The journal is made
beside this file unless a folder is named, because a temporary folder may lie in memory, where an
fsync costs nothing.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy

from infuse_cli import records as rec
from infuse_cli.journal.store import SqliteJournal, open_journal
from infuse_cli.types import AttemptState, StepState

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = rec.RunStart(
    run="benchmark",
    command="provision",
    profile_name="p",
    profile_hash="h",
    profile={},
    operator="o",
)
BOARDS = 300
S = StepState


def opening(number: int) -> rec.OpenAttempt:
    return rec.OpenAttempt(
        attempt=f"a{number}",
        run=RUN.run,
        board=f"board-{number}",
        soc="nRF9151",
        slot=1,
        port="p",
        plan=("keygen", "sign"),
        plan_hash="h",
        imei=f"{number:015}",
        mcu_id=f"{number:016x}",
        facts={"modemFirmware": "2.0.2"},
    )


def five(number: int) -> tuple[rec.Write, ...]:
    attempt = f"a{number}"
    return (
        rec.MoveStep(
            attempt=attempt,
            step="keygen",
            from_state=S.BEGUN,
            to_state=S.DONE,
            facts={"csr": "x" * 900},
            ms=300.0,
        ),
        rec.SeeKey(spki_sha256=f"{number:064x}", board=f"board-{number}"),
        rec.NoteAttempt(attempt=attempt, facts={"functionalMode": 1}),
        rec.ReserveSerial(serial=f"{number:x}", issuer="ca", attempt=attempt),
        rec.MoveStep(attempt=attempt, step="sign", from_state=S.PENDING, to_state=S.BEGUN),
    )


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def boards(journal: SqliteJournal, first: int) -> tuple[list[float], list[float]]:
    commits, reads = [], []
    for number in range(first, first + BOARDS):
        journal.commit(opening(number))
        journal.commit(
            rec.MoveStep(
                attempt=f"a{number}", step="keygen", from_state=S.PENDING, to_state=S.BEGUN
            )
        )
        writes = five(number)
        commits.append(timed(lambda: journal.commit(*writes)))  # noqa: B023 - called at once
        reads.append(timed(lambda: journal.board(f"board-{number}")))  # noqa: B023 - called at once
        journal.commit(
            rec.EndAttempt(attempt=f"a{number}", state=AttemptState.PASSED, outcome="PASS")
        )
    return commits, reads


def fsync(folder: Path) -> list[float]:
    path = folder / "fsync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        return [
            timed(lambda: (os.write(descriptor, b"x" * 16384), os.fsync(descriptor)))
            for _ in range(BOARDS)
        ]
    finally:
        os.close(descriptor)
        path.unlink()


def threads(journal: SqliteJournal, count: int, commits: int) -> float:
    def work(slot: int) -> None:
        journal.commit(opening(100_000 + slot))
        for number in range(commits - 1):
            journal.commit(
                rec.MoveStep(
                    attempt=f"a{100_000 + slot}",
                    step=f"s{number}",
                    from_state=S.PENDING,
                    to_state=S.BEGUN,
                )
            )

    slots = [threading.Thread(target=work, args=(slot,)) for slot in range(count)]

    def all_of_them() -> None:
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()

    return timed(all_of_them)


def unsynced(folder: Path) -> float:
    """The same without waiting for the disk: what the host itself adds."""
    with open_journal(folder, station="bench") as journal:
        journal.start_run(RUN)
        with journal.reading() as connection:
            driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA synchronous=OFF")
        return statistics.median(boards(journal, 0)[0])


def main() -> None:
    beside = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, SQLAlchemy {sqlalchemy.__version__}"
    )
    with tempfile.TemporaryDirectory(dir=beside) as name:
        folder = Path(name)
        disk = fsync(folder)
        with open_journal(folder / "synced", station="bench") as journal:
            journal.start_run(RUN)
            commits, reads = boards(journal, 0)
            crowd = threads(journal, 64, 20)
        host = unsynced(folder / "unsynced")
    quantile = statistics.quantiles(commits, n=100)[98]
    print(
        f"commit of 5 writes       {statistics.median(commits):6.2f} ms   (p99 {quantile:.2f} ms)"
    )
    print(f"  the disk's fsync       {statistics.median(disk):6.2f} ms")
    print(f"  host alone             {host:6.2f} ms   bound 1.5 ms")
    print(f"board()                  {statistics.median(reads):6.2f} ms")
    print(f"64 threads x 20 commits  {crowd:6.0f} ms   ({64 * 20 / crowd * 1000:.0f} commits/s)")


if __name__ == "__main__":
    main()
