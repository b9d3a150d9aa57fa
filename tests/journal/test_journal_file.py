"""The file itself: modes, damage, locks, a full disk, older and newer formats."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect

from infuse_cli import records as rec
from infuse_cli.errors import JournalError
from infuse_cli.journal import migrations, schema
from infuse_cli.journal.store import SqliteJournal, open_journal
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from pathlib import Path

    from journal_line import Line


def refusal(home: Path, **more: object) -> JournalError:
    with pytest.raises(JournalError) as caught:
        open_journal(home, station="s", busy_s=0.05, **more)  # type: ignore[arg-type]
    return caught.value


def test_home_and_files_are_ours_alone(home: Path, line: Line) -> None:
    line.open()
    names = {path.name for path in home.iterdir()}
    assert {"journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm"} <= names
    for path in [home, *home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_loose_modes_are_tightened(home: Path) -> None:
    home.mkdir(mode=0o755)
    (home / "journal.sqlite3").touch(mode=0o644)
    with open_journal(home, station="s"):
        assert home.stat().st_mode & 0o777 == 0o700
        assert (home / "journal.sqlite3").stat().st_mode & 0o777 == 0o600


def test_a_closed_journal_opens_again_with_everything(home: Path, line: Line) -> None:
    line.open("b1", attempt="a1")
    line.journal.close()
    line.journal.close()
    with open_journal(home, create=False) as again:
        assert again.attempt("a1").board == "b1"


def test_a_missing_journal_is_not_made_for_reading(home: Path) -> None:
    assert refusal(home, create=False).code == "journal.not-found"
    assert not home.exists()


def test_every_commit_is_synced_and_secrets_are_wiped(journal: SqliteJournal) -> None:
    with journal.reading() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"not a database, but long enough to have a header\n" * 20,
        b"SQLite format 3\0" + b"\xff" * 8000,
        b"x",
    ],
)
def test_a_damaged_file_is_named_and_never_overwritten(home: Path, content: bytes) -> None:
    home.mkdir()
    path = home / "journal.sqlite3"
    path.write_bytes(content)
    error = refusal(home)
    assert error.code == "journal.corrupt"
    assert str(path) in error.message
    assert path.read_bytes() == content


def test_damage_inside_is_found(home: Path, line: Line) -> None:
    for number in range(50):
        line.open(f"b{number}")
    line.journal.close()
    path = home / "journal.sqlite3"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 2 * 4096))
    with pytest.raises(JournalError) as caught, open_journal(home, station="s") as journal:
        journal.verify()
    assert caught.value.code == "journal.corrupt"


def test_a_database_of_something_else_is_refused(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "journal.sqlite3")) as other:
        other.execute("CREATE TABLE song (name TEXT)")
    assert refusal(home).code == "journal.corrupt"


def test_a_newer_journal_is_refused(home: Path) -> None:
    open_journal(home, station="s").close()
    with closing(sqlite3.connect(home / "journal.sqlite3")) as other, other:
        other.execute(
            "INSERT INTO migration VALUES (99, 'later', '2030-01-01T00:00:00.000000Z', '7.1.0')"
        )
    error = refusal(home)
    assert error.code == "journal.newer"
    assert "7.1.0" in error.message


def test_a_later_migration_is_applied_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_journal(home, station="s").close()
    more = (
        *migrations.MIGRATIONS,
        migrations.Migration(
            len(migrations.MIGRATIONS) + 1, "more", ("CREATE TABLE more (a TEXT)",)
        ),
    )
    monkeypatch.setattr(migrations.pending, "__defaults__", (more,))
    for _ in range(2):
        open_journal(home, station="s").close()
    monkeypatch.undo()
    assert refusal(home).code == "journal.newer"


def test_tables_are_as_the_statements_see_them(journal: SqliteJournal) -> None:
    with journal.reading() as connection:
        found = inspect(connection)
        made = {
            table: {(column["name"], column["nullable"]) for column in found.get_columns(table)}
            for table in found.get_table_names()
        }
        keys = {
            table: set(found.get_pk_constraint(table)["constrained_columns"])
            for table in found.get_table_names()
        }
    seen = {
        table.name: {(column.name, column.nullable) for column in table.columns}
        for table in schema.metadata.tables.values()
    }
    assert made == seen
    assert keys == {
        table.name: {column.name for column in table.primary_key}
        for table in schema.metadata.tables.values()
    }


def test_a_locked_journal_is_named(home: Path, line: Line) -> None:
    with closing(sqlite3.connect(line.journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError) as caught:
            line.open()
        assert caught.value.code == "journal.locked"
        assert str(home) in caught.value.message
        assert line.journal.board("b1") is None, "reading goes on"
        other.execute("ROLLBACK")
    line.open()


def test_a_locked_new_journal_is_named(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "journal.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert refusal(home).code == "journal.locked"


def test_a_home_that_cannot_be_made_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert refusal(tmp_path / "file").code == "journal.read-only"
    assert refusal(tmp_path / "file" / "below").code == "journal.read-only"


def test_a_journal_that_cannot_be_opened_is_read_only(home: Path) -> None:
    (home / "journal.sqlite3").mkdir(parents=True)
    assert refusal(home).code == "journal.read-only"


def test_a_read_only_file_is_named(line: Line) -> None:
    with line.journal.reading() as connection:
        connection.exec_driver_sql(
            "PRAGMA query_only=ON"
        )  # SQLite answers as for a file without write permission
    with pytest.raises(JournalError) as caught:
        line.open()
    assert caught.value.code == "journal.read-only"


def test_a_full_disk_is_named_and_loses_nothing(line: Line) -> None:
    line.open("b1", attempt="a1")
    with line.journal.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(JournalError) as caught:
        line.journal.commit(rec.NoteAttempt(attempt="a1", facts={"transcript": "x" * 200_000}))
    assert caught.value.code == "journal.disk-full"
    with line.journal.reading() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert line.journal.attempt("a1").facts == {}
    line.journal.commit(rec.NoteAttempt(attempt="a1", facts={"transcript": "x" * 200_000}))
    assert line.journal.verify() == []


def test_states_of_tokens_of_old_journals_are_read_by_their_words_of_today() -> None:
    """Whole journals of old are in tests/baseline: verified, shown and gone on with."""
    assert TokenState("exposed") is TokenState.DELIVERED
    assert TokenState("burnt") is TokenState.COMPROMISED
    with pytest.raises(ValueError, match="nonsense"):
        TokenState("nonsense")
