"""What is done to a board that speaks dialect `cred-shell`: Zephyr's `cred`, and `nrf_cloud_cred`
for key and CSR.

There is no modem to take offline and none to ask for a UUID: the board is known by its chip's id
(`hwinfo devid`), which is looked at before every write. A credential goes up in pieces into a
buffer of limited size, in base64 with a NUL behind it, and the list shows the SHA-256 of both. A
key that `nrf_cloud_cred` made is not in that list: its row is asked for, and its digest is that of
its public point. Sources: Zephyr tls_credentials_shell; sdk-nrf nrf_cloud_cred shell;
`docs/reference/interfaces/board-serial.md#zephyr-shells`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final, NoReturn

from infuse_cli.capabilities import Capability
from infuse_cli.dialect import commands
from infuse_cli.dialect.base import Operations
from infuse_cli.dialect.raw import raw_answer
from infuse_cli.dialect.shell_tools import found_nowhere, hardware_id, is_missing
from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import BoardIdentity, Command, CredentialType, StoredCredential

if TYPE_CHECKING:
    from infuse_cli.dialect.base import Conversation
    from infuse_cli.types import Reply

CHUNK: Final = 192
"""Characters that go up in one line: with its command below the 256 of a shell's default line."""

_ROUNDS: Final = 3
_NAMES: Final = {
    CredentialType.ROOT_CA: "CA",
    CredentialType.CLIENT_CERTIFICATE: "CLIENT",
    CredentialType.CLIENT_KEY: "PK",
    CredentialType.PSK: "PSK",
    CredentialType.PSK_IDENTITY: "PSK_ID",
}
_KINDS: Final = {
    **{name: kind for kind, name in _NAMES.items()},
    "CA_CERT": CredentialType.ROOT_CA,
    **dict.fromkeys(
        ("SERVER_CERT", "CLIENT_CERT", "SELF_CERT", "SELF", "SERV"),
        CredentialType.CLIENT_CERTIFICATE,
    ),
    "PRIVATE_KEY": CredentialType.CLIENT_KEY,
    "PRE_SHARED_KEY": CredentialType.PSK,
    "PRE_SHARED_KEY_ID": CredentialType.PSK_IDENTITY,
}
_ROW: Final = re.compile(r"(-?\d{1,10}),([A-Z_]{2,20}),([A-Za-z0-9+/]{43}=|[^,]*),(-?\d+)")
_COUNT: Final = re.compile(r"(\d+) credentials? found\.")
_CSR: Final = re.compile(r"CSR: ([A-Za-z0-9+/=]+)")
_POINT: Final = re.compile(r"PUBKEY: ([A-Za-z0-9+/=]+)")
# SubjectPublicKeyInfo of a P-256 key up to its 65-byte point (RFC 5480).
_P256: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_POINT_SIZE: Final = 65


