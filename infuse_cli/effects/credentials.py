"""A board's credential store: listed once, written in place, compared by digest.

The functional mode is the caller's: a modem takes writes only while it is offline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import BoardError, PolicyError

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import BoardLink
    from infuse_cli.types import CredentialType, StoredCredential


_NAMES: Final = {
    0: "root CA certificate",
    1: "client certificate",
    2: "client key",
    3: "pre-shared key",
    4: "PSK identity",
}


def kind_name(kind: int) -> str:
    """Name of a credential type for messages."""
    return _NAMES.get(kind, f"credential of type {kind}")


def described(entry: StoredCredential) -> str:
    """`client key of sec_tag 4201 (SHA-256 …)`."""
    digest = entry.sha256 or "not given"
    return f"{kind_name(entry.type)} of sec_tag {entry.sec_tag} (SHA-256 {digest})"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential for a place (sec_tag and type) in a modem.

    `content` is PEM in its canonical form, hex digits or an identity, as the modem takes it.
    `digests` are those, in lower-case hex, that the modem may show for it beside the dialect's.
    """

    sec_tag: int
    kind: CredentialType
    content: str = field(repr=False)
    digests: frozenset[str] = frozenset()
    secret: bool = False

    @property
    def name(self) -> str:
        """`client key of sec_tag 4201`."""
        return f"{kind_name(self.kind)} of sec_tag {self.sec_tag}"

    def is_shown_by(self, entry: StoredCredential | None) -> bool:
        """Whether an entry of the modem's list is this credential."""
        return entry is not None and entry.sha256 is not None and entry.sha256 in self.digests


class CredentialStore:
    """The credentials of one board; a sec_tag is listed once, until `forget`."""

    def __init__(self, link: BoardLink, ops: Operations, board: str) -> None:
        self._link: Final = link
        self._ops: Final = ops
        self._board: Final = board
        self._listed: dict[int, tuple[StoredCredential, ...]] = {}

    def entry(self, sec_tag: int, kind: CredentialType | int) -> StoredCredential | None:
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

    def write_verified(self, credential: Credential) -> str | None:
        """Put a credential in place and read it back: the digest that the modem shows.

        After a lost answer the modem's list says whether it is there. Raises PolicyError
        identity.not-read-back, BoardError.
        """
        place = credential.sec_tag, credential.kind
        try:
            self.write(*place, credential.content, credential.digests, secret=credential.secret)
        except BoardError as error:
            if not error.unknown or error.code == "serial.unplugged":
                raise
            if not self.holds(*place, credential.digests):
                raise
        entry = self.entry(*place)
        if entry is None or not credential.is_shown_by(entry):
            shown = "nothing there" if entry is None else entry.sha256 or "no digest"
            raise PolicyError(
                "identity.not-read-back",
                f"the {credential.name} is not what was written: the modem shows {shown}",
            )
        return entry.sha256

    def delete_verified(self, entry: StoredCredential) -> None:
        """Delete an entry and see that it is gone. Raises PolicyError, BoardError."""
        self.forget(entry.sec_tag)
        self._link.run(self._ops.delete_credential(self._board, entry.sec_tag, entry.type))
        if self.entry(entry.sec_tag, entry.type) is not None:
            raise PolicyError(
                "identity.not-read-back",
                f"the {described(entry)} is still there after it was deleted",
            )
