"""The one place that builds the adapters of a run and puts them together."""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infuse_cli.certificate_files import read_trusted
from infuse_cli.config import model as prof
from infuse_cli.config.bench import operator_name as operator_name  # noqa: PLC0414
from infuse_cli.keys import passphrases as secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.clock import RunClock
    from infuse_cli.config.bench import Bench
    from infuse_cli.keys.credentials import Found
    from infuse_cli.keys.frames import NetworkCipher
    from infuse_cli.link.nrfutil import ProbeReader
    from infuse_cli.link.source import SerialSource
    from infuse_cli.pki.certificate_profiles import CertificateProfile
    from infuse_cli.ports import (
        Events,
        InfuseApi,
        Journal,
        KeySink,
        Prompt,
        RegistryApi,
        Sealer,
        Signer,
    )
    from infuse_cli.provisioning.context import Deps, Options, Resolved


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run needs to be built: the resolved profile, where secrets come from, what was
    asked.
    """

    profile: prof.Profile
    home: Path
    env: Mapping[str, str]
    options: Options
    passphrase_file: Path | None = None
    passphrase_fd: int | None = None
    notes: list[str] = field(default_factory=list)
    prompt: Prompt | None = None
    certificate: Mapping[str, Any] | None = (
        None  # the certificate profile that an earlier run had, as values
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters of a run before the cloud was asked anything."""

    journal: Journal
    bench: Bench
    cloud: InfuseApi
    registry: RegistryApi | None
    signer: Signer | None
    sealer: Sealer | None
    server_ca: str | None
    credential: Found
    certificate: CertificateProfile | None


def parts(wanted: Wanted, clock: RunClock) -> Parts:
    """Build the adapters in the order in which trouble is cheapest: journal, credential, CA,
    sealing key.
    """
    from infuse_cli.cloud.build import connect, connect_registry
    from infuse_cli.config.bench import load_bench
    from infuse_cli.journal.store import open_journal
    from infuse_cli.keys.credentials import credential_host, find_credential, registry_credential

    profile = wanted.profile
    bench = load_bench(wanted.home)
    journal = open_journal(wanted.home, station=bench.station)
    found = find_credential(
        credential_host(profile.cloud.base_url),
        env=wanted.env,
        token_file=profile.cloud.auth.token_file,
        home=wanted.home,
    )
    cloud = connect(profile.cloud, found.secret, clock.between_tries)
    registry = (
        None
        if profile.registry is None
        else connect_registry(
            profile.registry,
            found.secret,
            clock.between_tries,
            cloud=profile.cloud,
            own=registry_credential(wanted.env),
        )
    )
    return Parts(
        journal,
        bench,
        cloud,
        registry,
        _signer(wanted),
        _sealer(wanted, bench),
        _server_ca(profile),
        found,
        _certificate(wanted),
    )


def deps(
    run: str,
    wanted: Wanted,
    built: Parts,
    *,
    clock: RunClock,
    events: Events,
    resolved: Resolved,
    check_clock: Callable[[], None],
) -> Deps:
    """Put a run's parts together; the cloud's public key is fetched once a run."""
    from infuse_cli.provisioning.context import Deps

    return Deps(
        run=run,
        profile=wanted.profile,
        profile_hash=profile_hash(wanted.profile, built.certificate),
        options=wanted.options,
        journal=built.journal,
        cloud=built.cloud,
        registry=built.registry,
        signer=built.signer,
        sealer=built.sealer,
        clock=clock,
        events=events,
        resolved=resolved,
        server_ca=built.server_ca,
        cloud_public_key=_once(built.cloud.cloud_public_key),
        chip_ids=chip_ids(built.bench),
        certificate=built.certificate,
        check_clock=check_clock,
        key_sink=_key_sink(wanted.profile),
        known_key=functools.partial(_known_key, built.journal),
    )


