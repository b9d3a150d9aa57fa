"""What a scanned code says: which slot, which IMEI, which value of a label. Pure.

A code is one of these, or several of them in one symbol, with white space, comma, semicolon or bar
between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOT: Final = r"SLOT[-_: ]?(\d{1,3})"
"""What a slot's own barcode says by default: one group with the slot's number."""

MCU_ID: Final = r"[0-9a-fA-F]{16}"
_IMEI: Final = re.compile(r"(?:IMEI[:= ]?\s*)?(\d{15})", re.IGNORECASE)
_BETWEEN: Final = re.compile(r"[\s,;|]+")
_MOST: Final = 512


@dataclass(frozen=True, slots=True)
class Rules:
    """How codes are read: what scanners put around them, the slots' barcodes, and a pattern for
    each value (None: any text).
    """

    values: Mapping[str, str | None]
    prefix: str = ""
    suffix: str = ""
    slot: str = SLOT


@dataclass(frozen=True, slots=True)
class Code:
    """What one scan says."""

    slot: int | None = None
    imei: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def read(text: str, rules: Rules) -> Code:
    """Read a scanned text.

    Raises ProfileError metadata.invalid for one that fits nothing, several things, or contradicts
    itself.
    """
    bare = text.strip("\r\n").removeprefix(rules.prefix).removesuffix(rules.suffix).strip()
    if not bare or len(bare) > _MOST:
        raise ProfileError(
            "metadata.invalid",
            "the code is empty" if not bare else f"the code has more than {_MOST} characters",
        )
    whole = _one(bare, rules, patterns_only=bool(_BETWEEN.search(bare)))
    if whole is not None:
        return whole
    parts = [_one(part, rules, patterns_only=True) for part in _BETWEEN.split(bare) if part]
    known = [part for part in parts if part is not None]
    if len(parts) < 2 or len(known) < len(parts):
        other = _one(bare, rules, patterns_only=False)
        if other is None:
            raise ProfileError(
                "metadata.invalid",
                f"{bare[:40]!r} is no slot's barcode, no IMEI, and fits no pattern of the profile",
            )
        return other
    return _merged(bare, known)


def is_imei(text: str) -> bool:
    """Whether 15 digits are an IMEI: its last one is the check digit of the others (Luhn)."""
    digits = [int(char) for char in text]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) == 15 and (sum(digits[0::2]) + doubled) % 10 == 0


def _one(text: str, rules: Rules, *, patterns_only: bool) -> Code | None:
    if found := re.fullmatch(rules.slot, text, re.IGNORECASE):
        return Code(slot=int(found.group(1)))
    if (found := _IMEI.fullmatch(text)) and is_imei(found.group(1)):
        return Code(imei=found.group(1))
    fits = [
        name
        for name, pattern in rules.values.items()
        if pattern is not None and re.fullmatch(pattern, text)
    ]
    if not fits and not patterns_only:
        fits = [name for name, pattern in rules.values.items() if pattern is None]
    if len(fits) > 1:
        raise ProfileError(
            "metadata.invalid",
            f"{text[:40]!r} could be {' or '.join(fits)}: their patterns do not tell them apart",
        )
    return Code(values={fits[0]: text}) if fits else None


def _merged(text: str, codes: list[Code]) -> Code:
    slots = {code.slot for code in codes if code.slot is not None}
    imeis = {code.imei for code in codes if code.imei is not None}
    values: dict[str, str] = {}
    for name, value in (pair for code in codes for pair in code.values.items()):
        if values.setdefault(name, value) != value:
            raise ProfileError("metadata.invalid", f"{text[:40]!r} gives {name} twice")
    if len(slots) > 1 or len(imeis) > 1:
        raise ProfileError(
            "metadata.invalid", f"{text[:40]!r} names two {'slots' if len(slots) > 1 else 'IMEIs'}"
        )
    return Code(next(iter(slots), None), next(iter(imeis), None), values)
