"""`infuse journal import` of what another bench handed over: its tokens are sealed anew under this
bench's key.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.handover import HandedRow, HandOver, bench_sealer, expiry, unsealed
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.config.bench import login_name
from infuse_cli.journal.store import open_journal
from infuse_cli.maintenance.journal_files import recorded
from infuse_cli.provisioning.steps.token import secret_name
from infuse_cli.records import EndRow, IntendToken, MintToken, NoteRun, StoreSecret
from infuse_cli.records.rows import RowOutcome, cloud_key
from infuse_cli.text import plural
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.ports import Sealer
    from infuse_cli.records import Write

_PAGE: Final = 100
"""Rows of one commit."""


def take_over(path: Path, passphrase: FilePassphrase) -> OperationResult:
    """Take a hand-over in.

    All of it is opened before any of it counts; twice is as good as once.
    """
    secret, tokens = passphrase.get(str(path)), Counter[bool]()
    unsealed(path, secret, lambda _: None, lambda row: tokens.update([row.token is not None]))
    sealer = bench_sealer(create=True) if tokens[True] else None
    with (
        open_journal(context.current().home, operator=login_name()) as journal,
        recorded(journal, "journal import") as run,
    ):
        arriving = _Import(journal, sealer, run.id)
        unsealed(path, secret, arriving.begin, arriving.take)
        return arriving.end()


class _Import:
    """One hand-over arriving."""

    def __init__(self, journal: SqliteJournal, sealer: Sealer | None, run: str) -> None:
        self._journal, self._sealer, self._run = journal, sealer, run
        self._now = datetime.now(UTC)
        self._counts: Counter[str] = Counter()
        self._first_expiry: datetime | None = None
        self._writes: list[Write] = []
        self._rows = 0

    def begin(self, head: HandOver) -> None:
        """Remember where it comes from."""
        self._head = head

    def take(self, row: HandedRow) -> None:
        """Take a row in; some of them at a time become durable."""
        self._writes += [*self._token(row), *self._row(row)]
        self._rows += 1
        if self._rows % _PAGE == 0:
            self._journal.commit(*self._writes)
            self._writes = []

    def end(self) -> OperationResult:
        """Make the rest durable, with a note of what came."""
        head, counts = self._head, self._counts
        facts = {
            "id": head.hand_over,
            "station": head.station,
            "created": head.created.isoformat(),
            "devices": counts["devices"],
            "tokens": counts["tokens"],
        }
        self._journal.commit(
            *self._writes, NoteRun(run=self._run, what="taken over from another bench", facts=facts)
        )
        return self._told()

    def _row(self, row: HandedRow) -> list[Write]:
        known = self._journal.row(row.organisation_id, row.soc, row.mcu_id)
        if known is not None and known.device_id is not None:
            self._counts["already"] += 1
            return []
        self._counts["devices"] += 1
        key = {} if row.public_key is None else {"publicKey": row.public_key}
        return [
            EndRow(
                organisation=row.organisation_id,
                soc=row.soc,
                mcu_id=row.mcu_id,
                run=self._run,
                line=row.line,
                state=RowOutcome.EXISTED.value,
                device_id=row.device_id,
                id=row.id,
                name=row.name,
                registry_device_id=row.registry_device_id,
                token_intent=row.token.intent if row.token else None,
                facts={**key, "handOver": self._head.hand_over, "station": self._head.station},
            )
        ]

    def _token(self, row: HandedRow) -> list[Write]:
        found, key = row.token, cloud_key(row.soc, row.mcu_id)
        if found is None or self._sealer is None:
            return []
        if any(
            one.intent == found.intent for one in self._journal.tokens(board=key)
        ) or found.intent in self._by_name(found.name):
            self._counts["tokensAlready"] += 1
            return []
        if found.expires_at is not None and found.expires_at <= self._now:
            self._counts["expired"] += 1
            return []
        self._counts["tokens"] += 1
        if found.expires_at is not None:
            self._first_expiry = min(found.expires_at, self._first_expiry or found.expires_at)
        secret, name = Secret(found.token), secret_name(found.intent)
        return [
            IntendToken(intent=found.intent, name=found.name, board=key),
            MintToken(
                intent=found.intent,
                token_id=found.token_id,
                registry_device_id=found.registry_device_id,
                sha256=secret.sha256(),
                expires_at=found.expires_at,
            ),
            StoreSecret(name=name, sealed=self._sealer.seal(secret, name)),
        ]

    def _by_name(self, name: str) -> set[str]:
        """Intents under a name: a board that took the token up is on record with it by now."""
        return {one.intent for one in self._journal.tokens(name=name)}

    def _told(self) -> OperationResult:
        head, counts = self._head, self._counts
        data = {
            "handOver": head.hand_over,
            "station": head.station,
            "created": head.created,
            "devices": counts["devices"],
            "tokens": counts["tokens"],
            "already": counts["already"],
            "tokensAlready": counts["tokensAlready"],
            "expired": counts["expired"],
            "firstExpiry": self._first_expiry,
        }
        sealed = f"sealed at {head.station} on {head.created:%Y-%m-%d %H:%M} UTC"
        known = (
            f"{plural(counts['already'], 'device')} and {plural(counts['tokensAlready'], 'token')}"
            " were on record here already."
        )
        fresh = counts["devices"] + counts["tokens"] + counts["expired"] > 0
        lines = [
            (
                f"{plural(counts['devices'], 'device')} and"
                f" {plural(counts['tokens'], 'registration token')} taken over, {sealed}."
                if fresh
                else f"Nothing new, {sealed}."
            )
        ]
        if counts["already"] or counts["tokensAlready"]:
            lines.append(known)
        if counts["expired"]:
            lines.append(
                f"{plural(counts['expired'], 'token')} had expired and was left out."
                if counts["expired"] == 1
                else f"{counts['expired']} tokens had expired and were left out."
            )
        if counts["tokens"]:
            lines.append(expiry(self._first_expiry))
        return OperationResult("journal import", data, human="\n".join(lines))
