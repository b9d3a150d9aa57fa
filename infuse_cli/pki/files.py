"""Files of the CA: written whole or not at all, secret ones for their owner alone."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_LOOSE: Final = 0o077
MAX_PEM: Final = 1 << 20
"""Most bytes that are read of any certificate, key or request file."""


def write_atomic(path: Path, data: bytes, mode: int = PUBLIC, *, replace: bool = True) -> None:
    """Write through a temporary file in the same folder: fsync, rename, fsync the folder.

    With `replace=False` an existing file stays and FileExistsError is raised. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_new(temporary, data, mode)
        if replace:
            temporary.replace(path)
        else:
            _place_new(temporary, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _place_new(temporary: Path, path: Path) -> None:
    """Give the file its name only if the name is free; a memory stick without hard links gets the
    next best.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        temporary.rename(path)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the platform can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, most: int = MAX_PEM) -> bytes:
    """At most `most` + 1 bytes of a file, so that a wrong path cannot fill the memory.

    Raises OSError.
    """
    _regular(path)
    with path.open("rb") as file:
        return file.read(most + 1)


def read_private(path: Path) -> tuple[bytes, bool]:
    """A secret file's bytes, and whether group or others can read it (judged on the open file,
    POSIX only).
    """
    _regular(path)
    with path.open("rb") as file:
        loose = os.name == "posix" and bool(os.fstat(file.fileno()).st_mode & _LOOSE)
        return file.read(MAX_PEM + 1), loose


def is_folder(path: Path) -> bool:
    """Whether it is a folder as far as can be seen: what may not be looked at, or can have no such
    name, is none.
    """
    with contextlib.suppress(OSError):
        return path.is_dir()
    return False


def is_regular(path: Path) -> bool:
    """Whether it is a file as far as can be seen, as `is_folder`."""
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def _regular(path: Path) -> None:
    """Refuse what may never end or never begin, such as a pipe or a device. Raises OSError."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a file", str(path))
