"""The functional mode that a change of a board found, and whether it came back.

Guaranteed: `docs/reference/guarantees.md#the-functional-mode-is-restored`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.records.base import Record

if TYPE_CHECKING:
    from infuse_cli.records.base import Facts

RESTORED: Final = "OK"
"""As `answer` of such a note: nothing is owed any more."""


class OwedMode(Record, frozen=True):
    """A board that `command` left in flight mode; it was in `mode` before, on `port`."""

    board: str
    port: str
    mode: int
    run: str
    command: str


def mode_facts(mode: int | None, *, restored: bool | None) -> Facts:
    """The facts of such a note: `restored` is None before the mode is left, False where it could
    not be brought back.
    """
    said, answer = {
        None: ("found", "begun"),
        False: ("not restored", "failed"),
        True: ("restored", RESTORED),
    }[restored]
    return {"command": f"{mode} {said}", "answer": answer, "functionalMode": mode}
