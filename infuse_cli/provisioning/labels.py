"""Scanned labels, and whose they are: bound by the slot's barcode or by the IMEI on the label,
never by timing.

A value that comes without either is refused. What was bound to a slot ends with the board in it;
what was bound to an IMEI waits for the board that says so itself.

Guaranteed: `docs/reference/guarantees.md#metadata-and-scanned-labels`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import InfuseError, Interrupted, ProfileError
from infuse_cli.provisioning.scan import Code, Rules, read

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from infuse_cli.ports import Clock

_LOOK_S: Final = 0.2
_ASK_EVERY: Final = 5
"""Of so many looks for a scan one asks the board whether it is still there."""


@dataclass(slots=True)
class Label:
    """What was scanned for one subject; `imei` is what the label itself says."""

    imei: str | None = None
    values: dict[str, str] = field(default_factory=dict)


class Labels:
    """The scans of a run; safe to share between the scanners' threads and the slots'.

    `taken(name, value)` gives the boards on record with a value; `repeats` names the values that
    may be on many boards. `tell(event, slot, data)` announces what became of a scan.
    """

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        *,
        taken: Callable[[str, str], Collection[str]],
        repeats: Collection[str],
        tell: Callable[[str, int | None, dict[str, Any]], None],
    ) -> None:
        self._rules: Final = rules
        self._clock: Final = clock
        self._taken: Final = taken
        self._repeats: Final = frozenset(repeats)
        self._tell: Final = tell
        self._lock: Final = threading.RLock()
        self._subject: int | str | None = None
        self._labels: dict[int | str, Label] = {}
        self._closed: set[int] = set()

    # -- from the scanners -------------------------------------------------------------------------

    def scan(self, text: str) -> None:
        """Take in one scanned text; never raises."""
        try:
            with self._lock:
                told = self._bind(read(text, self._rules))
        except InfuseError as error:
            self._refuse(None, error.message)
            return
        self._tell("scan-bound", self._subject_slot(told), {"text": told[1]})

    def _bind(self, code: Code) -> tuple[int | str, str]:
        subject = code.slot if code.slot is not None else self._subject
        if code.imei is not None and (code.slot is None and not isinstance(subject, int)):
            subject = code.imei
        if subject is None:
            raise ProfileError(
                "metadata.invalid",
                f"{_said(code.values)} is whose? Scan the slot's barcode or the IMEI on the label"
                " first",
            )
        if isinstance(subject, int) and subject in self._closed:
            raise ProfileError(
                "metadata.invalid",
                f"slot {subject} still has the board that is finished: take it out first",
            )
        for name, value in code.values.items():
            self._is_free(subject, name, value)
        fresh = code.slot is not None or (
            code.imei is not None and subject == code.imei and not code.values
        )
        label = self._labels.get(subject, Label())
        label = Label() if fresh and subject != self._subject else label
        label = Label(code.imei or label.imei, {**label.values, **code.values})
        self._labels[subject] = label
        self._subject = None if set(self._rules.values) <= set(label.values) else subject
        where = f"slot {subject}" if isinstance(subject, int) else f"IMEI {subject}"
        missing = sorted(set(self._rules.values) - set(label.values))
        scanned = _said(label.values) or "nothing yet"
        wanted = f"; now scan {', '.join(missing)}" if missing else ""
        return subject, f"{where}: {scanned}{wanted}"

    def _is_free(self, subject: int | str, name: str, value: str) -> None:
        """Refuse a label that is on another board, here or on record."""
        if name in self._repeats:
            return
        other = next(
            (
                key
                for key, label in self._labels.items()
                if key != subject and label.values.get(name) == value
            ),
            None,
        )
        if other is not None:
            where = f"slot {other}" if isinstance(other, int) else f"IMEI {other}"
            raise ProfileError(
                "metadata.invalid", f"{name} {value} was scanned for {where} already"
            )

    def _subject_slot(self, told: tuple[int | str, str]) -> int | None:
        return told[0] if isinstance(told[0], int) else None

    def _refuse(self, slot: int | None, why: str) -> None:
        self._tell("scan-refused", slot, {"text": why})

    # -- from the slots ----------------------------------------------------------------------------

    def bound(self, slot: int, imei: str | None, board: str) -> dict[str, str]:
        """What was scanned for the board in this slot; a label that is another board's is refused
        and forgotten.
        """
        with self._lock:
            found: dict[str, str] = {}
            for subject in (slot, imei):
                label = None if subject is None else self._labels.get(subject)
                if label is None or subject is None:
                    continue
                if (why := self._wrong(label, imei, board)) is not None:
                    del self._labels[subject]
                    self._subject = None if self._subject == subject else self._subject
                    self._refuse(slot, why)
                    continue
                found |= label.values
            return found

    def _wrong(self, label: Label, imei: str | None, board: str) -> str | None:
        if label.imei is not None and label.imei != imei:
            return (
                f"the label says IMEI {label.imei}, the board says {imei or 'none'}: scan the label"
                " of this very board"
            )
        for name, value in label.values.items():
            others = (
                ()
                if name in self._repeats
                else [other for other in self._taken(name, value) if other != board]
            )
            if others:
                return f"{name} {value} is on record for board {others[0]}: a label is doubled"
        return None

    def await_for(
        self,
        slot: int,
        imei: str | None,
        board: str,
        names: Collection[str],
        *,
        waiting: Callable[[str], None],
        look: Callable[[], None],
    ) -> Mapping[str, str]:
        """Wait until these values were scanned for a board; `look` raises when the board is gone.

        Raises Interrupted at the stop.
        """
        looks, told = 0, ""
        while True:
            found = self.bound(slot, imei, board)
            missing = sorted(set(names) - set(found))
            if not missing:
                return found
            why = f"scan SLOT {slot} or the IMEI, then {', '.join(missing)}"
            if why != told:
                waiting(why)
                told = why
            if self._clock.wait(_LOOK_S):
                raise Interrupted
            looks += 1
            if looks % _ASK_EVERY == 0:
                look()

    def torn(self, slot: int) -> None:
        """The board in a slot went away in the middle: what was scanned for the slot was its, and
        nobody knows who comes next.
        """
        with self._lock:
            self._forget(slot)

    def ended(self, slot: int) -> None:
        """The board in a slot has its result: what was scanned for the slot is spent, and the next
        label waits for the next board.
        """
        with self._lock:
            self._forget(slot)
            self._closed.add(slot)

    def left(self, slot: int) -> None:
        """The slot is free."""
        with self._lock:
            if slot in self._closed:
                self._closed.discard(slot)
                self._forget(slot)

    def _forget(self, slot: int) -> None:
        self._labels.pop(slot, None)
        if self._subject == slot:
            self._subject = None


def _said(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
