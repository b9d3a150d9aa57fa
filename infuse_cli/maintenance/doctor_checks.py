"""Checks of `infuse doctor` on what the program rests on: profile, credential, cloud, clock,
journal, CA.
"""

from __future__ import annotations

import shutil
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli._version import __version__
from infuse_cli.errors import CredentialError, InfuseError, JournalError, SignerError
from infuse_cli.expiry import expires_at, warning
from infuse_cli.maintenance.doctor import Finding, Subject, doubtful, failed, passed
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from infuse_cli.config.model import Cloud
    from infuse_cli.keys.credentials import Found
    from infuse_cli.types import Secret

_PATIENCE_S: Final = 5.0
_MOST_SKEW_S: Final = 300.0
"""Beyond this nothing is signed."""
_DOUBTFUL_SKEW_S: Final = 30.0
_LITTLE_ROOM: Final = 100 * 1024 * 1024
_SOME_ROOM: Final = 1024 * 1024 * 1024
_SOON: Final = timedelta(days=30)
_LATER: Final = timedelta(days=180)
_SKEW_FIX: Final = "Set the clock: `timedatectl set-ntp true` on most systems."


def tool(subject: Subject) -> Sequence[Finding]:
    """What runs, and where its data are."""
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        passed(
            "infuse",
            f"version {__version__}, Python {python}, home {subject.home}",
            version=__version__,
            python=python,
            home=str(subject.home),
        )
    ]


def profile(subject: Subject) -> Sequence[Finding]:
    """Whether the profile, and the certificate profile that it names, can be used as they stand."""
    from infuse_cli.config.source import load
    from infuse_cli.pki.certificate_profile_files import resolve

    if subject.profile_name is None:
        return [
            doubtful(
                "profile",
                "no profile was named, so what a product needs was not looked at",
                "--profile NAME, or INFUSE_PROFILE.",
            )
        ]
    loaded = load(subject.profile_name, subject.env)
    if loaded.profile.identity.mode == "local-ca":
        resolve(loaded.profile.identity.certificate, subject.home)
    warnings = [str(finding) for finding in loaded.warnings]
    label = f"{loaded.profile.name} has no mistakes"
    if not warnings:
        return [passed("profile", label, overridden=list(loaded.overridden))]
    return [
        doubtful(
            "profile",
            f"{loaded.profile.name}: {warnings[0]}",
            f"`infuse profile check {subject.profile_name}` lists all"
            f" {plural(len(warnings), 'warning')}.",
            warnings=warnings,
        )
    ]


def cloud(subject: Subject) -> Sequence[Finding]:
    """Credential, API and clock: one call answers for all three."""
    section = _section(subject)
    found, findings = _credential(subject, section)
    return [*findings, *_reached(section, None if found is None else found.secret)]


def _section(subject: Subject) -> Cloud:
    from infuse_cli.devices.session import bare_cloud

    return bare_cloud(subject.env) if subject.profile is None else subject.profile.cloud


def _credential(subject: Subject, section: Cloud) -> tuple[Found | None, list[Finding]]:
    from infuse_cli.cloud.scheme import check_credential
    from infuse_cli.keys.credentials import credential_host, find_credential

    try:
        found = find_credential(
            credential_host(section.base_url),
            env=subject.env,
            token_file=section.auth.token_file,
            home=subject.home,
        )
        check_credential(found.secret, section.auth.scheme)
    except CredentialError as error:
        return None, [failed("credential", error)]
    expires = expires_at(found.secret)
    told = [
        note for note in found.notes if note != warning(found.secret, datetime.now(UTC))
    ]  # said below in its own words
    notes = f" ({'; '.join(told)})" if told else ""
    where = f"from {found.where}{notes}"
    return found, [_lifetime(where, expires, found), *_kept(found, expires)]


def _lifetime(where: str, expires: datetime | None, found: Found) -> Finding:
    data = {"where": found.where, "source": found.source.value, "expires": expires}
    if expires is None:
        return passed("credential", f"{where}; it names no expiry", **data)
    now = datetime.now(UTC)
    if expires <= now:
        return failed(
            "credential",
            CredentialError(
                "credential.expired", f"{where}; it expired {expires:%Y-%m-%d %H:%M} UTC"
            ),
            **data,
        )
    if expires - now < timedelta(days=1):
        return doubtful(
            "credential",
            f"{where}; it expires {expires:%Y-%m-%d %H:%M} UTC",
            "Get another before the shift begins: `infuse auth login`.",
            **data,
        )
    return passed("credential", f"{where}; it is good until {expires:%Y-%m-%d %H:%M} UTC", **data)


