"""What the clients of both APIs share: one object, one list read to its end, one body sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from infuse_cli import api_types as api
from infuse_cli.cloud import decoding
from infuse_cli.cloud.decoding import PAGE, pages, read_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from infuse_cli.cloud._http import Transport
    from infuse_cli.cloud.failures import Call
    from infuse_cli.types import Secret

O = TypeVar("O", bound=api.ApiObject)  # noqa: E741

ABSENT: Final = frozenset({404})
"""Statuses of a look-up that mean "there is no such thing"."""


class _Listed(Protocol):
    @property
    def id(self) -> str: ...


L = TypeVar("L", bound=_Listed)


class Client:
    """A client over one transport; safe to share between threads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def server_time_offset_s(self) -> float | None:
        """Server's Date minus this machine's clock in seconds, from the newest answer; None before
        any.
        """
        return self._transport.server_time_offset_s

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._transport.close()

    def _find(self, call: Call, type_: type[O], path: Mapping[str, str]) -> O | None:
        """What a look-up names; an answer about something else is a bad one."""
        answer = self._transport.find(call, path=path)
        return None if answer is None else decoding.value(answer, type_, path)

    def _send(
        self,
        call: Call,
        type_: type[O],
        body: Mapping[str, Any],
        *,
        path: Mapping[str, str] | None = None,
        hide: Sequence[Secret] = (),
        same: Sequence[str] = (),
    ) -> O:
        """Send a body; `same` are those of its members that the answer has to repeat."""
        answer = self._transport.ask(call, path=path, body=body, hide=hide)
        return decoding.value(answer, type_, {name: body[name] for name in same})

    def pace(self, rate: float | None) -> None:
        """Send at most `rate` requests a second to this host from now on, evenly, None: as it turns
        out to take; both APIs of one host share it.
        """
        self._transport.pace(rate)

    def _list(
        self,
        call: Call,
        type_: type[L],
        query: Mapping[str, str],
        *,
        path: Mapping[str, str] | None = None,
    ) -> tuple[L, ...]:
        return read_to_end(self._page_reader(call, type_, query, path), lambda item: item.id)

    def _pages(
        self, call: Call, type_: type[L], query: Mapping[str, str]
    ) -> Iterator[tuple[L, ...]]:
        return pages(self._page_reader(call, type_, query), lambda item: item.id)

    def _page_reader(
        self,
        call: Call,
        type_: type[L],
        query: Mapping[str, str],
        path: Mapping[str, str] | None = None,
    ) -> Callable[[int], tuple[L, ...]]:
        def fetch(offset: int) -> tuple[L, ...]:
            paged = {**query, "limit": str(PAGE), "offset": str(offset)}
            answer = self._transport.ask(call, path=path, query=paged)
            return decoding.page(answer, type_)

        return fetch
