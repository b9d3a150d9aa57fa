"""Names of the files in a bench's home folder (INFUSE_HOME)."""

from __future__ import annotations

from typing import Final

JOURNAL: Final = "journal.sqlite3"
JOURNAL_PARTS: Final = tuple(f"{JOURNAL}{end}" for end in ("", "-wal", "-shm", "-journal"))
"""The journal and what SQLite puts beside it."""

BENCH: Final = "bench.yaml"
CREDENTIALS: Final = "credentials.json"
CONSOLE_HISTORY: Final = "console-history"
CA: Final = "ca"
"""Folder with one folder a CA."""

LOCKS: Final = "locks"
PROFILES: Final = "profiles"
