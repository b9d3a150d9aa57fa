"""Files that are written whole or not at all, and readers that no wrong path can stop.

This is the only place of the package that writes a file beside its place and renames it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedWriter
    from pathlib import Path

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
MAX_BYTES: Final = 1 << 20
"""Most bytes that are read of any certificate, key or request file."""

_SHARING_TRIES: Final = 10
_SHARING_WAIT_S: Final = 0.05
_pause: Final = threading.Event()


def write_file(path: Path, data: bytes, mode: int = PRIVATE, *, replace: bool = True) -> None:
    """Write a file in one step, durably: temporary file, fsync, rename, fsync of the folder.

    With `replace=False` an existing file stays and FileExistsError is raised. Raises OSError.
    """
    temporary = _beside(path)
    try:
        _write_new(temporary, data, mode)
        if replace:
            replace_file(temporary, path)
        else:
            _name_new(temporary, path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def create_file(path: Path, data: bytes, mode: int = PRIVATE) -> bool:
    """Make a new file as `write_file` does; False where there is one already. Raises OSError."""
    try:
        write_file(path, data, mode, replace=False)
    except FileExistsError:
        return False
    return True


def write_private(path: Path, data: bytes) -> None:
    """Replace a secret's file (0600), and its folder (0700) where there is none.

    Raises OSError.
    """
    private_folder(path.parent)
    write_file(path, data)


def create_private(path: Path, data: bytes) -> bool:
    """Make a secret's file as `write_private` does; False where there is one. Raises OSError."""
    private_folder(path.parent)
    return create_file(path, data)


class StagedFile:
    """A file that is written piece by piece beside its place, and stands there whole or not at all.

    `place` puts it there; without it nothing is left. A symbolic link at `path` keeps pointing
    where it did. Every method raises OSError.
    """

    def __init__(self, path: Path, mode: int = PRIVATE) -> None:
        self.path: Final = path.resolve()
        self._temporary: Final = _beside(self.path)
        self._file: Final = _open_new(self._temporary, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def stream(self) -> BufferedWriter:
        """The open file, for a writer of text."""
        return self._file

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self._file.write(piece)

    def settle(self) -> None:
        """Make what was written durable, so that nothing but `place` is left to go wrong."""
        self._file.flush()
        sync_file(self._file.fileno())

    def place(self) -> None:
        """Put the file in its place, durably."""
        self.settle()
        self._file.close()
        replace_file(self._temporary, self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Leave nothing beside the place; safe to call twice and after `place`."""
        with contextlib.suppress(OSError):  # a full disk takes the rest of the buffer no better now
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def private_folder(path: Path) -> None:
    """Make a folder, and those above it, for their owner alone whatever the umask says.

    A folder that exists stays as it is. Raises OSError.
    """
    if path.is_dir():
        return
    private_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)


def replace_file(source: Path, target: Path) -> None:
    """Rename over a file.

    A virus scanner or an indexer on Windows may hold the target for a moment, so a sharing
    violation is tried again for half a second. Raises OSError.
    """
    for _ in _tries():
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
    source.replace(target)


def _tries() -> Iterator[int]:
    """Tries that may fail, with a pause after each: none but on Windows."""
    if os.name != "nt":
        return
    for number in range(_SHARING_TRIES):
        yield number
        _pause.wait(_SHARING_WAIT_S)


def sync_file(descriptor: int) -> None:
    """Make a file's content durable; on macOS fsync alone leaves it in the drive's cache.

    Raises OSError.
    """
    try:
        from fcntl import F_FULLFSYNC, fcntl  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        os.fsync(descriptor)
        return
    try:
        fcntl(descriptor, F_FULLFSYNC)
    except OSError:  # not every file system has it
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the platform can open folders. Raises OSError."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, most: int = MAX_BYTES) -> bytes:
    """At most `most` + 1 bytes of a file, so that a wrong path cannot fill the memory.

    Raises OSError.
    """
    require_regular(path)
    with path.open("rb") as file:
        return file.read(most + 1)


def require_regular(path: Path) -> None:
    """Refuse what may never end or never begin, such as a pipe or a device. Raises OSError."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a file", str(path))


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


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def _open_new(path: Path, mode: int) -> BufferedWriter:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def _write_new(path: Path, data: bytes, mode: int) -> None:
    with _open_new(path, mode) as file:
        file.write(data)
        file.flush()
        sync_file(file.fileno())


def _name_new(temporary: Path, path: Path) -> None:
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
