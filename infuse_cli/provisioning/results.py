"""How boards and runs ended, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infuse_cli.errors import Exit
from infuse_cli.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.errors import InfuseError
    from infuse_cli.provisioning.decision import AttemptDecision
    from infuse_cli.provisioning.mirror import MirrorReport
    from infuse_cli.records import AttemptRecord
    from infuse_cli.types import BoardIdentity


@dataclass(frozen=True, slots=True)
class BoardResult:
    """How one board ended; `ms` is in milliseconds.

    A dry run has no `outcome`, and the `decision` that a run would make.
    """

    slot: int
    port: str
    outcome: Outcome | None
    ms: float
    identity: BoardIdentity | None = None
    facts: dict[str, Any] | None = None
    already: bool = False
    failed_step: str | None = None
    error: InfuseError | None = None
    decision: AttemptDecision | None = None

    @property
    def code(self) -> str | None:
        """The code of its error, None for none."""
        return None if self.error is None else self.error.code

    @property
    def board(self) -> str | None:
        """The board's key, None where it could not say who it is."""
        return None if self.identity is None else self.identity.uuid

    def as_json(self) -> dict[str, Any]:
        """The board's object in the envelope of `infuse provision`."""
        facts, seen = self.facts or {}, self.identity
        certificate = facts.get("certificate")
        device = facts.get("device") or facts.get("existing") or {}
        shown = {
            "slot": self.slot,
            "port": self.port,
            "board": (
                None
                if seen is None
                else {"uuid": seen.uuid, "imei": seen.imei, "mcuId": seen.mcu_id}
            ),
            "deviceId": device.get("deviceId"),
            "registryDeviceId": facts.get("registryDevice"),
            "already": self.already,
            "possession": facts.get("possession"),
            "result": None if self.outcome is None else self.outcome.value,
            "failedStep": self.failed_step,
            "error": None if self.error is None else self.error.as_json(),
            "certificate": (
                None
                if certificate is None
                else {"serial": certificate["serial"], "sha256": certificate["sha256"]}
            ),
            "ms": round(self.ms, 1),
        }
        if self.decision is not None:
            shown["decision"] = self.decision.choice.value
            shown["steps"] = list(self.decision.steps)
        return shown


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    `interrupted`: a person stopped it with boards in hand; `ended`: a person ended a watching run
    with none in hand, which is its normal end. `paused`: errors that boards had in common stopped
    it. `trouble` is what kept the end of the run from being recorded.
    """

    run: str
    boards: tuple[BoardResult, ...]
    dry_run: bool = False
    interrupted: bool = False
    ended: bool = False
    paused: bool = False
    trouble: InfuseError | None = None
    mirror: MirrorReport | None = None

    @property
    def totals(self) -> dict[str, int]:
        """Boards by outcome."""
        return totals(self.boards)

    @property
    def exit(self) -> Exit:
        """The exit code of the run."""
        code = exit_code(self.boards, interrupted=self.interrupted)
        if self.ended and code:
            code = Exit.SOME_FAILED
        if self.trouble is not None and not self.interrupted:
            code = self.trouble.exit
        return code

    @property
    def status(self) -> str:
        """ok, partial or error."""
        found = "ok" if self.ended and not self.boards else status(self.boards)
        return "partial" if self.trouble is not None and found == "ok" else found


@dataclass(frozen=True, slots=True)
class ResumeResult:
    """How `resume` ended: a run for each profile that unfinished boards had.

    `absent` are unfinished boards that no port showed; `closed` counts attempts of simulated boards
    whose world is gone.
    """

    runs: tuple[RunResult, ...] = ()
    absent: tuple[AttemptRecord, ...] = ()
    closed: int = 0


def totals(results: Sequence[BoardResult]) -> dict[str, int]:
    """Count boards, not attempts, by outcome."""
    return {
        outcome.value.lower(): sum(result.outcome is outcome for result in results)
        for outcome in Outcome
    }


def exit_code(results: Sequence[BoardResult], *, interrupted: bool) -> Exit:
    """Exit code of a run: one board its own, several with any not PASS 11, a stop by a person
    130.
    """
    if interrupted:
        return Exit.INTERRUPTED
    errors = [
        result.error
        for result in results
        if result.error is not None and result.error.exit is not Exit.OK
    ]
    if not errors:
        return Exit.OK
    return errors[0].exit if len(results) == 1 else Exit.SOME_FAILED


def status(results: Sequence[BoardResult]) -> str:
    """Status of the envelope: ok = all PASS, partial = some, error = none; a stop at --until is
    what was asked.
    """
    good = sum(
        result.outcome in {Outcome.PASS, None}
        or (result.error is not None and result.error.exit is Exit.OK)
        for result in results
    )
    if results and good == len(results):
        return "ok"
    return "partial" if good else "error"
