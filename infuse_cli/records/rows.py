"""Rows of a batch file as values: what a line of a CSV asks for, and what became of it
(`infuse batch`).

A row is known by its cloud key, soc + mcuId inside an organisation, never by its line: lines move,
devices don't.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A good line.

    `line` counts from 1 and is where its record begins in the file, header included.
    """

    line: int
    mcu_id: str
    """16 lower-case hex digits."""
    device_id: str | None = None
    """16 lower-case hex digits, or absent: the cloud chooses."""
    name: str | None = None
    """Registry name: with one, a registration token is minted too."""
    public_key: str | None = None
    """Base64 of the device's X25519 public key, 32 bytes."""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line that cannot be taken as it is: `field` is the column at fault (None: the whole line),
    `why` says it in words.
    """

    line: int
    field: str | None
    why: str
    code: str
    """A code of `errors.CODES`, `batch.*`."""


BEGUN: Final = "begun"
PARKED: Final = "parked"


def cloud_key(soc: str, mcu_id: str) -> str:
    """The cloud key as one text: the `board` of a row's events, and of tokens that no
    board has taken up yet.
    """
    return f"{soc}:{mcu_id}"


class RowOutcome(Enum):
    """What became of a row; `unknown` is left only by looking the device up."""

    CREATED = "created"
    EXISTED = "existed"
    DIFFERS = "differs"
    REFUSED = "refused"
    UNKNOWN = "unknown"


SETTLED: Final = frozenset({RowOutcome.CREATED.value, RowOutcome.EXISTED.value})
"""States of a row whose device is in the cloud as the row wants it."""


class RowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal holds of a row, newest word: projection of its events."""

    organisation: str
    """Organisation id."""
    soc: str
    mcu_id: str
    run: str
    line: int
    state: str
    """`begun` (its intent is durable, its POST may be under way), a value of `RowOutcome`, or
    `parked` (nothing was sent).
    """
    device_id: str | None = None
    id: str | None = None
    """The cloud's own id (UUID) of the device."""
    name: str | None = None
    registry_device_id: str | None = None
    token_intent: str | None = None
    facts: dict[str, Any] = {}
    error: dict[str, Any] | None = None
