"""What `infuse ca list` shows: a table, CSV or JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as cloud_views
from infuse_cli.cli.views import journal as journal_views
from infuse_cli.effects.results import Results
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.ca.search import FoundCertificates
    from infuse_cli.records import CertificateRecord

_TITLES: Final = {"stored": "issued", "state": "state", "name": "name", "serial": "serial"}
_SERIAL_TITLES: Final = {"reserved": "reserved", "state": "state", "serial": "serial"}
_REFUSED_TITLES: Final = {"ts": "when", "code": "code", "source": "file", "message": "why"}
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


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list is shown: `form` table, csv or json, `out` a file instead of standard output."""

    form: str = "table"
    out: Path | None = None


def listed(found: FoundCertificates, layout: Layout) -> OperationResult:
    """`ca list`."""
    key, rows, titles, columns = _rows(found)
    if layout.out is None and layout.form == "table":
        cells = [[cloud_views.text(_brief(row.get(name))) for name in titles] for row in rows]
        return OperationResult(
            "ca list",
            {key: rows},
            human=lambda console: cloud_views.table(
                console, list(titles.values()), cells, "No certificate fits."
            ),
        )
    is_json = layout.form == "json"
    text = journal_views.as_json(rows) if is_json else journal_views.as_csv(rows, columns)
    if layout.out is not None:
        Results(context.current().settings).write(layout.out, text.encode())
        text = f"{plural(len(rows), 'row')} in {layout.out}"
    out = str(layout.out.absolute()) if layout.out else None
    return OperationResult("ca list", {key: rows, "out": out}, human=text)


def _rows(
    found: FoundCertificates,
) -> tuple[str, list[dict[str, Any]], dict[str, str], Sequence[str]]:
    if found.serials is not None:
        return "serials", list(found.serials), _SERIAL_TITLES, ()
    if found.refused is not None:
        return "refused", list(found.refused), _REFUSED_TITLES, ()
    rows = [_row(certificate) for certificate in found.certificates]
    return "certificates", rows, _TITLES, _COLUMNS


def _row(certificate: CertificateRecord) -> dict[str, Any]:
    """A certificate as JSON values; one whose time is over is `expired`."""
    is_over = certificate.state == "issued" and certificate.not_after < datetime.now(UTC)
    return {
        "serial": certificate.serial,
        "issuerSha256": certificate.issuer,
        "name": certificate.name,
        "deviceId": certificate.device_id,
        "board": certificate.board,
        "state": "expired" if is_over else certificate.state,
        "profile": certificate.profile,
        "notBefore": certificate.not_before,
        "notAfter": certificate.not_after,
        "stored": certificate.stored,
        "revoked": certificate.revoked_at,
        "reason": certificate.reason,
        "run": certificate.run,
        "station": certificate.station,
        "sha256": certificate.sha256,
        "publicKeySha256": certificate.spki_sha256,
    }


def _brief(value: Any) -> Any:
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else value
