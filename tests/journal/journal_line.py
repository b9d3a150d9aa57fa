"""Short names for what a run writes into a journal."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

from infuse_cli import records as rec
from infuse_cli.types import AttemptState, StepState

if TYPE_CHECKING:
    from infuse_cli.journal.store import SqliteJournal

S = StepState
PROFILE = {"name": "field-sensor"}


class Line:
    """A journal with short names for what a run writes."""

    def __init__(self, journal: SqliteJournal, run: str = "run-1") -> None:
        self.journal, self.run = journal, run
        self._count = count(1)

    def start(self, run: str | None = None, **more: object) -> str:
        self.run = run or self.run
        values = {
            "command": "provision",
            "profile_name": "field-sensor",
            "profile_hash": "ph",
            "profile": PROFILE,
            "operator": "day shift",
        }
        self.journal.start_run(rec.RunStart(run=self.run, **{**values, **more}))  # type: ignore[arg-type]
        return self.run

    def opening(
        self, board: str = "b1", attempt: str | None = None, **more: object
    ) -> rec.OpenAttempt:
        values = {
            "soc": "nRF9151",
            "slot": 1,
            "port": "/dev/ttyACM0",
            "plan": ("keygen", "install"),
            "plan_hash": "p1",
        }
        name = attempt or f"{board}-{self.run}-{next(self._count)}"
        return rec.OpenAttempt(attempt=name, run=self.run, board=board, **{**values, **more})  # type: ignore[arg-type]

    def open(self, board: str = "b1", attempt: str | None = None, **more: object) -> str:
        write = self.opening(board, attempt, **more)
        self.journal.commit(write)
        return write.attempt

    def move(self, attempt: str, step: str, from_state: S, to_state: S, **more: object) -> None:
        self.journal.commit(
            rec.MoveStep(
                attempt=attempt, step=step, from_state=from_state, to_state=to_state, **more
            )
        )  # type: ignore[arg-type]

    def end(
        self,
        attempt: str,
        state: AttemptState = AttemptState.PASSED,
        outcome: str | None = "PASS",
        **more: object,
    ) -> None:
        self.journal.commit(rec.EndAttempt(attempt=attempt, state=state, outcome=outcome, **more))  # type: ignore[arg-type]

    def certify(self, attempt: str | None, serial: str = "a1", **more: object) -> None:
        self.journal.commit(rec.ReserveSerial(serial=serial, issuer="ca", attempt=attempt))
        self.journal.commit(certificate(serial, attempt=attempt, **more))


def certificate(serial: str = "a1", **more: object) -> rec.StoreCertificate:
    values = {
        "issuer": "ca",
        "sha256": f"sha-{serial}",
        "spki_sha256": f"key-{serial}",
        "not_before": datetime(2026, 1, 1, tzinfo=UTC),
        "not_after": datetime(2036, 1, 1, tzinfo=UTC),
        "pem": "PEM",
        "profile": "device",
    }
    return rec.StoreCertificate(serial=serial, **{**values, **more})  # type: ignore[arg-type]
