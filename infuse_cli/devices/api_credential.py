"""The credential of the API: storing it, forgetting it, and which one is used."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from infuse_cli.cloud.scheme import check_credential
from infuse_cli.cloud.urls import parse_base_url
from infuse_cli.expiry import expires_at, warning
from infuse_cli.keys.credentials import (
    TOKEN_VARIABLE,
    credential_host,
    find_credential,
    forget_credential,
    store_credential,
    survey_credentials,
)

if TYPE_CHECKING:
    from infuse_cli.config.model import Cloud
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret

_PATIENCE_S = 5.0
"""Somebody is waiting for the answer: no patience for an outage."""


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential that was stored; `organisations` are those that it sees, None if not asked."""

    host: str
    scheme: str
    source: str
    where: str
    notes: tuple[str, ...]
    organisations: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ForgottenCredential:
    """The places that a stored credential was removed from."""

    host: str
    removed: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """Which credential is used: `where` is None where there is none.

    `shadows` are the places of others that are not used. `organisations` is as in
    `StoredCredential`.
    """

    host: str
    base_url: str
    scheme: str
    source: str | None
    where: str | None
    expires_at: datetime | None
    shadows: tuple[str, ...]
    notes: tuple[str, ...]
    organisations: tuple[str, ...] | None = None


def cloud_section(settings: Settings, url: str | None = None) -> Cloud:
    """The profile's cloud section, or the default one; `url` (--url) beats its base URL.

    Raises ProfileError, UsageError for a URL that is none.
    """
    from infuse_cli.devices.session import bare_cloud

    if settings.profile:
        from infuse_cli.config.source import load

        cloud = load(settings.profile, settings.env).profile.cloud
    else:
        cloud = bare_cloud(settings.env)
    base = parse_base_url(url or cloud.base_url, "--url" if url else "cloud.base_url")
    return msgspec.structs.replace(cloud, base_url=base.url)


def log_in(settings: Settings, cloud: Cloud, secret: Secret, *, check: bool) -> StoredCredential:
    """Store a credential in the keyring, else in a 0600 file; `check` asks the cloud first.

    Raises CredentialError, CloudError.
    """
    check_credential(secret, cloud.auth.scheme)
    names = organisations(cloud, secret) if check else None
    host = credential_host(cloud.base_url)
    stored = store_credential(host, secret, settings.home)
    notes = (*stored.notes, *_overriding(settings, cloud))
    return StoredCredential(
        host, cloud.auth.scheme, stored.source.value, stored.where, notes, names
    )


def log_out(settings: Settings, cloud: Cloud) -> ForgottenCredential:
    """Forget the stored credential of the API's host. Raises CredentialError."""
    host = credential_host(cloud.base_url)
    removed = tuple(stored.where for stored in forget_credential(host, settings.home))
    return ForgottenCredential(host, removed, _overriding(settings, cloud))


def credential_status(settings: Settings, cloud: Cloud, *, check: bool) -> CredentialStatus:
    """Which credential is used and where it was found; `check` asks the cloud.

    Raises CredentialError for one that cannot be used, CloudError.
    """
    host = credential_host(cloud.base_url)
    survey = survey_credentials(
        host, env=settings.env, token_file=cloud.auth.token_file, home=settings.home
    )
    where = (host, cloud.base_url, cloud.auth.scheme)
    if not survey.found:
        return CredentialStatus(*where, None, None, None, (), tuple(survey.notes))
    used, *others = survey.found
    ending = warning(used.secret, datetime.now(UTC))
    check_credential(used.secret, cloud.auth.scheme)
    return CredentialStatus(
        *where,
        used.source.value,
        used.where,
        expires_at(used.secret),
        tuple(other.where for other in others),
        (*survey.notes, *([ending] if ending else [])),
        organisations(cloud, used.secret) if check else None,
    )


def stored_credential(settings: Settings, cloud: Cloud) -> Secret:
    """The credential that commands use. Raises CredentialError credential.missing."""
    return find_credential(
        credential_host(cloud.base_url),
        env=settings.env,
        token_file=cloud.auth.token_file,
        home=settings.home,
    ).secret


def organisations(cloud: Cloud, secret: Secret) -> tuple[str, ...]:
    """Names of the organisations that a credential sees. Raises CloudError, CredentialError."""
    from infuse_cli.cloud.build import connect

    patience_s = min(cloud.deadline_s, _PATIENCE_S)
    hasty = msgspec.structs.replace(
        cloud, timeout_s=min(cloud.timeout_s, patience_s), deadline_s=patience_s
    )
    client = connect(hasty, secret, threading.Event().wait)
    try:
        return tuple(organisation.name for organisation in client.organisations())
    finally:
        client.close()


def _overriding(settings: Settings, cloud: Cloud) -> tuple[str, ...]:
    """What would be used instead of a stored credential."""
    notes = []
    if settings.env.get(TOKEN_VARIABLE):
        notes.append(f"{TOKEN_VARIABLE} is set and beats a stored credential")
    if cloud.auth.token_file:
        notes.append(
            "the profile names a token file, which beats a stored credential:"
            f" {cloud.auth.token_file}"
        )
    return tuple(notes)
