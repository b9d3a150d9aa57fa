"""`infuse batch export --take-back`: the way out of a hand-over that was a mistake.

The tokens are revoked in the registry, not used again: nobody can say whether a copy of the file is imported somewhere.
The next `infuse batch register` mints others for their rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli import cloud_tools as tools
from infuse_cli.cli.batch_rows import known_rows
from infuse_cli.cli.device_life import end_token
from infuse_cli.cli.journal_views import plural
from infuse_cli.cli.result import OperationResult
from infuse_cli.errors import PolicyError
from infuse_cli.records import MoveToken
from infuse_cli.rows import cloud_key
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import TokenRecord

COMMAND: Final = "batch export"
_WHY: Final = "taken back from another bench"


def take_back(file: Path | None, *, yes: bool) -> OperationResult:
    """Revoke the tokens of these rows (None: of all on record) that another bench has. Stopped anywhere it is run again.

    Raises PolicyError batch.nothing where none was handed over, CloudError of the registry.
    """
    with tools.opened() as session, tools.kept(session) as journal:
        gone = list(_handed_over(journal, file))
        if not gone:
            raise PolicyError("batch.nothing", "no registration token of these rows was handed over, so there is none to take back",
                              hint="`infuse registry token ledger` counts what is on record.")
        tools.confirm(f"Revoke {plural(len(gone), 'registration token')} that another bench has?", yes=yes)
        with tools.on_record(session, "batch export --take-back") as record:
            record.note("tokens to be taken back from another bench", tokens=len(gone))
            done = [_ended(session, record, one) for one in gone]
    used = [row for row in done if row["state"] != TokenState.REVOKED.value]
    lines = [f"{plural(len(done) - len(used), 'registration token')} taken back: the hand-over's file is of no use any more."]
    lines += [f"  {row['name']}  {row['state']}: it was used already; look at its device {row['registryDeviceId']}" for row in used]
    lines += ["Next: infuse batch register mints others for their rows."] if len(used) < len(done) else []
    return OperationResult(COMMAND, {"takenBack": len(done) - len(used), "tokens": done}, human="\n".join(lines))


def _handed_over(journal: SqliteJournal, file: Path | None) -> Iterator[TokenRecord]:
    for one in known_rows(journal, file):
        if one.record is not None:
            tokens = journal.tokens(board=cloud_key(one.record.soc, one.record.mcu_id))
            yield from (token for token in tokens if token.state is TokenState.HANDED_OVER)


def _ended(session: tools.Session, record: tools.Record, token: TokenRecord) -> dict[str, Any]:
    move, *forget = end_token(session, token, _WHY)
    record.journal.commit(move, *forget)
    state = move.to_state.value if isinstance(move, MoveToken) else ""
    return {"name": token.name, "tokenId": token.token_id, "registryDeviceId": token.registry_device_id, "state": state}
