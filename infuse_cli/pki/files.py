"""Reading the CA's secret files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from infuse_cli.files import MAX_BYTES as MAX_PEM
from infuse_cli.files import PRIVATE, PUBLIC, is_folder, is_regular, read_bounded, sync_folder
from infuse_cli.files import require_regular as _regular
from infuse_cli.files import write_file as write_atomic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MAX_PEM",
    "PRIVATE",
    "PUBLIC",
    "is_folder",
    "is_regular",
    "read_bounded",
    "read_private",
    "sync_folder",
    "write_atomic",
]

_LOOSE: Final = 0o077


def read_private(path: Path) -> tuple[bytes, bool]:
    """A secret file's bytes, and whether group or others can read it (judged on the open file,
    POSIX only).
    """
    _regular(path)
    with path.open("rb") as file:
        loose = os.name == "posix" and bool(os.fstat(file.fileno()).st_mode & _LOOSE)
        return file.read(MAX_PEM + 1), loose
