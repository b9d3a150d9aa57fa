"""Certificate serial numbers: positive, at most 20 octets (RFC 5280 §4.1.2.2), unguessable."""

from __future__ import annotations

import secrets
from typing import Final

_RANDOM_BITS: Final = 158


def new_serial() -> int:
    """A fresh serial with 158 random bits.

    The bit above them is always set, so that a serial has 20 octets and one spelling: 40 hex
    digits.
    """
    return (1 << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)


def serial_hex(serial: int) -> str:
    """The serial in lower-case hex with an even number of digits, as `openssl x509 -serial` shows
    it in upper case.
    """
    digits = f"{serial:x}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"
