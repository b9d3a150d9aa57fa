"""What a call proves itself with: a credential that stays the same, or a token that an IAM key is
exchanged for.

An exchanged token is kept in memory alone, renewed at two thirds of its life, and shared by all
clients and threads of one key: whoever comes first renews, the others go on with the old token as
long as it is good.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

from infuse_cli.errors import InfuseError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.api_types import BearerToken

RENEW_AT: Final = 2 / 3
"""Share of its life after which a token is renewed."""

_TRY_AGAIN_S: Final = 5.0
_FRESH_S: Final = 1.0


class Auth(Protocol):
    """Gives the headers of a call."""

    def headers(self) -> Mapping[str, str]:
        """Header names and values; asked anew for every call.

        Raises what getting a token raises.
        """

    def renewed_after(self, used: Mapping[str, str]) -> bool:
        """The cloud refused these headers with 401: whether other ones are worth a try."""

    def close(self) -> None:
        """Close what it holds open; it may be used again."""


class FixedAuth:
    """Always the same headers, or none."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers: Final = headers

    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._headers

    def renewed_after(self, used: Mapping[str, str]) -> bool:  # noqa: ARG002 - the signature of Auth
        """Never."""
        return False

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A token in use; times on the monotonic clock. `life_s` None: the server names no end."""

    headers: Mapping[str, str]
    since: float
    life_s: float | None
    renew_at: float

    def is_good(self, now: float) -> bool:
        return self.life_s is None or now < self.since + self.life_s


class ExchangedAuth:
    """The bearer token that an IAM key buys, renewed before it ends."""

    def __init__(self, exchange: Callable[[], BearerToken], close: Callable[[], None]) -> None:
        self._exchange: Final = exchange
        self._close: Final = close
        self._lock: Final = threading.Lock()
        self._held: _Held | None = None
        self._failed: tuple[float, InfuseError] | None = None

    def headers(self) -> Mapping[str, str]:
        """The token's header, renewed where it is time.

        Raises what POST /iam/auth/token raises without a good token.
        """
        came, held = time.monotonic(), self._held
        if held is not None and held.is_good(came):
            if came >= held.renew_at and self._lock.acquire(blocking=False):
                try:
                    self._renew_early(held)
                finally:
                    self._lock.release()
            return (self._held or held).headers
        with self._lock:
            return self._renewed(came).headers

    def renewed_after(self, used: Mapping[str, str]) -> bool:
        """Whether the token that was refused is not the newest any more, or was held long enough to
        be renewed now.
        """
        with self._lock:
            held = self._held
            if held is None or held.headers != used:
                return True
            if time.monotonic() - held.since < _FRESH_S:
                return False
            self._held = None
            return True

    def close(self) -> None:
        """Close the connection to the exchange."""
        self._close()

    def _renewed(self, came: float) -> _Held:
        held, failed = self._held, self._failed
        if held is not None and held.is_good(time.monotonic()):
            return held
        if failed is not None and failed[0] > came:
            raise failed[
                1
            ]  # somebody has just tried in vain while this thread waited for the outcome
        return self._ask()

    def _renew_early(self, held: _Held) -> None:
        try:
            self._ask()
        except Interrupted:
            raise
        except InfuseError:
            again = time.monotonic() + _TRY_AGAIN_S
            self._held = _Held(held.headers, held.since, held.life_s, again)

    def _ask(self) -> _Held:
        since = time.monotonic()
        try:
            token = self._exchange()
        except InfuseError as error:
            self._failed = (time.monotonic(), error)
            raise
        renew_at = float("inf") if token.life_s is None else since + token.life_s * RENEW_AT
        self._held = _Held(
            {"Authorization": f"Bearer {token.token}"}, since, token.life_s, renew_at
        )
        return self._held


_shared: WeakValueDictionary[tuple[str, str], ExchangedAuth] = WeakValueDictionary()
_shared_lock = threading.Lock()


def shared_exchange(url: str, key_sha256: str, make: Callable[[], ExchangedAuth]) -> ExchangedAuth:
    """The one exchange of a key at a base URL, made by the first who asks and gone with the
    last.
    """
    with _shared_lock:
        found = _shared.get((url, key_sha256))
        if found is None:
            found = _shared[(url, key_sha256)] = make()
        return found
