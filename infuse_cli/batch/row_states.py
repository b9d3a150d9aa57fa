"""Every legal move of a row under way, as a table; `row_machine.py` decides which one is made.

    LOOK_UP ──▶ CREATE ──▶ MINT ──▶ CREATED
       │ ▲        │         │ ▲
       │ └── answer lost    ▼ │
       └──────────▶ LOOK_UP_BY_NAME ──▶ RETIRE

A row ends as one of the outcomes, or PARKED where the run was stopped and nothing was sent that
could have an unknown effect.
"""

from __future__ import annotations

import enum
from typing import Final


class RowState(enum.Enum):
    """What is asked of the cloud next for a row; from CREATED on, how it ended."""

    WAIT = "wait"
    """Another run works on the row."""
    LOOK_UP = "look-up"
    CREATE = "create"
    UPDATE = "update"
    LOOK_UP_BY_NAME = "look-up-by-name"
    """The registry device of the row's name."""
    MINT = "mint"
    RETIRE = "retire"
    """Our own unfinished registry device is taken away."""

    CREATED = "created"
    EXISTED = "existed"
    DIFFERS = "differs"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    PARKED = "parked"


S = RowState

_GOOD: Final = frozenset({S.CREATED, S.EXISTED})
_STOPPED: Final = frozenset({S.UNKNOWN, S.PARKED})
_AFTER_DEVICE: Final = _GOOD | {S.UPDATE, S.DIFFERS, S.MINT, S.LOOK_UP_BY_NAME}
"""What follows once the cloud device of a row is seen."""

MOVES: Final[dict[RowState, frozenset[RowState]]] = {
    S.WAIT: _STOPPED | {S.WAIT, S.LOOK_UP},
    # A device that is not there is posted, or looked up again while an earlier POST may arrive.
    S.LOOK_UP: _STOPPED | _AFTER_DEVICE | {S.LOOK_UP, S.CREATE, S.REFUSED},
    # A lost answer leads to LOOK_UP, never straight to a second POST.
    S.CREATE: _STOPPED | _AFTER_DEVICE | {S.CREATE, S.LOOK_UP, S.REFUSED},
    S.UPDATE: _STOPPED | _AFTER_DEVICE | {S.LOOK_UP, S.REFUSED},
    # A name that is free is minted for, our own unfinished device is cleared first.
    S.LOOK_UP_BY_NAME: _STOPPED | _GOOD | {S.LOOK_UP_BY_NAME, S.MINT, S.RETIRE, S.REFUSED},
    # A lost answer and a taken name lead to LOOK_UP_BY_NAME.
    S.MINT: _STOPPED | _GOOD | {S.MINT, S.LOOK_UP_BY_NAME, S.REFUSED},
    S.RETIRE: _STOPPED | {S.RETIRE, S.MINT, S.REFUSED},
}
"""From what is asked to what may follow; the ends have no row."""


def check(from_state: RowState, to_state: RowState) -> None:
    """Raise ValueError for a move that is not in the table: a fault of this program."""
    if to_state not in MOVES.get(from_state, frozenset()):
        raise ValueError(f"a row cannot go from {from_state.value} to {to_state.value}")
