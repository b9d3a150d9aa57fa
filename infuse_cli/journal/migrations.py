"""How a journal file grows: numbered steps, each applied once in its own place, never edited
afterwards.

DDL is kept as text so that a later change of `schema.py` cannot change what an old step made.
`{blob}` is the one type, `{device_id}` the one expression that the dialects spell differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, select

from infuse_cli.errors import JournalError
from infuse_cli.journal import schema
from infuse_cli.journal.codec import to_text

if TYPE_CHECKING:
    from sqlalchemy import Connection

_BLOB: Final = {"sqlite": "BLOB", "postgresql": "BYTEA"}
_DEVICE_ID: Final = {
    "sqlite": "CASE WHEN json_valid(facts) THEN json_extract(facts, '$.deviceId') END",
    "postgresql": "((facts::jsonb) ->> 'deviceId')",
}
"""The cloud device id among the facts of a PASS."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number (from 1, no gaps), what it is for, and its DDL."""

    number: int
    name: str
    ddl: tuple[str, ...]


MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(
        1,
        "first tables",
        (
            (
                "CREATE TABLE chain (station TEXT NOT NULL PRIMARY KEY, seq BIGINT NOT NULL, hash"
                " TEXT NOT NULL, newest TEXT NOT NULL)"
            ),
            (
                "CREATE TABLE event (station TEXT NOT NULL, seq BIGINT NOT NULL, ts TEXT NOT NULL,"
                " operator TEXT NOT NULL, tool_version TEXT NOT NULL, kind TEXT NOT NULL, run TEXT,"
                " board TEXT, attempt TEXT, step TEXT, from_state TEXT, to_state TEXT, facts TEXT"
                " NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (station, seq))"
            ),
            "CREATE INDEX event_attempt ON event (attempt)",
            "CREATE INDEX event_kind ON event (kind, run)",
            (
                "CREATE TABLE run (run TEXT NOT NULL PRIMARY KEY, command TEXT NOT NULL,"
                " profile_name TEXT NOT NULL, profile_hash TEXT NOT NULL, profile TEXT NOT NULL,"
                " operator TEXT NOT NULL, lot TEXT, simulated TEXT NOT NULL, facts TEXT NOT NULL,"
                " station TEXT NOT NULL, tool_version TEXT NOT NULL, started TEXT NOT NULL, ended"
                " TEXT, totals TEXT NOT NULL)"
            ),
            "CREATE INDEX run_profile ON run (profile_hash)",
            (
                "CREATE TABLE board (uuid TEXT NOT NULL PRIMARY KEY, soc TEXT NOT NULL, imei TEXT"
                " UNIQUE, mcu_id TEXT, UNIQUE (soc, mcu_id))"
            ),
            "CREATE INDEX board_mcu_id ON board (mcu_id)",
            (
                "CREATE TABLE attempt (attempt TEXT NOT NULL PRIMARY KEY, run TEXT NOT NULL, board"
                " TEXT NOT NULL, soc TEXT NOT NULL, slot BIGINT NOT NULL, port TEXT NOT NULL, state"
                " TEXT NOT NULL, plan TEXT NOT NULL, plan_hash TEXT NOT NULL, opened TEXT NOT NULL,"
                " facts TEXT NOT NULL, outcome TEXT, error TEXT, ended TEXT)"
            ),
            "CREATE INDEX attempt_board ON attempt (board)",
            "CREATE INDEX attempt_run ON attempt (run)",
            "CREATE INDEX attempt_state ON attempt (state)",
            (
                "CREATE TABLE step (attempt TEXT NOT NULL, step TEXT NOT NULL, state TEXT NOT NULL,"
                " facts TEXT NOT NULL, error TEXT, ms DOUBLE PRECISION, at TEXT NOT NULL, tries"
                " BIGINT NOT NULL, PRIMARY KEY (attempt, step))"
            ),
            (
                "CREATE TABLE serial (serial TEXT NOT NULL, issuer TEXT NOT NULL, state TEXT NOT"
                " NULL, attempt TEXT, PRIMARY KEY (serial, issuer))"
            ),
            "CREATE INDEX serial_attempt ON serial (attempt)",
            (
                "CREATE TABLE certificate (serial TEXT NOT NULL, issuer TEXT NOT NULL, sha256 TEXT"
                " NOT NULL, spki_sha256 TEXT NOT NULL, not_before TEXT NOT NULL, not_after TEXT NOT"
                " NULL, pem TEXT NOT NULL, profile TEXT NOT NULL, state TEXT NOT NULL, board TEXT,"
                " attempt TEXT, device_id TEXT, stored TEXT NOT NULL, PRIMARY KEY (serial, issuer))"
            ),
            "CREATE INDEX certificate_board ON certificate (board)",
            "CREATE INDEX certificate_attempt ON certificate (attempt)",
            "CREATE TABLE seen_key (spki_sha256 TEXT NOT NULL PRIMARY KEY, board TEXT NOT NULL)",
            (
                "CREATE TABLE token (intent TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, state"
                " TEXT NOT NULL, board TEXT, attempt TEXT, token_id TEXT, registry_device_id TEXT,"
                " sha256 TEXT, expires_at TEXT, intended TEXT NOT NULL)"
            ),
            "CREATE INDEX token_board ON token (board)",
            "CREATE INDEX token_name ON token (name)",
            "CREATE TABLE secret (name TEXT NOT NULL PRIMARY KEY, sealed {blob} NOT NULL)",
        ),
    ),
    Migration(
        2,
        "rows of batches",
        (
            (
                "CREATE TABLE batch_row (organisation TEXT NOT NULL, soc TEXT NOT NULL, mcu_id TEXT"
                " NOT NULL, run TEXT NOT NULL, line BIGINT NOT NULL, state TEXT NOT NULL, device_id"
                " TEXT, id TEXT, name TEXT, registry_device_id TEXT, token_intent TEXT, facts TEXT"
                " NOT NULL, error TEXT, at TEXT NOT NULL, PRIMARY KEY (organisation, soc, mcu_id))"
            ),
            "CREATE INDEX batch_row_mcu_id ON batch_row (mcu_id)",
            "CREATE INDEX batch_row_run ON batch_row (run)",
            "CREATE INDEX batch_row_state ON batch_row (state)",
        ),
    ),
    Migration(
        3,
        "revocation, and certificates found by key, name, run and station",
        (
            "ALTER TABLE serial ADD COLUMN run TEXT",
            "ALTER TABLE serial ADD COLUMN reserved TEXT",
            "ALTER TABLE certificate ADD COLUMN name TEXT",
            "ALTER TABLE certificate ADD COLUMN station TEXT",
            "ALTER TABLE certificate ADD COLUMN run TEXT",
            (
                "UPDATE certificate SET name = device_id, run = (SELECT a.run FROM attempt a WHERE"
                " a.attempt = certificate.attempt)"
            ),
            (
                "UPDATE certificate SET station = (SELECT r.station FROM run r WHERE r.run ="
                " certificate.run)"
            ),
            "CREATE INDEX certificate_key ON certificate (spki_sha256)",
            "CREATE INDEX certificate_name ON certificate (name)",
            "CREATE INDEX certificate_run ON certificate (run)",
            "CREATE INDEX serial_state ON serial (state, run)",
            "CREATE INDEX serial_reserved ON serial (reserved)",
            (
                "CREATE TABLE revocation (serial TEXT NOT NULL, issuer TEXT NOT NULL, at TEXT NOT"
                " NULL, reason TEXT NOT NULL, not_after TEXT, name TEXT, PRIMARY KEY (serial,"
                " issuer))"
            ),
            (
                "CREATE TABLE crl (issuer TEXT NOT NULL, number BIGINT NOT NULL, this_update TEXT"
                " NOT NULL, next_update TEXT NOT NULL, sha256 TEXT NOT NULL, content TEXT NOT NULL,"
                " entries BIGINT NOT NULL, PRIMARY KEY (issuer, number))"
            ),
        ),
    ),
    Migration(
        4,
        "certificates of a day counted by certificate profile",
        ("CREATE INDEX certificate_stored ON certificate (profile, stored)",),
    ),
    Migration(
        5,
        "the board that PASSed as a cloud device, found by its device id",
        (
            "CREATE TABLE device_owner (device_id TEXT NOT NULL PRIMARY KEY, board TEXT NOT NULL)",
            "CREATE INDEX device_owner_board ON device_owner (board)",
            (
                "INSERT INTO device_owner SELECT {device_id}, board FROM attempt"
                " WHERE state = 'passed' AND {device_id} IS NOT NULL ON CONFLICT DO NOTHING"
            ),
        ),
    ),
    Migration(
        6,
        "states of tokens by their words of today; events keep theirs",
        (
            "UPDATE token SET state = 'delivered' WHERE state = 'exposed'",
            "UPDATE token SET state = 'compromised' WHERE state = 'burnt'",
        ),
    ),
)

