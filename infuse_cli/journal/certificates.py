"""Questions about certificates: which ones fit, which are revoked, which serials were never
used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, func, or_, select

from infuse_cli import records as rec
from infuse_cli.journal import reads, schema
from infuse_cli.journal.codec import from_json, maybe_time, to_text, to_time
from infuse_cli.journal.queries import find_boards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.journal.store import SqliteJournal

_certificate, _serial, _revocation, _crl, _event = (
    schema.certificate.c,
    schema.serial.c,
    schema.revocation.c,
    schema.crl.c,
    schema.event.c,
)
_MOST: Final = 500  # bound variables in one statement
SERIAL_STATES: Final = ("reserved", "void")
"""States of serials that have no certificate."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions on certificates; None is any. Times in UTC, `until` is not included.

    `device` is a name or device id, `board` whatever names a board (`queries.find_boards`), `state`
    one of issued, expired, revoked, superseded, issued-unseen; `issuer` the SHA-256 hex of the
    issuing certificate, `issuers` several of them.
    """

    serial: str | None = None
    device: str | None = None
    board: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    run: str | None = None
    station: str | None = None
    issuer: str | None = None
    profile: str | None = None
    spki: str | None = None
    issuers: frozenset[str] | None = None


def search(
    journal: SqliteJournal, wanted: Wanted, *, now: datetime | None = None
) -> list[rec.CertificateRecord]:
    """The certificates that fit all conditions, oldest first."""
    where = [*_plain(wanted), *_state(wanted.state, to_text(now or datetime.now(UTC)))]
    if wanted.board is not None:
        where.append(
            _certificate.board.in_([found.board for found in find_boards(journal, wanted.board)])
        )
    with journal.reading() as connection:
        return reads.certificates(connection, *where)


def _plain(wanted: Wanted) -> list[ColumnElement[bool]]:
    same = (
        (_certificate.run, wanted.run),
        (_certificate.station, wanted.station),
        (_certificate.issuer, wanted.issuer),
        (_certificate.profile, wanted.profile),
        (_certificate.spki_sha256, wanted.spki),
    )
    where: list[ColumnElement[bool]] = [
        column == value for column, value in same if value is not None
    ]
    if wanted.issuers is not None:
        where.append(_certificate.issuer.in_(sorted(wanted.issuers)))
    if wanted.serial is not None:
        where.append(_certificate.serial == plain_serial(wanted.serial))
    if wanted.device is not None:
        where.append(
            or_(_certificate.device_id == wanted.device.lower(), _certificate.name == wanted.device)
        )
    if wanted.since is not None:
        where.append(_certificate.stored >= to_text(wanted.since))
    if wanted.until is not None:
        where.append(_certificate.stored < to_text(wanted.until))
    return where


def _state(state: str | None, now: str) -> list[ColumnElement[bool]]:
    match state:
        case None:
            return []
        case "expired":
            return [_certificate.not_after < now]
        case "issued":
            return [_certificate.state == state, _certificate.not_after >= now]
        case _:
            return [_certificate.state == state]


def plain_serial(text: str) -> str:
    """A serial as the journal writes it: lower-case hex, an even number of digits, no colons."""
    digits = (
        text.strip().lower().removeprefix("0x").replace(":", "").replace(" ", "").lstrip("0") or "0"
    )
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def abandoned(journal: SqliteJournal) -> list[tuple[str, str]]:
    """(serial, issuer) reserved outside of any attempt by a run whose process is gone, without a
    certificate.
    """
    with journal.reading() as connection:
        rows = connection.execute(
            select(_serial.serial, _serial.issuer, _serial.run)
            .where(_serial.state == "reserved", _serial.attempt.is_(None))
            .order_by(_serial.serial)
        ).all()
    living = {run: journal.alive(run) for run in {row.run for row in rows} if run is not None}
    return [(row.serial, row.issuer) for row in rows if not living.get(row.run, False)]


def unused_serials(journal: SqliteJournal, state: str) -> list[dict[str, Any]]:
    """Serials that have no certificate: `reserved` or `void`."""
    with journal.reading() as connection:
        rows = connection.execute(
            select(schema.serial)
            .where(_serial.state == state)
            .order_by(_serial.reserved, _serial.serial)
        ).all()
    return [
        {
            "serial": row.serial,
            "issuer": row.issuer,
            "state": row.state,
            "attempt": row.attempt,
            "run": row.run,
            "reserved": maybe_time(row.reserved),
        }
        for row in rows
    ]


def revocations(journal: SqliteJournal, issuer: str) -> list[rec.RevocationRecord]:
    """What is revoked of an issuer, oldest first."""
    with journal.reading() as connection:
        rows = connection.execute(
            select(schema.revocation)
            .where(_revocation.issuer == issuer)
            .order_by(_revocation.at, _revocation.serial)
        ).all()
    return [
        rec.RevocationRecord(
            serial=row.serial,
            issuer=row.issuer,
            at=to_time(row.at),
            reason=row.reason,
            not_after=maybe_time(row.not_after),
            name=row.name,
        )
        for row in rows
    ]


def newest_crl(journal: SqliteJournal, issuer: str) -> rec.CrlRecord | None:
    """The CRL of an issuer with the highest number, None before any."""
    with journal.reading() as connection:
        row = connection.execute(
            select(schema.crl).where(_crl.issuer == issuer).order_by(_crl.number.desc()).limit(1)
        ).first()
    if row is None:
        return None
    return rec.CrlRecord(
        issuer=row.issuer,
        number=row.number,
        this_update=to_time(row.this_update),
        next_update=to_time(row.next_update),
        sha256=row.sha256,
        content=row.content,
        entries=row.entries,
    )


def issuers_of(journal: SqliteJournal, *, station: str | None = None) -> dict[str, int]:
    """How many certificates each issuer (SHA-256 hex) has on record, of one station or of all."""
    where = [] if station is None else [_certificate.station == station]
    with journal.reading() as connection:
        rows = connection.execute(
            select(_certificate.issuer, func.count()).where(*where).group_by(_certificate.issuer)
        ).all()
    return {row[0]: int(row[1]) for row in rows}


def refusals(journal: SqliteJournal) -> list[dict[str, Any]]:
    """CSRs that were refused, oldest first: when, why, and what came."""
    with journal.reading() as connection:
        rows = connection.execute(
            select(schema.event)
            .where(_event.kind == "csr-refused")
            .order_by(_event.station, _event.seq)
        ).all()
    return [
        {
            "ts": to_time(row.ts),
            "station": row.station,
            "operator": row.operator,
            **from_json(row.facts),
        }
        for row in rows
    ]


def of_keys(
    journal: SqliteJournal, spkis: Sequence[str], *, now: datetime | None = None
) -> dict[str, list[rec.CertificateRecord]]:
    """Valid certificates of these public keys (SHA-256 hex), each key's oldest first."""
    found: dict[str, list[rec.CertificateRecord]] = {}
    moment = to_text(now or datetime.now(UTC))
    with journal.reading() as connection:
        for part in _parts(spkis):
            for one in reads.certificates(
                connection,
                _certificate.spki_sha256.in_(part),
                _certificate.state == "issued",
                _certificate.not_after > moment,
            ):
                found.setdefault(one.spki_sha256, []).append(one)
    return found


