"""Reading files that hold secrets: refused where others can reach them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CredentialError

if TYPE_CHECKING:
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
