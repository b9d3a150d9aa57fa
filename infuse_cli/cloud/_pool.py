"""One pool of connections to one host, with its proxy and its TLS, and what its errors mean.

The pool is httpcore's, on which httpx itself stands; why not httpx.Client, with figures, is
docs/decisions/0013-below-httpx.md. Times are seconds.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlencode

import httpcore

from infuse_cli._version import __version__
from infuse_cli.certificate_files import MAX_BUNDLE, past_stale_errors, read_trusted
from infuse_cli.cloud import failures
from infuse_cli.cloud._body import BODY_LIMIT, BadEncodingError, BodyTooLongError, read_body
from infuse_cli.cloud._bounded import BoundedBackend
from infuse_cli.cloud.failures import ErrorFactory, Failure, RawAnswer, TryFailed
from infuse_cli.cloud.proxies import proxy_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from infuse_cli.cloud.proxies import Proxy
    from infuse_cli.cloud.urls import BaseUrl

Request = httpcore.Request
"""A request that may be sent several times."""

MAX_CONNECTIONS: Final = 64
"""As many as slots may work at once."""

# Shorter than the 5 s after which common servers drop an idle connection: a request sent just then
# would be lost.
_KEEP_ALIVE_S: Final = 3.0
_HEADERS: Final = (
    (b"User-Agent", f"infuse/{__version__}".encode()),
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"gzip, deflate"),
)
_TROUBLE: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    BadEncodingError,
)


def _tls_context(base: BaseUrl, ca_bundle: str | None) -> ssl.SSLContext:
    """Whom to trust: the named bundle alone, else the machine's store and certifi's list."""
    if ca_bundle is not None:
        return _bundle(ca_bundle)
    if base.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _bundle(path: str) -> ssl.SSLContext:
    key = "cloud.ca_bundle (--ca-bundle)"
    pem = read_trusted(path, key, most=MAX_BUNDLE)
    return past_stale_errors(lambda: ssl.create_default_context(cadata=pem))


def _via(proxy: Proxy | None) -> httpcore.Proxy | None:
    if proxy is None:
        return None
    auth = (
        None
        if proxy.user is None
        else (proxy.user.encode(), (proxy.password.reveal() if proxy.password else "").encode())
    )
    url = httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/")
    return httpcore.Proxy(
        url,
        auth=auth,
        ssl_context=ssl.create_default_context() if proxy.scheme == "https" else None,
    )


class Pool:
    """The connections that lead to a base URL, through the proxy that the environment names
    for it.
    """

    def __init__(self, base: BaseUrl, ca_bundle: str | None, env: Mapping[str, str]) -> None:
        """Raise ProfileError profile.invalid for a bundle or a proxy that cannot be used."""
        self._proxy: Final = proxy_for(base, env)
        self._base: Final = base
        # CONNECT names the host as it stands here, and wants an IPv6 address in brackets (RFC 9110,
        # 9.3.6).
        self._host: Final = (
            f"[{base.host}]" if self._proxy is not None and ":" in base.host else base.host
        )
        self._headers: Final = ((b"Host", base.netloc.encode("ascii")), *_HEADERS)
        self._pool: Final = httpcore.ConnectionPool(
            ssl_context=_tls_context(base, ca_bundle),
            proxy=_via(self._proxy),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=BoundedBackend(self._proxy),
        )

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._pool.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
    ) -> Request:
        """A request that may be sent several times.

        `path` is URL-escaped, `timeout_s` bounds each wait.
        """
        target = f"{self._base.path}{path}{f'?{urlencode(query)}' if query else ''}".encode("ascii")
        content = b"" if body is None and method in {"POST", "PUT", "PATCH"} else body
        fields = [
            *self._headers,
            *((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()),
        ]
        if content is not None:
            fields.append((b"Content-Length", b"%d" % len(content)))
        if body is not None:
            fields.append((b"Content-Type", b"application/json"))
        url = httpcore.URL(
            scheme=self._base.scheme, host=self._host, port=self._base.port, target=target
        )
        waits = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        return Request(method, url, headers=fields, content=content, extensions={"timeout": waits})

    def send(self, request: Request, errors: ErrorFactory) -> RawAnswer:
        """The answer, unpacked.

        Raises TryFailed for trouble on the way, and for a body beyond BODY_LIMIT.
        """
        try:
            response = self._pool.handle_request(request)
            try:
                return _read(response, errors)
            finally:
                response.close()
        except _TROUBLE as error:
            _translate(error, errors, self._proxy)


def _read(response: httpcore.Response, errors: ErrorFactory) -> RawAnswer:
    fields = [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in response.headers
    ]
    headers = dict(fields)
    encodings = [value for name, value in fields if name == "content-encoding"]
    stream: Iterable[bytes] = response.stream  # type: ignore[assignment] # for sync pools it is
    try:
        return RawAnswer(response.status, headers, read_body(stream, encodings))
    except BodyTooLongError:
        cause = f"answered with more than {BODY_LIMIT // 1024 // 1024} MiB"
        error = errors.unreadable(cause, RawAnswer(response.status, headers, b""))
        raise TryFailed(Failure.FINAL, error) from None


def _translate(error: Exception, errors: ErrorFactory, proxy: Proxy | None) -> NoReturn:
    """Turn an error of the network into what it means for repeating."""
    why = failures.printable(errors.mask(str(error)))
    match error:
        case httpcore.ProxyError() if proxy is not None:
            raise _of_proxy(why, errors, proxy) from error
        case httpcore.ConnectTimeout() | httpcore.PoolTimeout():
            raise errors.never_sent("cloud.unreachable", "could not connect in time") from error
        case httpcore.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in why:
            cause, hint = failures.distrust(why)
            raise errors.never_sent(
                "cloud.untrusted", f"was not sent: {cause}", final=True, hint=hint
            ) from error
        case httpcore.ConnectError() if "WRONG_VERSION_NUMBER" in why:
            raise errors.never_sent(
                "cloud.untrusted",
                "was not sent: the server does not speak TLS on this port",
                final=True,
                hint="Check scheme and port of cloud.base_url.",
            ) from error
        case httpcore.ConnectError():
            raise errors.never_sent("cloud.unreachable", f"could not connect: {why}") from error
        case httpcore.TimeoutException():
            raise errors.lost("cloud.timeout", "got no answer in time") from error
        case httpcore.RemoteProtocolError() if "disconnect" not in why and "closed" not in why:
            raise errors.lost(
                "cloud.bad-answer", f"got an answer that is not HTTP: {why}"
            ) from error
        case BadEncodingError():
            raise errors.lost(
                "cloud.bad-answer", f"got an answer that cannot be unpacked: {why}"
            ) from error
        case _:
            raise errors.lost(
                "cloud.unreachable", f"lost the connection before the answer was whole: {why}"
            ) from error


def _of_proxy(why: str, errors: ErrorFactory, proxy: Proxy) -> TryFailed:
    """The proxy's own trouble: a refusal is final, anything else may pass."""
    where = f"the proxy {proxy.netloc} ({proxy.variable})"
    status = int(why[:3]) if why[:3].isdigit() else 0
    if status == 407:
        return errors.never_sent(
            "cloud.proxy",
            f"was not sent: {where} wants a credential of its own (407)",
            final=True,
            hint=(
                f"{proxy.variable}=http://USER:PASSWORD@HOST:PORT gives it one; NO_PROXY goes"
                " round it."
            ),
        )
    if 400 <= status < 500:
        return errors.never_sent(
            "cloud.proxy", f"was not sent: {where} refused to connect: {why}", final=True
        )
    reason = f"answered {why}" if status else why
    return errors.never_sent("cloud.unreachable", f"was not sent: {where} {reason}")
