"""How the credential travels: a profile setting, never guessed.

Source: `docs/reference/interfaces/infuse-iot-api.md#authentication`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.types import Secret

EXCHANGED: Final = "exchanged"
"""The scheme under which an IAM key buys a short-lived bearer token at POST /iam/auth/token."""

_IAM_KEY: Final = re.compile(r"ik_[^.]+\.[^.].*")
_IAM_PREFIX: Final = "ik_"

# Header and its value's form by scheme.
_SCHEMES: Final[dict[str, tuple[str, str]]] = {
    "bearer": ("Authorization", "Bearer {}"),
    "api-key": ("Authorization", "ApiKey {}"),
    "x-api-key": ("x-api-key", "Bearer {}"),
}


def auth_headers(scheme: str, credential: Secret) -> Mapping[str, str]:
    """The one header that carries the credential itself. Raises as `check_credential`."""
    check_credential(credential, scheme)
    header, form = _SCHEMES[scheme]
    return {header: form.format(credential.reveal())}


def check_credential(credential: Secret, scheme: str) -> None:
    """Refuse a credential that cannot work under `scheme`, before it is sent or stored.

    Raises CredentialError credential.iam-key for `ik_…` under bearer, and
    credential.malformed for an empty one, one with spaces, control or non-ASCII characters, or
    an IAM key that lacks a part.
    """
    text = credential.reveal()
    trouble = _unsendable(text)
    if trouble is not None:
        raise CredentialError(
            "credential.malformed", f"the API credential {trouble}; nothing was sent"
        )
    if text.startswith(_IAM_PREFIX):
        _check_iam_key(credential, scheme)
    elif scheme == EXCHANGED:
        raise CredentialError(
            "credential.malformed",
            "cloud.auth.scheme is 'exchanged', and the credential is no IAM key: those have the"
            " form ik_<keyId>.<keySecret>",
            hint=(
                "Store the IAM key with `infuse auth login`, or set cloud.auth.scheme: bearer for a"
                " legacy organisation admin token."
            ),
        )


def check_iam_key(key: Secret) -> None:
    """Raise CredentialError credential.malformed for anything but `ik_<keyId>.<keySecret>`."""
    trouble = _unsendable(key.reveal())
    if trouble is not None:
        raise CredentialError("credential.malformed", f"the IAM key {trouble}; nothing was sent")
    if not _IAM_KEY.fullmatch(key.reveal()):
        raise CredentialError(
            "credential.malformed",
            "this is no whole IAM key: those have the form ik_<keyId>.<keySecret>; nothing was"
            " sent",
        )


def _check_iam_key(key: Secret, scheme: str) -> None:
    if scheme == "bearer":
        raise CredentialError(
            "credential.iam-key",
            "the credential is an IAM API key (ik_…), which the Infuse IoT API does not take as a"
            " bearer token; nothing was sent",
        )
    check_iam_key(key)


def _unsendable(text: str) -> str | None:
    """Why a text cannot be a credential, None when it can. Never quotes it."""
    if not text.strip():
        return "is empty"
    if text.strip().lower().startswith(("bearer ", "apikey ", "authorization:")):
        return "begins with the name of a header or scheme: give the bare token"
    if "\n" in text or "\r" in text:
        return "has a line end in it: it must be one line, alone"
    if any(char.isspace() for char in text):
        return "has white space in it: it may be cut, or two texts in one"
    if not text.isascii() or not text.isprintable():
        return "has characters that no credential has"
    return None
