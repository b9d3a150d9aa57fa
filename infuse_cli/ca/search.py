"""`infuse ca list`: the certificates on record, as a table, CSV or JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.ca import common as ca_common
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as cloud_views
from infuse_cli.cli.views import journal as journal_views
from infuse_cli.effects.results import Results
from infuse_cli.errors import UsageError
from infuse_cli.journal import certificates
from infuse_cli.journal.certificates import SERIAL_STATES, Wanted
from infuse_cli.journal.store import open_journal
from infuse_cli.pki.issuers import find_issuer, sha256_of
from infuse_cli.text import plural

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.records import CertificateRecord

STATES: Final = (
    "issued",
    "expired",
    "revoked",
    "superseded",
    "issued-unseen",
    *SERIAL_STATES,
    "refused",
)
_TITLES: Final = {"stored": "issued", "state": "state", "name": "name", "serial": "serial"}
_COLUMNS: Final = (
    "serial",
    "issuerSha256",
    "name",
    "deviceId",
    "board",
    "state",
    "profile",
    "notBefore",
    "notAfter",
    "stored",
    "revoked",
    "reason",
    "run",
    "station",
    "sha256",
    "publicKeySha256",
)
_SERIAL_TITLES: Final = {"reserved": "reserved", "state": "state", "serial": "serial"}
_REFUSED_TITLES: Final = {"ts": "when", "code": "code", "source": "file", "message": "why"}


@dataclass(frozen=True, slots=True)
class Shown:
    """How a list is shown: `format` table, csv or json, `out` a file instead of standard output."""

    format: str = "table"
    out: Path | None = None


def listed(
    wanted: Wanted, shown: Shown, *, ca: str | None, dates: tuple[str | None, str | None]
) -> OperationResult:
    """The certificates that fit, oldest first; serials without a certificate and refused CSRs by
    their state.
    """
    if wanted.state is not None and wanted.state not in STATES:
        raise UsageError(
            "usage.bad-option", f"--state is one of {', '.join(STATES)}, not {wanted.state!r}"
        )
    since, until = dates
    wanted = dataclasses.replace(
        wanted,
        since=_day(since, "--since"),
        until=_day(until, "--until", after=True),
        issuer=_issuer(wanted.issuer, ca),
    )
    rows, titles, key = _rows(wanted)
    if shown.out is None and shown.format == "table":
        cells = [[cloud_views.text(_brief(row.get(name))) for name in titles] for row in rows]
        return OperationResult(
            "ca list",
            {key: rows},
            human=lambda console: cloud_views.table(
                console, list(titles.values()), cells, "No certificate fits."
            ),
        )
    text = (
        journal_views.as_json(rows)
        if shown.format == "json"
        else journal_views.as_csv(rows, _COLUMNS if key == "certificates" else ())
    )
    if shown.out is not None:
        Results(context.current().settings).write(shown.out, text.encode())
        text = f"{plural(len(rows), 'row')} in {shown.out}"
    return OperationResult(
        "ca list", {key: rows, "out": str(shown.out.absolute()) if shown.out else None}, human=text
    )


def _rows(wanted: Wanted) -> tuple[list[dict[str, Any]], dict[str, str], str]:
    with open_journal(context.current().home) as journal:
        if wanted.state in SERIAL_STATES:
            return certificates.unused_serials(journal, wanted.state), _SERIAL_TITLES, "serials"
        if wanted.state == "refused":
            return certificates.refusals(journal), _REFUSED_TITLES, "refused"
        return (
            [described(one) for one in certificates.search(journal, wanted)],
            _TITLES,
            "certificates",
        )


def described(one: CertificateRecord, *, now: datetime | None = None) -> dict[str, Any]:
    """A certificate on record as JSON values; one whose time is over is `expired`."""
    over = one.state == "issued" and one.not_after < (now or datetime.now(UTC))
    return {
        "serial": one.serial,
        "issuerSha256": one.issuer,
        "name": one.name,
        "deviceId": one.device_id,
        "board": one.board,
        "state": "expired" if over else one.state,
        "profile": one.profile,
        "notBefore": one.not_before,
        "notAfter": one.not_after,
        "stored": one.stored,
        "revoked": one.revoked_at,
        "reason": one.reason,
        "run": one.run,
        "station": one.station,
        "sha256": one.sha256,
        "publicKeySha256": one.spki_sha256,
    }


def _issuer(named: str | None, ca: str | None) -> str | None:
    """The issuer's SHA-256: as it is, or of an issuer of the CA that the text names."""
    if named is None or len(named) == 64:
        return named
    return sha256_of(find_issuer(ca_common.folder_of(ca), named).certificate)


def _day(text: str | None, option: str, *, after: bool = False) -> datetime | None:
    """A date as midnight UTC, with `after` the one that ends it; a date and time as it is."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=after)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "usage.bad-option", f"{option} is a date such as 2026-01-31, not {text!r}"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _brief(value: Any) -> Any:
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else value