class CredOperations(Operations):
    """Operations over dialect `cred-shell`; see `base.Operations`.

    `buffer` is the firmware's credential buffer.
    """

    DIALECT = "cred-shell"

    def identify(self) -> Conversation[BoardIdentity]:
        """The chip's id stands in for the modem's UUID; nothing else is to be had."""
        found = yield from hardware_id()
        return BoardIdentity(uuid=found)

    def lacks(self, wanted: frozenset[Capability]) -> Conversation[frozenset[Capability]]:
        """Firmware may be built without `nrf_cloud_cred` or `settings`."""
        return (
            yield from found_nowhere(
                wanted,
                {
                    Capability.CSR: "nrf_cloud_cred",
                    Capability.TOKEN_SETTINGS: "settings",
                    Capability.HWINFO: "hwinfo",
                },
            )
        )

    def hardware_id(self) -> Conversation[str]:
        """The chip's id."""
        return (yield from hardware_id())

    def same_board(self, uuid: str) -> Conversation[None]:
        """Raises board.changed, naming both, when another chip answers."""
        found = yield from hardware_id()
        if found != uuid.rpartition(":")[2].lower():
            raise BoardError(
                "board.changed",
                f"board {found} is on the port, {uuid} was begun; nothing was written to it",
            )

    def go_offline(self) -> Conversation[None]:
        """Nothing to do: this storage may be written at any time."""
        yield from ()

    def restore(self, mode: int | None) -> Conversation[None]:  # noqa: ARG002 - there is no such mode here
        """Nothing to do."""
        yield from ()

    def list_credentials(
        self, sec_tag: int | None = None
    ) -> Conversation[tuple[StoredCredential, ...]]:
        """The list, and under a tag the key that it does not show."""
        rows = yield from _list(sec_tag)
        if sec_tag is None or any(row.type == CredentialType.CLIENT_KEY for row in rows):
            return rows
        point = yield from _point(sec_tag)
        if point is None:
            return rows
        return (
            *rows,
            StoredCredential(sec_tag, CredentialType.CLIENT_KEY, hashlib.sha256(point).hexdigest()),
        )

    def digests(self, type: CredentialType | int, content: str) -> frozenset[str]:  # noqa: A002, ARG002
        """The digest of what is stored: a PEM with a NUL behind it, anything else as it is."""
        stored = commands.wire_content(content).encode() + (b"\0" if _is_pem(content) else b"")
        return frozenset({hashlib.sha256(stored).hexdigest()})

    def write_credential(
        self,
        uuid: str,
        sec_tag: int,
        type: CredentialType | int,  # noqa: A002
        content: str,
        *,
        secret: bool = False,
    ) -> Conversation[None]:
        """Upload and add; an occupied place raises modem.exists, too much for the buffer
        serial.too-long.
        """
        what = f"writing credential type {int(type)} of sec_tag {sec_tag}"
        encoded = base64.b64encode(commands.wire_content(content).encode()).decode()
        if len(encoded) > self.buffer:
            raise BoardError(
                "serial.too-long",
                f"{what} needs {len(encoded)} characters, the board's credential buffer holds"
                f" {self.buffer}",
                hint=(
                    "Build the firmware with a larger CONFIG_TLS_CREDENTIALS_SHELL_CRED_BUF_SIZE"
                    " and say so in board.serial.credential_buffer."
                ),
            )
        add = Command(
            f"cred add {sec_tag} {_name(type)} DEFAULT {'bint' if _is_pem(content) else 'bin'}",
            commands.WRITE_S,
            effect=True,
        )
        for _ in range(_ROUNDS):
            yield from self.same_board(uuid)
            yield from _upload(encoded, what, secret=secret)
            reply = yield add
            if reply.ok:
                return
            if not reply.rebooted:
                _refuse(reply, what)
            rows = yield from _list(sec_tag)
            if any(
                row.type == int(type) and row.sha256 in self.digests(type, content) for row in rows
            ):
                return
        raise BoardError("serial.timeout", f"{what}: the board keeps rebooting", unknown=True)

    def delete_credential(
        self,
        uuid: str,
        sec_tag: int,
        type: CredentialType | int,  # noqa: A002
    ) -> Conversation[None]:
        """Delete a credential; one that is gone already is fine.

        A key may be `nrf_cloud_cred`'s or the list's.
        """
        yield from self.same_board(uuid)
        if type == CredentialType.CLIENT_KEY:
            reply = yield Command(f"nrf_cloud_cred delete {sec_tag}", commands.WRITE_S, effect=True)
            if reply.ok:
                return
        reply = yield Command(f"cred del {sec_tag} {_name(type)}", commands.WRITE_S, effect=True)
        if not reply.ok and not any("There is no TLS credential" in line for line in reply.info):
            _refuse(reply, f"deleting credential type {int(type)} of sec_tag {sec_tag}")

    def keygen(
        self,
        uuid: str,
        sec_tag: int,
        *,
        attributes: str | None = None,
        key_usage: str | None = None,
    ) -> Conversation[str]:
        """Make a key and have its CSR; there is no attestation, so the text is the CSR alone."""
        what = f"making a key in sec_tag {sec_tag}"
        if key_usage is not None:
            raise ProfileError(
                "profile.unsupported",
                "identity.key_usage cannot be asked for over dialect cred-shell",
            )
        if attributes is not None and re.search(r"['\"\s]", attributes):
            raise ProfileError(
                "profile.unsupported",
                "identity.attributes holds a character that a shell word cannot carry",
            )
        yield from self.same_board(uuid)
        reply = yield Command(f"nrf_cloud_cred keygen {sec_tag}", commands.KEYGEN_S, effect=True)
        if not reply.ok:
            _refuse(reply, what)
        der = yield from _csr(sec_tag, attributes)
        if der is None:
            raise BoardError(
                "serial.protocol", f"{what}: the key is there, its CSR is not", unknown=True
            )
        return base64.urlsafe_b64encode(der).decode().rstrip("=")

    def raw(
        self,
        text: str,
        pattern: str,
        timeout_s: float = commands.READ_S,
        *,
        effect: bool = False,
        secret: bool = False,
    ) -> Conversation[str]:
        """Send a profile's shell line and return what its pattern finds."""
        return (yield from raw_answer(text, pattern, timeout_s, effect=effect, secret=secret))


