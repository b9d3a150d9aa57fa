"""A device at its end: what the cloud and the journal know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.devices.cloud_devices import find
from infuse_cli.errors import BoardError, CloudError, JournalError
from infuse_cli.journal import queries
from infuse_cli.records.rows import cloud_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli import api_types as api
    from infuse_cli.devices.session import Session
    from infuse_cli.journal.store import SqliteJournal
    from infuse_cli.records import AttemptRecord, CertificateRecord, TokenRecord

FACT: Final = "retirement"
"""The fact of a board's newest attempt that says how far its retirement is."""


@dataclass(frozen=True, slots=True)
class RetiringDevice:
    """A device at its end. `board` and what follows are empty for one made elsewhere."""

    device: api.Device | None
    board: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    certificates: tuple[CertificateRecord, ...] = ()
    tokens: tuple[TokenRecord, ...] = ()

    @property
    def name(self) -> str:
        """How it is called to people."""
        return self.device.device_id if self.device is not None else self.board or "?"

    @property
    def fact(self) -> dict[str, Any]:
        """How far its retirement is, by the journal."""
        return dict(self.attempts[-1].facts.get(FACT) or {}) if self.attempts else {}

    @property
    def is_retired(self) -> bool:
        """Whether its retirement is done."""
        return self.fact.get("state") == "done"

    @property
    def registry_ids(self) -> list[str]:
        """Registry devices that were made for it, oldest first."""
        ids = [token.registry_device_id for token in self.tokens]
        ids += [queries.device_ids(queries.facts_of(attempt))[1] for attempt in self.attempts]
        return list(dict.fromkeys(id_ for id_ in ids if id_ is not None))

    def refuse_in_use(self) -> None:
        """Raise BoardError board.in-use for a board in somebody's hands."""
        for attempt in self.attempts:
            if attempt.alive and attempt.state.is_open:
                raise BoardError(
                    "board.in-use",
                    f"board {attempt.board} is being worked on by run {attempt.run}",
                )


def look_up(
    session: Session, journal: SqliteJournal, text: str, soc: str | None = None
) -> RetiringDevice:
    """A device by whatever names it in the journal or in the cloud.

    Raises CloudError cloud.not-found, JournalError journal.ambiguous.
    """
    boards = _boards(journal, text)
    if len(boards) > 1:
        raise JournalError(
            "journal.ambiguous", f"{text!r} fits {len(boards)} boards: {', '.join(boards)}"
        )
    device = None
    if not boards:  # made elsewhere, or by a batch and never on a port here
        device = _in_cloud(session, text, soc)
        boards = _boards(journal, device.device_id)[:1]
    if not boards:
        return RetiringDevice(device, tokens=tuple(_batch_tokens(session, journal, device, soc)))
    board = boards[0]
    attempts = tuple(journal.attempts(board))
    device = device or _recorded_device(session, attempts)
    tokens = (
        *journal.tokens(board=board),
        *_batch_tokens(session, journal, device, attempts[-1].soc),
    )
    certificates = tuple(journal.certificates(board=board))
    return RetiringDevice(device, board, attempts, certificates, tokens)


def _boards(journal: SqliteJournal, text: str) -> list[str]:
    boards = [row.board for row in queries.find_boards(journal, text)]
    return [board for board in boards if journal.attempts(board)]


def _batch_tokens(
    session: Session, journal: SqliteJournal, device: api.Device | None, soc: str | None
) -> Sequence[TokenRecord]:
    """Tokens that a batch minted for this chip, before anybody knew which board it is on."""
    chip = soc or session.soc
    if device is None or chip is None:
        return ()
    return journal.tokens(board=cloud_key(chip, device.mcu_id))


def _in_cloud(session: Session, text: str, soc: str | None) -> api.Device:
    try:
        return find(session, text, soc)
    except CloudError as error:
        if error.code != "cloud.not-found":
            raise
        raise CloudError(
            error.code,
            f"neither this journal nor the cloud knows a device {text!r}",
            hint=error.hint,
        ) from error


def _recorded_device(session: Session, attempts: Sequence[AttemptRecord]) -> api.Device | None:
    ids = [queries.device_ids(queries.facts_of(attempt))[0] for attempt in attempts]
    newest = next((id_ for id_ in reversed(ids) if id_ is not None), None)
    return None if newest is None else session.cloud.device_by_device_id(newest)
