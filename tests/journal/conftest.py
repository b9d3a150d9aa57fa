from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from journal_line import Line

from infuse_cli.journal.store import SqliteJournal, open_journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def journal(home: Path) -> Iterator[SqliteJournal]:
    with open_journal(home, station="bench-1", busy_s=0.2) as opened:
        yield opened


@pytest.fixture
def line(journal: SqliteJournal) -> Line:
    made = Line(journal)
    made.start()
    return made
