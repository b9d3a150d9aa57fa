"""What a row's life writes into the journal, as values: its intent, its token, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import CredentialError
from infuse_cli.provisioning.steps.token import secret_name
from infuse_cli.records import (
    BeginRow,
    DropSecret,
    EndRow,
    IntendToken,
    MintToken,
    MoveToken,
    StoreSecret,
)
from infuse_cli.records.rows import PARKED, RowOutcome
from infuse_cli.types import Secret, TokenState

if TYPE_CHECKING:
    from infuse_cli import ports
    from infuse_cli.batch.model import Ended, Job
    from infuse_cli.records import Write
    from infuse_cli.records.rows import Row

_SETTLED: Final = frozenset({RowOutcome.CREATED.value, RowOutcome.EXISTED.value})


class Ledger:
    """Makes the writes of one run's rows."""

    def __init__(
        self,
        journal: ports.Journal,
        sealer: ports.Sealer | None,
        *,
        run: str,
        organisation: str,
        soc: str,
    ) -> None:
        self._journal: Final = journal
        self._sealer: Final = sealer
        self._run: Final = run
        self._organisation: Final = organisation
        self._soc: Final = soc

    def begin(self, job: Job) -> list[Write]:
        """The intent, before anything of this row goes out; that of its token with it."""
        row = job.row
        facts = {"metadata": row.metadata, **_lasting(row)}
        begun = BeginRow(
            organisation=self._organisation,
            soc=self._soc,
            mcu_id=row.mcu_id,
            run=self._run,
            line=row.line,
            device_id=row.device_id,
            name=row.name,
            token_intent=job.intent,
            seen=job.record.run if job.record else "",
            facts=facts,
        )
        if row.name is None or job.intent is None or job.minted_unseen:
            return [begun]
        return [begun, IntendToken(intent=job.intent, name=row.name, board=job.key)]

    def renew(self, job: Job) -> list[Write]:
        """Our own unfinished registry device is about to go: its tokens end on record first,
        another is intended.
        """
        return [*self._forget(job, "its answer was lost or its token ran out"), *self.begin(job)]

    def park(self, job: Job) -> list[Write]:
        """Nothing was sent that is not on record."""
        if not job.begun:
            return []
        return [*self._unminted(job, "never minted"), self._end_row(job, PARKED, None)]

    def end(self, job: Job, ended: Ended, retired: str) -> list[Write]:
        """What became of the row; nothing where the record says so already."""
        if not job.begun and self._is_on_record(job, ended):
            return []
        writes = [self._end_row(job, ended.outcome.value, ended)]
        if job.minted is not None and job.intent is not None:
            return [*self._minted(job, job.intent), *writes]
        return [*(self._unminted(job, retired) if retired else []), *writes]

    def _minted(self, job: Job, intent: str) -> list[Write]:
        if self._sealer is None or job.minted is None:
            raise CredentialError(
                "credential.sealing-key",
                "a token would have to be kept, and there is no key to seal it with",
            )
        secret, name = Secret(job.minted.token), secret_name(intent)
        return [
            MintToken(
                intent=intent,
                token_id=job.minted.id,
                registry_device_id=job.minted.device_id,
                sha256=secret.sha256(),
                expires_at=job.minted.expires_at,
            ),
            StoreSecret(name=name, sealed=self._sealer.seal(secret, name)),
        ]

    def _unminted(self, job: Job, why: str) -> list[Write]:
        if job.intent is None or job.minted_unseen or not job.begun:
            return []
        return [
            MoveToken(
                intent=job.intent,
                from_state=TokenState.INTENDED,
                to_state=TokenState.REVOKED,
                why=why,
            )
        ]

    def _forget(self, job: Job, why: str) -> list[Write]:
        ends = {
            TokenState.INTENDED: TokenState.REVOKED,
            TokenState.MINTED: TokenState.EXPIRED,
            TokenState.EXPOSED: TokenState.EXPIRED,
        }
        writes: list[Write] = []
        for token in self._journal.tokens(board=job.key):
            if token.state in ends:
                writes += [
                    MoveToken(
                        intent=token.intent,
                        from_state=token.state,
                        to_state=ends[token.state],
                        why=why,
                    ),
                    DropSecret(name=secret_name(token.intent)),
                ]
        return writes

    def _end_row(self, job: Job, state: str, ended: Ended | None) -> EndRow:
        row, device = job.row, job.device
        facts = {**_lasting(row), **({"updated": job.updated} if job.updated else {})}
        intent = job.live or (job.intent if job.begun or job.minted_unseen else None)
        return EndRow(
            organisation=self._organisation,
            soc=self._soc,
            mcu_id=row.mcu_id,
            run=self._run,
            line=row.line,
            state=state,
            device_id=device.device_id if device else None,
            id=device.id if device else None,
            name=row.name,
            registry_device_id=job.registry_device_id,
            token_intent=intent,
            facts=facts,
            error=ended.error if ended else None,
        )

    def _is_on_record(self, job: Job, ended: Ended) -> bool:
        record = job.record
        return (
            record is not None
            and record.state in _SETTLED
            and ended.outcome is RowOutcome.EXISTED
            and (record.device_id, record.registry_device_id, record.name)
            == (ended.device_id, ended.registry_device_id, ended.name)
        )


def _lasting(row: Row) -> dict[str, Any]:
    """What the row says that is needed long after it: a bench derives keys by its public key."""
    return {
        **({"tags": list(row.tags)} if row.tags else {}),
        **({"publicKey": row.public_key} if row.public_key else {}),
    }


def is_row(write: Write) -> bool:
    """Whether a write is a row's own; those are made in few statements where they stand
    together.
    """
    return isinstance(write, BeginRow | EndRow)
