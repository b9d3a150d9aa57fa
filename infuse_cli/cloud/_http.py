"""HTTP, and the only file that imports httpx: one connection pool per host, deadlines, and every retry.

What may be repeated is rule 11: a call with effect is sent once, unless it never left this machine or the server
said "not done" (429, 503 with Retry-After); a lost answer to it raises CloudError with `unknown=True` at once.
Everything else is repeated until the call's deadline. Times are seconds.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlencode

import httpcore
import httpx
import tenacity

from infuse_cli import failpoint
from infuse_cli._version import __version__
from infuse_cli.cloud import failures
from infuse_cli.cloud.failures import Answer, Call, ErrorMaker, Failed, Failure, RawAnswer
from infuse_cli.cloud.gate import gate_for
from infuse_cli.cloud.urls import fill_path
from infuse_cli.errors import Interrupted, ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from infuse_cli.cloud.urls import BaseUrl
    from infuse_cli.types import Secret

SLOTS: Final = 64
"""As many connections as slots that may work at once."""

BODY_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a body, unpacked, that are read at most."""

# Shorter than the 5 s after which common servers drop an idle connection: a request sent just then would be lost.
_KEEP_ALIVE_S: Final = 3.0
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0
_TROUBLE: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError,
                   httpcore.UnsupportedProtocol, httpx.DecodingError)


class _Deadline(threading.local):
    """The moment (monotonic clock) at which this thread's present call must be over."""

    at: float = float("inf")

    def left(self) -> float:
        return self.at - time.monotonic()


_deadline: Final = _Deadline()


