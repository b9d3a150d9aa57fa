"""Frozen values that several rooms share.

Nothing here does I/O, reads a clock or knows an adapter. Serial values (`Command`, `Reply`) live
here because the dialects make them and the link carries them, and neither may import the other's
room.
"""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from datetime import datetime

MCU_ID: Final = re.compile(r"[0-9a-f]{16}")
"""An nRF mcuId on the wire: 16 lower-case hex digits."""

DEVICE_ID: Final = re.compile(r"[0-9a-f]{16}")
"""A cloud device id: 16 lower-case hex digits."""

IMEI: Final = re.compile(r"[0-9]{15}")


class Secret:
    """A secret text that no repr, format, JSON encoder or pickle ever shows.

    Equality is by value; `reveal()` is the one way to the text, so every use of a secret can be
    found by name.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret text; the caller must not print, log or store it in the clear."""
        return self._value

    def sha256(self) -> str:
        """Return the SHA-256 of the UTF-8 bytes as 64 lower-case hex digits: what may be kept on
        record.
        """
        return hashlib.sha256(self._value.encode()).hexdigest()

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __format__(self, format_spec: str, /) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


@dataclass(frozen=True, slots=True)
class AttachedPort:
    """A port that is there now; `generation` differs when it went and came again under its name."""

    port: str
    generation: object = None


class Outcome(enum.Enum):
    """How a board ended: FAIL is the board's fault, ERROR is ours (tool, bench, cloud), ABORTED a
    person's wish.
    """

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    FAIL = "FAIL"
    ERROR = "ERROR"
    ABORTED = "ABORTED"


class StepState(enum.Enum):
    """State of one journalled step of an attempt; the legal moves are the table in
    `provisioning/state.py`.
    """

    PENDING = "pending"
    BEGUN = "begun"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    CONFLICT = "conflict"


class AttemptState(enum.Enum):
    """State of one board's way through a plan.

    `running`, `parked` and `failed` are open: running `provision` again goes on with them. The
    others are final.
    """

    RUNNING = "running"
    PARKED = "parked"
    FAILED = "failed"
    PASSED = "passed"
    CLOSED = "closed"
    SUPERSEDED = "superseded"

    @property
    def is_open(self) -> bool:
        """Whether a later run goes on with this attempt instead of starting another."""
        return self in {AttemptState.RUNNING, AttemptState.PARKED, AttemptState.FAILED}


class CredentialType(enum.IntEnum):
    """AT%CMNG credential types (nRF91x1 AT commands reference)."""

    ROOT_CA = 0
    CLIENT_CERTIFICATE = 1
    CLIENT_KEY = 2
    PSK = 3
    PSK_IDENTITY = 4


class IdentityMode(enum.Enum):
    """Who makes the board's certificate."""

    FIRST_BOOT = "first-boot"
    CLOUD_CA = "cloud-ca"
    LOCAL_CA = "local-ca"
    NONE = "none"


_OLD_TOKEN_STATES: Final = {"exposed": "DELIVERED", "burnt": "COMPROMISED"}
"""What journals of versions before 0.1 call a state, and its name today."""


class TokenState(enum.Enum):
    """Life of a registration token; every minted one ends in exactly one of the last four.

    `handed-over`: another bench has it, so this one never uses it; how it ends is on record there.
    """

    INTENDED = "intended"
    MINTED = "minted"
    HANDED_OVER = "handed-over"
    DELIVERED = "delivered"
    CONSUMED = "consumed"
    REVOKED = "revoked"
    EXPIRED = "expired"
    COMPROMISED = "compromised"

    @classmethod
    def _missing_(cls, value: object) -> TokenState | None:
        """The state that a journal of old means by another word."""
        return cls.__members__.get(_OLD_TOKEN_STATES.get(str(value), ""))


@dataclass(frozen=True, slots=True)
class Command:
    """One exchange with a board, without its line terminator.

    `info` says what an information line of this very command looks like (anything else is
    unsolicited); `effect` marks commands that change the board, whose outcome a time-out leaves
    unknown; `secret` masks the text in transcripts. `timeout_s` is in seconds. `needs_info` says
    that an OK without an information line cannot be this command's answer: the link is out of step,
    or bytes were lost.
    """

    text: str
    timeout_s: float = 2.0
    info: re.Pattern[str] | None = None
    effect: bool = False
    secret: bool = False
    needs_info: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the board answered: the final result, its information lines, and what else was heard
    meanwhile.

    `cme` is the number of `+CME ERROR: n`, None for OK and for a bare ERROR. `rebooted` is True
    when boot text was seen since the previous reply, so settings such as CMEE and CFUN have to be
    sent again.
    """

    ok: bool
    info: tuple[str, ...] = ()
    cme: int | None = None
    rebooted: bool = False
    unsolicited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """One row of the modem's credential list; `sha256` is 64 lower-case hex digits, None where it
    gives none.
    """

    sec_tag: int
    type: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class BoardIdentity:
    """What a board says it is.

    `uuid` is the modem's DEVICEUUID in lower case and is the board key.

    `mcu_id` is None until its source (profile `board.mcu_id.from`) was read. `functional_mode` is
    the value of `AT+CFUN?` as found.
    """

    uuid: str
    imei: str | None = None
    mcu_id: str | None = None
    model: str | None = None
    modem_firmware: str | None = None
    iccid: str | None = None
    functional_mode: int | None = None


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port that may hold a board: device path or URL, and the USB facts that tie it to a
    slot.
    """

    port: str
    description: str = ""
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    hub_path: str | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for the renderers.

    `ms` is the step's or board's time in milliseconds.
    """

    ts: datetime
    run: str
    event: str
    slot: int | None = None
    board: str | None = None
    step: str | None = None
    state: str | None = None
    ms: float | None = None
    error: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
