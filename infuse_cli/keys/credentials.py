"""Where the API credential comes from, and where a login leaves it.

The first of these wins: environment INFUSE_TOKEN, the profile's `cloud.auth.token_file`, the
keyring (service `infuse`, user = host), INFUSE_HOME/credentials.json. Every file has to be 0600.
The environment comes first so that CI never pays for the keyring.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from infuse_cli.errors import CredentialError
from infuse_cli.expiry import warning
from infuse_cli.files import write_private
from infuse_cli.home import CREDENTIALS
from infuse_cli.keys import files, ring
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TOKEN_VARIABLE: Final = "INFUSE_TOKEN"  # noqa: S105 - the variable's name
REGISTRY_TOKEN_VARIABLE: Final = "INFUSE_REGISTRY_TOKEN"  # noqa: S105 - the variable's name
FILE_NAME: Final = CREDENTIALS

_STORE: Final = "the credential file"


class Source(enum.Enum):
    """The places where a credential can be, in order of precedence."""

    ENVIRONMENT = "environment"
    TOKEN_FILE = "token file"  # noqa: S105 - a place, not a secret
    KEYRING = "keyring"
    HOME_FILE = "file"


@dataclass(frozen=True, slots=True)
class Found:
    """A credential and where it was; `notes` are sentences for the operator: a missing keyring, a
    coming expiry.
    """

    secret: Secret
    source: Source
    where: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a login left the credential, and what there is to say about it."""

    source: Source
    where: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """All credentials for a host in order of precedence: the first is used, it shadows the
    others.
    """

    found: tuple[Found, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Places:
    """What the look-ups need."""

    host: str
    env: Mapping[str, str]
    token_file: Path | None
    home: Path


def credential_host(base_url: str) -> str:
    """`host[:port]` in lower case: the name under which a URL's credential is kept."""
    return urlsplit(base_url.strip()).netloc.rpartition("@")[2].lower()


def find_credential(
    host: str, *, env: Mapping[str, str], token_file: str | Path | None, home: Path
) -> Found:
    """The credential for `host`, from the first place that has one.

    Raises CredentialError credential.missing (naming every place that was looked at),
    credential.unsafe-file, credential.malformed.
    """
    notes: list[str] = []
    for found in _look(_Places(host, env, _path(token_file), home), notes):
        ending = warning(found.secret, datetime.now(UTC))
        return Found(
            found.secret, found.source, found.where, (*notes, *((ending,) if ending else ()))
        )
    looked = f"{TOKEN_VARIABLE} is not set, and neither the keyring nor {home / FILE_NAME} has one"
    detail = f" ({'; '.join(notes)})" if notes else ""
    raise CredentialError("credential.missing", f"no credential for {host}: {looked}{detail}")


def survey_credentials(
    host: str, *, env: Mapping[str, str], token_file: str | Path | None, home: Path
) -> Survey:
    """Every credential for `host`, for `auth status`.

    Raises as `find_credential`, but none found is empty.
    """
    notes: list[str] = []
    found = tuple(_look(_Places(host, env, _path(token_file), home), notes))
    return Survey(found, tuple(notes))


def registry_credential(env: Mapping[str, str]) -> Secret | None:
    """The registry's own credential, INFUSE_REGISTRY_TOKEN, None when it is not set."""
    text = env.get(REGISTRY_TOKEN_VARIABLE, "").strip()
    return Secret(text) if text else None


def keyring_secret(service: str, user: str) -> Secret | None:
    """A secret such as a CA passphrase from the keyring; None when it has none or cannot be
    used.
    """
    return ring.get(user, service=service).value


def store_keyring_secret(service: str, user: str, secret: Secret) -> bool:
    """Keep a secret in the keyring; False when it cannot be used."""
    return bool(ring.put(user, secret, service=service).value)


def read_token_file(path: Path) -> Secret:
    """The credential in a 0600 file, surrounding white space dropped.

    Raises CredentialError credential.missing when there is no such file or it is empty,
    credential.unsafe-file, credential.malformed.
    """
    try:
        text = _text(files.read_private(path, "the token file"), f"the token file {path}").strip()
    except FileNotFoundError:
        raise CredentialError("credential.missing", f"there is no token file {path}") from None
    if not text:
        raise CredentialError("credential.missing", f"the token file {path} is empty")
    return Secret(text)


def store_credential(host: str, secret: Secret, home: Path) -> Kept:
    """Keep a credential for `host` in the keyring, else in the 0600 file under `home`.

    Raises CredentialError credential.unsafe-file, credential.malformed when the file cannot take
    it.
    """
    stored = ring.put(host, secret)
    if stored.value:
        # An older copy in the file would come to light again after a logout.
        _edit(home, lambda entries: entries.pop(host, None) is not None)
        return Kept(Source.KEYRING, _in_keyring(host))
    _edit(home, lambda entries: entries.update({host: secret.reveal()}) or True)
    note = stored.trouble or "the keyring does not keep what it is given"
    return Kept(Source.HOME_FILE, str(home / FILE_NAME), (note,))


def forget_credential(host: str, home: Path) -> tuple[Kept, ...]:
    """Drop the stored credentials of `host`; the places that had one.

    Environment and token files are left alone.
    """
    gone: list[Kept] = []
    if ring.drop(host).value:
        gone.append(Kept(Source.KEYRING, _in_keyring(host)))
    if _edit(home, lambda entries: entries.pop(host, None) is not None):
        gone.append(Kept(Source.HOME_FILE, str(home / FILE_NAME)))
    return tuple(gone)


def _look(places: _Places, notes: list[str]) -> Iterator[Found]:
    for lookup in _LOOKUPS:
        found = lookup(places)
        if isinstance(found, Found):
            yield found
        elif found:
            notes.append(found)


def _from_environment(places: _Places) -> Found | str:
    text = places.env.get(TOKEN_VARIABLE, "").strip()
    return Found(Secret(text), Source.ENVIRONMENT, f"environment {TOKEN_VARIABLE}") if text else ""


def _from_token_file(places: _Places) -> Found | str:
    if places.token_file is None:
        return ""
    return Found(
        read_token_file(places.token_file),
        Source.TOKEN_FILE,
        f"{places.token_file} (cloud.auth.token_file)",
    )


def _from_keyring(places: _Places) -> Found | str:
    answer = ring.get(places.host)
    return (
        Found(answer.value, Source.KEYRING, _in_keyring(places.host))
        if answer.value
        else answer.trouble
    )


def _from_home(places: _Places) -> Found | str:
    text = _entries(places.home / FILE_NAME).get(places.host, "")
    return Found(Secret(text), Source.HOME_FILE, str(places.home / FILE_NAME)) if text else ""


# In order of precedence; each gives what it found, or a sentence on why it could not look, or
# nothing.
_LOOKUPS: Final[tuple[Callable[[_Places], Found | str], ...]] = (
    _from_environment,
    _from_token_file,
    _from_keyring,
    _from_home,
)


def _in_keyring(host: str) -> str:
    return f"keyring (service '{ring.SERVICE}', user '{host}')"


def _path(token_file: str | Path | None) -> Path | None:
    return Path(token_file).expanduser() if token_file else None


def _entries(path: Path) -> dict[str, str]:
    try:
        text = files.read_private(path, _STORE)
    except FileNotFoundError:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, dict[str, str]]).get("credentials", {})
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CredentialError(
            "credential.malformed",
            f"{_STORE} {path} is damaged",
            hint="Delete the file and `infuse auth login` again.",
        ) from None


def _edit(home: Path, change: Callable[[dict[str, str]], Any]) -> bool:
    path = home / FILE_NAME
    entries = _entries(path)
    if not change(entries):
        return False
    try:
        write_private(path, msgspec.json.format(msgspec.json.encode({"credentials": entries})))
    except OSError as error:
        raise CredentialError(
            "credential.malformed", f"{_STORE} {path} cannot be written: {error.strerror}"
        ) from error
    return True


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CredentialError("credential.malformed", f"{what} is not text") from None