def _kept(found: Found, expires: datetime | None) -> list[Finding]:
    """A credential without an end that lies on the machine is the organisation's own, in
    everybody's reach (docs: credentials).
    """
    from infuse_cli.keys.credentials import Source

    if found.source is Source.ENVIRONMENT or expires is not None:
        return []
    return [
        doubtful(
            "admin credential",
            "an organisation admin credential that never expires is kept on this bench"
            f" ({found.where})",
            "Whoever copies it can do everything the organisation can. Use a token of this bench's"
            " own, change it when people leave, or hand it in per shift by INFUSE_TOKEN.",
        )
    ]


def _reached(section: Cloud, secret: Secret | None) -> list[Finding]:
    import msgspec

    from infuse_cli.cloud.build import connect, connect_openly

    patience_s = min(section.deadline_s, _PATIENCE_S)
    hasty = msgspec.structs.replace(
        section, timeout_s=min(section.timeout_s, patience_s), deadline_s=patience_s
    )
    wait = threading.Event().wait
    client = connect_openly(hasty, wait) if secret is None else connect(hasty, secret, wait)
    try:
        told = _asked(client, section, secret)
        return [told, _clock(client.server_time_offset_s())]
    finally:
        client.close()


def _asked(client: object, section: Cloud, secret: Secret | None) -> Finding:
    from infuse_cli.cloud.infuse_api import InfuseClient

    if not isinstance(client, InfuseClient):
        raise InfuseError("internal.error", "no client of the API")
    try:
        if secret is None:
            return passed(
                "API",
                f"{section.base_url} answers ({client.health()}); without a credential no more was"
                " asked",
                baseUrl=section.base_url,
            )
        names = [organisation.name for organisation in client.organisations()]
    except InfuseError as error:
        return failed("API", error, baseUrl=section.base_url)
    if not names:
        return doubtful(
            "API",
            f"{section.base_url} takes the credential, but it sees no organisation",
            "Check whose credential it is: `infuse auth status --check`.",
            baseUrl=section.base_url,
        )
    return passed(
        "API",
        f"{section.base_url} takes the credential; it sees {', '.join(names)}",
        baseUrl=section.base_url,
        organisations=names,
    )


def _clock(offset_s: float | None) -> Finding:
    if offset_s is None:
        return doubtful(
            "clock", "could not be compared: the server gave no Date", "See the line of the API."
        )
    side = "behind" if offset_s > 0 else "ahead of"
    text = (
        f"{abs(offset_s):.0f} s {side} the server's"
        if abs(offset_s) >= 1.0
        else "agrees with the server's"
    )
    if abs(offset_s) > _MOST_SKEW_S:
        return failed(
            "clock",
            SignerError("ca.clock", f"{text}: nothing is signed", hint=_SKEW_FIX),
            offsetS=round(offset_s, 1),
        )
    if abs(offset_s) > _DOUBTFUL_SKEW_S:
        return doubtful("clock", text, _SKEW_FIX, offsetS=round(offset_s, 1))
    return passed("clock", text, offsetS=round(offset_s, 1))


def journal(subject: Subject) -> Sequence[Finding]:
    """Whether the journal opens, its newest records hold together, and there is room for more."""
    from infuse_cli.journal.database import FILE
    from infuse_cli.journal.store import open_journal

    path = subject.home / FILE
    if not path.exists():
        return [
            passed("journal", f"none in {subject.home} yet; the first run makes it"),
            *_room(subject.home),
        ]
    with open_journal(subject.home, create=False, busy_s=2.0) as opened:
        faults = opened.verify_newest()
        count = opened.event_count()
        left = [attempt for attempt in opened.open_attempts() if not attempt.alive]
    if faults:
        fault = faults[0]
        return [
            failed(
                "journal",
                JournalError(
                    "journal.corrupt",
                    f"the chain of {fault.station} does not hold at event {fault.seq}: {fault.why}",
                ),
            )
        ]
    told = (
        f"{plural(count, 'event')}, the newest hold together; {plural(len(left), 'board')}"
        " unfinished"
    )
    return [
        passed("journal", told, events=count, unfinished=len(left), path=str(path)),
        *_room(subject.home),
    ]


