"""Identities that are none: what an erased, locked, unprogrammed or test chip gives.

Every door (board, scan, file, option, CSR, answer of the cloud) asks this one table, because a
cloud device can't be deleted: one that was made for a blank identity stays for good, and the second
board that gives the same blank value would look like a clone of the first.

Guaranteed: `docs/reference/guarantees.md#a-blank-identity-is-refused`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from infuse_cli.errors import PolicyError


class IdentityKind(enum.Enum):
    """What a value identifies; the value is the name that messages use."""

    UUID = "UUID"
    IMEI = "IMEI"
    MCU_ID = "mcuId"
    DEVICE_ID = "device id"


@dataclass(frozen=True, slots=True)
class BlankIdentity:
    """A form that is no identity: the kinds that it applies to, and what gives it.

    `pattern` has to match the whole value in lower case without hyphens.
    """

    kinds: frozenset[IdentityKind]
    pattern: re.Pattern[str]
    why: str


_ALL: Final = frozenset(IdentityKind)
_HEX: Final = _ALL - {IdentityKind.IMEI}
_CHIP: Final = frozenset({IdentityKind.UUID, IdentityKind.MCU_ID})
_IMEI: Final = frozenset({IdentityKind.IMEI})
_OF_IMEI: Final = frozenset({IdentityKind.MCU_ID})

BLANKS: Final[tuple[BlankIdentity, ...]] = (
    BlankIdentity(_ALL, re.compile(r"0+"), "all zeros: it was never programmed"),
    BlankIdentity(_HEX, re.compile(r"f+"), "all FF: the memory it was read from is erased"),
    # A read of memory that the caller has no right to gives 0xDEADDEAD a word, in either order of
    # its bytes; one such word is enough to make a 64-bit id worthless.
    BlankIdentity(
        _HEX,
        re.compile(r"(.{8})*(deaddead|addeadde)(.{8})*"),
        "holds 0xDEADDEAD: the memory it was read from may not be read",
    ),
    BlankIdentity(
        _CHIP,
        re.compile(r"(.{8})*ffffffff(.{8})*"),
        "has a word of FF: a part of the memory it was read from is erased",
    ),
    # 3GPP TS 34.108 and TS 36.508 test equipment: the same IMEI on every module, any check digit.
    BlankIdentity(_IMEI, re.compile(r"00499901064000."), "the IMEI of test equipment"),
    BlankIdentity(_IMEI, re.compile(r"([0-9])\1{14}"), "one digit repeated"),
    BlankIdentity(_IMEI, re.compile(r"123456789012345"), "a placeholder"),
    BlankIdentity(_OF_IMEI, re.compile(r"000499901064000."), "made of the IMEI of test equipment"),
    BlankIdentity(_OF_IMEI, re.compile(r"0([0-9])\1{14}"), "made of an IMEI of one digit"),
    BlankIdentity(_OF_IMEI, re.compile(r"0123456789012345"), "made of a placeholder IMEI"),
)


def blank_reason(kind: IdentityKind, value: str) -> str | None:
    """Why a value is no identity of this kind, None where it may be one.

    `value` may have capitals, and hyphens where it is a UUID.
    """
    plain = value.strip().lower().replace("-", "")
    for blank in BLANKS:
        if kind in blank.kinds and blank.pattern.fullmatch(plain):
            return blank.why
    return None


def refuse_blank(kind: IdentityKind, value: str | None, source: str) -> None:
    """Raise PolicyError identity.blank for a value that is no identity; None passes.

    `source` names for the message where the value came from: a board, an option, a file.
    """
    if value is None:
        return
    why = blank_reason(kind, value)
    if why is not None:
        raise PolicyError("identity.blank", f"{kind.value} {value} of {source} is blank: {why}")
