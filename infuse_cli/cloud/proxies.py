"""Which proxy leads to a base URL, from the environment as curl and most programs read it.

`https_proxy`, then HTTPS_PROXY, then `all_proxy` and ALL_PROXY; NO_PROXY names the hosts that are
reached without one. Plain http goes to this machine only, so that HTTP_PROXY has nothing to do and
the credential never passes a proxy but inside TLS.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from infuse_cli.errors import ProfileError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from infuse_cli.cloud.urls import BaseUrl

_VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
_PORTS: Final = {"http": 80, "https": 443}
# RFC 3986, 3.2.1: none of these stands unencoded in user information.
_DELIMITERS: Final = re.compile(r"[@#?/\\]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST_AND_PORT: Final = re.compile(r"([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `variable` is where it was named, `user` and `password` its own credential."""

    scheme: str
    host: str
    port: int
    variable: str
    user: str | None = None
    password: Secret | None = None

    @property
    def netloc(self) -> str:
        """`host:port`, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(base: BaseUrl, env: Mapping[str, str]) -> Proxy | None:
    """The proxy for a base URL, None where it is reached directly.

    Raises ProfileError profile.invalid for a variable that names no HTTP proxy; its text is never
    shown, since it may hold a password.
    """
    if base.is_loopback or base.scheme != "https":
        return None
    variable = next((name for name in _VARIABLES if env.get(name, "").strip()), None)
    exceptions = next((env[name] for name in _EXCEPTIONS if env.get(name)), "")
    if variable is None or is_exempt(base.host, base.port, exceptions):
        return None
    return _parse(env[variable].strip(), variable)


def is_exempt(host: str, port: int, exceptions: str) -> bool:
    """Whether a comma-separated NO_PROXY covers a host: `*`, a domain with all below it, an address
    or network, each with `:PORT` or without.
    """
    return any(
        _fits(host, port, rule.strip().lower()) for rule in exceptions.split(",") if rule.strip()
    )


def _fits(host: str, port: int, rule: str) -> bool:
    if rule == "*":
        return True
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and (name.startswith("[") or ":" not in name):
        return int(number) == port and _fits(host, port, name)
    rule = rule.strip("[]").removeprefix("*").removeprefix(".")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return host == rule or host.endswith(f".{rule}")


def _parse(text: str, variable: str) -> Proxy:
    parts = None if _is_ambiguous(text) else _split(text)
    if parts is None or parts.hostname is None or parts.scheme not in _PORTS:
        raise _refused(variable, text)
    password = None if parts.password is None else Secret(unquote(parts.password))
    user = None if parts.username is None else unquote(parts.username)
    port = parts.port or _PORTS[parts.scheme]
    return Proxy(parts.scheme, parts.hostname, port, variable, user, password)


def _is_ambiguous(text: str) -> bool:
    """Whether a part of a password could be taken for the host, or the host for a part of it.

    What programs read into such a text differs, so it is not guessed: a guess would show a piece of
    the password and ask the DNS for it.
    """
    if any(char.isspace() or not char.isprintable() for char in text):
        return True
    _, _, rest = text.rpartition("://") if text.count("://") == 1 else ("", "", text)
    user_information, at, place = rest.rpartition("@")
    if _DELIMITERS.search(user_information) or _BAD_ESCAPE.search(user_information):
        return True
    return not _HOST_AND_PORT.fullmatch(place) or (at == "@" and not user_information)


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        _ = parts.port
    except ValueError:
        return None
    return parts


def _refused(variable: str, text: str) -> ProfileError:
    socks = re.match(r"socks\w{0,2}(?=://)", text)
    why = f"; {socks[0]} proxies are not supported" if socks else ""
    return ProfileError(
        "profile.invalid",
        f"{variable} does not name an HTTP proxy{why}; its value is not shown and was not used",
        hint=(
            f"{variable} has the form http://[USER:PASSWORD@]HOST:PORT. In user name and password,"
            " @ # ? / \\ % and blanks are written %40 %23 %3F %2F %5C %25 %20. NO_PROXY names"
            " hosts to reach without it."
        ),
    )
