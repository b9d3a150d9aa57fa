"""Credentials in a board's modem: written, compared by digest, and deleted.

A modem lists SHA-256 digests and never shows a key, so a credential counts as written when its
place shows one of the digests that the modem may give for the content.
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


def kind_name(kind: int) -> str:
    """Name of a credential type for messages."""
    return _NAMES.get(kind, f"credential of type {kind}")


@dataclass(frozen=True, slots=True)
class CredentialWriter:
    """Writes to the modem of the board `uuid`; another board is refused before each write."""

    link: BoardLink
    ops: Operations
    uuid: str

    def entry(self, sec_tag: int, kind: int) -> StoredCredential | None:
        """What the modem holds in a place right now, None for nothing."""
        entries = self.link.run(self.ops.list_credentials(sec_tag))
        return next((entry for entry in entries if entry.type == kind), None)

    def put(self, credential: Credential, old: StoredCredential | None) -> None:
        """Write a credential; `old`, which is in its place, is deleted first.

        Raises BoardError, with `unknown` set when the answer was lost.
        """
        place = credential.sec_tag, credential.kind
        if old is not None:
            self.link.run(self.ops.delete_credential(self.uuid, *place))
        self.link.run(
            self.ops.write_credential(
                self.uuid, *place, credential.content, secret=credential.secret
            )
        )

    def write(self, credential: Credential, old: StoredCredential | None) -> str | None:
        """Put a credential in place and read it back: the digest that the modem shows.

        After a lost answer the modem's list says whether it is there. Raises PolicyError
        identity.not-read-back, BoardError.
        """
        try:
            self.put(credential, old)
        except BoardError as error:
            if not error.unknown or error.code == "serial.unplugged":
                raise
            if not credential.is_shown_by(self.entry(credential.sec_tag, credential.kind)):
                raise
        entry = self.entry(credential.sec_tag, credential.kind)
        if entry is None or not credential.is_shown_by(entry):
            shown = "nothing there" if entry is None else entry.sha256 or "no digest"
            raise PolicyError(
                "identity.not-read-back",
                f"the {credential.name} is not what was written: the modem shows {shown}",
            )
        return entry.sha256

    def delete(self, entry: StoredCredential) -> None:
        """Delete an entry and see that it is gone. Raises PolicyError, BoardError as `write`."""
        self.link.run(self.ops.delete_credential(self.uuid, entry.sec_tag, entry.type))
        if self.entry(entry.sec_tag, entry.type) is not None:
            raise PolicyError(
                "identity.not-read-back",
                f"the {described(entry)} is still there after it was deleted",
            )


def described(entry: StoredCredential) -> str:
    """`client key of sec_tag 4201 (SHA-256 …)`."""
    digest = entry.sha256 or "not given"
    return f"{kind_name(entry.type)} of sec_tag {entry.sec_tag} (SHA-256 {digest})"
