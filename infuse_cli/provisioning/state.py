"""Every legal move of a journalled step, as a table; nothing else in the program decides one.

    pending ──begin──▶ begun ──▶ done | failed
                         │
                         ▼ crash, time-out or lost answer after an effect
                      unknown ──probe──▶ done | pending | conflict

`failed` and `conflict` are looked at again only by a new run; `done` goes back only where a later
step found that the effect does not hold (a token that expired, a write that did not read back), and
that is on record.

Guaranteed: `docs/reference/guarantees.md#intent-before-effect`.
"""

from __future__ import annotations

from typing import Final

from infuse_cli.errors import JournalError
from infuse_cli.types import StepState

S = StepState

MOVES: Final[frozenset[tuple[StepState, StepState]]] = frozenset(
    {
        (S.PENDING, S.BEGUN),  # intent is durable before the first byte
        (S.BEGUN, S.DONE),
        (S.BEGUN, S.FAILED),  # a definite refusal: the effect did not happen
        (S.BEGUN, S.UNKNOWN),  # crash, time-out, lost answer
        (S.UNKNOWN, S.DONE),  # the probe found the effect
        (S.UNKNOWN, S.PENDING),  # the probe found that it is safe to repeat
        (S.UNKNOWN, S.CONFLICT),  # only a person can decide
        (S.FAILED, S.PENDING),  # a new run tries again
        (S.CONFLICT, S.UNKNOWN),  # a new run asks the world again
        (S.DONE, S.PENDING),  # rewound: the effect ran out or did not hold
        (S.DONE, S.FAILED),  # voided: a later check refused what the step gave
    }
)


def check(step: str, from_state: StepState, to_state: StepState) -> None:
    """Raise JournalError journal.conflict for a move that is not in the table."""
    if (from_state, to_state) not in MOVES:
        raise JournalError(
            "journal.conflict", f"step {step} cannot go from {from_state.value} to {to_state.value}"
        )
