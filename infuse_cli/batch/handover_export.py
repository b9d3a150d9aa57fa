"""Ids and live tokens of rows, sealed for another bench.

A token that was handed over is never used here again: the journal has that before the file is in
its place.
"""

from __future__ import annotations

import enum
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - a dataclass names it
from typing import TYPE_CHECKING, Final

from infuse_cli import failpoint
from infuse_cli.batch.adapters import bench_sealer, existing_journal
from infuse_cli.batch.handover import (
    MAGIC,
    HandedRow,
    HandedToken,
    HandOver,
    JsonLines,
    earlier,
)
from infuse_cli.batch.known_rows import known_rows
from infuse_cli.config.bench import load_bench
from infuse_cli.effects.journal_run import journal_run, run_start
from infuse_cli.effects.tokens import secret_name
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.files import StagedFile
from infuse_cli.keys import sealed_file
from infuse_cli.keys.file_passphrase import FilePassphrase  # noqa: TC001 - a dataclass names it
from infuse_cli.records import MoveToken, NoteRun
from infuse_cli.records.notes import NoteKind
from infuse_cli.records.rows import SETTLED, cloud_key
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgspec import Struct

    from infuse_cli.batch.known_rows import KnownRow
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.ports import Sealer
    from infuse_cli.records import TokenRecord, Write
    from infuse_cli.records.rows import RowRecord
    from infuse_cli.settings import Settings

_ALIVE: Final = frozenset({TokenState.MINTED, TokenState.HANDED_OVER, TokenState.DELIVERED})


class TokenFate(enum.Enum):
    """What a hand-over does with a row's token."""

    SEALED = "tokens"
    NONE = "withoutToken"
    BEFORE = "handedOverBefore"
    EXPIRED = "expired"
    IN_USE = "inUse"


@dataclass(frozen=True, slots=True)
class HandOverRequest:
    """Which rows go to another bench. `file` None: every row in the journal.

    `again` seals tokens too that were handed over before.
    """

    file: Path | None
    out: Path
    passphrase: FilePassphrase
    again: bool = False


@dataclass(frozen=True, slots=True)
class HandOverFile:
    """A hand-over that was made. `left_out` rows are not registered."""

    out: Path
    id: str
    devices: int
    left_out: int
    tokens: Mapping[TokenFate, int]
    first_expiry: datetime | None


def hand_over(settings: Settings, request: HandOverRequest) -> HandOverFile:
    """Seal ids and live tokens into one file, recorded before the file is in its place.

    Raises UsageError usage.bad-option, CredentialError, JournalError, PolicyError batch.handed-over
    and batch.nothing.
    """
    out = request.out
    if out.exists() or not out.absolute().parent.is_dir():
        why = "exists already" if out.exists() else "is in a folder that does not exist"
        raise UsageError(
            "usage.bad-option",
            f"--for-bench {out} {why}",
            hint="Name another file: what was handed over is in the old one alone.",
        )
    with existing_journal(settings) as journal:
        return _HandOver(settings, journal, request).run()


