"""`infuse batch export --for-bench`: ids and live tokens sealed for another bench.

A token that was handed over is never used here again: the journal says so before the file is in its
place.
"""

from __future__ import annotations

import enum
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from infuse_cli import failpoint
from infuse_cli.batch.export import journal_here
from infuse_cli.batch.handover import (
    MAGIC,
    HandedRow,
    HandedToken,
    HandOver,
    Lines,
    bench_sealer,
    expiry,
)
from infuse_cli.batch.known_rows import known_rows
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.files import StagedFile
from infuse_cli.keys import sealed_file
from infuse_cli.maintenance.journal_files import recorded
from infuse_cli.provisioning.steps.token import secret_name
from infuse_cli.records import MoveToken, NoteRun
from infuse_cli.records.rows import RowOutcome, cloud_key
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msgspec import Struct

    from infuse_cli.batch.known_rows import Known
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.keys.file_passphrase import FilePassphrase
    from infuse_cli.ports import Sealer
    from infuse_cli.records import TokenRecord, Write
    from infuse_cli.records.rows import RowRecord

_SETTLED: Final = frozenset({RowOutcome.CREATED.value, RowOutcome.EXISTED.value})


class Fate(enum.Enum):
    """What a hand-over says of a row's token."""

    GOES = "tokens"
    NONE = "withoutToken"
    BEFORE = "handedOverBefore"
    EXPIRED = "expired"
    IN_USE = "inUse"


@dataclass(frozen=True, slots=True)
class Wish:
    """What `--for-bench` is asked for. `file` None: every row on record."""

    file: Path | None
    out: Path
    passphrase: FilePassphrase
    again: bool = False


def for_bench(wish: Wish) -> OperationResult:
    """Seal ids and live tokens of rows into one file for another bench, on record before it is in
    its place.
    """
    if wish.out.exists() or not wish.out.absolute().parent.is_dir():
        why = "exists already" if wish.out.exists() else "is in a folder that does not exist"
        raise UsageError(
            "usage.bad-option",
            f"--for-bench {wish.out} {why}",
            hint="Name another file: what was handed over is in the old one alone.",
        )
    with journal_here() as journal:
        return _Export(journal, wish).run()


