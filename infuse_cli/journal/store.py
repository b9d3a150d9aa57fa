"""The journal in INFUSE_HOME/journal.sqlite3: `ports.Journal` on SQLite.

A commit is one fsynced transaction under the write-ahead log with `synchronous=FULL`; the home is
0700, its files
0600. What SQLite refuses comes out as JournalError and names the file.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import bindparam, insert, select, update

from infuse_cli._version import __version__
from infuse_cli.clock import STEP_BACK
from infuse_cli.config.bench import load_bench
from infuse_cli.errors import JournalError
from infuse_cli.journal import (
    audit,
    chain,
    database,
    identity,
    mode_queries,
    reads,
    rows,
    schema,
    writes,
)
from infuse_cli.journal.codec import maybe_time, to_json, to_text
from infuse_cli.journal.group import GroupCommit
from infuse_cli.journal.owner import Owners
from infuse_cli.journal.prepared import Prepared
from infuse_cli.journal.transaction import Author, Transaction
from infuse_cli.records.notes import NoteKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection

    from infuse_cli import records as rec
    from infuse_cli.records.modes import OwedMode
    from infuse_cli.records.rows import RowRecord

"""The note of a run, or of none, that a record's time was set aside as one of a wrong clock."""

_SET_NEWEST = (
    update(schema.chain).where(schema.chain.c.newest > bindparam("t")).values(newest=bindparam("t"))
)
_ADD_RUN = insert(schema.run)
_RUN_ID = select(schema.run.c.run).where(schema.run.c.run == bindparam("r"))
_SECRETS = select(schema.secret.c.name, schema.secret.c.sealed).order_by(schema.secret.c.name)
_SET_SECRET = (
    update(schema.secret)
    .where(schema.secret.c.name == bindparam("n"))
    .values(sealed=bindparam("v"))
)
_END_RUN = (
    update(schema.run)
    .where(schema.run.c.run == bindparam("r"))
    .values(ended=bindparam("t"), totals=bindparam("x"))
)


def open_journal(
    home: Path,
    *,
    station: str | None = None,
    operator: str = "",
    tool_version: str = __version__,
    create: bool = True,
    busy_s: float = 5.0,
    now: Callable[[], datetime] | None = None,
) -> SqliteJournal:
    """Open the journal of a home, making home and journal as needed.

    `station` is by default that of bench.yaml, else the host's name; `operator` is who writes
    outside any run. `create=False` only opens one that is there (else journal.not-found). `busy_s`
    bounds the wait for another program's lock, in seconds. Raises JournalError journal.locked,
    journal.read-only, journal.corrupt, journal.newer, journal.disk-full; ProfileError for
    bench.yaml.
    """
    name = station or load_bench(home).station
    opened = database.open_database(home, tool_version=tool_version, create=create, busy_s=busy_s)
    return SqliteJournal(
        home, opened, Author(name, tool_version, operator=operator), now or _utc_now
    )


