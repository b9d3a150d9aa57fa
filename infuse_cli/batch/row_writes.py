"""What a row's life writes into the journal, as values: its intent, its token, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.effects.tokens import minted_write, sealed_write, secret_name
from infuse_cli.errors import CredentialError
from infuse_cli.records import (
    BeginRow,
    DropSecret,
    EndRow,
    IntendToken,
    MoveToken,
)
from infuse_cli.records.rows import PARKED, SETTLED, RowOutcome
from infuse_cli.types import Secret, TokenState

if TYPE_CHECKING:
    from infuse_cli import ports
    from infuse_cli.api_types import MintedToken
    from infuse_cli.batch.model import EndedRow, Job, RunContext
    from infuse_cli.batch.row_machine import Finish
    from infuse_cli.records import Write
    from infuse_cli.records.rows import Row

_ENDS: Final = {
    TokenState.INTENDED: TokenState.REVOKED,
    TokenState.MINTED: TokenState.EXPIRED,
    TokenState.DELIVERED: TokenState.EXPIRED,
}
"""How a row's tokens end when their registry device is taken away."""


class RowWrites:
    """Makes the writes of one run's rows."""

    def __init__(self, context: RunContext) -> None:
        self._journal: Final[ports.Journal] = context.journal
        self._sealer: Final[ports.Sealer | None] = context.sealer
        self._run: Final = context.run
        self._organisation: Final = context.resolved.organisation.id
        self._soc: Final = context.resolved.soc

    def begin(self, job: Job) -> list[Write]:
        """The intent, before anything of this row goes out; that of its token with it."""
        row, token = job.row, job.progress.token
        begin = BeginRow(
            organisation=self._organisation,
            soc=self._soc,
            mcu_id=row.mcu_id,
            run=self._run,
            line=row.line,
            device_id=row.device_id,
            name=row.name,
            token_intent=token.intent,
            seen=job.record.run if job.record else "",
            facts={"metadata": row.metadata, **_lasting_facts(row)},
        )
        if row.name is None or token.intent is None or token.maybe_minted:
            return [begin]
        return [begin, IntendToken(intent=token.intent, name=row.name, board=job.key)]

    def renew(self, job: Job) -> list[Write]:
        """Before our own unfinished registry device goes: its tokens end, another is intended."""
        why = "its answer was lost or its token ran out"
        writes: list[Write] = []
        for token in self._journal.tokens(board=job.key):
            if token.state in _ENDS:
                writes += [
                    MoveToken(
                        intent=token.intent,
                        from_state=token.state,
                        to_state=_ENDS[token.state],
                        why=why,
                    ),
                    DropSecret(name=secret_name(token.intent)),
                ]
        return [*writes, *self.begin(job)]

    def park(self, job: Job) -> list[Write]:
        """Everything that was sent for the row is in the journal already."""
        if not job.begun:
            return []
        return [*self._never_minted(job, "never minted"), self._end_row(job, PARKED, None)]

    def end(self, job: Job, finish: Finish) -> list[Write]:
        """What became of the row; nothing where the journal has the same already."""
        ended, intent = finish.ended, job.progress.token.intent
        if not job.begun and _is_recorded(job, ended):
            return []
        writes: list[Write] = []
        if finish.minted is not None and intent is not None:
            writes = self._minted(finish.minted, intent)
        elif finish.never_minted:
            writes = self._never_minted(job, finish.never_minted)
        return [*writes, self._end_row(job, ended.outcome.value, ended)]

    def _minted(self, minted: MintedToken, intent: str) -> list[Write]:
        if self._sealer is None:
            raise CredentialError(
                "credential.sealing-key",
                "a token would have to be kept, and there is no key to seal it with",
            )
        token = Secret(minted.token)
        return [minted_write(intent, minted), sealed_write(intent, token, self._sealer)]

    def _never_minted(self, job: Job, why: str) -> list[Write]:
        token = job.progress.token
        if token.intent is None or token.maybe_minted or not job.begun:
            return []
        return [
            MoveToken(
                intent=token.intent,
                from_state=TokenState.INTENDED,
                to_state=TokenState.REVOKED,
                why=why,
            )
        ]

    def _end_row(self, job: Job, state: str, ended: EndedRow | None) -> EndRow:
        row, device, token = job.row, job.progress.device.device, job.progress.token
        facts = _lasting_facts(row)
        if job.progress.device.patch:
            facts["updated"] = dict(job.progress.device.patch)
        intended = token.intent if job.begun or token.maybe_minted else None
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
            registry_device_id=token.registry_device_id,
            token_intent=token.live or intended,
            facts=facts,
            error=ended.error if ended else None,
        )


def _is_recorded(job: Job, ended: EndedRow) -> bool:
    record = job.record
    return (
        record is not None
        and record.state in SETTLED
        and ended.outcome is RowOutcome.EXISTED
        and (record.device_id, record.registry_device_id, record.name)
        == (ended.device_id, ended.registry_device_id, ended.name)
    )


def _lasting_facts(row: Row) -> dict[str, Any]:
    """What the row says that is needed long after it: a bench derives keys by its public key."""
    facts: dict[str, Any] = {}
    if row.tags:
        facts["tags"] = list(row.tags)
    if row.public_key:
        facts["publicKey"] = row.public_key
    return facts


def is_row(write: Write) -> bool:
    """Whether a write is a row's own.

    Those are made in few statements where they stand together.
    """
    return isinstance(write, BeginRow | EndRow)
