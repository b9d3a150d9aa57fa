"""How long `journal verify` takes: `python benchmarks/journal_verify.py [--quick] [FOLDER]`.

Makes a journal of 100,000 events (10,000 with --quick) as boards make them, then times: SQLite's
own check of the file, the chain of hashes alone, and the whole of `infuse journal verify`, which
also makes all tables anew and compares; beside them SHA-256 alone over as many bytes. Peak memory
is that of this process while it verifies.
"""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from infuse_cli import records as rec
from infuse_cli.journal import audit, chain, database, schema
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
EVENTS = 100_000
A_BOARD = 20  # events
S = StepState


def board(number: int) -> tuple[rec.Write, ...]:
    attempt, uuid = f"a{number}", f"board-{number}"
    steps = [
        rec.MoveStep(
            attempt=attempt,
            step=f"step-{one}",
            from_state=frm,
            to_state=to,
            facts={"csr": "x" * 200},
            ms=12.5,
        )
        for one in range(8)
        for frm, to in ((S.PENDING, S.BEGUN), (S.BEGUN, S.DONE))
    ]
    opening = rec.OpenAttempt(
        attempt=attempt,
        run=RUN.run,
        board=uuid,
        soc="nRF9151",
        slot=1,
        port="p",
        plan=("keygen",),
        plan_hash="h",
        imei=f"{number:015}",
        mcu_id=f"{number:016x}",
        facts={"modemFirmware": "2.0.2"},
    )
    return (
        opening,
        rec.SeeKey(spki_sha256=f"{number:064x}", board=uuid),
        *steps,
        rec.ReserveSerial(serial=f"{number:x}", issuer="ca", attempt=attempt),
        rec.EndAttempt(
            attempt=attempt,
            state=AttemptState.PASSED,
            outcome="PASS",
            facts={"deviceId": f"{number:016x}"},
        ),
    )


def fill(journal: SqliteJournal, events: int) -> None:
    journal.start_run(RUN)
    driver = journal._database._raw  # noqa: SLF001 - only while it is filled nobody needs it to be durable
    driver.execute("PRAGMA synchronous=OFF")
    for number in range(events // A_BOARD):
        journal.commit(*board(number))
    journal.end_run(RUN.run, {"pass": events // A_BOARD})


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--quick"]
    events = EVENTS // 10 if "--quick" in sys.argv else EVENTS
    beside = Path(words[0]) if words else Path(__file__).parent
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, SQLite"
        f" {sqlite3.sqlite_version}"
    )
    with tempfile.TemporaryDirectory(dir=beside) as name:
        with open_journal(Path(name), station="bench") as journal:
            fill(journal, events)
        with open_journal(Path(name), station="bench", create=False) as journal:
            count = journal.event_count()
            with journal.reading() as connection:
                size = (
                    int(
                        connection.execute(
                            select(func.sum(func.length(schema.event.c.facts)))
                        ).scalar_one()
                    )
                    + 300 * count
                )
                check = timed(lambda: database.damage(connection))
                links = timed(lambda: chain.check(audit._links(connection, "bench")))  # noqa: SLF001 - the part that is measured
            whole = timed(journal.verify)
    blocks = [b"x" * (size // count)] * count
    alone = timed(lambda: [hashlib.sha256(block).hexdigest() for block in blocks])
    print(f"journal verify, {count} events  {whole:6.2f} s   ({count / whole:,.0f} events/s)")
    print(f"  SQLite's check of the file    {check:6.2f} s")
    print(f"  the chain of hashes           {links:6.2f} s")
    print(f"SHA-256 alone, as many bytes    {alone:6.2f} s   ({size / count:.0f} bytes an event)")
    print(
        "peak memory                    "
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:6.0f} MiB"
    )


if __name__ == "__main__":
    main()
