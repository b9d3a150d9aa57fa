"""A new data key without a moment in which a secret could not be opened.

Three places: the key in use, the next one, and the one before. The next is on disk before anything
is sealed under it; it becomes the key in use after all secrets were sealed anew; the one before
goes last. Whoever loads the sealer meanwhile opens with all three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from infuse_cli.errors import CredentialError
from infuse_cli.files import write_private
from infuse_cli.keys import files, ring
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from pathlib import Path

NEXT: Final = "next"
OLD: Final = "old"
_WHAT: Final = "the sealing key file"


class KeyPlace(Protocol):
    """Where data keys lie, as base64 texts; `which` is "" for the one in use, NEXT or OLD."""

    def get(self, which: str) -> bytes | None: ...  # noqa: D102
    def put(self, which: str, text: bytes) -> None: ...  # noqa: D102
    def drop(self, which: str) -> None: ...  # noqa: D102


class FilePlace:
    """Files beside each other: `sealing.key`, `sealing.key.next`, `sealing.key.old`."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def _of(self, which: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{which}") if which else self._path

    def get(self, which: str) -> bytes | None:
        """The text. Raises CredentialError for a file that others can read."""
        try:
            return files.read_private(self._of(which), _WHAT)
        except FileNotFoundError:
            return None

    def put(self, which: str, text: bytes) -> None:
        """Durable once this returns."""
        path = self._of(which)
        try:
            write_private(path, text)
        except OSError as error:
            raise CredentialError(
                "credential.sealing-key", f"{_WHAT} {path} cannot be written: {error.strerror}"
            ) from error

    def drop(self, which: str) -> None:
        """Fine when it is gone already."""
        self._of(which).unlink(missing_ok=True)


class RingPlace:
    """The keyring, under `sealing-key`, `sealing-key-next`, `sealing-key-old`."""

    def __init__(self, user: str) -> None:
        self._user: Final = user

    def _of(self, which: str) -> str:
        return f"{self._user}-{which}" if which else self._user

    def get(self, which: str) -> bytes | None:
        """The text.

        Raises CredentialError credential.sealing-key where the keyring cannot be used.
        """
        found = ring.get(self._of(which))
        if found.trouble:
            raise CredentialError("credential.sealing-key", found.trouble)
        return None if found.value is None else found.value.reveal().encode()

    def put(self, which: str, text: bytes) -> None:
        """Kept once this returns."""
        stored = ring.put(self._of(which), Secret(text.decode().strip()))
        if not stored.value:
            raise CredentialError(
                "credential.sealing-key",
                stored.trouble or "the keyring does not keep what it is given",
            )

    def drop(self, which: str) -> None:
        """Fine when it is gone already."""
        ring.drop(self._of(which))
