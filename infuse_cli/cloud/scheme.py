"""How the credential travels: a profile setting, never guessed (contract: Infuse IoT API, Auth header)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.types import Secret

# Header and its value's form by scheme.
_SCHEMES: Final[dict[str, tuple[str, str]]] = {
    "bearer": ("Authorization", "Bearer {}"),
    "api-key": ("Authorization", "ApiKey {}"),
    "x-api-key": ("x-api-key", "Bearer {}"),
}


def auth_headers(scheme: str, credential: Secret) -> Mapping[str, str]:
    """The one header that carries the credential. Raises as `check_credential`."""
    check_credential(credential, scheme)
    header, form = _SCHEMES[scheme]
    return {header: form.format(credential.reveal())}


def check_credential(credential: Secret, scheme: str) -> None:
    """Refuse a credential that cannot work under `scheme`, before it is sent or stored.

    Raises CredentialError credential.iam-key for `ik_…` under bearer (contract: Infuse IoT API), and
    credential.malformed for an empty one or one with spaces, control or non-ASCII characters.
    """
    text = credential.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise CredentialError("credential.malformed", "the API credential is empty or has spaces, line ends or other characters that cannot be sent")
    if scheme == "bearer" and text.startswith("ik_"):
        raise CredentialError("credential.iam-key", "the credential is an IAM API key (ik_…), which the Infuse IoT API does not take as a bearer token; nothing was sent")
