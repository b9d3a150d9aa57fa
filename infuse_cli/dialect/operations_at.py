"""What is done to a board that speaks dialect `at`: conversations, each a generator of commands.

Before every write the board is asked for its UUID, in the same open port. A board that
rebooted, or a modem that refuses with 518 or a bare ERROR, gets CMEE=1 and CFUN=4 again, and the
write is repeated once.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from infuse_cli.capabilities import Capability
from infuse_cli.dialect import cme, commands
from infuse_cli.dialect.base import Operations
from infuse_cli.dialect.cme import modem_error
from infuse_cli.dialect.raw import raw_answer
from infuse_cli.dialect.shell_tools import found_nowhere, hardware_id
from infuse_cli.errors import BoardError
from infuse_cli.types import BoardIdentity, CredentialType, StoredCredential

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.dialect.base import Conversation
    from infuse_cli.types import Command, Reply

_ROUNDS: Final = 3


class AtOperations(Operations):
    """Operations over dialect `at`; see `base.Operations`.

    Holds nothing, so one serves all boards.
    """

    DIALECT = "at"

    def identify(self) -> Conversation[BoardIdentity]:
        """UUID, IMEI, firmware, model, functional mode and ICCID; IMEI and ICCID may be missing."""
        yield from _number_errors()
        uuid = yield from _uuid()
        number = yield from _imei()
        seen = BoardIdentity(
            uuid=uuid,
            imei=number,
            modem_firmware=(
                yield from _text(commands.revision(), "reading the modem firmware's name")
            ),
            model=(yield from _text(commands.model(), "reading the module's name")),
            functional_mode=int(
                (yield from _text(commands.read_functional_mode(), "reading the functional mode"))
            ),
            iccid=(yield from _optional(commands.iccid(), "reading the SIM's number")),
        )
        # What a board is bound to for good is read twice: a digit that the line changed would make
        # it another board.
        if ((yield from _imei()), (yield from _uuid())) != (number, uuid):
            raise BoardError(
                "serial.protocol",
                f"the board's UUID or IMEI, read twice, was not the same: {uuid} is one of them",
            )
        return seen

    def same_board(self, uuid: str) -> Conversation[None]:
        """Raises board.changed, naming both, when another board answers."""
        _compare(uuid, (yield from _uuid()))

    def go_offline(self) -> Conversation[None]:
        """CMEE=1, CFUN=4."""
        yield from _settings()

    def restore(self, mode: int | None) -> Conversation[None]:
        """Back to the functional mode that was found; nothing to do for flight mode or None."""
        if mode is not None and mode != commands.FLIGHT_MODE:
            yield from _ask(
                commands.set_functional_mode(mode), f"going back to functional mode {mode}"
            )

    def list_credentials(
        self, sec_tag: int | None = None
    ) -> Conversation[tuple[StoredCredential, ...]]:
        """The credentials under a tag, or all; () for an empty place."""
        return (yield from _list(sec_tag))

    def write_credential(
        self,
        uuid: str,
        sec_tag: int,
        type: CredentialType | int,  # noqa: A002
        content: str,
        *,
        secret: bool = False,
    ) -> Conversation[None]:
        """Write a credential; an occupied place raises modem.exists."""
        command = commands.cmng_write(sec_tag, type, content, secret=secret)
        digests = self.digests(type, content)

        def is_there(row: StoredCredential) -> bool:
            return row.type == int(type) and row.sha256 in digests

        what = f"writing credential type {int(type)} of sec_tag {sec_tag}"
        reply = yield from _change(uuid, command, _Look(sec_tag, is_there))
        if reply is not None and not reply.ok:
            raise modem_error(reply.cme, what)

    def digests(self, type: CredentialType | int, content: str) -> frozenset[str]:  # noqa: A002, ARG002
        """The digest of exactly the bytes between the quotes."""
        return frozenset({commands.wire_digest(content)})

    def delete_credential(
        self,
        uuid: str,
        sec_tag: int,
        type: CredentialType | int,  # noqa: A002
    ) -> Conversation[None]:
        """Delete a credential; one that is gone already is fine."""
        reply = yield from _change(uuid, commands.cmng_delete(sec_tag, type))
        if reply is not None and not reply.ok and reply.cme != cme.NOT_FOUND:
            raise modem_error(
                reply.cme, f"deleting credential type {int(type)} of sec_tag {sec_tag}"
            )

    def keygen(
        self,
        uuid: str,
        sec_tag: int,
        *,
        attributes: str | None = None,
        key_usage: str | None = None,
    ) -> Conversation[str]:
        """Make a key; repeated only where the modem definitely made none."""
        command = commands.keygen(sec_tag, attributes, key_usage)

        def is_key(row: StoredCredential) -> bool:
            return row.type == CredentialType.CLIENT_KEY

        reply = yield from _change(uuid, command, _Look(sec_tag, is_key))
        if reply is None:
            raise BoardError(
                "serial.timeout",
                f"the board rebooted while it made a key in sec_tag {sec_tag}: the key "
                "is there, its CSR is lost",
                unknown=True,
            )
        if not reply.ok:
            raise modem_error(reply.cme, f"making a key in sec_tag {sec_tag}")
        return commands.required(command, reply)

    def attestation_token(self, challenge_hex: str | None = None) -> Conversation[str]:
        """An attestation token over a challenge of 32 hex digits."""
        return (
            yield from _text(commands.attest_token(challenge_hex), "making an attestation token")
        )

    def jwt(self, sec_tag: int, subject: str, audience: str) -> Conversation[str]:
        """A JWT signed with the tag's key."""
        return (
            yield from _text(
                commands.jwt(sec_tag, subject, audience), f"signing a JWT with sec_tag {sec_tag}"
            )
        )

    def raw(
        self,
        text: str,
        pattern: str,
        timeout_s: float = commands.READ_S,
        *,
        effect: bool = False,
        secret: bool = False,
    ) -> Conversation[str]:
        """Send a profile's command and return what its pattern finds."""
        return (yield from raw_answer(text, pattern, timeout_s, effect=effect, secret=secret))