def profile_hash(profile: prof.Profile, certificate: CertificateProfile | None) -> str:
    """Digest of a resolved profile, with what its own certificate profile says: an edit there is a
    new profile too.
    """
    from infuse_cli.pki.certificate_profiles import content

    said = "" if certificate is None else content(certificate)
    return (
        hashlib.sha256(f"{prof.digest(profile)}{said}".encode()).hexdigest()
        if said
        else prof.digest(profile)
    )


def source(profile: prof.Profile, ports: Sequence[str] | None) -> SerialSource:
    """Where this profile's boards are."""
    from infuse_cli.link.source import SerialSource

    return SerialSource(profile.board, ports, threading.Event(), cipher=cipher(profile.board))


def cipher(board: prof.BoardSection) -> NetworkCipher | None:
    """What seals ePacket frames for this product's boards; None where the profile names another
    dialect.

    Raises CredentialError credential.unsafe-file or credential.malformed.
    """
    serial = board.serial
    if serial.dialect not in {"auto", "epacket"}:
        return None
    from infuse_cli.keys.frames import network_cipher

    return network_cipher(
        None if serial.network_key_file is None else Path(serial.network_key_file),
        serial.network_id,
    )


def _key_sink(profile: prof.Profile) -> KeySink | None:
    if profile.keys is None or profile.keys.to in {"none", "sealed"}:
        return None
    from infuse_cli.keys.delivery import Delivery

    return Delivery(profile.keys.to)


def _known_key(journal: Any, soc: str, mcu_id: str) -> str | None:
    """The public key that the newest batch here gave for a chip."""
    from infuse_cli.journal import rows

    found = [row.facts.get("publicKey") for row in rows.of_chip(journal, mcu_id) if row.soc == soc]
    return next((key for key in reversed(found) if key), None)


def chip_ids(bench: Bench) -> ProbeReader:
    """What reads chips' ids through debug probes; the bench knows which probe sits on which
    port.
    """
    from infuse_cli.link.nrfutil import ProbeReader

    return ProbeReader(bench.probes)


def host_of(url: str) -> str:
    """Host and port of a URL, for the header of a run."""
    return urlsplit(url).netloc or url


def _signer(wanted: Wanted) -> Signer | None:
    if wanted.profile.identity.mode != "local-ca" or wanted.options.dry_run:
        return None
    from infuse_cli.pki.store import ca_folder, load_ca

    identity = wanted.profile.identity
    folder = ca_folder(wanted.home, identity.ca)
    secret = secrets.passphrase(
        file=wanted.passphrase_file,
        fd=wanted.passphrase_fd,
        profile=identity.passphrase,
        keyring_name=secrets.ca_keyring_name(identity.ca) if identity.passphrase.keyring else None,
        prompt=wanted.prompt,
    )
    return load_ca(folder, secret)


def _sealer(wanted: Wanted, bench: Bench) -> Sealer | None:
    profile = wanted.profile
    tokens = profile.identity.mode in {"cloud-ca", "first-boot"} or profile.token is not None
    sealed_keys = profile.keys is not None and profile.keys.to == "sealed"
    if wanted.options.dry_run or not (tokens or sealed_keys):
        return None
    from infuse_cli.keys.seal import bench_keys, load_sealer

    sealing = {"key_file": bench.sealing.key_file, "keyring": bench.sealing.keyring}
    return load_sealer(bench_keys(wanted.home, sealing, wanted.env), create=True)


def _certificate(wanted: Wanted) -> CertificateProfile | None:
    """What the CA signs, read once a run, by resume from the run's record; None where
    nothing is signed here.
    """
    if wanted.profile.identity.mode != "local-ca":
        return None
    from infuse_cli.config.certificate_profiles import recorded, resolve

    if wanted.certificate is not None:
        return recorded(wanted.certificate)

    return resolve(wanted.profile.identity.certificate, wanted.home)


def _server_ca(profile: prof.Profile) -> str | None:
    """What reaches the modem: the certificates of the file and nothing else that is in it."""
    path = profile.identity.server_ca
    return None if path is None else read_trusted(path, "identity.server_ca")


def _once(call: Any) -> Any:
    lock = threading.Lock()
    cached = functools.cache(call)

    def fetch() -> Any:
        with lock:
            return cached()

    return fetch
