"""What every dialect offers: a codec (bytes ↔ commands and replies) and operations (conversations).

Both are pure: no clock, no port, no log. The link pumps the bytes and keeps the deadlines.
"""

# ruff: noqa: ARG002 - an operation that is not offered uses no argument

from __future__ import annotations

import enum
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from infuse_cli.capabilities import Capability
from infuse_cli.errors import BoardError, InfuseError, ProfileError
from infuse_cli.types import Command, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.dialect.frames import FrameCipher
    from infuse_cli.types import BoardIdentity, CredentialType, StoredCredential

T = TypeVar("T")

CREDENTIAL_BUFFER: Final = 1024
"""Characters that the firmware's `cred` shell holds by default
(CONFIG_TLS_CREDENTIALS_SHELL_CRED_BUF_SIZE).
"""

PROBE_S: Final = 0.55
"""How long a board may take to answer a probe, in seconds."""

PROBES: Final = 3
"""Probes that a silent board gets: together less than 2 s."""

Conversation: TypeAlias = Generator[Command, Reply, T]
"""A generator that yields commands, is sent their replies, and returns its result."""


class LinkState(enum.Enum):
    """Where a codec is: DESYNC after a time-out or a final line that nobody waited for."""

    IDLE = "idle"
    AWAITING = "awaiting"
    DESYNC = "desync"
    PROBING = "probing"
    CLOSED = "closed"


class LinkEvent(enum.Enum):
    """What moves a codec from state to state."""

    SENT = "sent"
    FINAL = "final"
    OUT_OF_STEP = "out-of-step"
    PROBE = "probe"
    SETTLED = "settled"
    CLOSE = "close"


class Heard(enum.Enum):
    """What came back for a probe: CLEAN is its OK and nothing else, NOISY an OK among other things.

    REFUSED is an ERROR alone: the line is closed now, but the AT behind it fell on a deaf ear.
    """

    NOTHING = "nothing"
    REFUSED = "refused"
    CLEAN = "clean"
    NOISY = "noisy"


_S, _E = LinkState, LinkEvent

TRANSITIONS: Final[Mapping[tuple[LinkState, LinkEvent], LinkState]] = {
    (_S.IDLE, _E.SENT): _S.AWAITING,
    (_S.IDLE, _E.FINAL): _S.DESYNC,
    (_S.IDLE, _E.OUT_OF_STEP): _S.DESYNC,
    (_S.IDLE, _E.PROBE): _S.PROBING,
    (_S.AWAITING, _E.FINAL): _S.IDLE,
    (_S.AWAITING, _E.OUT_OF_STEP): _S.DESYNC,
    (_S.DESYNC, _E.FINAL): _S.DESYNC,
    (_S.DESYNC, _E.OUT_OF_STEP): _S.DESYNC,
    (_S.DESYNC, _E.PROBE): _S.PROBING,
    (_S.PROBING, _E.FINAL): _S.PROBING,
    (_S.PROBING, _E.PROBE): _S.PROBING,
    (_S.PROBING, _E.OUT_OF_STEP): _S.DESYNC,
    (_S.PROBING, _E.SETTLED): _S.IDLE,
    **{(state, _E.CLOSE): _S.CLOSED for state in _S},
}


_RPC: Final = re.compile(r"[a-z_]+ (?:[0-9a-f]{2})*")


def after(state: LinkState, event: LinkEvent) -> LinkState:
    """The state after an event.

    Raises serial.closed when closed, internal.error for a move that makes no sense.
    """
    if state is LinkState.CLOSED and event is not LinkEvent.CLOSE:
        raise BoardError("serial.closed", "the link to the board is closed")
    moved = TRANSITIONS.get((state, event))
    if moved is None:
        raise InfuseError(
            "internal.error", f"the link got {event.value!r} while it was {state.value!r}"
        )
    return moved


def head(command: Command) -> str:
    """The part of a command that may be shown: without quoted content, of a secret one and of an
    RPC only its first word.
    """
    if _RPC.fullmatch(command.text):
        return command.text.partition(" ")[0]
    return re.split(r"[ =]" if command.secret and '"' not in command.text else '"', command.text)[
        0
    ].rstrip(",")


@dataclass(frozen=True, slots=True)
class CodecOptions:
    """How a dialect's lines travel: `line_limit` in bytes, terminator included; `terminator` cr, lf
    or crlf.

    For `epacket`: the network's cipher, the time in GPS seconds, and what gives random bytes.
    """

    line_limit: int = 4096
    terminator: str = "cr"
    baud: int = 115200
    cipher: FrameCipher | None = None
    gps_time: Callable[[], int] = lambda: 0
    random: Callable[[int], bytes] = bytes


class Codec(Protocol):
    """Host role of a dialect: one command at a time; any split of the board's bytes gives the same
    replies.
    """

    @property
    def name(self) -> str:
        """Name of the dialect, a key of `DIALECTS`."""

    @property
    def question(self) -> str:
        """What the newest probe asks, for messages."""

    @property
    def questions(self) -> str:
        """All that the probes have asked so far, for messages."""

    @property
    def probe_s(self) -> float:
        """How long the answer to the newest probe may take, in seconds."""

    @property
    def probes(self) -> int:
        """How many probes a silent board gets; with their times less than 2 s together."""

    @property
    def state(self) -> LinkState:
        """Where the codec is; commands go out only while it is IDLE."""

    @property
    def rebooted(self) -> bool:
        """Whether boot text was heard since the last reply."""

    def encode(self, command: Command) -> bytes:
        """The command's bytes, and wait for its answer from now on.

        Raises serial.too-long before anything is sent, profile.unsupported for text that the
        dialect cannot carry.
        """

    def receive(self, data: bytes) -> None:
        """Take bytes of the board."""

    def next_reply(self) -> Reply | None:
        """The answer to the command under way, None as long as it is not complete."""

    def desync(self) -> None:
        """A deadline passed or an answer made no sense: only a resync leads back."""

    def abandon(self) -> Reply:
        """Give up on the command under way: a Reply that is not ok, with what was heard; then as
        `desync`.
        """

    def probe(self) -> bytes:
        """The bytes of the next attempt to get into step; they also end a half line, quoted
        or not.
        """

    def probed(self) -> Heard:
        """What came back for the probes since the last `settle`."""

    def settle(self) -> None:
        """The board answered a probe and the line is quiet: IDLE again."""

    def close(self) -> None:
        """The port is gone; nothing is encoded any more."""


