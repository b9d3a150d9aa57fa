"""What both APIs of the virtual cloud share: forms of values, bases of requests and answers, pages
of lists.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

_HEX: Final = "[0-9a-fA-F]"
Uuid = Annotated[
    str, Meta(pattern=f"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$")
]
Hex16 = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Key32 = Annotated[str, Meta(pattern="^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
"""Base64 of exactly 32 bytes."""
Moment = Annotated[datetime, Meta(tz=True)]
Stamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Schema(msgspec.Struct, kw_only=True, rename="camel"):
    """Base: camelCase on the wire."""


class Request(Schema, omit_defaults=True):
    """Base of what a client sends."""


class Problem(Schema):
    """Body of every error."""

    code: int
    message: str


class Stored(Schema):
    """What every object carries."""

    id: Uuid
    created_at: Stamp
    updated_at: Stamp


class Query(Schema):
    """Base of what stands behind the question mark; a list is written with commas, or its name
    several times.
    """


class Page(Query):
    """Which part of a list, and in which order."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 100
    offset: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    order_by: str | UnsetType = UNSET
    order_dir: Literal["asc", "desc"] = "asc"