class _BoundedStream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the deadline of the call, however slowly bytes drip in."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _bounded(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _bounded(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
                  timeout: float | None = None) -> httpcore.NetworkStream:
        bound = _bounded(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._inner.start_tls(ssl_context, server_hostname, bound))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _BoundedBackend(httpcore.NetworkBackend):
    """Opens connections that keep to the call's deadline."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Any = None) -> httpcore.NetworkStream:
        bound = _bounded(timeout, httpcore.ConnectTimeout)
        return _BoundedStream(self._inner.connect_tcp(host, port, bound, local_address, socket_options))


def _bounded(timeout: float | None, error: type[Exception]) -> float:
    left = _deadline.left()
    if left <= 0:
        raise error("the call's deadline has passed")
    return left if timeout is None else min(timeout, left)


def _tls_context(base: BaseUrl, ca_bundle: str | None) -> ssl.SSLContext:
    """Whom to trust: the profile's bundle alone, else the machine's store and certifi's list."""
    if base.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_bundle is not None:
        try:
            return ssl.create_default_context(cafile=ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise ProfileError("profile.invalid", f"cloud.ca_bundle: '{ca_bundle}' cannot be used ({error})") from error
    context = ssl.create_default_context()
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _make_client(base: BaseUrl, context: ssl.SSLContext, *, trust_env: bool) -> httpx.Client:
    client = httpx.Client(
        verify=context, follow_redirects=False, trust_env=trust_env and not base.is_loopback,
        limits=httpx.Limits(max_connections=SLOTS, max_keepalive_connections=SLOTS, keepalive_expiry=_KEEP_ALIVE_S),
        headers={"User-Agent": f"infuse/{__version__}", "Accept": "application/json"},
    )
    # httpx offers no way to hand a network backend in; without one, only single reads could be bounded.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = _BoundedBackend()  # noqa: SLF001
    return client


class _Pool:
    """The connection pool that leads to a base URL, its proxy included, spoken to without httpx's layers above it.

    Those (redirects, cookies, merging of settings, objects for every part) are not wanted here and cost a call as
    much again as the exchange itself. Raises httpcore's errors, and httpx.DecodingError.
    """

    def __init__(self, client: httpx.Client, base: BaseUrl) -> None:
        url = httpx.URL(base.url)
        self._pool: Any = client._transport_for_url(url)._pool  # type: ignore[attr-defined] # noqa: SLF001
        self._origin: Final = (url.raw_scheme, url.raw_host, url.port)
        self._path: Final = url.raw_path.rstrip(b"/")
        self._headers: Final = [(b"Host", base.netloc.encode("ascii")), *client.headers.raw]

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None, headers: Mapping[str, str], body: bytes | None,
                timeout_s: float) -> httpcore.Request:
        """A request that may be sent several times. `path` is URL-escaped, `timeout_s` bounds each wait."""
        target = self._path + path.encode("ascii") + (b"?" + urlencode(query).encode("ascii") if query else b"")
        content = b"" if body is None and method in {"POST", "PUT", "PATCH"} else body
        fields = [*self._headers, *((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())]
        if content is not None:
            fields.append((b"Content-Length", b"%d" % len(content)))
        if body is not None:
            fields.append((b"Content-Type", b"application/json"))
        scheme, host, port = self._origin
        waits = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        return httpcore.Request(method, httpcore.URL(scheme=scheme, host=host, port=port, target=target), headers=fields,
                                content=content, extensions={"timeout": waits})

    def send(self, request: httpcore.Request, maker: ErrorMaker) -> RawAnswer:
        """The answer, unpacked. Raises Failed for a body beyond BODY_LIMIT."""
        response = self._pool.handle_request(request)
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            answer = RawAnswer(response.status, headers, b"")
            return RawAnswer(response.status, headers, _read_body(_unpacked(response, headers), answer, maker))
        finally:
            response.close()


class _Packed(httpx.SyncByteStream):
    """A body as it came, for httpx to unpack."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream


def _unpacked(response: httpcore.Response, headers: Mapping[str, str]) -> Iterable[bytes]:
    stream: Iterable[bytes] = response.stream  # type: ignore[assignment] # for sync pools it is
    if "content-encoding" not in headers:
        return stream
    return httpx.Response(response.status, headers=response.headers, stream=_Packed(stream)).iter_bytes()


class Transport:
    """Sends the calls of one API to one host; shared by all threads of a run.

    `auth_headers` is asked anew for every call; its values never appear in an error. `stop(seconds)` waits and is
    True at once when the run is being stopped. `timeout_s` bounds connecting, with all its tries, and each silence
    of the server; `deadline_s` the whole call with all its tries.
    """

    def __init__(self, base_url: BaseUrl, auth_headers: Callable[[], Mapping[str, str]], *, timeout_s: float,
                 deadline_s: float, stop: Callable[[float], bool], ca_bundle: str | None = None,
                 trust_env: bool = True) -> None:
        self._base = base_url
        self._auth_headers = auth_headers
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._stop = stop
        self._gate = gate_for(base_url.netloc)
        self._client = _make_client(base_url, _tls_context(base_url, ca_bundle), trust_env=trust_env)
        self._pool = _Pool(self._client, base_url)
        self._offset_s: float | None = None

    @property
    def server_time_offset_s(self) -> float | None:
        """Server's Date minus this machine's clock in seconds, from the newest answer; None before any."""
        return self._offset_s

    @property
    def netloc(self) -> str:
        """`host[:port]` of the API, for messages."""
        return self._base.netloc

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._client.close()

    def ask(self, call: Call, *, path: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None,
            body: bytes | None = None, hide: Sequence[Secret] = ()) -> Answer:
        """As `find`, for calls without a "no such thing" status."""
        answer = self.find(call, path=path, query=query, body=body, hide=hide)
        if answer is None:
            raise TypeError(f"{call.name} may find nothing: use find()")
        return answer

    def find(self, call: Call, *, path: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None,
             body: bytes | None = None, hide: Sequence[Secret] = ()) -> Answer | None:
        """Send a call and return its 2xx answer, or None for one of the call's "no such thing" statuses.

        `hide` are the secrets of the body. Raises CloudError cloud.unreachable, cloud.timeout, cloud.unavailable,
        cloud.refused, cloud.bad-answer; CredentialError credential.refused; Interrupted while waiting for a retry.
        """
        auth = self._auth_headers() if call.credential else {}
        hidden = [*(word for value in auth.values() for word in value.split()[-1:]), *(one.reveal() for one in hide)]
        errors = ErrorMaker(call, self._base.netloc, hidden)
        request = self._pool.request(call.method, fill_path(call.path, path or {}), query=query, headers=auth, body=body,
                                     timeout_s=min(self._timeout_s, self._deadline_s))
        with _call_deadline(self._deadline_s):
            try:
                raw = self._retrying()(self._try, call, request, errors)
            except Failed as failed:
                raise failed.error from failed.__cause__
        return None if raw is None else Answer(raw, errors)

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            sleep=self._wait, retry=tenacity.retry_if_exception(_is_repeatable), wait=self._next_wait,
            stop=self._is_over, reraise=True,
        )

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        never_met = isinstance(error, Failed) and error.kind is Failure.NEVER_SENT
        # A host that cannot even be connected to is said to be away sooner than a slow one is given up.
        left = _deadline.left() - (max(0.0, self._deadline_s - self._timeout_s) if never_met else 0.0)
        return state.upcoming_sleep >= left

    def _next_wait(self, state: tenacity.RetryCallState) -> float:
        backoff = tenacity.wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)(state)
        # Jitter downwards for what we chose, upwards for what the server asked for.
        return max(backoff * _jitter(0.5), self._gate.remaining_s() * (1 + 0.1 * _jitter(0.0)))

    def _wait(self, seconds: float) -> None:
        if self._stop(seconds):
            raise Interrupted

    def _try(self, call: Call, request: httpcore.Request, maker: ErrorMaker) -> RawAnswer | None:
        self._pass_gate(maker)
        if call.effect:
            failpoint.hit(f"sent:{call.name}")
        try:
            answer = self._exchange(request, maker)
        except Failed as failed:
            raise _Marked(failed, repeatable=failures.may_repeat(call, failed.kind)) from failed.__cause__
        if call.effect:
            failpoint.hit(f"answered:{call.name}")
        return self._judge(call, answer, maker)

    def _pass_gate(self, maker: ErrorMaker) -> None:
        while (remaining := self._gate.remaining_s()) > 0:
            if remaining >= _deadline.left():
                raise maker.busy(remaining)
            self._wait(remaining * (1 + 0.1 * _jitter(0.0)))

    def _exchange(self, request: httpcore.Request, maker: ErrorMaker) -> RawAnswer:
        try:
            return self._pool.send(request, maker)
        except _TROUBLE as error:
            _translate(error, maker)

    def _judge(self, call: Call, answer: RawAnswer, maker: ErrorMaker) -> RawAnswer | None:
        date = failures.date_of(answer)
        if date is not None:
            self._offset_s = date.timestamp() - time.time()
        if 200 <= answer.status < 300:
            return answer
        if failures.means_none(call, answer):
            return None
        failed = maker.status(answer)
        if failed.wait_s:
            self._gate.close_for(failed.wait_s)
        raise _Marked(failed, repeatable=failures.may_repeat(call, failed.kind))


class _Marked(Failed):
    """A failed try that knows whether its call may be repeated."""

    def __init__(self, failed: Failed, *, repeatable: bool) -> None:
        super().__init__(failed.kind, failed.error, wait_s=failed.wait_s)
        self.repeatable: Final = repeatable


def _is_repeatable(error: BaseException) -> bool:
    return isinstance(error, _Marked) and error.repeatable


def _jitter(low: float) -> float:
    # Not a secret: spreads the retries of many slots.
    return low + (1 - low) * (time.perf_counter_ns() % 1009) / 1009


@contextmanager
def _call_deadline(seconds: float) -> Iterator[None]:
    outer, _deadline.at = _deadline.at, time.monotonic() + seconds
    try:
        yield
    finally:
        _deadline.at = outer


def _read_body(chunks: Iterable[bytes], answer: RawAnswer, maker: ErrorMaker) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > BODY_LIMIT:
            error = maker.unreadable(f"answered with more than {BODY_LIMIT // 1024 // 1024} MiB", answer)
            raise Failed(Failure.FINAL, error)
    return bytes(body)


def _translate(error: Exception, maker: ErrorMaker) -> NoReturn:
    """Turn an error of the network into what it means for repeating."""
    why = failures.printable(maker.mask(str(error)))
    match error:
        case httpcore.ConnectTimeout() | httpcore.PoolTimeout():
            raise maker.never_sent("cloud.unreachable", "could not connect in time") from error
        case httpcore.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in why:
            cause = f"was not sent: the server's certificate is not trusted ({why}); cloud.ca_bundle names another authority"
            raise maker.never_sent("cloud.unreachable", cause, final=True) from error
        case httpcore.ConnectError() if "WRONG_VERSION_NUMBER" in why:
            raise maker.never_sent("cloud.unreachable", "was not sent: the server does not speak TLS on this port", final=True) from error
        case httpcore.ConnectError() | httpcore.ProxyError():
            raise maker.never_sent("cloud.unreachable", f"could not connect: {why}") from error
        case httpcore.TimeoutException():
            raise maker.lost("cloud.timeout", "got no answer in time") from error
        case httpcore.RemoteProtocolError() if "disconnect" not in why and "closed" not in why:
            raise maker.lost("cloud.bad-answer", f"got an answer that is not HTTP: {why}") from error
        case httpx.DecodingError():
            raise maker.lost("cloud.bad-answer", f"got an answer that cannot be unpacked: {why}") from error
        case _:
            raise maker.lost("cloud.unreachable", f"lost the connection before the answer was whole: {why}") from error
