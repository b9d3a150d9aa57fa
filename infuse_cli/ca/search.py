"""Searching the certificates of the journal, the serials without one, and the refused requests."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.ca import common
from infuse_cli.ca.origins import KnownIssuers, lists_of
from infuse_cli.errors import UsageError
from infuse_cli.journal import certificates
from infuse_cli.journal.certificates import SERIAL_STATES, Wanted
from infuse_cli.journal.store import open_journal
from infuse_cli.pki.issuers import find_issuer

if TYPE_CHECKING:
    from infuse_cli.records import CertificateRecord
    from infuse_cli.settings import Settings

STATES: Final = (
    "issued",
    "expired",
    "revoked",
    "superseded",
    "issued-unseen",
    *SERIAL_STATES,
    "refused",
)


@dataclass(frozen=True, slots=True)
class CertificateFilter:
    """Which certificates: `wanted` of the journal, between two dates (ISO 8601, UTC; a day is meant
    whole), of one CA. `wanted.issuer` may name an issuer as `find_issuer` takes it.
    """

    wanted: Wanted
    since: str | None = None
    until: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class FoundCertificates:
    """What a search found, oldest first: certificates, or, by the state that was asked for, serials
    without a certificate or requests that were refused.
    """

    certificates: tuple[CertificateRecord, ...] = ()
    serials: tuple[dict[str, Any], ...] | None = None
    refused: tuple[dict[str, Any], ...] | None = None


def search(settings: Settings, request: CertificateFilter) -> FoundCertificates:
    """Search the journal. Raises UsageError, SignerError, JournalError."""
    wanted, state = request.wanted, request.wanted.state
    if state is not None and state not in STATES:
        raise UsageError(
            "usage.bad-option", f"--state is one of {', '.join(STATES)}, not {state!r}"
        )
    wanted = dataclasses.replace(
        wanted,
        since=_day(request.since, "--since"),
        until=_day(request.until, "--until", after=True),
        issuer=_issuer(settings, wanted.issuer, request.ca),
        issuers=None if request.ca is None else _issuers(settings, request.ca),
    )
    with open_journal(settings.home) as journal:
        if state == "refused":
            if request.ca is not None:
                raise UsageError(
                    "usage.bad-option", "--ca does not go with --state refused: no CA took them"
                )
            return FoundCertificates(refused=tuple(certificates.refusals(journal)))
        if state in SERIAL_STATES:
            rows = certificates.unused_serials(journal, state)
            of_ca = wanted.issuers
            return FoundCertificates(
                serials=tuple(row for row in rows if of_ca is None or row["issuer"] in of_ca)
            )
        return FoundCertificates(tuple(certificates.search(journal, wanted)))


def _issuers(settings: Settings, ca: str) -> frozenset[str]:
    """Every issuer (SHA-256) of a CA. Raises SignerError ca.not-found."""
    known = KnownIssuers(settings, common.folder_of(settings, ca))
    find_issuer(known.folder, "current")
    return frozenset(issuer for found in known.own for issuer in lists_of(found))


def _issuer(settings: Settings, named: str | None, ca: str | None) -> str | None:
    """The issuer's SHA-256: as it is, or of an issuer of the CA that the text names."""
    if named is None or len(named) == 64:
        return named
    return find_issuer(common.folder_of(settings, ca), named).sha256


def _day(text: str | None, option: str, *, after: bool = False) -> datetime | None:
    """A date as midnight UTC, with `after` the one that ends it; a date and time as it is."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=after)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "usage.bad-option", f"{option} is a date such as 2026-01-31, not {text!r}"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
