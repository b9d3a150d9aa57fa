"""Bytes of a row file to lines, in flat memory: LF, CR LF or CR ends a line, and no line is longer
than `LINE_LIMIT`.

Bytes that are not UTF-8 become surrogates, so that the cell they are in can be named later.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CHUNK: Final = 64 * 1024
"""Bytes that are read, and sealed against change, at a time."""

LINE_LIMIT: Final = 64 * 1024
"""Bytes: a longer line is no row of a batch, and a file without line ends must not fill the memory.
"""

_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_SAVE_AS: Final = "Save it as 'CSV UTF-8'."


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file.

    Raises UsageError batch.unreadable for anything but a readable, regular file.
    """
    descriptor = _open(path)
    try:
        while chunk := os.read(descriptor, CHUNK):
            # A file system may give less than was asked for; equal pieces make equal digests.
            while len(chunk) < CHUNK and (more := os.read(descriptor, CHUNK - len(chunk))):
                chunk += more
            yield chunk
    except OSError as error:
        raise unreadable(path, f"cannot be read: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    if str(path) == "-":
        raise UsageError(
            "batch.unreadable",
            "a batch is not read from standard input",
            hint=(
                "Write the rows to a file: running the same file again is how a stopped batch"
                " goes on."
            ),
        )
    try:
        # O_NONBLOCK: a pipe without a writer must not hang the tool.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    except FileNotFoundError:
        raise unreadable(path, "does not exist") from None
    except (OSError, ValueError) as error:
        raise unreadable(
            path, f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        ) from error
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    raise unreadable(
        path,
        (
            "is a folder"
            if stat.S_ISDIR(kind)
            else (
                "is a pipe, which can be read only once" if stat.S_ISFIFO(kind) else "is not a file"
            )
        ),
    )


def unreadable(path: Path, why: str) -> UsageError:
    """The error for a file that cannot be taken as a batch at all."""
    return UsageError("batch.unreadable", f"{path} {why}")


class Seal:
    """What the bytes were when they were checked: one digest of all, and a short one of each piece.

    So a second reading notices a change before any row of the changed piece is handed out.
    """

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._pieces = bytearray()

    @property
    def sha256(self) -> str:
        """64 lower-case hex digits of all bytes so far."""
        return self._whole.hexdigest()

    def add(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Hand the chunks on and remember them."""
        for chunk in chunks:
            self._whole.update(chunk)
            self._pieces += _short(chunk)
            yield chunk

    def check(self, chunks: Iterable[bytes], path: Path) -> Iterator[bytes]:
        """Hand the chunks on while they are the remembered ones.

        Raises UsageError batch.file-changed.
        """
        at = 0
        for chunk in chunks:
            digest = _short(chunk)
            if self._pieces[at : at + len(digest)] != digest:
                raise changed(path)
            at += len(digest)
            yield chunk
        if at != len(self._pieces):
            raise changed(path)


def _short(chunk: bytes) -> bytes:
    return hashlib.blake2b(chunk, digest_size=16).digest()


def changed(path: Path) -> UsageError:
    """The error for a file that is not what it was when it was checked."""
    return UsageError("batch.file-changed", f"{path} changed while it was read")


def split(chunks: Iterable[bytes], label: str) -> Iterator[tuple[int, str | None]]:
    """Number (from 1) and text of each line; None for one that is longer than `LINE_LIMIT`.

    Raises UsageError batch.encoding for UTF-16 and UTF-32. `label` names the file in messages.
    """
    number, rest, too_long = 0, b"", False
    for chunk in _without_bom(chunks, label):
        parts = (rest + chunk).splitlines(keepends=True)
        # A CR at the very end may be half of a CR LF.
        rest = b"" if not parts or parts[-1].endswith(b"\n") else parts.pop()
        for part in parts:
            number += 1
            yield number, _text(part, too_long=too_long)
            too_long = False
        if len(rest) > LINE_LIMIT:
            rest, too_long = rest[-1:], True
    if rest:
        yield number + 1, _text(rest, too_long=too_long)


def _without_bom(chunks: Iterable[bytes], label: str) -> Iterator[bytes]:
    first = True
    for chunk in chunks:
        if first:
            _refuse_wide(chunk, label)
        yield chunk.removeprefix(_BOM) if first else chunk
        first = False


def _refuse_wide(chunk: bytes, label: str) -> None:
    if chunk.startswith(_UTF16):
        wide = "UTF-32" if chunk.startswith(b"\xff\xfe\x00\x00") else "UTF-16"
        raise UsageError(
            "batch.encoding",
            f"{label}, line 1: the file is {wide}, but has to be UTF-8",
            hint=_SAVE_AS,
        )
    head = chunk[:4096]
    if max(head[0::2].count(0), head[1::2].count(0)) * 3 > len(head):
        raise UsageError(
            "batch.encoding",
            f"{label}, line 1: the file looks like UTF-16 or UTF-32 without a mark at its"
            " beginning, but has to be UTF-8",
            hint=_SAVE_AS,
        )


def _text(line: bytes, *, too_long: bool) -> str | None:
    if too_long or len(line) > LINE_LIMIT:
        return None
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