class _Look:
    """How to see, after a reboot that swallowed the answer, whether a change was made."""

    def __init__(self, sec_tag: int, fits: Callable[[StoredCredential], bool]) -> None:
        self.sec_tag: Final = sec_tag
        self.fits: Final = fits

    def is_done(self) -> Conversation[bool]:
        rows = yield from _list(self.sec_tag)
        return any(self.fits(row) for row in rows)


def _change(uuid: str, command: Command, look: _Look | None = None) -> Conversation[Reply | None]:
    """Guard, write, and repeat once where that is safe.

    None: a look showed that it is done, its answer lost.
    """
    yield from _guard(uuid)
    reply = yield command
    if not reply.ok and (reply.rebooted or reply.cme in {None, cme.ACTIVE}):
        yield from _settings(uuid)
        yield from _guard(uuid)
        if reply.rebooted and look is not None and (yield from look.is_done()):
            return None
        reply = yield command
    if reply.rebooted:
        yield from _settings(uuid)
    return reply


def _guard(uuid: str) -> Conversation[None]:
    """Return once the right board answers and no reboot was heard since the settings were made."""
    for _ in range(_ROUNDS):
        reply = yield from _ask_for_uuid(uuid)
        if not reply.rebooted:
            return
        yield from _settings(uuid)
    raise BoardError("serial.timeout", f"board {uuid} keeps rebooting")


def _ask_for_uuid(uuid: str) -> Conversation[Reply]:
    command = commands.device_uuid()
    reply = yield from _ask(command, "reading the board's UUID")
    _compare(uuid, commands.required(command, reply).lower())
    return reply


def _compare(expected: str, found: str) -> None:
    if found.lower() != expected.lower():
        raise BoardError(
            "board.changed",
            f"board {found} is on the port, {expected} was begun; nothing was written to it",
        )


def _settings(uuid: str | None = None) -> Conversation[None]:
    """CMEE=1 and CFUN=4, again where the board rebooted meanwhile; a strange board is not taken
    offline.
    """
    for _ in range(_ROUNDS):
        yield from _number_errors()
        if uuid is not None:
            yield from _ask_for_uuid(uuid)
        reply = yield from _ask(
            commands.set_functional_mode(commands.FLIGHT_MODE), "taking the modem offline"
        )
        if not reply.rebooted:
            return


def _number_errors() -> Conversation[None]:
    yield from _ask(commands.cmee(), "switching error numbers on")


def _ask(command: Command, what: str) -> Conversation[Reply]:
    """A command that may be repeated: again when the board rebooted over it, then refusals
    raise.
    """
    reply = yield from _heard(command, what)
    if not reply.ok:
        raise modem_error(reply.cme, what)
    return reply


def _heard(command: Command, what: str) -> Conversation[Reply]:
    """The reply to a command that may be repeated, which a reboot swallows: that is no refusal of
    the modem.
    """
    rebooted = False
    for _ in range(_ROUNDS):
        reply = yield command
        rebooted = rebooted or reply.rebooted
        if reply.ok or not reply.rebooted:
            return reply if reply.rebooted is rebooted else replace(reply, rebooted=rebooted)
    raise BoardError("serial.timeout", f"{what}: the board keeps rebooting")


def _text(command: Command, what: str) -> Conversation[str]:
    reply = yield from _ask(command, what)
    return commands.required(command, reply)


def _optional(command: Command, what: str) -> Conversation[str | None]:
    reply = yield from _heard(command, what)
    return commands.value(command, reply) if reply.ok else None


def _uuid() -> Conversation[str]:
    found = yield from _text(commands.device_uuid(), "reading the board's UUID")
    return found.lower()


def _imei() -> Conversation[str | None]:
    bare = yield from _optional(commands.imei(), "reading the IMEI")
    return bare or (yield from _optional(commands.imei_named(), "reading the IMEI"))


def _list(sec_tag: int | None) -> Conversation[tuple[StoredCredential, ...]]:
    what = "listing credentials" if sec_tag is None else f"listing sec_tag {sec_tag}"
    reply = yield from _heard(commands.cmng_list(sec_tag), what)
    if not reply.ok and reply.cme != cme.NOT_FOUND:
        raise modem_error(reply.cme, what)
    rows = commands.credentials(reply.info)
    return rows if sec_tag is None else tuple(row for row in rows if row.sec_tag == sec_tag)


class AtShellOperations(AtOperations):
    """Operations over dialect `at-shell`: the same, but the shell turns each line feed of a PEM
    into CR and LF.
    """

    DIALECT = "at-shell"

    def lacks(self, wanted: frozenset[Capability]) -> Conversation[frozenset[Capability]]:
        """Firmware may be built without the shell commands of the profile."""
        return (
            yield from found_nowhere(
                wanted, {Capability.TOKEN_SETTINGS: "settings", Capability.HWINFO: "hwinfo"}
            )
        )

    def hardware_id(self) -> Conversation[str]:
        """By the shell's `hwinfo devid`."""
        return (yield from hardware_id())

    def digests(self, type: CredentialType | int, content: str) -> frozenset[str]:  # noqa: A002
        """Either line end: firmware that unescapes to LF alone is as good."""
        crlf = commands.wire_content(content).replace("\n", "\r\n")
        return super().digests(type, content) | {hashlib.sha256(crlf.encode()).hexdigest()}
