"""Statements compiled once a dialect and run on the driver's own cursor.

SQLAlchemy Core says what a statement is; running it through the engine each time would cost more
than SQLite itself does (benchmarks/journal_commit.py). Values are texts, numbers and bytes only,
which drivers take and give as they are. Lists (IN) are not for here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Insert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Dialect, Executable

    Statement = Executable


class DuplicateError(Exception):
    """A row with this key is there already."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """SQL text, the names of its values in order (None for drivers that take them by name), and
    fixed values.
    """

    statement: Any  # kept, so that its id stays its own
    sql: str
    order: tuple[str, ...] | None
    fixed: Mapping[str, Any]

    def values(self, given: Mapping[str, Any]) -> Any:
        if self.order is None:
            return {**self.fixed, **given}
        return [given[name] if name in given else self.fixed[name] for name in self.order]


_compiled: Final[dict[tuple[int, str, tuple[str, ...]], _Compiled]] = {}


class Prepared:
    """Runs prepared statements inside a transaction of SQLAlchemy's; driver errors pass through."""

    def __init__(self, connection: Connection, driver: Any = None) -> None:
        """Take `driver`, the driver's own connection, from whoever has it at hand already."""
        self._dialect: Final = connection.dialect
        self._driver: Final[Any] = driver or connection.connection.dbapi_connection
        dbapi: Any = self._dialect.loaded_dbapi
        self._duplicate: Final[type[Exception]] = dbapi.IntegrityError

    def all(self, statement: Statement, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows."""
        rows: list[tuple[Any, ...]] = self._run(statement, values).fetchall()
        return rows

    def each(self, statement: Statement, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """All rows, read as they are asked for."""
        return iter(self._run(statement, values))

    def first(self, statement: Statement, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The first row, None without one."""
        row: tuple[Any, ...] | None = self._run(statement, values).fetchone()
        return row

    def value(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        """The first column of the first row, None without one."""
        row = self.first(statement, values)
        return None if row is None else row[0]

    def change(self, statement: Statement, values: Mapping[str, Any]) -> int:
        """How many rows an INSERT, UPDATE or DELETE touched. Raises DuplicateError."""
        return int(self._run(statement, values).rowcount)

    def add(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all have the same keys. Raises DuplicateError."""
        compiled = self._compile(statement, rows[0])
        try:
            self._driver.cursor().executemany(compiled.sql, [compiled.values(row) for row in rows])
        except self._duplicate as error:
            raise DuplicateError from error

    def _run(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        compiled = self._compile(statement, values)
        cursor = self._driver.cursor()
        try:
            cursor.execute(compiled.sql, compiled.values(values))
        except self._duplicate as error:
            raise DuplicateError from error
        return cursor

    def _compile(self, statement: Statement, values: Mapping[str, Any]) -> _Compiled:
        columns = tuple(values) if isinstance(statement, Insert) else ()
        key = (id(statement), self._dialect.name, columns)
        found = _compiled.get(key)
        if found is None:
            found = _compiled[key] = _compile(statement, self._dialect, columns)
        return found


def _compile(statement: Any, dialect: Dialect, columns: tuple[str, ...]) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=list(columns) or None)
    order = tuple(compiled.positiontup) if compiled.positional else None
    return _Compiled(statement, str(compiled), order, dict(compiled.params))
