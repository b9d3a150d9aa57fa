"""Signers by URI scheme: each opens an issuing CA that implements `ports.Signer`.

A scheme is one row of `SCHEMES`; its module is imported when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import SignerError

if TYPE_CHECKING:
    from infuse_cli.ports import Signer
    from infuse_cli.types import Secret

# Scheme -> module of the adapter; None is named in the documents and not built yet.
SCHEMES: Final[dict[str, str | None]] = {
    "file": "infuse_cli.pki.signers.file",
    "pkcs11": None,
}


def open_signer(uri: str, passphrase: Secret) -> Signer:
    """Unlock the signer that a URI names, e.g. `file:/srv/ca/line-1`.

    Raises SignerError ca.not-found for a scheme that this version does not offer, and what the adapter raises.
    """
    scheme, colon, rest = uri.partition(":")
    module = SCHEMES.get(scheme.lower())
    if not colon or module is None:
        offered = ", ".join(f"{name}:" for name, where in SCHEMES.items() if where)
        raise SignerError("ca.not-found", f"no signer for {scheme or uri!r} in this version; offered: {offered}")
    signer: Signer = importlib.import_module(module).load_uri(rest, passphrase)
    return signer
