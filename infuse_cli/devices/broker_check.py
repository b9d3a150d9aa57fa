"""`infuse mqtt check`: whether the broker takes what this line makes, tried as a board would,
without a board.

The certificate is a throw-away of the bench's intermediate: on record as any other, good for a day,
its key never in a file. A second connection without a certificate has to be refused: a broker that
takes anybody proves nothing.
"""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from infuse_cli.ca import common as ca_common
from infuse_cli.certificate_files import MAX_BUNDLE, past_stale_errors, read_trusted
from infuse_cli.cli.result import OperationResult
from infuse_cli.cloud.broker import Entrance, Login
from infuse_cli.devices import session as tools
from infuse_cli.errors import CloudError, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.config.model import Profile
    from infuse_cli.pki.issuing import IssuedCertificate

PORT: Final = 8883
_TTL_S: Final = 60
# A broker that ends TLS 1.2 without a word looks as if it spoke none; whether it does shows with a
# certificate.
_KEPT_OUT: Final = frozenset({"mqtt.certificate-refused", "mqtt.refused", "mqtt.no-tls"})


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Options of `mqtt check`; None: the profile's.

    `token`: log in with an MQTT token instead of a certificate.
    """

    host: str | None
    port: int | None
    server_ca: Path | None
    token: bool
    token_file: Path | None
    user_name: str | None
    organisation: str | None
    timeout_s: float
    ca: str | None


@dataclass(slots=True)
class _Journey:
    """What was proven so far, in words of `_SAID`, and the facts about it."""

    proven: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def prove(self, step: str, **facts: Any) -> None:
        if step in self.proven:
            return
        self.proven.append(step)
        if (der := facts.pop("certificate", None)) is not None:
            facts["certificate"] = ca_common.certificate_data(x509.load_der_x509_certificate(der))
        self.data |= {step: facts} if facts else {}

    def way(self, step: str, facts: dict[str, Any]) -> None:
        """The way there, which a client without a certificate proves as well."""
        if step != "mqtt":
            self.prove(step, **facts)


def check(options: CheckOptions, passphrase: PassphraseOptions) -> OperationResult:
    """Try the broker, and say what was proven."""
    with tools.opened() as session:
        host, port, trusted = _place(options, session.profile)
        journey = _Journey(data={"host": host, "port": port, "serverCa": trusted})
        door = Entrance(host, port, options.timeout_s, journey.way)
        try:
            if options.token or options.token_file is not None:
                door.enter(_context(trusted), _by_token(session, options))
                journey.prove("token")
            else:
                _by_certificate(door, trusted, journey, (options.ca, passphrase))
        except CloudError as error:
            if not error.code.startswith("mqtt."):
                raise
            return _result(journey, error)
    return _result(journey, None)


def _by_certificate(
    door: Entrance,
    trusted: Path | None,
    journey: _Journey,
    ca: tuple[str | None, PassphraseOptions],
) -> None:
    """Without a certificate first: that shows whether the broker is there, before anything is
    signed.
    """
    kept_out = _keeps_out(door, _context(trusted))
    tls = _context(trusted)
    door.enter(tls, _certified(tls, journey, ca))
    journey.prove("certificate")
    if not kept_out:
        raise CloudError("mqtt.open", f"{door} also lets in a client that shows no certificate")
    journey.prove("closed")


def _keeps_out(door: Entrance, bare: ssl.SSLContext) -> bool:
    """Whether a client without a certificate is refused.

    Raises CloudError for what has nothing to do with it.
    """
    try:
        door.enter(bare, Login(_name()))
    except CloudError as error:
        if error.code not in _KEPT_OUT:
            raise
        return True
    return False


def _name() -> str:
    return f"infuse-check-{secrets.token_hex(4)}"


def _place(options: CheckOptions, profile: Profile | None) -> tuple[str, int, Path | None]:
    """Host, port and CA file of the broker: options, then the profile's `broker`, then its
    `identity.server_ca`.
    """
    section = profile.broker if profile else None
    host = options.host or (section.host if section else None)
    if host is None:
        raise UsageError(
            "usage.bad-option",
            "no broker is named",
            hint="Give --host, or name a profile with a section `broker`.",
        )
    port = options.port or (section.port if section else PORT)
    named = (
        section.ca if section and section.ca else profile.identity.server_ca if profile else None
    )
    return host, port, options.server_ca or (Path(named) if named else None)


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


def _by_token(session: tools.Session, options: CheckOptions) -> Login:
    from infuse_cli.keys.credentials import read_token_file

    name = _name()
    if options.token_file is not None:
        return Login(name, options.user_name or name, read_token_file(options.token_file))
    owner = session.organisation(options.organisation)
    return Login(
        name,
        options.user_name or owner.id,
        Secret(session.cloud.mqtt_token(owner.id, _TTL_S).token),
    )


def _certified(
    tls: ssl.SSLContext, journey: _Journey, ca: tuple[str | None, PassphraseOptions]
) -> Login:
    """Give the context a throw-away certificate and its key, and the name that goes with it."""
    from infuse_cli.pki.tls_key import load_key_pair

    name = _name()
    issued, bundle, key = _throw_away(name, *ca)
    load_key_pair(tls, bundle, key.reveal())
    journey.data["client"] = {
        "commonName": name,
        "serial": issued.serial,
        "sha256": issued.sha256,
        "notAfter": issued.not_after,
    }
    return Login(name)


def _throw_away(
    name: str, ca: str | None, passphrase: PassphraseOptions
) -> tuple[IssuedCertificate, str, Secret]:
    """A certificate for a day, with those above it but the root as a board has them, and its key;
    both in PEM.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from infuse_cli.ca.authority import Desk, Job
    from infuse_cli.pki import chain, issuing, store
    from infuse_cli.pki.certificate_profiles import BENCH

    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    signer = store.load_ca(ca_common.folder_of(ca), ca_common.passphrase(ca, passphrase))
    with ca_common.recorded("mqtt check") as journal:
        issuing.check_issuer(signer, journal.is_revoked)
        made = Desk(journal, signer, replace(BENCH, validity_days=1)).sign(
            [Job(Path(name), csr, name)]
        )[0]
    if made.issued is None:
        raise made.error or AssertionError("neither signed nor refused")
    above = [one for one in signer.chain if not chain.is_self_issued(one)]
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return made.issued, made.issued.pem + chain.pem_bundle(above), Secret(secret)