class Operations:
    """What is done to a board, as conversations.

    A refusal of the modem raises BoardError `modem.*`, an answer that makes no sense
    serial.protocol. Operations that take a `uuid` compare it with the board's before every write
    and raise board.changed.
    """

    DIALECT = ""

    def __init__(self, buffer: int = CREDENTIAL_BUFFER) -> None:
        self.buffer: Final = buffer

    def identify(self) -> Conversation[BoardIdentity]:
        """What the board says it is; the error numbers are switched on first."""
        return self._refuse(Capability.IDENTIFY)

    def lacks(self, wanted: frozenset[Capability]) -> Conversation[frozenset[Capability]]:
        """Of what is wanted and the dialect can do, what this very board's firmware was built
        without.
        """
        return _nothing()

    def hardware_id(self) -> Conversation[str]:
        """The chip's id as the firmware gives it, 16 lower-case hex digits.

        Raises board.no-mcu-id, profile.unsupported.
        """
        return self._refuse(Capability.HWINFO)

    def security_state(self, challenge: bytes) -> Conversation[bytes]:
        """What the device says of itself over a challenge of 16 bytes.

        Raises profile.unsupported. Source:
        `docs/reference/interfaces/key-derivation.md#the-devices-proof`.
        """
        return self._refuse(Capability.SECURITY_STATE)

    def public_keys(self) -> Conversation[tuple[bytes, bytes | None]]:
        """The device's X25519 public key, and its cloud's where it tells that.

        Raises profile.unsupported, modem.error.
        """
        return self._refuse(Capability.PUBLIC_KEY)

    def same_board(self, uuid: str) -> Conversation[None]:
        """Raises board.changed, naming both, when another board answers."""
        return self._refuse(Capability.IDENTIFY)

    def go_offline(self) -> Conversation[None]:
        """Error numbers on and flight mode (CMEE=1, CFUN=4), as writing needs."""
        return self._refuse(Capability.OFFLINE)

    def restore(self, mode: int | None) -> Conversation[None]:
        """Back to the functional mode that was found; nothing to do for flight mode or
        None.
        """
        return self._refuse(Capability.OFFLINE)

    def list_credentials(
        self, sec_tag: int | None = None
    ) -> Conversation[tuple[StoredCredential, ...]]:
        """What the modem holds under a tag (None: all).

        Digests in lower-case hex; an empty slot gives ().
        """
        return self._refuse(Capability.READ_DIGEST)

    def write_credential(
        self,
        uuid: str,
        sec_tag: int,
        type: CredentialType | int,  # noqa: A002
        content: str,
        *,
        secret: bool = False,
    ) -> Conversation[None]:
        """Write a credential; PEM goes in its canonical form.

        An occupied place raises modem.exists.
        """
        return self._refuse(Capability.WRITE)

    def digests(self, type: CredentialType | int, content: str) -> frozenset[str]:  # noqa: A002
        """SHA-256 digests, lower-case hex, one of which the board's list shows once `content` was
        written.
        """
        return frozenset()

    def delete_credential(
        self,
        uuid: str,
        sec_tag: int,
        type: CredentialType | int,  # noqa: A002
    ) -> Conversation[None]:
        """Delete a credential; one that is gone already is fine."""
        return self._refuse(Capability.DELETE)

    def keygen(
        self,
        uuid: str,
        sec_tag: int,
        *,
        attributes: str | None = None,
        key_usage: str | None = None,
    ) -> Conversation[str]:
        """Make a key in the modem; the text `<body>.<COSE>` (base64url) of its CSR."""
        return self._refuse(Capability.CSR)

    def attestation_token(self, challenge_hex: str | None = None) -> Conversation[str]:
        """The text `<body>.<COSE>` of an attestation token over a challenge of 32 hex digits."""
        return self._refuse(Capability.ATTEST_TOKEN)

    def jwt(self, sec_tag: int, subject: str, audience: str) -> Conversation[str]:
        """A compact ES256 JWT signed with the tag's key.

        A refusal raises modem.*: the caller decides.
        """
        return self._refuse(Capability.POSSESSION)

    def raw(
        self,
        text: str,
        pattern: str,
        timeout_s: float = 2.0,
        *,
        effect: bool = False,
        secret: bool = False,
    ) -> Conversation[str]:
        """Send a profile's command; the first group of `pattern` (the line without one) of its
        answer.
        """
        return self._refuse(Capability.RAW)

    def _refuse(self, what: Capability) -> Conversation[Any]:
        yield from ()
        raise ProfileError(
            "profile.unsupported",
            f"dialect {self.DIALECT} cannot {what.value}",
            hint=(
                "Use a port of this board that takes AT commands, or a profile that does not ask"
                " for it."
            ),
        )


def _nothing() -> Conversation[frozenset[Capability]]:
    yield from ()
    return frozenset()
