"""Public keys whose private keys anybody has: printed in standards and test suites, or a few steps
from the beginning.

A generator that fails gives small numbers; a firmware that was built for a test carries a key from
a book.
"""

from __future__ import annotations

import functools
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

_STEPS: Final = 128
"""Private keys 1 to this, and the same counted down from the group's order, which share their x."""

# x of the public key -> where its private key is printed.
_PUBLISHED: Final[dict[int, str]] = {
    int(x, 16): where
    for x, where in (
        ("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6", "RFC 6979 A.2.5"),
        (
            "ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13",
            "RFC 6979 A.2.6",
        ),
        ("30a0424cd21c2944838a2d75c92b37e76ea20d9f00893a3b4eee8a3c0aafec3e", "RFC 7517 A.2"),
        ("7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445", "RFC 7515 A.3"),
        ("dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180", "RFC 5903 8.1"),
        ("d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63", "RFC 5903 8.1"),
        ("65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d", "RFC 9052 C.7"),
        ("bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff", "RFC 9052 C.7"),
        ("98f50a4ff6c05861c8860d13a638ea56c3f5ad7590bbfbf054e1c7b4d91d6280", "RFC 9052 C.7"),
        (
            "37cc56d976091e5a723ec7592dff206eee7cf9069174d0ad14b5f76822596292",
            "the test keys of Mbed TLS",
        ),
    )
}


def known(key: ec.EllipticCurvePublicKey) -> str | None:
    """Where the private key of this public key is to be had, None for all that is not known
    here.
    """
    x = key.public_numbers().x
    if (where := _PUBLISHED.get(x)) is not None:
        return f"its private key is printed in {where}"
    return "its private key is a tiny number" if x in _first_steps(key.curve.name) else None


@functools.cache
def _first_steps(curve: str) -> frozenset[int]:
    made: ec.EllipticCurve = ec.SECP384R1() if curve == "secp384r1" else ec.SECP256R1()
    return frozenset(
        ec.derive_private_key(number, made).public_key().public_numbers().x
        for number in range(1, _STEPS + 1)
    )
