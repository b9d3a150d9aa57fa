"""Hand-over files: registration tokens and ids that one bench seals for another.

Sealed under a passphrase (`keys/sealed_file.py`); inside are lines of JSON, a `HandOver` and then a
`HandedRow` each. The plain text is never on disk.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec needs the type at run time
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli.errors import CredentialError, JournalError
from infuse_cli.keys import sealed_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from infuse_cli.types import Secret

MAGIC: Final = b"infuse-hand-over 1\n"


class HandOver(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first line: which hand-over it is, who made it and when."""

    hand_over: str
    station: str
    created: datetime


class HandedToken(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A live registration token; `token` is its secret."""

    intent: str
    name: str
    token_id: str
    registry_device_id: str
    token: str
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"HandedToken({self.intent})"


class HandedRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A further line: a device that is registered, and the token that waits for it."""

    organisation_id: str
    soc: str
    mcu_id: str
    line: int
    device_id: str
    id: str | None = None
    name: str | None = None
    registry_device_id: str | None = None
    public_key: str | None = None
    token: HandedToken | None = None


class JsonLines:
    """JSON lines as a file that `sealed_file.seal` reads.

    Every read but the last gives as many bytes as were asked for.
    """

    def __init__(self, lines: Iterator[msgspec.Struct]) -> None:
        self._lines: Final = lines
        self._ready: Final = bytearray()

    def read(self, size: int) -> bytes:
        """The next bytes."""
        while len(self._ready) < size:
            line = next(self._lines, None)
            if line is None:
                break
            self._ready.extend(msgspec.json.encode(line) + b"\n")
        piece = bytes(self._ready[:size])
        del self._ready[:size]
        return piece


class _LineReader:
    """A file that `sealed_file.unseal` writes to: passes each line on as a value."""

    def __init__(
        self,
        path: Path,
        on_head: Callable[[HandOver], None],
        on_row: Callable[[HandedRow], None],
    ) -> None:
        self._path, self._on_head, self._on_row = path, on_head, on_row
        self._rest = b""
        self._has_head = False

    def write(self, piece: bytes) -> int:
        """Take the lines that are whole."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            try:
                self._read(line)
            except msgspec.DecodeError as error:
                # The error names the form of a line, never its content.
                raise JournalError(
                    "journal.not-backup",
                    f"{self._path} comes from another version of infuse: {error}",
                ) from None
        return len(piece)

    def _read(self, line: bytes) -> None:
        if self._has_head:
            self._on_row(msgspec.json.decode(line, type=HandedRow))
        else:
            self._on_head(msgspec.json.decode(line, type=HandOver))
            self._has_head = True


def unseal(
    path: Path,
    passphrase: Secret,
    on_head: Callable[[HandOver], None],
    on_row: Callable[[HandedRow], None],
) -> None:
    """Pass a file's head and rows on while they are opened: a later piece may still be spoilt.

    Raises CredentialError credential.bad-passphrase, JournalError journal.not-backup.
    """
    try:
        with path.open("rb") as file:
            sealed_file.unseal(file, _LineReader(path, on_head, on_row), passphrase, MAGIC)
    except OSError as error:
        raise CredentialError(
            "credential.bad-passphrase", f"{path} cannot be read: {error.strerror or error}"
        ) from error


def earlier(first: datetime | None, second: datetime | None) -> datetime | None:
    """The earlier of two times, None where neither is known."""
    known = [time for time in (first, second) if time is not None]
    return min(known, default=None)
