"""Hand-over files: registration tokens and ids that one bench seals for another.

Sealed under a passphrase (`keys/sealed_file.py`); inside are lines of JSON, a `HandOver` and then a
`HandedRow` each. The plain text is never on disk.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec needs the type at run time
from typing import TYPE_CHECKING, Final

import msgspec

from infuse_cli.cli import context
from infuse_cli.config.bench import load_bench
from infuse_cli.errors import CredentialError, JournalError
from infuse_cli.keys import sealed_file
from infuse_cli.keys.seal import bench_keys, load_sealer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from infuse_cli.ports import Sealer
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


class Lines:
    """JSON lines as a file that `sealed_file.seal` reads: every read but the last gives all that
    was asked for.
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


class Taker:
    """What `sealed_file.unseal` writes to: gives each line to `take` as a row, the first one to
    `begin`.
    """

    def __init__(
        self, path: Path, begin: Callable[[HandOver], None], take: Callable[[HandedRow], None]
    ) -> None:
        self._path, self._begin, self._take = path, begin, take
        self._rest = b""
        self._begun = False

    def write(self, piece: bytes) -> int:
        """Take the lines that are whole."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            try:
                if self._begun:
                    self._take(msgspec.json.decode(line, type=HandedRow))
                else:
                    self._begin(msgspec.json.decode(line, type=HandOver))
            except (
                msgspec.DecodeError
            ) as error:  # says what is wrong with the form of a line, never the line
                raise JournalError(
                    "journal.not-backup",
                    f"{self._path} comes from another version of infuse: {error}",
                ) from None
            self._begun = True
        return len(piece)


def unsealed(
    path: Path,
    passphrase: Secret,
    begin: Callable[[HandOver], None],
    take: Callable[[HandedRow], None],
) -> None:
    """Give a file's head and rows out as they are opened: what comes later may still turn out to be
    spoilt.

    Raises CredentialError credential.bad-passphrase, JournalError journal.not-backup.
    """
    try:
        with path.open("rb") as file:
            sealed_file.unseal(file, Taker(path, begin, take), passphrase, MAGIC)
    except OSError as error:
        raise CredentialError(
            "credential.bad-passphrase", f"{path} cannot be read: {error.strerror or error}"
        ) from error


def bench_sealer(*, create: bool) -> Sealer:
    """What seals this bench's secrets. Raises CredentialError credential.sealing-key."""
    settings = context.current()
    sealing = load_bench(settings.home).sealing
    return load_sealer(
        bench_keys(
            settings.home, {"key_file": sealing.key_file, "keyring": sealing.keyring}, settings.env
        ),
        create=create,
    )


def expiry(first: datetime | None) -> str:
    """When the first of several tokens ends, for people."""
    return (
        "Their registry gives no time at which they expire."
        if first is None
        else f"The first of them expires {first:%Y-%m-%d %H:%M} UTC."
    )
