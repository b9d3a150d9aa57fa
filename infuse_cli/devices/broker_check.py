"""Whether the broker takes what this line makes, tried as a board would, without a board.

The certificate is made for the trial by the bench's intermediate: recorded as any other, valid for
a day, its key never in a file. A second connection without a certificate has to be refused: a
broker that takes anybody proves nothing.
"""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from infuse_cli.ca.authority import CertificateAuthority
from infuse_cli.certificate_files import MAX_BUNDLE, past_stale_errors, read_trusted
from infuse_cli.cloud.broker import BrokerProbe, Login
from infuse_cli.devices import session as tools
from infuse_cli.errors import CloudError, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.config.model import Profile
    from infuse_cli.pki.issuing import IssuedCertificate
    from infuse_cli.settings import Settings

PORT: Final = 8883
_TTL_S: Final = 60
# A broker that ends TLS 1.2 without a word looks as if it spoke none; whether it does shows with a
# certificate.
_KEPT_OUT: Final = frozenset({"mqtt.certificate-refused", "mqtt.refused", "mqtt.no-tls"})


@dataclass(frozen=True, slots=True)
class BrokerCheckRequest:
    """Which broker is tried, and how; None: the profile's.

    `token` or `token_file`: log in with an MQTT token instead of a certificate. `timeout_s` bounds
    each connection, in seconds. `ca` names the CA that signs.
    """

    host: str | None = None
    port: int | None = None
    server_ca: Path | None = None
    token: bool = False
    token_file: Path | None = None
    user_name: str | None = None
    organisation: str | None = None
    timeout_s: float = 10.0
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class BrokerCheck:
    """What was proven of a broker: `proven` are names of steps (tcp, tls, token, certificate,
    closed), `facts` what they showed, `error` why it went no further.

    `name` and `client` are the common name and certificate that were made for the trial.
    """

    host: str
    port: int
    server_ca: Path | None
    proven: tuple[str, ...]
    facts: Mapping[str, Mapping[str, Any]]
    name: str | None = None
    client: IssuedCertificate | None = None
    error: CloudError | None = None


@dataclass(slots=True)
class _Proofs:
    """What was proven so far."""

    proven: list[str] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    client: tuple[str, IssuedCertificate] | None = None

    def add(self, step: str, facts: Mapping[str, Any] | None = None) -> None:
        """Add a step, once. A client without a certificate proves the way there as well."""
        if step in {*self.proven, "mqtt"}:
            return
        self.proven.append(step)
        values = dict(facts or {})
        if "certificate" in values:
            values["certificate"] = x509.load_der_x509_certificate(values["certificate"])
        if values:
            self.facts[step] = values


def check(
    settings: Settings, request: BrokerCheckRequest, passphrase: PassphraseOptions
) -> BrokerCheck:
    """Try the broker, and say what was proven.

    Raises UsageError, ProfileError, and what the cloud and the CA raise.
    """
    proofs, error = _Proofs(), None
    with tools.opened(settings) as session:
        host, port, trusted = _place(request, session.profile)
        probe = BrokerProbe(host, port, request.timeout_s, proofs.add)
        try:
            if request.token or request.token_file is not None:
                probe.connect(_context(trusted), _by_token(session, request))
                proofs.add("token")
            else:
                authority = CertificateAuthority(settings, request.ca, passphrase)
                _by_certificate(probe, trusted, proofs, authority)
        except CloudError as failure:
            if not failure.code.startswith("mqtt."):
                raise
            error = failure
    name, client = proofs.client or (None, None)
    return BrokerCheck(host, port, trusted, tuple(proofs.proven), proofs.facts, name, client, error)


def _by_certificate(
    probe: BrokerProbe,
    trusted: Path | None,
    proofs: _Proofs,
    authority: CertificateAuthority,
) -> None:
    """Without a certificate first: that shows whether the broker is there, before anything is
    signed.
    """
    kept_out = _keeps_out(probe, _context(trusted))
    tls = _context(trusted)
    probe.connect(tls, _certified(tls, proofs, authority))
    proofs.add("certificate")
    if not kept_out:
        raise CloudError(
            "mqtt.anonymous-allowed", f"{probe} also lets in a client that shows no certificate"
        )
    proofs.add("closed")


def _keeps_out(probe: BrokerProbe, bare: ssl.SSLContext) -> bool:
    """Whether a client without a certificate is refused.

    Raises CloudError for what has nothing to do with it.
    """
    try:
        probe.connect(bare, Login(_name()))
    except CloudError as error:
        if error.code not in _KEPT_OUT:
            raise
        return True
    return False


def _name() -> str:
    return f"infuse-check-{secrets.token_hex(4)}"


def _place(request: BrokerCheckRequest, profile: Profile | None) -> tuple[str, int, Path | None]:
    """Host, port and CA file of the broker: options, then the profile's `broker`, then its
    `identity.server_ca`.
    """
    section = profile.broker if profile else None
    host = request.host or (section.host if section else None)
    if host is None:
        raise UsageError(
            "usage.bad-option",
            "no broker is named",
            hint="Give --host, or name a profile with a section `broker`.",
        )
    port = request.port or (section.port if section else PORT)
    named = section.ca if section else None
    if not named and profile is not None:
        named = profile.identity.server_ca
    return host, port, request.server_ca or (Path(named) if named else None)


def _context(trusted: Path | None) -> ssl.SSLContext:
    """TLS that trusts a file's certificates, without one the system's, and takes no client
    certificate along yet.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if trusted is None:
        made.load_default_certs()
        return made
    key = "--server-ca, broker.ca or identity.server_ca"
    pem = read_trusted(trusted, key, most=MAX_BUNDLE)
    past_stale_errors(lambda: made.load_verify_locations(cadata=pem))
    return made


def _by_token(session: tools.Session, request: BrokerCheckRequest) -> Login:
    from infuse_cli.keys.credentials import read_token_file

    name = _name()
    if request.token_file is not None:
        return Login(name, request.user_name or name, read_token_file(request.token_file))
    owner = session.organisation(request.organisation)
    return Login(
        name,
        request.user_name or owner.id,
        Secret(session.cloud.mqtt_token(owner.id, _TTL_S).token),
    )


def _certified(tls: ssl.SSLContext, proofs: _Proofs, authority: CertificateAuthority) -> Login:
    """Give the context a certificate of a day and its key, and the name that goes with it."""
    from infuse_cli.pki.tls_key import load_key_pair

    name = _name()
    issued, bundle, key = _trial_certificate(name, authority)
    load_key_pair(tls, bundle, key.reveal())
    proofs.client = name, issued
    return Login(name)


def _trial_certificate(
    name: str, authority: CertificateAuthority
) -> tuple[IssuedCertificate, str, Secret]:
    """A certificate for a day, with those above it but the root as a board has them, and its key;
    both in PEM.
    """
    from infuse_cli.pki.certificate_profiles import BENCH

    made = authority.issue(
        name, certificate=BENCH, valid_for=timedelta(days=1), command="mqtt check"
    )
    return made.certificate, made.bundle, made.key
