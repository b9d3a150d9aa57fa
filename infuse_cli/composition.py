"""The one composition root: builds adapters from settings and a profile, and puts them together.

Use cases get what is built here as values behind `ports`; nothing else in the library opens a
journal, a credential, a connection to the cloud, a CA and a sealing key together.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infuse_cli.certificate_files import read_trusted
from infuse_cli.clock import RunClock
from infuse_cli.config import model as prof
from infuse_cli.config.bench import operator_name
from infuse_cli.keys import passphrases
from infuse_cli.provisioning.request import ProvisionRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from infuse_cli.cloud.infuse_api import InfuseClient
    from infuse_cli.cloud.registry_api import RegistryClient
    from infuse_cli.config.bench import Bench
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.credentials import Found
    from infuse_cli.keys.frames import NetworkCipher
    from infuse_cli.link.nrfutil import ProbeReader
    from infuse_cli.link.source import SerialSource
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import Events, KeySink, Sealer, Signer
    from infuse_cli.provisioning.context import Resolved, RunContext
    from infuse_cli.settings import Settings

__all__ = [
    "Adapters",
    "build",
    "chip_ids",
    "cipher",
    "connect_cloud",
    "connect_registry",
    "find_cloud_credential",
    "host_of",
    "operator_name",
    "profile_hash",
    "run_context",
    "source",
]


@dataclass(frozen=True, slots=True)
class Adapters:
    """What a run stands on, before the cloud was asked anything.

    `signer` is the unlocked CA of mode local-ca, `sealer` is there where secrets are kept,
    `server_ca` is PEM text, `certificate` what the CA signs.
    """

    journal: SqliteJournal
    bench: Bench
    cloud: InfuseClient
    registry: RegistryClient | None
    signer: Signer | None
    sealer: Sealer | None
    server_ca: str | None
    credential: Found
    certificate: CertificateProfile | None

    def close(self) -> None:
        """Close the journal and the connections; safe to call twice."""
        self.journal.close()
        self.cloud.close()
        if self.registry is not None:
            self.registry.close()


def find_cloud_credential(settings: Settings, profile: prof.Profile) -> Found:
    """The credential of the profile's cloud, and where it was found. Raises CredentialError."""
    from infuse_cli.keys.credentials import credential_host, find_credential

    return find_credential(
        credential_host(profile.cloud.base_url),
        env=settings.env,
        token_file=profile.cloud.auth.token_file,
        home=settings.home,
    )


def connect_cloud(
    profile: prof.Profile, credential: Found, clock: RunClock | None = None
) -> InfuseClient:
    """A client of the profile's cloud; nothing is sent yet."""
    from infuse_cli.cloud.build import connect

    return connect(profile.cloud, credential.secret, (clock or RunClock()).between_tries)


def connect_registry(
    settings: Settings, profile: prof.Profile, credential: Found, clock: RunClock | None = None
) -> RegistryClient | None:
    """A client of the profile's registry, None where the profile names none."""
    if profile.registry is None:
        return None
    from infuse_cli.cloud import build as cloud
    from infuse_cli.keys.credentials import registry_credential

    return cloud.connect_registry(
        profile.registry,
        credential.secret,
        (clock or RunClock()).between_tries,
        cloud=profile.cloud,
        own=registry_credential(settings.env),
    )


def build(
    settings: Settings,
    profile: prof.Profile,
    clock: RunClock,
    *,
    request: ProvisionRequest | None = None,
    certificate: Mapping[str, Any] | None = None,
) -> Adapters:
    """Build the adapters in the order in which trouble is cheapest: journal, credential, CA,
    sealing key.

    `certificate` is a certificate profile as an earlier run recorded it. Raises what any of them
    raises; the journal is closed then.
    """
    from infuse_cli.config.bench import load_bench
    from infuse_cli.journal.store import open_journal

    asked = request or ProvisionRequest()
    bench = load_bench(settings.home)
    journal = open_journal(settings.home, station=bench.station)
    try:
        credential = find_cloud_credential(settings, profile)
        return Adapters(
            journal,
            bench,
            connect_cloud(profile, credential, clock),
            connect_registry(settings, profile, credential, clock),
            _signer(settings, profile, asked),
            _sealer(settings, profile, bench, dry_run=asked.options.dry_run),
            _server_ca(profile),
            credential,
            _certificate(settings.home, profile, certificate),
        )
    except BaseException:
        journal.close()
        raise


