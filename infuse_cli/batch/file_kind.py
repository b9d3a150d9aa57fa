"""What `infuse journal import` was given: a file says by its first bytes what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from infuse_cli.errors import JournalError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")


def kind_of(path: Path, kinds: Mapping[bytes, T]) -> T:
    """The value of the first bytes that the file begins with.

    Raises UsageError for a file that cannot be read, JournalError journal.not-backup for another
    kind.
    """
    try:
        if not path.is_file():
            raise UsageError("usage.bad-option", f"{path} is not a file")
        with path.open("rb") as file:
            beginning = file.read(max(map(len, kinds)))
    except OSError as error:
        raise UsageError("usage.bad-option", f"{path} cannot be read: {error.strerror}") from error
    for magic, kind in kinds.items():
        if beginning.startswith(magic):
            return kind
    raise JournalError(
        "journal.not-backup",
        f"{path} is neither a journal's backup nor another file that can be imported",
    )
