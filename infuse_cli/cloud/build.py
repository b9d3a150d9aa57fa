"""Builds the two clients from a profile, and decides where the credential may go.

`docs/reference/guarantees.md#where-the-api-credential-goes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from infuse_cli.cloud._http import Transport
from infuse_cli.cloud.auth import ExchangedAuth, FixedAuth, shared_exchange
from infuse_cli.cloud.infuse_api import InfuseClient
from infuse_cli.cloud.registry_api import API_PATH, RegistryClient
from infuse_cli.cloud.scheme import EXCHANGED, auth_headers, check_credential
from infuse_cli.cloud.urls import parse_base_url
from infuse_cli.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.cloud.auth import Auth
    from infuse_cli.config import model as profile
    from infuse_cli.types import Secret


def connect(
    cloud: profile.Cloud,
    credential: Secret,
    stop: Callable[[float], bool],
    *,
    through_outages: bool = False,
) -> InfuseClient:
    """A client of the Infuse IoT API; nothing is sent yet.

    `through_outages`: each call has `outage_wait_s`, where that is longer than `deadline_s`, for
    jobs that nobody watches.

    Raises ProfileError profile.invalid for a base URL that is not allowed; CredentialError
    credential.iam-key or credential.malformed for a credential that cannot work.
    """
    auth = _auth(cloud, credential, stop)
    base = parse_base_url(cloud.base_url, "cloud.base_url")
    deadline_s = max(cloud.deadline_s, cloud.outage_wait_s if through_outages else 0.0)
    return InfuseClient(
        Transport(
            base,
            auth,
            timeout_s=cloud.timeout_s,
            deadline_s=deadline_s,
            stop=stop,
            ca_bundle=cloud.ca_bundle,
        )
    )


def connect_openly(cloud: profile.Cloud, stop: Callable[[float], bool]) -> InfuseClient:
    """A client that sends no credential: for GET /health and for the exchange of an IAM key, which
    is its own credential.
    """
    base = parse_base_url(cloud.base_url, "cloud.base_url")
    return InfuseClient(
        Transport(
            base,
            FixedAuth({}),
            timeout_s=cloud.timeout_s,
            deadline_s=cloud.deadline_s,
            stop=stop,
            ca_bundle=cloud.ca_bundle,
        )
    )


def connect_registry(
    registry: profile.Registry,
    credential: Secret | None,
    stop: Callable[[float], bool],
    *,
    cloud: profile.Cloud,
    own: Secret | None = None,
) -> RegistryClient:
    """A client of the device registry; nothing is sent yet.

    `credential` is the one of `cloud`, which goes along to the same host, and to another only with
    `registry.auth: same`; `own` is INFUSE_REGISTRY_TOKEN and beats it. Raises CredentialError
    credential.missing where neither may be sent, and as `connect`.
    """
    base = parse_base_url(registry.base_url, "registry.base_url").under(API_PATH)
    secret = _for_registry(registry, credential, cloud=cloud, own=own, host=base.host)
    auth = (
        FixedAuth({}) if secret is None else _auth(cloud, secret, stop, key_only=secret is not own)
    )
    return RegistryClient(
        Transport(
            base,
            auth,
            timeout_s=cloud.timeout_s,
            deadline_s=cloud.deadline_s,
            stop=stop,
            ca_bundle=cloud.ca_bundle,
        )
    )


def _auth(
    cloud: profile.Cloud,
    credential: Secret,
    stop: Callable[[float], bool],
    *,
    key_only: bool = True,
) -> Auth:
    """What the profile's scheme makes of a credential; the registry's own, `key_only` False, may be
    a plain token too.
    """
    if cloud.auth.scheme != EXCHANGED:
        return FixedAuth(auth_headers(cloud.auth.scheme, credential))
    if not key_only and not credential.reveal().startswith("ik_"):
        return FixedAuth(auth_headers("bearer", credential))
    check_credential(credential, EXCHANGED)

    def make() -> ExchangedAuth:
        client = connect_openly(cloud, stop)
        return ExchangedAuth(lambda: client.exchange_key(credential), client.close)

    return shared_exchange(
        parse_base_url(cloud.base_url, "cloud.base_url").url, credential.sha256(), make
    )


def _for_registry(
    registry: profile.Registry,
    credential: Secret | None,
    *,
    cloud: profile.Cloud,
    own: Secret | None,
    host: str,
) -> Secret | None:
    match registry.auth:
        case "none":
            return None
        case "own":
            return own or _missing(f"registry.auth is 'own' and no credential for {host} was given")
        case "same":
            return own or credential or _missing(f"no credential for the registry on {host}")
        case "same-host":
            cloud_host = parse_base_url(cloud.base_url, "cloud.base_url").host
            if own is None and cloud_host != host:
                _missing(
                    f"the credential of {cloud_host} is not sent to the registry on another host,"
                    f" {host}"
                )
            return own or credential or _missing(f"no credential for the registry on {host}")
    assert_never(registry.auth)


def _missing(why: str) -> Secret:
    raise CredentialError(
        "credential.missing",
        why,
        hint=(
            "Set INFUSE_REGISTRY_TOKEN, or in the profile registry.auth: same to send the cloud's,"
            " or none for a registry that asks for none."
        ),
    )