def run_context(
    run: str,
    adapters: Adapters,
    profile: prof.Profile,
    resolved: Resolved,
    *,
    clock: RunClock,
    events: Events,
    request: ProvisionRequest | None = None,
    check_clock: Callable[[], None] = lambda: None,
) -> RunContext:
    """Put a run's parts together; the cloud's public key is fetched once a run."""
    from infuse_cli.provisioning.context import RunContext

    return RunContext(
        id=run,
        profile=profile,
        profile_hash=profile_hash(profile, adapters.certificate),
        options=(request or ProvisionRequest()).options,
        journal=adapters.journal,
        cloud=adapters.cloud,
        registry=adapters.registry,
        signer=adapters.signer,
        sealer=adapters.sealer,
        clock=clock,
        events=events,
        resolved=resolved,
        server_ca=adapters.server_ca,
        cloud_public_key=_once(adapters.cloud.cloud_public_key),
        chip_ids=chip_ids(adapters.bench),
        certificate=adapters.certificate,
        check_clock=check_clock,
        key_sink=_key_sink(profile),
        known_key=functools.partial(_known_key, adapters.journal),
    )


def profile_hash(profile: prof.Profile, certificate: CertificateProfile | None) -> str:
    """Digest of a resolved profile, with what its own certificate profile says: an edit there is a
    new profile too.
    """
    from infuse_cli.pki.certificate_profiles import content

    digest = prof.digest(profile)
    own = "" if certificate is None else content(certificate)
    return hashlib.sha256(f"{digest}{own}".encode()).hexdigest() if own else digest


def source(profile: prof.Profile, ports: Sequence[str] | None) -> SerialSource:
    """Where this profile's boards are."""
    from infuse_cli.link.source import SerialSource

    return SerialSource(profile.board, ports, threading.Event(), cipher=cipher(profile.board))


def cipher(board: prof.BoardSection) -> NetworkCipher | None:
    """What seals ePacket frames for this product's boards; None where the profile names another
    dialect.

    Raises CredentialError credential.unsafe-file or credential.malformed.
    """
    from infuse_cli.keys.frames import board_cipher

    return board_cipher(board.serial)


def chip_ids(bench: Bench) -> ProbeReader:
    """What reads chips' ids through debug probes; the bench knows which probe sits on which
    port.
    """
    from infuse_cli.link.nrfutil import ProbeReader

    return ProbeReader(bench.probes)


def host_of(url: str) -> str:
    """Host and port of a URL, for the header of a run."""
    return urlsplit(url).netloc or url


def _key_sink(profile: prof.Profile) -> KeySink | None:
    if profile.keys is None or profile.keys.to in {"none", "sealed"}:
        return None
    from infuse_cli.keys.delivery import Delivery

    return Delivery(profile.keys.to)


def _known_key(journal: SqliteJournal, soc: str, mcu_id: str) -> str | None:
    """The public key that the newest batch here gave for a chip."""
    from infuse_cli.journal import rows

    found = [row.facts.get("publicKey") for row in rows.of_chip(journal, mcu_id) if row.soc == soc]
    return next((key for key in reversed(found) if key), None)


def _signer(settings: Settings, profile: prof.Profile, request: ProvisionRequest) -> Signer | None:
    identity = profile.identity
    if identity.mode != "local-ca" or request.options.dry_run:
        return None
    from infuse_cli.pki.store import ca_folder, load_ca

    in_keyring = identity.passphrase.keyring
    secret = passphrases.passphrase(
        file=request.passphrase_file,
        fd=request.passphrase_fd,
        profile=identity.passphrase,
        keyring_name=passphrases.ca_keyring_name(identity.ca) if in_keyring else None,
        prompt=settings.prompt,
    )
    return load_ca(ca_folder(settings.home, identity.ca), secret)


def _sealer(
    settings: Settings, profile: prof.Profile, bench: Bench, *, dry_run: bool
) -> Sealer | None:
    tokens = profile.identity.mode in {"cloud-ca", "first-boot"} or profile.token is not None
    sealed_keys = profile.keys is not None and profile.keys.to == "sealed"
    if dry_run or not (tokens or sealed_keys):
        return None
    from infuse_cli.keys.seal import bench_keys, load_sealer

    sealing = {"key_file": bench.sealing.key_file, "keyring": bench.sealing.keyring}
    return load_sealer(bench_keys(settings.home, sealing, settings.env), create=True)


def _certificate(
    home: Path, profile: prof.Profile, certificate: Mapping[str, Any] | None
) -> CertificateProfile | None:
    """What the CA signs, read once a run; None where nothing is signed here."""
    if profile.identity.mode != "local-ca":
        return None
    from infuse_cli.pki.certificate_profile_files import recorded, resolve

    if certificate is not None:
        return recorded(certificate)
    return resolve(profile.identity.certificate, home)


def _server_ca(profile: prof.Profile) -> str | None:
    """What reaches the modem: the certificates of the file and nothing else that is in it."""
    path = profile.identity.server_ca
    return None if path is None else read_trusted(path, "identity.server_ca")


def _once(call: Callable[[], bytes]) -> Callable[[], bytes]:
    lock = threading.Lock()
    cached = functools.cache(call)

    def fetch() -> bytes:
        with lock:
            return cached()

    return fetch
