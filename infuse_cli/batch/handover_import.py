"""What another bench handed over, taken in: its tokens are sealed anew under this bench's key."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli.batch.adapters import bench_sealer
from infuse_cli.batch.handover import HandedRow, HandOver, earlier, unseal
from infuse_cli.effects.journal_run import command_run
from infuse_cli.effects.tokens import secret_name
from infuse_cli.records import EndRow, IntendToken, MintToken, NoteRun, StoreSecret
from infuse_cli.records.notes import NoteKind
from infuse_cli.records.rows import RowOutcome, cloud_key
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.ports import Sealer
    from infuse_cli.records import Write
    from infuse_cli.settings import Settings

_PAGE: Final = 100
"""Rows of one commit."""


@dataclass(frozen=True, slots=True)
class HandOverImport:
    """What was taken in. `known_…` were in this journal already, `expired` tokens were left out."""

    hand_over: str
    station: str
    created: datetime
    devices: int
    tokens: int
    known_devices: int
    known_tokens: int
    expired: int
    first_expiry: datetime | None


def take_over(settings: Settings, path: Path, passphrase: FilePassphrase) -> HandOverImport:
    """Take a hand-over in. Twice is as good as once.

    All of it is opened before any of it counts. Raises CredentialError, JournalError.
    """
    secret, tokens = passphrase.get(str(path)), Counter[bool]()
    unseal(path, secret, lambda _: None, lambda row: tokens.update([row.token is not None]))
    sealer = bench_sealer(settings, create=True) if tokens[True] else None
    with command_run(settings.home, "journal import") as run:
        importer = _Import(run.journal, sealer, run.id)
        unseal(path, secret, importer.begin, importer.take)
        return importer.end()


class _Import:
    """One hand-over being taken in."""

    def __init__(self, journal: SqliteJournal, sealer: Sealer | None, run: str) -> None:
        self._journal, self._sealer, self._run = journal, sealer, run
        self._now = datetime.now(UTC)
        self._devices = self._tokens = self._known_devices = self._known_tokens = 0
        self._expired = self._rows = 0
        self._first_expiry: datetime | None = None
        self._writes: list[Write] = []

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

    def end(self) -> HandOverImport:
        """Make the rest durable, with a note of what came."""
        head = self._head
        facts = {
            "id": head.hand_over,
            "station": head.station,
            "created": head.created.isoformat(),
            "devices": self._devices,
            "tokens": self._tokens,
        }
        note = NoteRun(run=self._run, what=NoteKind.TAKEN_OVER, facts=facts)
        self._journal.commit(*self._writes, note)
        return HandOverImport(
            head.hand_over,
            head.station,
            head.created,
            devices=self._devices,
            tokens=self._tokens,
            known_devices=self._known_devices,
            known_tokens=self._known_tokens,
            expired=self._expired,
            first_expiry=self._first_expiry,
        )

    def _row(self, row: HandedRow) -> list[Write]:
        known = self._journal.row(row.organisation_id, row.soc, row.mcu_id)
        if known is not None and known.device_id is not None:
            self._known_devices += 1
            return []
        self._devices += 1
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
        token, key = row.token, cloud_key(row.soc, row.mcu_id)
        if token is None or self._sealer is None:
            return []
        # A board that took the token up has it under its own key by now, but under the same name.
        records = (*self._journal.tokens(board=key), *self._journal.tokens(name=token.name))
        if any(record.intent == token.intent for record in records):
            self._known_tokens += 1
            return []
        if token.expires_at is not None and token.expires_at <= self._now:
            self._expired += 1
            return []
        self._tokens += 1
        self._first_expiry = earlier(self._first_expiry, token.expires_at)
        secret, name = Secret(token.token), secret_name(token.intent)
        return [
            IntendToken(intent=token.intent, name=token.name, board=key),
            MintToken(
                intent=token.intent,
                token_id=token.token_id,
                registry_device_id=token.registry_device_id,
                sha256=secret.sha256(),
                expires_at=token.expires_at,
            ),
            StoreSecret(name=name, sealed=self._sealer.seal(secret, name)),
        ]
