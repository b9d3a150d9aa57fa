"""Files that hold secrets: readable by their owner alone, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final, Self

from infuse_cli.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedWriter
    from pathlib import Path

LIMIT: Final = 64 * 1024
"""Bytes: no credential or key file is longer, and a device file never ends."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path, what: str) -> bytes:
    """Content of a secret's file.

    Raises FileNotFoundError; CredentialError credential.unsafe-file when others may touch it, or
    credential.malformed when it is not a readable file of sensible size. `what` names it in
    messages.
    """
    try:
        # O_NONBLOCK: a FIFO without a writer must not hang the tool.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CredentialError(
            "credential.malformed", f"{what} {path} cannot be read: {error.strerror}"
        ) from error
    try:
        _check(os.fstat(descriptor), path, what)
        return os.read(descriptor, LIMIT)
    finally:
        os.close(descriptor)


def _check(status: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_size > LIMIT:
        raise CredentialError(
            "credential.malformed", f"{what} {path} is not a file of at most {LIMIT // 1024} KiB"
        )
    # Windows keeps no such modes; there the folder of the user is what protects.
    if os.name != "nt" and status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise CredentialError(
            "credential.unsafe-file",
            f"{what} {path} has mode {mode:04o}, so others can reach it; it has to be 0600",
        )


def write_private(path: Path, content: bytes) -> None:
    """Replace a secret's file (0600) in one step, durably. Raises OSError."""
    with _temporary(path, content) as temporary:
        temporary.replace(path)
        _sync_folder(path.parent)


class Staged:
    """A secret's file (0600) that is written piece by piece beside its place, and stands there
    whole or not at all.

    `place` puts it there; without it nothing is left. Every method raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path.resolve()  # a link keeps pointing where it did
        self._temporary: Final = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        self._file: Final = _open_new(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self._file.write(piece)

    def settle(self) -> None:
        """Make what was written durable, so that nothing but `place` is left to go wrong."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def place(self) -> None:
        """Put the file in its place, durably."""
        self.settle()
        self._file.close()
        self._temporary.replace(self.path)
        _sync_folder(self.path.parent)


def create_private(path: Path, content: bytes) -> bool:
    """Make a secret's file (0600) in one step; False when there already is one. Raises OSError."""
    with _temporary(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            return _create_without_links(path, content)
        _sync_folder(path.parent)
    return True


def _create_without_links(path: Path, content: bytes) -> bool:
    try:
        _write_new(path, content)
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        _write_new(temporary, content)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _open_new(path: Path) -> BufferedWriter:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _write_new(path: Path, content: bytes) -> None:
    with _open_new(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
