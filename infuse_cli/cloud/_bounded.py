"""Connections that keep to the deadline of a call, however slowly a server or a proxy sends.

A time-out of a socket starts anew with every byte, so a server that sends one byte after the other
would hold a call for ever. Here every read and write ends at the deadline of the thread's present
call. httpcore takes such a back end as a public parameter. Times are seconds.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpcore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from infuse_cli.cloud.proxies import Proxy


class _Deadline(threading.local):
    """The moment (monotonic clock) at which this thread's present call must be over."""

    at: float = float("inf")


_deadline: Final = _Deadline()


def time_left() -> float:
    """Seconds until this thread's present call must be over; infinite outside of one."""
    return _deadline.at - time.monotonic()


@contextmanager
def call_deadline(seconds: float) -> Iterator[None]:
    """Have all that this thread does on connections end within so many seconds."""
    outer, _deadline.at = _deadline.at, time.monotonic() + seconds
    try:
        yield
    finally:
        _deadline.at = outer


class _BoundedStream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the deadline of the call, however slowly
    bytes drip in.
    """

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _bounded(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _bounded(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        bound, name = (
            _bounded(timeout, httpcore.ConnectTimeout),
            None if server_hostname is None else server_hostname.strip("[]"),
        )
        return _BoundedStream(self._inner.start_tls(ssl_context, name, bound))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _ProxyStream(_BoundedStream):
    """The connection to a proxy, before TLS with the server begins: nothing was sent to the server
    yet, and what fails is the proxy.
    """

    def __init__(self, inner: httpcore.NetworkStream, host: str) -> None:
        super().__init__(inner)
        self._host = host
        self._has_answered = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as_proxy_error():
            data = super().read(max_bytes, timeout)
        if not data:
            raise httpcore.ProxyError("closed the connection before it answered")
        if not self._has_answered and not b"HTTP/".startswith(data[:5]):
            raise httpcore.ProxyError("does not answer as an HTTP proxy does")
        self._has_answered = True
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _as_proxy_error():
            super().write(buffer, timeout)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        if server_hostname != self._host:
            return super().start_tls(ssl_context, server_hostname, timeout)
        try:
            return _ProxyStream(
                super().start_tls(ssl_context, server_hostname, timeout), self._host
            )
        except httpcore.ConnectError as error:
            raise httpcore.ProxyError(f"no TLS with it: {error}") from error


@contextmanager
def _as_proxy_error() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpcore.ProxyError("did not answer in time") from error
    except httpcore.NetworkError as error:
        raise httpcore.ProxyError(f"broke off: {error}") from error


class BoundedBackend(httpcore.NetworkBackend):
    """Opens connections that keep to the call's deadline; with a proxy every one of them leads to
    the proxy.
    """

    def __init__(self, proxy: Proxy | None) -> None:
        self._inner = httpcore.SyncBackend()
        self._proxy = proxy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        bound = _bounded(timeout, httpcore.ConnectTimeout)
        try:
            stream = self._inner.connect_tcp(host, port, bound, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            if self._proxy is None:
                raise
            raise httpcore.ProxyError(f"could not connect: {error}") from error
        return (
            _BoundedStream(stream)
            if self._proxy is None
            else _ProxyStream(stream, self._proxy.host)
        )


def _bounded(timeout: float | None, error: type[Exception]) -> float:
    left = time_left()
    if left <= 0:
        raise error("the call's deadline has passed")
    return left if timeout is None else min(timeout, left)
