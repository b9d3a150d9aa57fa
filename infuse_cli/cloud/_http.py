"""Calls over HTTP: what is sent, with which credential, and every retry.

`docs/reference/guarantees.md#a-lost-answer-is-looked-up`: a call with effect is sent once, unless
it never left this machine or the server said "not done" (429, 503 with Retry-After); a lost answer
to it raises CloudError with `unknown=True` at once. Everything else is repeated until the call's
deadline. Times are seconds.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import tenacity

from infuse_cli import failpoint
from infuse_cli.cloud import failures
from infuse_cli.cloud._bounded import call_deadline, time_left
from infuse_cli.cloud._pool import Pool
from infuse_cli.cloud.failures import Answer, Call, ErrorFactory, Failure, RawAnswer, TryFailed
from infuse_cli.cloud.rate_limiter import limiter_for
from infuse_cli.cloud.urls import fill_path
from infuse_cli.errors import CredentialError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.cloud._pool import Request
    from infuse_cli.cloud.auth import Auth
    from infuse_cli.cloud.urls import BaseUrl
    from infuse_cli.types import Secret

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0


_TOO_MANY: Final = 429


class Transport:
    """Sends the calls of one API to one host; shared by all threads of a run.

    `auth` is asked anew for every call; what it gives never appears in an error. `stop(seconds)`
    waits and is True at once when the run is being stopped. `timeout_s` bounds connecting, with all
    its tries, and each silence of the server; `deadline_s` the whole call with all its tries.
    """

    def __init__(
        self,
        base_url: BaseUrl,
        auth: Auth,
        *,
        timeout_s: float,
        deadline_s: float,
        stop: Callable[[float], bool],
        ca_bundle: str | None = None,
        trust_env: bool = True,
    ) -> None:
        self._base = base_url
        self._auth = auth
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._stop = stop
        self._limiter = limiter_for(base_url.netloc)
        self._pool = Pool(base_url, ca_bundle, os.environ if trust_env else {})
        self._offset_s: float | None = None

    @property
    def server_time_offset_s(self) -> float | None:
        """Server's Date minus this machine's clock in seconds, from the newest answer; None before
        any.
        """
        return self._offset_s

    @property
    def netloc(self) -> str:
        """`host[:port]` of the API, for messages."""
        return self._base.netloc

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._pool.close()
        self._auth.close()

    def pace(self, rate: float | None) -> None:
        """Send at most `rate` requests a second to this host, every client of it together; None: as
        many as it turns out to take.
        """
        if rate is None:
            self._limiter.learn()
        else:
            self._limiter.pace(rate)

    def ask(
        self,
        call: Call,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        hide: Sequence[Secret] = (),
    ) -> Answer:
        """As `find`, for calls without a "no such thing" status."""
        answer = self.find(call, path=path, query=query, body=body, hide=hide)
        if answer is None:
            raise TypeError(f"{call.name} may find nothing: use find()")
        return answer

    def find(
        self,
        call: Call,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        hide: Sequence[Secret] = (),
    ) -> Answer | None:
        """Send a call and return its 2xx answer, or None for one of the call's "no such thing"
        statuses.

        `hide` are the secrets of the body. Raises CloudError cloud.unreachable, cloud.timeout,
        cloud.unavailable, cloud.refused, cloud.bad-answer; cloud.untrusted, cloud.proxy;
        CredentialError; Interrupted while waiting for a retry.
        """
        auth = self._auth.headers() if call.credential else {}
        try:
            return self._send(call, auth, path=path or {}, query=query, body=body, hide=hide)
        except CredentialError as error:
            if not failures.is_unauthorised(error) or not self._auth.renewed_after(auth):
                raise
        return self._send(
            call, self._auth.headers(), path=path or {}, query=query, body=body, hide=hide
        )

    def _send(
        self,
        call: Call,
        auth: Mapping[str, str],
        *,
        path: Mapping[str, str],
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        hide: Sequence[Secret],
    ) -> Answer | None:
        hidden = [
            *(word for value in auth.values() for word in value.split()[-1:]),
            *(secret.reveal() for secret in hide),
        ]
        errors = ErrorFactory(call, self._base.netloc, hidden, _scheme(auth))
        request = self._pool.request(
            call.method,
            fill_path(call.path, path),
            query=query,
            headers=auth,
            body=None if body is None else _encoded(body),
            timeout_s=min(self._timeout_s, self._deadline_s),
        )
        for pause in (
            self._limiter.reserve_s,
            self._limiter.spacing_s,
        ):  # the pace that was asked for is no delay of the server's
            if (seconds := pause()) > 0:
                self._wait(seconds)
        tries = itertools.count()
        with call_deadline(self._deadline_s):
            try:
                raw = self._retrying()(
                    lambda: self._try(call, request, errors, again=next(tries) > 0)
                )
            except TryFailed as failed:
                raise failed.error from failed.__cause__
        return None if raw is None else Answer(raw, errors)

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            sleep=self._wait,
            retry=tenacity.retry_if_exception(_is_repeatable),
            wait=self._next_wait,
            stop=self._is_over,
            reraise=True,
        )

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        never_met = isinstance(error, TryFailed) and error.kind is Failure.NEVER_SENT
        # A host that cannot even be connected to is said to be away sooner than a slow one is given
        # up.
        left = time_left() - (max(0.0, self._deadline_s - self._timeout_s) if never_met else 0.0)
        return state.upcoming_sleep >= left

    def _next_wait(self, state: tenacity.RetryCallState) -> float:
        backoff = tenacity.wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)(state)
        # Jitter downwards for what we chose, upwards for what the server asked for.
        return max(backoff * _jitter(0.5), self._limiter.pause_left_s() * (1 + 0.1 * _jitter(0.0)))

    def _wait(self, seconds: float) -> None:
        if self._stop(seconds):
            raise Interrupted

    def _try(
        self, call: Call, request: Request, errors: ErrorFactory, *, again: bool
    ) -> RawAnswer | None:
        self._wait_for_limiter(errors, again=again)
        self._limiter.sent()
        if call.effect:
            failpoint.hit(f"sent:{call.name}")
        try:
            answer = self._pool.send(request, errors)
        except TryFailed as failed:
            raise _RepeatableTry(
                failed, repeatable=failures.may_be_repeated(call, failed.kind)
            ) from failed.__cause__
        finally:
            self._limiter.answered()
        if call.effect:
            failpoint.hit(f"answered:{call.name}")
        return self._check_status(call, answer, errors)

    def _wait_for_limiter(self, errors: ErrorFactory, *, again: bool) -> None:
        """Wait until the host may be asked: not before it said so, and `again` only at the next
        place in the pace.
        """
        while again or self._limiter.pause_left_s() > 0:
            left = time_left()
            turn, remaining = self._limiter.reserve_s(left), self._limiter.pause_left_s()
            if max(turn, remaining) >= left:
                raise errors.busy(max(turn, remaining))
            self._wait(turn if turn > 0 else remaining * (1 + 0.1 * _jitter(0.0)))
            again = False

    def _check_status(
        self, call: Call, answer: RawAnswer, errors: ErrorFactory
    ) -> RawAnswer | None:
        date = failures.date_of(answer)
        if date is not None:
            self._offset_s = date.timestamp() - time.time()
        if 200 <= answer.status < 300:
            return answer
        if failures.means_absent(call, answer):
            return None
        failed = errors.status(answer)
        if failed.wait_s:
            self._limiter.pause_for(failed.wait_s, limited=answer.status == _TOO_MANY)
        raise _RepeatableTry(failed, repeatable=failures.may_be_repeated(call, failed.kind))


class _RepeatableTry(TryFailed):
    """A failed try that knows whether its call may be repeated."""

    def __init__(self, failed: TryFailed, *, repeatable: bool) -> None:
        super().__init__(failed.kind, failed.error, wait_s=failed.wait_s)
        self.repeatable: Final = repeatable


def _encoded(body: Mapping[str, Any]) -> bytes:
    """The body as JSON; a member that is None is left out."""
    return msgspec.json.encode({name: item for name, item in body.items() if item is not None})


def _scheme(headers: Mapping[str, str]) -> str:
    return next((value.split()[0] for value in headers.values()), "")


def _is_repeatable(error: BaseException) -> bool:
    return isinstance(error, _RepeatableTry) and error.repeatable


def _jitter(low: float) -> float:
    # Not a secret: spreads the retries of many slots.
    return low + (1 - low) * (time.perf_counter_ns() % 1009) / 1009
