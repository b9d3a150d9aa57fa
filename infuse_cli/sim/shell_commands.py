"""What the shells of virtual boards carry out: `at`, `cred`, `nrf_cloud_cred`, `hwinfo`,
`settings`, `kernel reboot`.

Texts are those of the firmware (`docs/reference/interfaces/board-serial.md#zephyr-shells`).
`cred` and `nrf_cloud_cred` work on
the same storage that a modem's commands see, with the digests that their own list shows: of what is
stored, the NUL behind it included.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives import serialization

from infuse_cli.dialect import DIALECTS
from infuse_cli.dialect.shell_device import ShellError, unescaped, words
from infuse_cli.sim import attest
from infuse_cli.sim.modem import Answer, Modem
from infuse_cli.sim.nvm import ModemRefusal
from infuse_cli.types import CredentialType as Type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CREDENTIAL_BUFFER: Final = 4096
"""CONFIG_TLS_CREDENTIALS_SHELL_CRED_BUF_SIZE of a firmware that is made for certificate chains; the
default is 1024.
"""

REBOOT: Final = "kernel reboot"
_SHELLS: Final = {name: row.shell_commands for name, row in DIALECTS.items() if row.shell_commands}
ALL: Final = "all"
"""What a virtual board speaks that answers in every dialect."""

COMMANDS: Final = {**_SHELLS, ALL: frozenset().union(*_SHELLS.values())}
"""Which shell commands the firmware of a dialect has."""

_TYPES: Final = {
    "CA_CERT": Type.ROOT_CA,
    "CA": Type.ROOT_CA,
    **dict.fromkeys(
        ("SERVER_CERT", "CLIENT_CERT", "SELF_CERT", "SELF", "CLIENT", "SERV"),
        Type.CLIENT_CERTIFICATE,
    ),
    "PRIVATE_KEY": Type.CLIENT_KEY,
    "PK": Type.CLIENT_KEY,
    "PRE_SHARED_KEY": Type.PSK,
    "PSK": Type.PSK,
    "PRE_SHARED_KEY_ID": Type.PSK_IDENTITY,
    "PSK_ID": Type.PSK_IDENTITY,
}
_SHORT: Final = {
    Type.ROOT_CA: "CA",
    Type.CLIENT_CERTIFICATE: "SERV",
    Type.CLIENT_KEY: "PK",
    Type.PSK: "PSK",
    Type.PSK_IDENTITY: "PSK_ID",
}
_LONG: Final = {
    Type.ROOT_CA: "CA_CERT",
    Type.CLIENT_CERTIFICATE: "SERVER_CERT",
    Type.CLIENT_KEY: "PRIVATE_KEY",
    Type.PSK: "PRE_SHARED_KEY",
    Type.PSK_IDENTITY: "PRE_SHARED_KEY_ID",
}
_FORMATS: Final = ("bin", "bint", "str", "strt")


class _Place(NamedTuple):
    """A place of the storage, as the shell's sentences name it: with the first synonym of
    its type.
    """

    tag: int
    kind: Type

    @property
    def words(self) -> str:
        return f"sectag {self.tag} and type {_LONG[self.kind]}"


def at_command(line: str) -> str | None:
    """The AT command in a shell line as the modem gets it, None when it is another line or has no
    command.
    """
    try:
        found = words(line)
    except ShellError:
        return None
    return unescaped(found[1]) if len(found) > 1 and found[0] == "at" else None


class ShellCommands:
    """The shell of one virtual board. `known` are the commands that its firmware was built with."""

    def __init__(self, known: frozenset[str], *, buffer: int = CREDENTIAL_BUFFER) -> None:
        self._room: Final = buffer
        self._known: Final = known
        self._buffer = b""

    def reset(self) -> None:
        """A reboot: the credential buffer is gone."""
        self._buffer = b""

    def execute(self, modem: Modem, line: str) -> Answer:
        """Carry a line out; `info` is what it prints."""
        try:
            found = words(line)
            if not found:
                return Answer()
            if found[0] not in self._known:
                raise ShellError(f"{found[0]}: command not found")
            return _COMMANDS[found[0]](self, modem, found[1:])
        except ShellError as error:
            return Answer((str(error),), ok=False)

    def _at(self, _modem: Modem, _args: Sequence[str]) -> Answer:
        return Answer(("Usage: at <subcommand>",))  # with a command it goes to the modem

    def _hwinfo(self, modem: Modem, args: Sequence[str]) -> Answer:
        if args != ["devid"]:
            raise ShellError("hwinfo: wrong parameter count")
        return Answer(("Length: 8", f"ID: 0x{modem.identity.hardware_id.hex()}"))

    def _settings(self, modem: Modem, args: Sequence[str]) -> Answer:
        match args:
            case ["write", "string", name, value]:
                modem.settings[name] = value
                return Answer(delay_s=modem.delays.nvm_s)
            case ["read", "string", name] if name in modem.settings:
                return Answer((modem.settings[name],))
            case ["read", "string", _]:
                raise ShellError("Setting not found")
            case ["delete", name]:
                modem.settings.pop(name, None)
                return Answer()
        raise ShellError("settings: wrong parameter count")

    def _cred(self, modem: Modem, args: Sequence[str]) -> Answer:
        match args:
            case ["buf", "clear"]:
                return Answer(self._clear())
            case ["buf", chunk]:
                return self._store(chunk)
            case ["add", tag, kind, _, how, *inline] if len(inline) < 2:
                return self._add(modem, _Place(_tag(tag), _kind(kind)), _format(how), inline)
            case ["del", tag, kind]:
                return self._delete(modem, _Place(_tag(tag), _kind(kind)))
            case ["list", *which]:
                return self._list(modem, which)
        raise ShellError("cred: wrong parameter count")

    def _clear(self) -> tuple[str, ...]:
        said = ("Credential buffer cleared.",) if self._buffer else ()
        self._buffer = b""
        return said

    def _store(self, chunk: str) -> Answer:
        if len(self._buffer) + len(chunk) >= self._room:
            full = (
                "Not enough room in credential buffer for provided data. Increase"
                " CONFIG_TLS_CREDENTIALS_SHELL_CRED_BUF_SIZE."
            )
            return Answer((full, *self._clear()), ok=False)
        self._buffer += chunk.encode("latin-1")
        return Answer((f"Stored {len(chunk)} bytes.",))

    def _add(self, modem: Modem, place: _Place, how: str, inline: Sequence[str]) -> Answer:
        first = (*self._clear(), *self._store(inline[0]).info) if inline else ()
        try:
            last = self._put(modem, place, how)
        except ShellError as error:
            return Answer((*first, str(error), *self._clear()), ok=False)
        return Answer((*first, last, *self._clear()), delay_s=modem.delays.nvm_s)

    def _put(self, modem: Modem, place: _Place, how: str) -> str:
        content = self._buffer
        if not content:
            raise ShellError("Please provide a credential to add.")
        if modem.nvm.get(place.tag, place.kind) is not None:
            raise ShellError(f"TLS credential with {place.words} already exists.")
        if how in {"bin", "bint"}:
            try:
                content = base64.b64decode(content, validate=True)
            except binascii.Error:
                raise ShellError("Could not decode input from base64, error: -22") from None
        terminated = how in {"bint", "strt"}
        modem.add_raw(place.tag, place.kind, content, terminated=terminated)
        if modem.quirks.brown_out:
            raise ShellError(f"Failed to add TLS credential with {place.words}. Error: -5")
        return (
            f"Added TLS credential of type {_LONG[place.kind]}, sectag {place.tag}, and length"
            f" {len(content) + terminated} bytes."
        )

    def _delete(self, modem: Modem, place: _Place) -> Answer:
        if modem.nvm.get(place.tag, place.kind) is None:
            raise ShellError(f"There is no TLS credential with {place.words}.")
        modem.nvm.delete(place.tag, place.kind)
        modem.counts["delete"] += 1
        return Answer(
            ("Stored credential freed.", f"Deleted TLS credential with {place.words}."),
            delay_s=modem.delays.nvm_s,
        )

    def _list(self, modem: Modem, which: Sequence[str]) -> Answer:
        tag, kind = (
            which[at] if at < len(which) and which[at].lower() != "any" else None for at in (0, 1)
        )
        wanted_tag, wanted_kind = (
            None if tag is None else _tag(tag),
            None if kind is None else _kind(kind),
        )
        rows = [
            (number, Type(found))
            for number, found, _ in modem.nvm.listed()
            if wanted_tag in {None, number}
            and wanted_kind in {None, found}
            and found in set(_SHORT)
            and not _made_here(modem, number, found)
        ]
        lines = [
            f"{number},{_SHORT[found]},{_digest(modem, number, found)},0" for number, found in rows
        ]
        return Answer((*lines, f"{len(lines)} credentials found."))

    def _cloud_cred(self, modem: Modem, args: Sequence[str]) -> Answer:
        match args:
            case ["keygen" | "csr" | "delete" | "pubkey" as what, tag, *more]:
                return _CLOUD_CRED[what](modem, _tag(tag, "Invalid sec tag: {}"), more)
        return Answer(
            (
                "nrf_cloud_cred - nRF Cloud credentials commands",
                "Subcommands:",
                "  keygen",
                "  csr",
                "  delete",
                "  pubkey",
            ),
            ok=False,
        )

    def _kernel(self, _modem: Modem, args: Sequence[str]) -> Answer:
        if not args or args[0] != "reboot":
            raise ShellError("kernel: wrong parameter count")
        return Answer()


def _keygen(modem: Modem, tag: int, _: Sequence[str]) -> Answer:
    if modem.nvm.get(tag, Type.CLIENT_KEY) is not None:
        raise ShellError(f"Key already exists in sec tag {tag}. Use 'delete' to remove it first.")
    try:
        modem.generate(
            tag, attest.CsrWish(f"CN={modem.identity.uuid}", fault=modem.quirks.csr_fault)
        )
    except ModemRefusal as refusal:
        raise ShellError(f"Key generation failed: -{refusal.cme or 5}") from None
    return Answer((f"Generated device key in sec tag {tag}",), delay_s=modem.delays.keygen_s)


def _csr(modem: Modem, tag: int, more: Sequence[str]) -> Answer:
    entry = modem.nvm.get(tag, Type.CLIENT_KEY)
    if entry is None or entry.key is None:
        raise ShellError("CSR generation failed: -2")
    wish = attest.CsrWish(
        more[0] if more else f"CN={modem.identity.uuid}", fault=modem.quirks.csr_fault
    )
    return Answer(
        (
            f"CSR: {base64.b64encode(attest.csr_der(entry.key, wish)).decode()}",
            "CSR generation complete",
        )
    )


def _delete_key(modem: Modem, tag: int, _: Sequence[str]) -> Answer:
    if modem.nvm.get(tag, Type.CLIENT_KEY) is None:
        raise ShellError("Key deletion failed: -2")
    modem.nvm.delete(tag, Type.CLIENT_KEY)
    modem.counts["delete"] += 1
    return Answer((f"Deleted device key in sec tag {tag}",), delay_s=modem.delays.nvm_s)


def _pubkey(modem: Modem, tag: int, _: Sequence[str]) -> Answer:
    entry = modem.nvm.get(tag, Type.CLIENT_KEY)
    if entry is None or entry.key is None:
        raise ShellError("Public key export failed: -2")
    point = entry.key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return Answer((f"PUBKEY: {base64.b64encode(point).decode()}", "Public key export complete"))


def _made_here(modem: Modem, tag: int, kind: int) -> bool:
    """Whether this is a key of `nrf_cloud_cred`, which keeps it where `cred` does not look."""
    entry = modem.nvm.get(tag, kind)
    return entry is not None and entry.key is not None


def _digest(modem: Modem, tag: int, kind: Type) -> str:
    entry = modem.nvm.get(tag, kind)
    stored = b"" if entry is None else entry.content + b"\0" * entry.terminated
    return (
        base64.b64encode(hashlib.sha256(stored).digest()).decode()
        if not modem.quirks.no_digest
        else "ERROR"
    )


def _tag(text: str, complaint: str = "{} is not a valid sectag.") -> int:
    if not text.isdigit():
        raise ShellError(complaint.format(text))
    return int(text)


def _kind(text: str) -> Type:
    if text.upper() not in _TYPES:
        raise ShellError(f"{text} is not a valid credential type.")
    return _TYPES[text.upper()]


def _format(text: str) -> str:
    if text.lower() not in _FORMATS:
        raise ShellError(f"{text} is not a valid storage format.")
    return text.lower()


_CLOUD_CRED: Final = {"keygen": _keygen, "csr": _csr, "delete": _delete_key, "pubkey": _pubkey}
_COMMANDS: Final[dict[str, Callable[[ShellCommands, Modem, Sequence[str]], Answer]]] = {
    "at": ShellCommands._at,  # noqa: SLF001
    "hwinfo": ShellCommands._hwinfo,  # noqa: SLF001
    "settings": ShellCommands._settings,  # noqa: SLF001 - the class's own table
    "cred": ShellCommands._cred,  # noqa: SLF001
    "nrf_cloud_cred": ShellCommands._cloud_cred,  # noqa: SLF001
    "kernel": ShellCommands._kernel,  # noqa: SLF001
}
