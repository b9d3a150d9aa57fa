"""The table of moves of a row: every state has its row, and no effect follows a lost answer."""

from __future__ import annotations

import pytest

from infuse_cli.batch.row_states import MOVES, RowState, check
from infuse_cli.records.rows import RowOutcome

ENDS = {RowState(outcome.value) for outcome in RowOutcome} | {RowState.PARKED}


def test_every_state_that_asks_something_has_a_row_and_no_end_has_one() -> None:
    assert set(MOVES) == set(RowState) - ENDS


def test_every_state_can_be_reached_and_every_row_can_end() -> None:
    reached = {RowState.WAIT, RowState.LOOK_UP, RowState.CREATE}
    while (
        more := {follower for state in reached & set(MOVES) for follower in MOVES[state]} - reached
    ):
        reached |= more
    assert reached == set(RowState)
    assert all(followers & ENDS for followers in MOVES.values())


def test_a_mint_comes_only_after_the_device_is_seen() -> None:
    assert RowState.MINT not in MOVES[RowState.WAIT]
    assert RowState.CREATE not in MOVES[RowState.MINT]


@pytest.mark.parametrize(
    ("before", "after"), [(RowState.RETIRE, RowState.CREATE), (RowState.CREATED, RowState.CREATE)]
)
def test_a_move_that_is_not_in_the_table_is_refused(before: RowState, after: RowState) -> None:
    with pytest.raises(ValueError, match="a row cannot go from"):
        check(before, after)
