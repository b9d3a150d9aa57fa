"""What all writes and records are."""

from __future__ import annotations

from typing import Any

import msgspec

Facts = dict[str, Any]


class Write(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of everything that can be committed."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what the journal answers."""
