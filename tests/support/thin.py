"""Long tables of cases: the default run goes through some of them, a storm (`--storm`)
through all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def thin(rows: Iterable[Any], keep: int, *, first: int = 0) -> list[Any]:
    """These parameters, of which the default run takes every `keep`-th, beginning at index
    `first`.
    """
    taken = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [
        pytest.param(*row, marks=() if number % keep == first else pytest.mark.storm)
        for number, row in enumerate(taken)
    ]
