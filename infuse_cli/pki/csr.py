"""PKCS#10 requests as the modem makes them: the one repair that older modem firmware needs."""

from __future__ import annotations

from typing import Final

from infuse_cli import der

# AlgorithmIdentifier of ecdsa-with-SHA256, as RFC 5758 wants it and as modem firmware 1.3.7 and
# 2.0.2 write it.
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA256_NULL: Final = bytes.fromhex("300c06082a8648ce3d0403020500")


def without_null(request: bytes) -> bytes:
    """The request without the NULL in its outer signature algorithm; anything else comes back as it
    is.

    What was signed (the inner part) and the signature stay untouched, so the self-signature is
    still the board's. Call it only after the digest over the raw bytes was checked.
    """
    outer = der.extent(request, 0) if der.is_one_sequence(request) else None
    info = der.extent(request, outer[0]) if outer is not None else None
    if outer is None or info is None:
        return request
    head, rest = request[outer[0] : info[1]], request[info[1] :]
    if not rest.startswith(_ECDSA_SHA256_NULL):
        return request
    return der.element(der.SEQUENCE, head, _ECDSA_SHA256, rest.removeprefix(_ECDSA_SHA256_NULL))