def _room(home: Path) -> list[Finding]:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    told = f"{free / 2**30:.1f} GiB free for {home}"
    if free < _LITTLE_ROOM:
        return [failed("disk", JournalError("journal.disk-full", told), freeBytes=free)]
    if free < _SOME_ROOM:
        return [doubtful("disk", told, "Make room before a long run.", freeBytes=free)]
    return [passed("disk", told, freeBytes=free)]


def ca(subject: Subject) -> Sequence[Finding]:
    """Whether the CA is whole, private, valid for long enough, and opens with the passphrase that a
    run would use.
    """
    from infuse_cli.ca.inspection import revocations_of
    from infuse_cli.pki.store import ca_folder, key_is_loose, read_chain, root_key_here

    section = subject.profile
    wanted = section is not None and section.identity.mode == "local-ca"
    named = "default" if section is None else section.identity.ca
    folder = ca_folder(subject.home, named)
    if not wanted and not folder.exists():
        return [
            passed(
                "CA",
                (
                    "none on this bench, and none is needed"
                    if section is not None
                    else "none on this bench yet; `infuse ca init` makes one"
                ),
            )
        ]
    chain = read_chain(folder)
    if revocations_of(subject.home)(chain[0], chain[1]):
        return [
            failed(
                "CA",
                SignerError(
                    "ca.issuer-revoked", f"{chain[0].subject.rfc4514_string()} was revoked"
                ),
            )
        ]
    if key_is_loose(folder):
        return [
            failed("CA", SignerError("ca.unsafe-key", f"others can read the CA's key in {folder}"))
        ]
    findings = [_validity(folder, chain)]
    if findings[0].state != "FAIL":
        findings += _unlocked(subject, folder, named)
    if root_key_here(folder):
        findings.append(
            doubtful(
                "CA root",
                f"the root's key is on this bench, in {folder}",
                "Move root.key.pem to a medium that is kept elsewhere (next time: `infuse ca init"
                " --root-out`).",
            )
        )
    return findings


def _validity(folder: Path, chain: Sequence[x509.Certificate]) -> Finding:
    from infuse_cli.pki.store import check_dates

    now = datetime.now(UTC)
    try:
        check_dates(chain, now)
    except SignerError as error:
        return failed("CA", error)
    end = min(certificate.not_valid_after_utc for certificate in chain)
    days = (end - now).days
    told = f"{folder.name}: valid until {end:%Y-%m-%d}, {plural(days, 'day')} left"
    if end - now < _SOON:
        return doubtful(
            "CA",
            told,
            "Renew it now: a board's certificate never outlives its issuer.",
            daysLeft=days,
            folder=str(folder),
        )
    if end - now < _LATER:
        return doubtful(
            "CA",
            told,
            "Plan its renewal: a board's certificate never outlives its issuer, so those made now"
            " are short.",
            daysLeft=days,
            folder=str(folder),
        )
    return passed("CA", told, daysLeft=days, folder=str(folder))


def _unlocked(subject: Subject, folder: Path, named: str) -> list[Finding]:
    from infuse_cli.pki.issuers import current_folder, read_key_uri
    from infuse_cli.pki.store import load_ca

    if subject.passphrase_file is None and read_key_uri(current_folder(folder)) is not None:
        return [
            passed(
                "CA key",
                "in a PKCS#11 token; its PIN was not tried, because wrong ones lock the token"
                " (--passphrase-file FILE tries one)",
            )
        ]
    try:
        secret = _passphrase(subject, named)
    except InfuseError as error:
        return [failed("CA key", error)]
    if secret is None:
        return [
            passed(
                "CA key",
                "encrypted and private; its passphrase is asked for at the start of a run, so it"
                " was not tried",
            )
        ]
    try:
        load_ca(folder, secret)
    except SignerError as error:
        return [failed("CA key", error)]
    return [passed("CA key", "opens with the passphrase that a run would use")]


def _passphrase(subject: Subject, named: str) -> Secret | None:
    """The passphrase where no person is needed for it; never a prompt."""
    from infuse_cli.keys import passphrases as secrets
    from infuse_cli.keys.credentials import keyring_secret

    source = None if subject.profile is None else subject.profile.identity.passphrase
    file = subject.passphrase_file or (
        Path(source.file).expanduser() if source is not None and source.file else None
    )
    if file is not None:
        return secrets.read_secret_file(file)
    if source is not None and source.keyring:
        return keyring_secret(secrets.KEYRING_SERVICE, secrets.ca_keyring_name(named))
    return None