def exposed_keys(journal: SqliteJournal, spkis: Sequence[str]) -> dict[str, str]:
    """Those of these public keys that a certificate was revoked for as compromised, each with its
    serial.
    """
    with journal.reading() as connection:
        return {
            row.spki_sha256: row.serial
            for part in _parts(spkis)
            for row in connection.execute(
                select(_certificate.spki_sha256, _certificate.serial)
                .join(
                    schema.revocation,
                    (_revocation.serial == _certificate.serial)
                    & (_revocation.issuer == _certificate.issuer),
                )
                .where(_certificate.spki_sha256.in_(part), _revocation.reason == "keyCompromise")
            )
        }


def owners_of(journal: SqliteJournal, spkis: Sequence[str]) -> dict[str, str]:
    """The boards that these public keys were seen on."""
    seen = schema.seen_key.c
    with journal.reading() as connection:
        return {
            row.spki_sha256: row.board
            for part in _parts(spkis)
            for row in connection.execute(
                select(seen.spki_sha256, seen.board).where(seen.spki_sha256.in_(part))
            )
        }


def keys_of_names(
    journal: SqliteJournal, names: Sequence[str], profile: str, *, now: datetime | None = None
) -> dict[str, set[str]]:
    """Public keys with a valid certificate of this profile, by common name."""
    found: dict[str, set[str]] = {}
    moment = to_text(now or datetime.now(UTC))
    with journal.reading() as connection:
        for part in _parts(names):
            rows = connection.execute(
                select(_certificate.name, _certificate.profile, _certificate.spki_sha256).where(
                    _certificate.name.in_(part),
                    _certificate.state == "issued",
                    _certificate.not_after > moment,
                )
            )
            for row in rows:
                if row.profile == profile:  # not in the statement: see `writes_ca._NAMESAKE`
                    found.setdefault(row.name, set()).add(row.spki_sha256)
    return found


def _parts(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + _MOST] for start in range(0, len(values), _MOST)]
