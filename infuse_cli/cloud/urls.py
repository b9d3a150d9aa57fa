"""Base URLs of the two APIs: what is allowed, and how a path is put behind them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from infuse_cli.errors import CloudError, ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[0-9a-z._:%-]+")


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A checked base URL without a trailing slash; `host` is the bare host name in lower case,
    without a port.

    `port` is the scheme's own where the URL names none; `path` what comes before the paths of the
    calls. All ASCII.
    """

    url: str
    scheme: str
    host: str
    netloc: str
    port: int
    path: str

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, so that plain http and no proxy are right."""
        return is_loopback(self.host)

    def under(self, path: str) -> BaseUrl:
        """This base with `path` behind it, unless it ends so already."""
        if self.url.endswith(path):
            return self
        return replace(self, url=self.url + path, path=self.path + path)


def is_loopback(host: str) -> bool:
    """Whether a host name or address literal means this very machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_base_url(text: str, key: str) -> BaseUrl:
    """Check the base URL of profile key `key`.

    Raises ProfileError: profile.secret for a password in it; profile.invalid for anything but https
    (or http to this machine), a missing host, a query or a fragment.
    """
    cleaned = text.strip().rstrip("/")
    if "@" in cleaned:
        # Before it is split: with # or / in a password, a piece of that would become the host.
        raise ProfileError("profile.secret", f"{key} holds a user name or password before the host")
    try:
        parts = urlsplit(cleaned)
        host, port = _ascii((parts.hostname or "").lower()), parts.port
    except ValueError as error:
        raise ProfileError("profile.invalid", f"{key}: not a URL ({error})") from error
    if (
        parts.scheme not in {"http", "https"}
        or not _HOST.fullmatch(host)
        or parts.query
        or parts.fragment
    ):
        raise ProfileError(
            "profile.invalid", f"{key}: '{cleaned}' is not of the form https://HOST[:PORT][/PATH]"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ProfileError(
            "profile.invalid",
            f"{key}: plain http is allowed to this machine only, and '{host}' is another: the"
            " credential would travel readable",
        )
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port is None else f"{shown}:{port}"
    path = quote(parts.path, safe="/%~!$&'()*+,;=:@")
    return BaseUrl(
        f"{parts.scheme}://{netloc}{path}",
        parts.scheme,
        host,
        netloc,
        port or _PORTS[parts.scheme],
        path,
    )


def _ascii(host: str) -> str:
    """A host name as the network knows it (RFC 3490); UnicodeError is a ValueError."""
    return host if host.isascii() else host.encode("idna").decode("ascii")


def fill_path(template: str, values: Mapping[str, str]) -> str:
    """Put URL-escaped `values` into a path template such as `/device/id/{id}`.

    Raises CloudError cloud.not-found for an empty value, which would turn the path into that of
    another call.
    """
    for name, value in values.items():
        if not value:
            raise CloudError("cloud.not-found", f"{template}: an empty {name} names nothing")
    return template.format(**{name: _segment(value) for name, value in values.items()})


def _segment(value: str) -> str:
    # "." and ".." would be taken out of the path on the way; escaped, they stay a name.
    return value.replace(".", "%2E") if value in {".", ".."} else quote(value, safe="")