class _HandOver:
    """One hand-over being made."""

    def __init__(
        self, settings: Settings, journal: SqliteJournal, request: HandOverRequest
    ) -> None:
        self._settings, self._journal, self._request = settings, journal, request
        self._id, self._now = uuid.uuid4().hex, datetime.now(UTC)
        self._devices = self._left_out = 0
        self._fates: Counter[TokenFate] = Counter()
        self._sealed: list[TokenRecord] = []
        self._first_expiry: datetime | None = None
        self._sealer: Sealer | None = None

    def run(self) -> HandOverFile:
        """Seal, record, and only then put the file in its place."""
        out = self._request.out
        passphrase = self._request.passphrase.get(str(out), new=True)
        start = run_start("batch export", load_bench(self._settings.home))
        try:
            with journal_run(self._journal, start) as run, StagedFile(out) as file:
                sealed_file.seal(JsonLines(self._lines()), file, passphrase, MAGIC)
                self._check()
                file.settle()
                self._journal.commit(*self._writes(run.id))
                failpoint.hit("done:hand-over")
                file.place()
        except OSError as error:
            raise UsageError(
                "usage.bad-option",
                f"--for-bench {out} cannot be written: {error.strerror or error}",
                hint="Tokens may be marked as handed over already: run it again with --again.",
            ) from error
        return HandOverFile(
            out, self._id, self._devices, self._left_out, self._fates, self._first_expiry
        )

    def _lines(self) -> Iterator[Struct]:
        yield HandOver(hand_over=self._id, station=self._journal.station, created=self._now)
        for row in known_rows(self._journal, self._request.file):
            record = row.record
            if record is None or record.state not in SETTLED or record.device_id is None:
                self._left_out += 1
                continue
            self._devices += 1
            yield self._row(row, record, record.device_id)

    def _row(self, row: KnownRow, record: RowRecord, device_id: str) -> HandedRow:
        token, fate = self._token(record)
        self._fates[fate] += 1
        return HandedRow(
            organisation_id=record.organisation,
            soc=record.soc,
            mcu_id=record.mcu_id,
            line=row.line or record.line,
            device_id=device_id,
            id=record.id,
            name=record.name,
            registry_device_id=record.registry_device_id,
            public_key=record.facts.get("publicKey"),
            token=None if token is None else self._open(token),
        )

    def _token(self, record: RowRecord) -> tuple[TokenRecord | None, TokenFate]:
        """The newest token of a row that another bench could use, or why there is none."""
        tokens = self._journal.tokens(board=cloud_key(record.soc, record.mcu_id))
        alive = [token for token in tokens if token.state in _ALIVE]
        if not alive or self._journal.secret(secret_name(alive[-1].intent)) is None:
            return None, TokenFate.NONE
        newest = alive[-1]
        if newest.expires_at is not None and newest.expires_at <= self._now:
            return None, TokenFate.EXPIRED
        if newest.state is TokenState.DELIVERED:
            return None, TokenFate.IN_USE
        if newest.state is TokenState.HANDED_OVER and not self._request.again:
            return None, TokenFate.BEFORE
        return newest, TokenFate.SEALED

    def _open(self, token: TokenRecord) -> HandedToken:
        self._sealer = self._sealer or bench_sealer(self._settings, create=False)
        name = secret_name(token.intent)
        secret = self._sealer.unseal(self._journal.secret(name) or b"", name)
        self._sealed.append(token)
        self._first_expiry = earlier(self._first_expiry, token.expires_at)
        # The one place where a secret is meant to leave: into a sealed file.
        return HandedToken(
            intent=token.intent,
            name=token.name,
            token_id=token.token_id or "",
            registry_device_id=token.registry_device_id or "",
            token=secret.reveal(),
            expires_at=token.expires_at,
        )

    def _check(self) -> None:
        before = self._fates[TokenFate.BEFORE]
        if before and not self._fates[TokenFate.SEALED]:
            raise PolicyError(
                "batch.handed-over",
                f"{plural(before, 'token')} of these rows went to another bench before, and none"
                " is left",
            )
        if not self._devices:
            raise PolicyError(
                "batch.nothing",
                f"none of {plural(self._left_out, 'row')} is registered, so there is nothing to"
                " hand over",
            )

    def _writes(self, run: str) -> list[Write]:
        why = f"handed over in {self._id}"
        moves = [
            MoveToken(
                intent=token.intent,
                from_state=token.state,
                to_state=TokenState.HANDED_OVER,
                why=why,
            )
            for token in self._sealed
        ]
        facts = {
            "id": self._id,
            "file": str(self._request.out),
            "devices": self._devices,
            "tokens": len(moves),
            "again": self._request.again,
        }
        return [NoteRun(run=run, what=NoteKind.HANDED_OVER, facts=facts), *moves]
