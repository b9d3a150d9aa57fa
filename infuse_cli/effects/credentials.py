"""A board's credential store: listed once, written in place, compared by digest.

The functional mode is the caller's: a modem takes writes only while it is offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import Board
    from infuse_cli.types import CredentialType, StoredCredential


class CredentialStore:
    """The credentials of one board; a sec_tag is listed once, until `forget`."""

    def __init__(self, link: Board, ops: Operations, board: str) -> None:
        self._link: Final = link
        self._ops: Final = ops
        self._board: Final = board
        self._listed: dict[int, tuple[StoredCredential, ...]] = {}

    def entry(self, sec_tag: int, kind: CredentialType) -> StoredCredential | None:
        """The credential in one place, None when it is free."""
        if sec_tag not in self._listed:
            self._listed[sec_tag] = self._link.run(self._ops.list_credentials(sec_tag))
        return next((row for row in self._listed[sec_tag] if row.type == kind), None)

    def forget(self, sec_tag: int | None = None) -> None:
        """List again next time, one sec_tag or all: something was written there, or may
        have been.
        """
        if sec_tag is None:
            self._listed.clear()
        else:
            self._listed.pop(sec_tag, None)

    def holds(self, sec_tag: int, kind: CredentialType, digests: frozenset[str]) -> bool:
        """Whether the place shows one of these digests (SHA-256, lower-case hex)."""
        entry = self.entry(sec_tag, kind)
        return entry is not None and entry.sha256 in digests

    def delete(self, sec_tag: int, kind: CredentialType) -> None:
        """Delete what is in a place, if anything is. Raises BoardError."""
        if self.entry(sec_tag, kind) is not None:
            self.forget(sec_tag)
            self._link.run(self._ops.delete_credential(self._board, sec_tag, kind))

    def write(
        self,
        sec_tag: int,
        kind: CredentialType,
        content: str,
        digests: frozenset[str],
        *,
        secret: bool = False,
    ) -> None:
        """Put a credential in place: nothing is sent when its digest is there, what is in the way
        is deleted first.

        Raises BoardError, with `unknown` when it may have been written.
        """
        if self.holds(sec_tag, kind, digests):
            return
        self.delete(sec_tag, kind)
        self.forget(sec_tag)
        self._link.run(
            self._ops.write_credential(self._board, sec_tag, kind, content, secret=secret)
        )