_BOOK: Final = (
    "CREATE TABLE migration (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied TEXT"
    " NOT NULL, tool_version TEXT NOT NULL)"
)


def pending(
    connection: Connection, where: str, known: tuple[Migration, ...] = MIGRATIONS
) -> tuple[Migration, ...]:
    """The migrations that this journal still needs.

    Raises JournalError journal.newer when it has one that this tool does not know, journal.corrupt
    when the file is a database of something else. `where` names the journal in messages.
    """
    tables = set(inspect(connection).get_table_names())
    if schema.migration.name not in tables:
        if tables:
            raise JournalError(
                "journal.corrupt", f"{where} is a database, but not a journal of infuse"
            )
        return known
    newest, version = _newest(connection)
    if newest > len(known):
        raise JournalError(
            "journal.newer",
            f"{where} was written by infuse {version} (format {newest}); this one knows format"
            f" {len(known)}",
        )
    return known[newest:]


def apply(connection: Connection, steps: tuple[Migration, ...], tool_version: str) -> None:
    """Apply migrations inside the caller's transaction."""
    if steps and steps[0].number == 1:
        connection.exec_driver_sql(_BOOK)
    blob = _BLOB[connection.dialect.name]
    device_id = _DEVICE_ID[connection.dialect.name]
    for one in steps:
        for statement in one.ddl:
            connection.exec_driver_sql(statement.format(blob=blob, device_id=device_id))
        row = {
            "number": one.number,
            "name": one.name,
            "applied": to_text(datetime.now(UTC)),
            "tool_version": tool_version,
        }
        connection.execute(schema.migration.insert(), row)


def _newest(connection: Connection) -> tuple[int, str]:
    book = schema.migration
    row = connection.execute(
        select(book.c.number, book.c.tool_version).order_by(book.c.number.desc()).limit(1)
    ).first()
    return (int(row[0]), str(row[1])) if row else (0, "")