def _result(journey: _Journey, error: CloudError | None) -> OperationResult:
    data = {**journey.data, "proven": journey.proven}
    text = "\n".join(_lines(journey, error))
    if error is None:
        return OperationResult("mqtt check", data, human=text)
    return OperationResult(
        "mqtt check",
        data,
        status="error",
        errors=[error.as_json()],
        exit_code=int(error.exit),
        human=text,
    )


def _lines(journey: _Journey, error: CloudError | None) -> list[str]:
    data = journey.data
    lines = [
        f"Broker {data['host']}:{data['port']}",
        *(f"  proven    {_SAID[step](data)}" for step in journey.proven),
    ]
    if "client" in data:
        client = data["client"]
        lines += [
            (
                f"  on record CN={client['commonName']}, good until"
                f" {client['notAfter']:%Y-%m-%d %H:%M} UTC"
            ),
            f"            serial {client['serial']}",
        ]
    if error is not None:
        return lines
    return [
        *lines,
        (
            "The broker takes what this line makes."
            if "client" in data
            else "The broker takes the token."
        ),
    ]


def _tls_line(data: dict[str, Any]) -> str:
    return (
        f"{data['tls']['version']}; its certificate is trusted, for this name, good until"
        f" {data['tls']['certificate']['notAfter']:%Y-%m-%d}"
    )


_SAID: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "tcp": lambda data: f"it is there, at {data['tcp']['address']}",
    "tls": _tls_line,
    "certificate": lambda _data: "it lets in a certificate of this bench's CA, and answers a ping",
    "token": lambda _data: "it lets in who has the MQTT token, and answers a ping",
    "closed": lambda _data: "it keeps out a client without a certificate",
}
