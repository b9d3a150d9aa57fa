"""Private keys of a CA by URI scheme: each is an `EllipticCurvePrivateKey`, so the issuing code
knows no back end.

A scheme is one row of `SCHEMES`; its module is imported when it is used and has `open_key(uri,
secret)`. One that makes keys too has `parse(uri)`, which raises UsageError for a bad URI, and
`make_key(uri, secret, existing=…)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import SignerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    module = _back_end(uri)
    if module is None:
        offered = ", ".join(f"{name}:" for name in SCHEMES)
        where = uri.partition(":")[0] or uri
        raise SignerError("ca.not-found", f"no keys are kept at {where!r}; offered: {offered}")
    key: EllipticCurvePrivateKey = module.open_key(uri, secret)
    return key


def make_key(
    uri: str, secret: Callable[[], Secret], *, existing: bool = False
) -> EllipticCurvePrivateKey:
    """Make the P-256 key of a new issuer where a URI says, or, `existing`, take the one there.

    `secret` is asked once the URI was read. Raises UsageError usage.bad-option for a scheme that
    makes no keys, and what the back end raises.
    """
    module = _back_end(uri)
    if not hasattr(module, "make_key"):
        makers = ", ".join(
            f"{scheme}:" for scheme in SCHEMES if hasattr(_back_end(f"{scheme}:"), "make_key")
        )
        raise UsageError("usage.bad-option", f"--key is a {makers} URI, not {uri!r}")
    module.parse(uri)
    key: EllipticCurvePrivateKey = module.make_key(uri, secret(), existing=existing)
    return key


def _back_end(uri: str) -> Any:
    scheme, colon, _ = uri.partition(":")
    name = SCHEMES.get(scheme.lower())
    return importlib.import_module(name) if colon and name is not None else None
