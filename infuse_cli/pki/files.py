"""Reading the CA's secret files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from infuse_cli.files import MAX_BYTES, require_regular

if TYPE_CHECKING:
    from pathlib import Path

_LOOSE: Final = 0o077


def read_private(path: Path) -> tuple[bytes, bool]:
    """A secret file's bytes, and whether group or others can read it (judged on the open file,
    POSIX only).
    """
    require_regular(path)
    with path.open("rb") as file:
        loose = os.name == "posix" and bool(os.fstat(file.fileno()).st_mode & _LOOSE)
        return file.read(MAX_BYTES + 1), loose
