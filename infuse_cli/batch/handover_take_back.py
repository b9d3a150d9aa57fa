"""`infuse batch export --take-back`: the way out of a hand-over that was a mistake.

The tokens are revoked in the registry, not used again: nobody can say whether a copy of the file is
imported somewhere. The next `infuse batch register` mints others for their rows, and clears their
registry devices away for that: so a token counts as taken back only where it was seen pending, and
one that ended elsewhere, on a board perhaps, is left as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import failpoint
from infuse_cli.api_types import TokenEnd
from infuse_cli.batch.known_rows import known_rows
from infuse_cli.cli.result import OperationResult
from infuse_cli.devices import session as tools
from infuse_cli.devices.retirement import ended
from infuse_cli.errors import Exit, PolicyError
from infuse_cli.provisioning.steps.token import secret_name
from infuse_cli.records import DropSecret, MoveToken
from infuse_cli.records.rows import cloud_key
from infuse_cli.text import plural
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import TokenRecord

COMMAND: Final = "batch export"
_WHY: Final = "taken back from another bench"
_INTENDED: Final = "tokens to be taken back from another bench"
_PAGE: Final = 100
"""Tokens of one note."""

_FOUND: Final = {
    TokenState.CONSUMED: "a board uses its device",
    TokenState.BURNT: "the registry knows neither it nor its device",
    TokenState.HANDED_OVER: (
        "it was used or revoked elsewhere, and its device was never online: find the board, or"
        " delete the device"
    ),
}
"""What to say of tokens that were not taken back, by the state that they have now."""


def take_back(file: Path | None, *, yes: bool) -> OperationResult:
    """Revoke the tokens of these rows (None: of all on record) that another bench has.

    Stopped anywhere it is run again.

    Raises PolicyError batch.nothing where none of this organisation was handed over, ProfileError
    without a registry, CloudError of both APIs.
    """
    with tools.opened() as session, tools.kept(session) as journal:
        registry, mine = session.registry, session.organisation(None).id
        gone, others = _handed_over(journal, file, mine)
        if not gone:
            whose = f" by organisation {mine}, but {others} by others" if others else ""
            raise PolicyError(
                "batch.nothing",
                f"no registration token of these rows was handed over{whose}, so there is none to"
                " take back",
                hint=(
                    "`infuse registry token ledger` counts what is on record; --profile names the"
                    " organisation."
                ),
            )
        tools.confirm(
            f"Revoke {plural(len(gone), 'registration token')} that another bench has?", yes=yes
        )
        with tools.on_record(session, "batch export --take-back") as record:
            back = _Back(session, record, {one.id for one in registry.pending_tokens()})
            done = [
                row
                for first in range(0, len(gone), _PAGE)
                for row in back.take(gone[first : first + _PAGE])
            ]
    return _told(done, others)


def _handed_over(
    journal: SqliteJournal, file: Path | None, organisation: str
) -> tuple[list[TokenRecord], int]:
    """The tokens of this organisation's rows, each once, and how many there are of others."""
    found: dict[bool, dict[str, TokenRecord]] = {True: {}, False: {}}
    for one in known_rows(journal, file):
        if one.record is not None:
            tokens = journal.tokens(board=cloud_key(one.record.soc, one.record.mcu_id))
            known = [token for token in tokens if token.state is TokenState.HANDED_OVER]
            found[one.record.organisation == organisation] |= {
                token.intent: token for token in known
            }
    return list(found[True].values()), len(found[False].keys() - found[True].keys())


class _Back:
    """Takes tokens back; `pending` are the ids of those that the registry still takes."""

    def __init__(self, session: tools.Session, record: CommandRun, pending: set[str]) -> None:
        self._session, self._record, self._pending, self._now = (
            session,
            record,
            pending,
            datetime.now(UTC),
        )
        notes = record.journal.noted(_INTENDED)
        # A run that was killed may have revoked these without its own record of it.
        self._before: Final = {intent for _, facts in notes for intent in facts.get("intents", ())}

    def take(self, page: Sequence[TokenRecord]) -> list[dict[str, Any]]:
        """Intended on record before the first of them is revoked."""
        seen = [one.intent for one in page if one.token_id in self._pending]
        if seen:
            self._record.note(_INTENDED, tokens=len(seen), intents=seen)
        return [self._one(one) for one in page]

    def _one(self, token: TokenRecord) -> dict[str, Any]:
        state = self._ended(token)
        failpoint.hit("done:take-back")
        if state is not TokenState.HANDED_OVER:
            move = MoveToken(intent=token.intent, from_state=token.state, to_state=state, why=_WHY)
            self._record.journal.commit(move, DropSecret(name=secret_name(token.intent)))
        return {
            "name": token.name,
            "tokenId": token.token_id,
            "registryDeviceId": token.registry_device_id,
            "state": state.value,
        }

    def _ended(self, token: TokenRecord) -> TokenState:
        """How it ended; `handed-over` still where it may be on a board whose device is not online
        yet.
        """
        end = ended(self._session, token)
        if end is TokenEnd.REVOKED:
            return TokenState.REVOKED
        device = (
            self._session.registry.device(token.registry_device_id)
            if token.registry_device_id
            else None
        )
        if device is None:
            return TokenState.BURNT
        if device.status.upper() != "PENDING":
            return TokenState.CONSUMED
        was_pending = end is TokenEnd.UNKNOWN and (
            token.token_id in self._pending or self._is_over(token)
        )
        return (
            TokenState.REVOKED
            if was_pending or token.intent in self._before
            else TokenState.HANDED_OVER
        )

    def _is_over(self, token: TokenRecord) -> bool:
        return token.expires_at is not None and token.expires_at <= self._now


def _told(done: Sequence[dict[str, Any]], others: int) -> OperationResult:
    left = [row for row in done if row["state"] != TokenState.REVOKED.value]
    back = len(done) - len(left)
    lines = (
        [
            (
                f"{plural(back, 'registration token')} taken back: the hand-over's file is of no use"
                " for them any more."
            )
        ]
        if back
        else []
    )
    lines += [f"{plural(len(left), 'registration token')} not taken back:"] if left else []
    lines += [
        f"  {row['name']}  {_FOUND[TokenState(row['state'])]} ({row['registryDeviceId']})"
        for row in left
    ]
    lines += (
        [
            (
                f"{others} more of these rows are of another organisation than the profile's: left as"
                " they are."
            )
        ]
        if others
        else []
    )
    lines += ["Next: infuse batch register mints others for their rows."] if back else []
    data = {"takenBack": back, "tokens": list(done), "otherOrganisations": others}
    status, code = ("partial", Exit.SOME_FAILED) if left else ("ok", Exit.OK)
    return OperationResult(COMMAND, data, status, exit_code=int(code), human="\n".join(lines))  # type: ignore[arg-type]
