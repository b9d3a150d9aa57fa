"""When a credential ends, as far as it says so itself: the `exp` of a JWT (RFC 7519 §4.1.4).

Read without verifying anything, so it serves to warn and to explain a refusal, never to trust.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from infuse_cli.types import Secret

SHIFT: Final = timedelta(hours=12)
"""A credential that ends sooner than this is announced when a run opens."""

_PARTS: Final = 3


def expires_at(credential: Secret) -> datetime | None:
    """The end of a JWT as an aware UTC time; None for anything else, and for one that names
    no end.
    """
    parts = credential.reveal().split(".")
    if len(parts) != _PARTS:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = claims["exp"]
        return (
            datetime.fromtimestamp(float(end), UTC)
            if isinstance(end, int | float) and not isinstance(end, bool)
            else None
        )
    except (
        binascii.Error,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        OSError,
        RecursionError,
    ):
        return None


def warning(credential: Secret, now: datetime) -> str | None:
    """A sentence for the operator about a credential that has ended or ends within the shift, else
    None.
    """
    end = expires_at(credential)
    if end is None or end - now > SHIFT:
        return None
    moment = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"the credential expired at {moment}, as it says itself; the cloud will refuse it"
    return f"the credential expires at {moment}, in {_span(end - now)}: renew it before the shift"


def _span(left: timedelta) -> str:
    minutes = max(1, int(left.total_seconds()) // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
