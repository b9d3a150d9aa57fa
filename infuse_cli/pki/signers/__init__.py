"""Private keys of a CA by URI scheme: each is an `EllipticCurvePrivateKey`, so the issuing code
knows no back end.

A scheme is one row of `SCHEMES`; its module is imported when it is used and has `open_key(uri,
secret)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import SignerError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from infuse_cli.types import Secret

# Scheme -> module of the back end.
SCHEMES: Final[dict[str, str]] = {
    "file": "infuse_cli.pki.signers.file",
    "pkcs11": "infuse_cli.pki.signers.pkcs11",
}


def open_key(uri: str, secret: Secret) -> EllipticCurvePrivateKey:
    """Unlock the key that a URI names, e.g. `file:/srv/ca/line-1.key.pem` or
    `pkcs11:token=line;object=ca`.

    `secret` is the passphrase, or the token's PIN. Raises SignerError ca.not-found for a scheme
    that there is not, and what the back end raises.
    """
    scheme, colon, _ = uri.partition(":")
    module = SCHEMES.get(scheme.lower())
    if not colon or module is None:
        offered = ", ".join(f"{name}:" for name in SCHEMES)
        raise SignerError(
            "ca.not-found", f"no keys are kept at {scheme or uri!r}; offered: {offered}"
        )
    key: EllipticCurvePrivateKey = importlib.import_module(module).open_key(uri, secret)
    return key