class _Export:
    """One hand-over."""

    def __init__(self, journal: SqliteJournal, wish: Wish) -> None:
        self._journal, self._wish = journal, wish
        self._id, self._now = uuid.uuid4().hex, datetime.now(UTC)
        self._counts: Counter[str] = Counter()
        self._gone: list[TokenRecord] = []
        self._first_expiry: datetime | None = None
        self._sealer: Sealer | None = None

    def run(self) -> OperationResult:
        """Seal, mark, and only then put the file in its place."""
        passphrase = self._wish.passphrase.get(str(self._wish.out), new=True)
        try:
            with recorded(self._journal, "batch export") as run, StagedFile(self._wish.out) as file:
                sealed_file.seal(Lines(self._lines()), file, passphrase, MAGIC)
                self._check()
                file.settle()
                self._journal.commit(*self._marks(run.id))
                failpoint.hit("done:hand-over")
                file.place()
        except OSError as error:
            raise UsageError(
                "usage.bad-option",
                f"--for-bench {self._wish.out} cannot be written: {error.strerror or error}",
                hint="Tokens may be marked as handed over already: run it again with --again.",
            ) from error
        return self._told()

    def _lines(self) -> Iterator[Struct]:
        yield HandOver(hand_over=self._id, station=self._journal.station, created=self._now)
        for one in known_rows(self._journal, self._wish.file):
            record = one.record
            if record is None or record.state not in _SETTLED or record.device_id is None:
                self._counts["leftOut"] += 1
                continue
            self._counts["devices"] += 1
            yield self._row(one, record, record.device_id)

    def _row(self, one: Known, record: RowRecord, device_id: str) -> HandedRow:
        found, fate = self._token(record)
        self._counts[fate.value] += 1
        return HandedRow(
            organisation_id=record.organisation,
            soc=record.soc,
            mcu_id=record.mcu_id,
            line=one.line or record.line,
            device_id=device_id,
            id=record.id,
            name=record.name,
            registry_device_id=record.registry_device_id,
            public_key=record.facts.get("publicKey"),
            token=None if found is None else self._opened(found),
        )

    def _token(self, record: RowRecord) -> tuple[TokenRecord | None, Fate]:
        """The newest token of a row that another bench could use, and if there is none, why."""
        tokens = self._journal.tokens(board=cloud_key(record.soc, record.mcu_id))
        alive = [
            one
            for one in tokens
            if one.state in {TokenState.MINTED, TokenState.HANDED_OVER, TokenState.EXPOSED}
        ]
        if not alive or self._journal.secret(secret_name(alive[-1].intent)) is None:
            return None, Fate.NONE
        newest = alive[-1]
        if newest.expires_at is not None and newest.expires_at <= self._now:
            return None, Fate.EXPIRED
        if newest.state is TokenState.EXPOSED:
            return None, Fate.IN_USE
        if newest.state is TokenState.HANDED_OVER and not self._wish.again:
            return None, Fate.BEFORE
        return newest, Fate.GOES

    def _opened(self, found: TokenRecord) -> HandedToken:
        self._sealer = self._sealer or bench_sealer(create=False)
        name = secret_name(found.intent)
        secret = self._sealer.unseal(self._journal.secret(name) or b"", name)
        self._gone.append(found)
        if found.expires_at is not None:
            self._first_expiry = min(found.expires_at, self._first_expiry or found.expires_at)
        # The one place where a secret is meant to leave: into a sealed file.
        return HandedToken(
            intent=found.intent,
            name=found.name,
            token_id=found.token_id or "",
            registry_device_id=found.registry_device_id or "",
            token=secret.reveal(),
            expires_at=found.expires_at,
        )

    def _check(self) -> None:
        counts = self._counts
        if counts[Fate.BEFORE.value] and not counts[Fate.GOES.value]:
            raise PolicyError(
                "batch.handed-over",
                f"{plural(counts[Fate.BEFORE.value], 'token')} of these rows went to another bench"
                " before, and none is left",
            )
        if not counts["devices"]:
            raise PolicyError(
                "batch.nothing",
                f"none of {plural(counts['leftOut'], 'row')} is registered, so there is nothing to"
                " hand over",
            )

    def _marks(self, run: str) -> list[Write]:
        why = f"handed over in {self._id}"
        moves = [
            MoveToken(
                intent=one.intent, from_state=one.state, to_state=TokenState.HANDED_OVER, why=why
            )
            for one in self._gone
        ]
        facts = {
            "id": self._id,
            "file": str(self._wish.out),
            "devices": self._counts["devices"],
            "tokens": len(moves),
            "again": self._wish.again,
        }
        return [NoteRun(run=run, what="handed over to another bench", facts=facts), *moves]

    def _told(self) -> OperationResult:
        counts, tokens = self._counts, len(self._gone)
        data = {
            "out": self._wish.out,
            "handOver": self._id,
            "devices": counts["devices"],
            "tokens": tokens,
            "firstExpiry": self._first_expiry,
            **{fate.value: counts[fate.value] for fate in Fate if fate is not Fate.GOES},
            "leftOut": counts["leftOut"],
        }
        lines = [
            (
                f"{plural(counts['devices'], 'device')} and {plural(tokens, 'registration token')}"
                f" sealed into {self._wish.out}."
            )
        ]
        lines += [f"{counts[key]} {words}" for key, words in _LEFT.items() if counts[key]]
        if tokens:
            lines += [
                expiry(self._first_expiry),
                (
                    "They are not used on this bench any more. At the other one: infuse journal"
                    f" import {self._wish.out.name}"
                ),
            ]
        return OperationResult("batch export", data, human="\n".join(lines))


_LEFT: Final = {
    Fate.BEFORE.value: (
        "without their token, which was handed over before (--again seals it once more)"
    ),
    Fate.EXPIRED.value: (
        "without their token, which has expired (`infuse batch register` mints another)"
    ),
    Fate.IN_USE.value: "without their token, which is in use on this bench",
    "leftOut": "left out, because they are not registered",
}
