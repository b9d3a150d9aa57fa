"""What was typed at a console, kept in the home (0600) for the next time; lines with secrets are
never kept.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from prompt_toolkit.history import History

from infuse_cli.files import private_folder
from infuse_cli.serial_tools.console_text import is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MOST: Final = 1000
_MOST_BYTES: Final = 1024 * 1024


class SafeHistory(History):
    """A JSON string a line, oldest first.

    A home that cannot be written to costs the history, not the console.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path: Final = path

    def load_history_strings(self) -> Iterable[str]:
        """The newest first, as prompt_toolkit wants them."""
        try:
            rows = self._path.read_bytes()[-_MOST_BYTES:].splitlines()
        except OSError:
            return []
        return [text for row in reversed(rows[-_MOST:]) if (text := _text(row)) is not None]

    def append_string(self, string: str) -> None:
        """Remember a line, unless it hands over a secret: not even the arrow keys bring
        that back.
        """
        if string.strip() and not is_secret(string):
            super().append_string(string)

    def store_string(self, string: str) -> None:
        """Put a line at the end of the file."""
        try:
            private_folder(self._path.parent)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(json.dumps(string).encode() + b"\n")
        except OSError:
            return


def _text(row: bytes) -> str | None:
    try:
        found = json.loads(row)
    except ValueError:
        return None
    return found if isinstance(found, str) else None
