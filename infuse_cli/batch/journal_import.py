"""`infuse journal import`: a file says by its first bytes what it is, and each kind has its own way
in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.batch import handover_import
from infuse_cli.batch.handover import MAGIC as HAND_OVER
from infuse_cli.errors import JournalError, UsageError
from infuse_cli.maintenance import journal_files as keep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infuse_cli.cli.result import OperationResult
    from infuse_cli.keys.file_passphrase import FilePassphrase

KINDS: Final[dict[bytes, Callable[[Path, FilePassphrase], OperationResult]]] = {
    keep.PLAIN: lambda path, passphrase: keep.restore(path, passphrase, sealed=False),
    keep.SEALED: lambda path, passphrase: keep.restore(path, passphrase, sealed=True),
    HAND_OVER: handover_import.take_over,
}
"""By the first bytes of a file: what takes it in."""


def import_file(path: Path, passphrase: FilePassphrase) -> OperationResult:
    """Take a file in.

    Raises UsageError for one that cannot be read, JournalError journal.not-backup for another kind.
    """
    try:
        if not path.is_file():
            raise UsageError("usage.bad-option", f"{path} is not a file")
        with path.open("rb") as file:
            first = file.read(max(map(len, KINDS)))
    except OSError as error:
        raise UsageError("usage.bad-option", f"{path} cannot be read: {error.strerror}") from error
    take = next((take for magic, take in KINDS.items() if first.startswith(magic)), None)
    if take is None:
        raise JournalError(
            "journal.not-backup",
            f"{path} is neither a journal's backup nor another file that can be imported",
        )
    return take(path, passphrase)