class SqliteJournal:
    """`ports.Journal` on SQLite; made by `open_journal`, safe to share between threads, closed by
    `close()`.
    """

    def __init__(
        self, home: Path, opened: database.Database, author: Author, now: Callable[[], datetime]
    ) -> None:
        self._database: Final = opened
        self._owners: Final = Owners(home)
        self._nobody: Final = author
        self._author = author
        self._now: Final = now
        self._trusted = False
        self._group: Final = GroupCommit(self._commit_all)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give up every run that was not ended; safe to call twice."""
        self._owners.release_all()
        self._database.close()

    @property
    def path(self) -> Path:
        """The journal's file."""
        return self._database.path

    @property
    def station(self) -> str:
        """Name of this bench."""
        return self._author.station

    def start_run(self, start: rec.RunStart) -> None:
        """Record the run and hold its owner lock.

        Raises JournalError journal.conflict for a run id that was used before.
        """
        self._owners.hold(start.run)
        try:
            with self._database.writing() as connection:
                self._add_run(connection, start)
        except BaseException:
            self._owners.release(start.run)
            raise
        self._author = replace(self._author, run=start.run, operator=start.operator)

    def _add_run(self, connection: Connection, start: rec.RunStart) -> None:
        if connection.execute(_RUN_ID, {"r": start.run}).first() is not None:
            raise JournalError("journal.conflict", f"run {start.run} is on record already")
        tx = self._transaction(
            connection, replace(self._author, run=start.run, operator=start.operator)
        )
        row = {
            "run": start.run,
            "command": start.command,
            "profile_name": start.profile_name,
            "profile_hash": start.profile_hash,
            "profile": to_json(start.profile),
            "operator": start.operator,
            "lot": start.lot,
            "simulated": to_json(start.simulated),
            "facts": to_json(start.facts),
            "station": self.station,
            "tool_version": self._author.tool_version,
            "started": tx.now,
            "ended": None,
            "totals": "{}",
        }
        connection.execute(_ADD_RUN, row)
        told = {
            "command": start.command,
            "profile_name": start.profile_name,
            "profile_hash": start.profile_hash,
            "profile": start.profile,
            "lot": start.lot,
            "simulated": start.simulated,
            "facts": start.facts,
        }
        tx.event("run-started", None, run=start.run, facts=told)
        tx.flush()

    def end_run(self, run: str, totals: rec.Facts) -> None:
        """Record that the run ended, and give its owner lock back in any case.

        Raises JournalError journal.not-found.
        """
        try:
            with self._database.writing() as connection:
                tx = self._transaction(connection)
                if (
                    connection.execute(
                        _END_RUN, {"r": run, "t": tx.now, "x": to_json(totals)}
                    ).rowcount
                    != 1
                ):
                    raise JournalError("journal.not-found", f"no run {run} is on record")
                tx.event("run-ended", None, run=run, facts=totals)
                tx.flush()
        finally:
            self._owners.release(run)
            if self._author.run == run:
                self._author = self._nobody

    def commit(self, *writes_: rec.Write) -> None:
        """Make all writes durable in one fsynced transaction, or none (see `ports.Journal`).

        Those of other threads that come at the same time share the transaction.
        """
        self._group.commit(writes_)

    def _commit_all(self, together: Sequence[tuple[rec.Write, ...]]) -> None:
        with self._database.committing() as sql:
            for writes_ in together:
                tx = Transaction(
                    sql, self._author, self._owners, to_text(self._now()), self._trusted
                )
                writes.apply(tx, writes_)
                tx.flush()

    def _transaction(self, connection: Connection, author: Author | None = None) -> Transaction:
        return Transaction(
            Prepared(connection),
            author or self._author,
            self._owners,
            to_text(self._now()),
            self._trusted,
        )

    def trust_clock(self, server_offset_s: float | None) -> datetime | None:
        """From here on the times of this journal's records count: this machine's clock is right.

        `server_offset_s` is the server's Date minus this machine's time, where the two were found
        to agree; None: a person says so. A newer time on record was of a wrong clock then: it is
        set aside, and that is on record. Returns the time that was set aside, None for none.
        """
        self._trusted = True
        now = self._now()
        with self.reading() as connection:
            newest = maybe_time(reads.newest(connection) or None)
        if newest is None or now >= newest - STEP_BACK:
            return None
        facts = {
            "newest": to_text(newest),
            "now": to_text(now),
            "serverOffsetS": server_offset_s,
        }
        with self._database.writing() as connection:
            tx = self._transaction(connection)
            tx.event("run-noted", None, facts={"what": NoteKind.CLOCK_CORRECTED, "facts": facts})
            tx.flush()
            connection.execute(_SET_NEWEST, {"t": to_text(now)})
        return newest

    def distrust_clock(self) -> None:
        """From here on the times of this journal's records are no measure for others."""
        self._trusted = False

    def reseal(self, again: Callable[[str, bytes], bytes]) -> int:
        """Replace every sealed secret by what `again` makes of its name and bytes, all in one
        transaction; how many there are.

        What `again` raises leaves all as it was.
        """
        with self._database.writing() as connection:
            sql = Prepared(connection)
            rows = sql.all(_SECRETS, {})
            for name, sealed in rows:
                sql.change(_SET_SECRET, {"n": name, "v": again(name, sealed)})
        return len(rows)

    def copy_to(self, path: Path) -> None:
        """Write a copy as of one moment to a new file (0600). Raises JournalError."""
        self._database.copy_to(path)

    def restore_from(self, other: SqliteJournal) -> None:
        """Take over all that another journal holds; see `backup.py` for when that is right."""
        self._database.restore_from(other._database)

    def reading(self) -> AbstractContextManager[Connection]:
        """A read transaction, for `queries.py`."""
        return self._database.reading()

    def alive(self, run: str) -> bool:
        """Whether the process that owns a run still lives."""
        return self._owners.alive(run)

    def holds(self, run: str) -> bool:
        """Whether this very journal is the owner of a run."""
        return self._owners.holds(run)

    def board(self, uuid: str) -> rec.BoardRecord | None:
        """A board with its open attempt and its newest PASS, None for an unknown one."""
        with self.reading() as connection:
            return reads.board(connection, uuid, self.alive)

    def check_identity(
        self, uuid: str, imei: str | None, mcu_id: str | None, *, soc: str | None = None
    ) -> None:
        """Raise PolicyError identity.clone naming the other board; without `soc` an mcuId counts
        whatever the soc.
        """
        with self.reading() as connection:
            identity.check(Prepared(connection), uuid, imei, mcu_id, soc)

    def attempt(self, attempt: str) -> rec.AttemptRecord:
        """An attempt. Raises JournalError journal.not-found."""
        with self.reading() as connection:
            return reads.one_attempt(connection, attempt, self.alive)

    def attempts(self, board: str) -> Sequence[rec.AttemptRecord]:
        """All attempts of a board, oldest first."""
        with self.reading() as connection:
            return reads.attempts_of(connection, board, self.alive)

    def open_attempts(self) -> Sequence[rec.AttemptRecord]:
        """All attempts that a later run would go on with, oldest first."""
        with self.reading() as connection:
            return reads.attempts(
                connection, self.alive, schema.attempt.c.state.in_(writes.OPEN_STATES)
            )

    def certificates(
        self, *, board: str | None = None, attempt: str | None = None
    ) -> Sequence[rec.CertificateRecord]:
        """Certificates of a board, of an attempt, or all; oldest first."""
        columns = schema.certificate.c
        where = [
            column == value
            for column, value in ((columns.board, board), (columns.attempt, attempt))
            if value is not None
        ]
        with self.reading() as connection:
            return reads.certificates(connection, *where)

    def reserved_serials(self, attempt: str) -> Sequence[tuple[str, str]]:
        """(serial, issuer) pairs reserved by this attempt that are neither void nor have a
        certificate.
        """
        with self.reading() as connection:
            return reads.reserved(connection, attempt)

    def is_revoked(self, serial: str, issuer: str) -> bool:
        """Whether this certificate of this issuer (SHA-256 hex of its DER) was revoked."""
        with self.reading() as connection:
            return reads.is_revoked(connection, serial, issuer)

    def key_owner(self, spki_sha256: str) -> str | None:
        """The board that a public key was seen on, None for a new key."""
        with self.reading() as connection:
            return reads.key_owner(connection, spki_sha256)

    def device_owner(self, device_id: str) -> str | None:
        """The board that PASSed as this cloud device; superseded attempts do not count."""
        with self.reading() as connection:
            return reads.device_owner(connection, device_id)

    def tokens(
        self, *, board: str | None = None, name: str | None = None
    ) -> Sequence[rec.TokenRecord]:
        """Tokens of a board, of a name, or all; oldest first."""
        with self.reading() as connection:
            return reads.tokens(connection, board=board, name=name)

    def row(self, organisation: str, soc: str, mcu_id: str) -> RowRecord | None:
        """A row of a batch as it stands, None for one that was never seen here."""
        with self.reading() as connection:
            return rows.get(connection, organisation, soc, mcu_id)

    def rows(self, organisation: str, soc: str, mcu_ids: Sequence[str]) -> dict[str, RowRecord]:
        """Those of these rows that were seen here, by mcuId."""
        with self.reading() as connection:
            return rows.get_many(connection, organisation, soc, mcu_ids)

    def secret(self, name: str) -> bytes | None:
        """Sealed bytes by name, None when there are none."""
        with self.reading() as connection:
            return reads.secret(connection, name)

    def run(self, run: str) -> rec.RunRecord:
        """A run. Raises JournalError journal.not-found."""
        with self.reading() as connection:
            return reads.run(connection, run, self.alive)

    def runs(self) -> Sequence[rec.RunRecord]:
        """All runs, oldest first."""
        with self.reading() as connection:
            return reads.runs(connection, self.alive)

    def newest(self) -> datetime | None:
        """Time (UTC) of the newest event that was written while `trust_clock` held, None before
        any.
        """
        with self.reading() as connection:
            return maybe_time(reads.newest(connection) or None)

    def noted(self, *what: NoteKind) -> Sequence[tuple[NoteKind, rec.Facts]]:
        """What runs noted under these names, with its facts, the oldest first."""
        with self.reading() as connection:
            return reads.noted(connection, what)

    def modes_owed(self, board: str | None = None) -> Sequence[OwedMode]:
        """Boards that a change by hand left in flight mode, one or all."""
        with self.reading() as connection:
            return mode_queries.owed(connection, board, self.alive)

    def labelled(self, name: str, value: str) -> Sequence[str]:
        """Boards whose metadata `name` is on record as `value`; superseded and closed attempts do
        not count.
        """
        with self.reading() as connection:
            return reads.labelled(connection, name, value)

    def passed_with(self, *, profile_hash: str, ca: str | None, modem_firmware: str | None) -> bool:
        """Whether any board PASSed with this profile, CA (`issuer` of its certificates) and modem
        firmware.

        The firmware is the attempt's fact `modemFirmware`; without a CA the attempt must have no
        certificate.
        """
        with self.reading() as connection:
            return reads.passed_with(connection, profile_hash, ca, modem_firmware)

    def events(
        self, *, board: str | None = None, attempt: str | None = None, run: str | None = None
    ) -> Sequence[rec.EventRecord]:
        """Events of a board, of an attempt, of a run, or all, in the order of the chain."""
        columns = schema.event.c
        wanted = ((columns.board, board), (columns.attempt, attempt), (columns.run, run))
        with self.reading() as connection:
            return list(
                reads.events(
                    connection, *(column == value for column, value in wanted if value is not None)
                )
            )

    def event_count(self) -> int:
        """How many events are on record, of all stations."""
        with self.reading() as connection:
            return reads.event_count(connection)

    def heads(self) -> dict[str, chain.Head]:
        """By station the newest event of its chain."""
        with self.reading() as connection:
            return audit.heads(connection)

    def verify(self, kept: Mapping[str, chain.Head] | None = None) -> Sequence[chain.Fault]:
        """Check the file, each station's chain, and the projections against it.

        An empty answer means sound.

        `kept` are heads that were recorded elsewhere: with them a chain that was cut or made anew
        is found too. Raises JournalError journal.corrupt when SQLite's own check finds damage.
        """
        with self.reading() as connection:
            return audit.faults(connection, self.path, kept or {})

    def verify_newest(self, count: int = 200) -> Sequence[chain.Fault]:
        """Check the last events of each station's chain and its head, in a time that does not grow
        with the journal.
        """
        with self.reading() as connection:
            heads = audit.heads(connection)
            ends = {
                station: reads.newest_events(connection, station, count)
                for station in sorted(heads)
            }
        found = [
            chain.verify(
                events,
                heads[station],
                station=station,
                after=chain.Head(events[0].seq - 1, events[0].prev) if events else None,
            )
            for station, events in ends.items()
        ]
        return [fault for fault in found if fault is not None]


def _utc_now() -> datetime:
    return datetime.now(UTC)