def _upload(encoded: str, what: str, *, secret: bool) -> Conversation[None]:
    """Fill the buffer, again from the start after a reboot, which empties it."""
    for _ in range(_ROUNDS):
        replies = [(yield Command("cred buf clear", commands.READ_S))]
        for at in range(0, len(encoded), CHUNK):
            replies.append(
                (
                    yield Command(
                        f"cred buf {encoded[at : at + CHUNK]}", commands.READ_S, secret=secret
                    )
                )
            )
            if replies[-1].rebooted or not replies[-1].ok:
                break
        if all(reply.ok for reply in replies) and not any(reply.rebooted for reply in replies[1:]):
            return
        if not any(reply.rebooted for reply in replies):
            _refuse(replies[-1], what)
    raise BoardError("serial.timeout", f"{what}: the board keeps rebooting")


def _list(sec_tag: int | None) -> Conversation[tuple[StoredCredential, ...]]:
    text = "cred list" if sec_tag is None else f"cred list {sec_tag}"
    command = Command(
        text, commands.READ_S, re.compile(f"{_ROW.pattern}|{_COUNT.pattern}"), needs_info=True
    )
    reply = yield command
    if not reply.ok:
        _refuse(reply, "listing credentials")
    rows = [row for line in reply.info if (row := _ROW.fullmatch(line))]
    count = next((int(found[1]) for line in reply.info if (found := _COUNT.fullmatch(line))), None)
    if count != len(rows):
        raise BoardError(
            "serial.protocol",
            f"the board says that {count} credentials were found, and {len(rows)} came",
        )
    stored = (
        StoredCredential(int(row[1]), int(_KINDS[row[2]]), _sha256(row[3], row[4]))
        for row in rows
        if row[2] in _KINDS
    )
    return tuple(entry for entry in stored if sec_tag in {None, entry.sec_tag})


def _sha256(text: str, code: str) -> str | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if code == "0" and len(digest) == hashlib.sha256().digest_size else None


def _point(sec_tag: int) -> Conversation[bytes | None]:
    """The public point of the key that `nrf_cloud_cred` holds, from firmware that exports it or
    else from a CSR.
    """
    reply = yield Command(f"nrf_cloud_cred pubkey {sec_tag}", commands.SIGN_S, _POINT)
    if is_missing(reply):
        return None
    if reply.ok and reply.info and (found := _POINT.fullmatch(reply.info[0])):
        return _decoded(found[1])
    der = yield from _csr(sec_tag, None)
    at = -1 if der is None else der.find(_P256)
    return None if der is None or at < 0 else der[at + len(_P256) : at + len(_P256) + _POINT_SIZE]


def _csr(sec_tag: int, subject: str | None) -> Conversation[bytes | None]:
    line = f"nrf_cloud_cred csr {sec_tag}" + (f" {subject}" if subject else "")
    for _ in range(_ROUNDS):
        reply = yield Command(line, commands.SIGN_S, _CSR)
        if reply.ok and reply.info and (found := _CSR.fullmatch(reply.info[0])):
            return _decoded(found[1])
        if not reply.rebooted:
            return None
    return None


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


# What the shell says, and the code that it becomes; the rest is modem.error with the shell's own
# words.
_REFUSALS: Final = (
    ("already exists", "modem.exists"),
    ("Not enough room in credential buffer", "serial.too-long"),
    ("Not enough heap", "modem.full"),
    ("No reference slot", "modem.full"),
    ("Key generation failed", "modem.keygen-failed"),
    ("There is no TLS credential", "modem.not-found"),
)


def _refuse(reply: Reply, what: str) -> NoReturn:
    answer = reply.info[0] if reply.info else "nothing that could be understood"
    code = next((code for words, code in _REFUSALS if words in answer), "modem.error")
    raise BoardError(code, f"{what}: the board's shell says {answer!r}")


def _name(kind: CredentialType | int) -> str:
    if kind not in _NAMES:
        raise ProfileError(
            "profile.unsupported",
            f"credentials of type {int(kind)} cannot be written over dialect cred-shell",
        )
    return _NAMES[CredentialType(kind)]


def _is_pem(content: str) -> bool:
    return "-----BEGIN " in content
