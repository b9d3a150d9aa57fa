"""A call with an effect is sent once: a lost answer is looked up before anything is sent again.

An answer is lost when the call timed out, its connection broke, or the server answered 500, 502,
503 without Retry-After, or 504: the clients raise CloudError with `unknown` set, and the effect may
be there or still come. 429, and 503 with Retry-After, mean "not done": the clients repeat such
calls by themselves, and what they raise in the end is a plain refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from infuse_cli.errors import CloudError, InfuseError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli import ports

T = TypeVar("T")

_CONFLICT: Final = 409
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
_MAY_STILL_HAPPEN: Final = "It may still take effect: look again later, before you repeat it."


@dataclass(frozen=True, slots=True)
class SendOnce:
    """Sends calls with an effect; a lost answer is looked up for `grace_s` seconds.

    `grace_s` is the profile's `lost_answer_grace_s`: the longest time after which an effect whose
    answer was lost still becomes visible.
    """

    clock: ports.Clock
    grace_s: float

    def send(
        self,
        call: Callable[[], T],
        look_up: Callable[[], T | None],
        *,
        adopt_conflict: bool = False,
        most: int = 1,
    ) -> T:
        """What `call` made: its answer, or what `look_up` finds when the answer was lost.

        With `adopt_conflict` a 409 is looked up as well: somebody was faster. `most` is how many
        times the call may be sent in all; it is sent again only after `look_up` found nothing at
        the end of the grace time. Raises what `call` raised when nothing is found; that has
        `unknown` set when it may still take effect, or when it could not be looked up. Raises
        Interrupted.
        """
        for sent in range(1, most + 1):
            try:
                return call()
            except CloudError as error:
                # After a lost answer a conflict is most likely with our own effect.
                conflict = error.status == _CONFLICT and (adopt_conflict or sent > 1)
                if not error.unknown and not conflict:
                    raise
                found = self._after(error, look_up)
                if found is not None:
                    return found
                if not error.unknown:
                    raise
                if sent == most:
                    raise _unknown(
                        error, "nothing came of it as far as can be seen, and it was not sent again"
                    ) from error
        raise ValueError("a call has to be sent at least once")

    def delete(self, call: Callable[[], object], look_up: Callable[[], object | None]) -> None:
        """Delete once; a lost answer counts as done when `look_up` finds the thing no more."""

        def delete() -> bool:
            call()
            return True

        self.send(delete, lambda: True if look_up() is None else None)

    def look_up_lost(self, look_up: Callable[[], T | None]) -> T | None:
        """Look until something is there; None when it is not there at the end of the grace time.

        The last look begins when the grace time is over. Raises Interrupted, and what `look_up`
        raises.
        """
        clock, pause = self.clock, _FIRST_PAUSE_S
        end = clock.monotonic() + self.grace_s
        while True:
            left = end - clock.monotonic()
            found = look_up()
            if found is not None or left <= 0:
                return found
            if clock.wait(max(0.0, min(pause, end - clock.monotonic()))):
                raise Interrupted
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _after(self, error: CloudError, look_up: Callable[[], T | None]) -> T | None:
        """Look a lost answer up; a look-up that fails leaves the effect unknown."""
        try:
            return self.look_up_lost(look_up)
        except Interrupted:
            raise
        except InfuseError as failure:
            if failure.unknown or not error.unknown:
                raise
            raise _unknown(error, f"it could not be looked up: {failure.message}") from failure


def _unknown(error: CloudError, more: str) -> CloudError:
    return CloudError(
        error.code,
        f"{error.message}; {more}",
        unknown=True,
        status=error.status,
        call=error.call,
        request_id=error.request_id,
        hint=_MAY_STILL_HAPPEN,
    )
