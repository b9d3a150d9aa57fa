"""The virtual cloud as an ASGI application, built from the table: credential, bodies, errors,
paging, faults, counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infuse_cli.errors import UsageError
from infuse_cli.sim import faults as fault_plan
from infuse_cli.sim.authority import Authority
from infuse_cli.sim.cloud_faults import CloudFaults
from infuse_cli.sim.cloud_state import CloudState
from infuse_cli.sim.cloud_table import CALLS, Call
from infuse_cli.sim.faults import CloudFaultKind as Kind
from infuse_cli.sim.faults import OnCloud
from infuse_cli.sim.openapi import document
from infuse_cli.sim.registry_state import RegistryState
from infuse_cli.sim.store import Ask, Clock, Refused, new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from starlette.datastructures import QueryParams
    from starlette.types import ASGIApp, Receive, Scope, Send

    _Serve = Callable[[Request], Awaitable[Response]]

ABORT: Final = "infuse_sim.abort"
HTML: Final = (
    b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in to the"
    b" network.</body></html>"
)
_LOG_LENGTH: Final = 20_000


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """How the virtual cloud is: credential, faults (text), whether registry lists and chains come
    in their other shape.

    Under scheme `exchanged` the credential is an IAM key, and calls take the tokens that it is
    exchanged for, which are good for `iam_ttl_s` seconds.
    """

    token: str
    scheme: str = "bearer"
    faults: str = ""
    list_as_items: bool = False
    chain_as_list: bool = False
    organisations: tuple[str, ...] = ()
    iam_ttl_s: float = 900.0


@dataclass(slots=True)
class _Count:
    count: int = 0
    committed: int = 0
    statuses: dict[str, int] = field(default_factory=dict)


class World:
    """All that the virtual cloud is: both states under one lock, the CA, the faults, the log of
    requests.
    """

    def __init__(self, options: CloudOptions) -> None:
        self.options: Final = options
        self.clock: Final = Clock()
        self.authority: Final = Authority()
        self.cloud: Final = CloudState(self.clock)
        self.registry: Final = RegistryState(
            self.clock, self.cloud, self.authority, chain_as_list=options.chain_as_list
        )
        self.requests: Final[dict[str, _Count]] = {}
        self.log: Final[list[dict[str, Any]]] = []
        self.faults = CloudFaults(fault_plan.parse(options.faults), self.clock)
        self.cloud.rpc.iam_ttl_s = options.iam_ttl_s
        for name in options.organisations:
            self.cloud.add_organisation(name)

    def set_faults(self, text: str) -> None:
        """Have these faults from now on. Raises UsageError usage.bad-option."""
        self.faults = CloudFaults(fault_plan.parse(text), self.clock)

    def carry_out(self, call: Call, ask: Ask) -> Any:
        """Do what the call does, under the lock. Raises Refused."""
        with self.clock.lock:
            return call.handler(self.registry if call.is_registry else self.cloud, ask)

    def count(self, call: Call, status: int | None, *, committed: bool) -> None:
        """Note a request and its end; `status` None is a connection dropped."""
        with self.clock.lock:
            entry = self.requests.setdefault(call.name, _Count())
            entry.count += 1
            entry.committed += committed
            shown = "dropped" if status is None else str(status)
            entry.statuses[shown] = entry.statuses.get(shown, 0) + 1
            if len(self.log) < _LOG_LENGTH:
                self.log.append({"call": call.name, "status": status, "committed": committed})

    def state(self) -> dict[str, Any]:
        """Everything that happened, as JSON values, without secrets: GET /_sim/state."""
        with self.clock.lock:
            cloud, registry = self.cloud, self.registry
            state: dict[str, Any] = msgspec.to_builtins(
                {
                    "organisations": list(cloud.organisations.values()),
                    "boards": list(cloud.boards.values()),
                    "devices": [
                        {**msgspec.to_builtins(d), "state": cloud.states.get(d.id)}
                        for d in cloud.devices.values()
                    ],
                    "registryDevices": list(registry.devices.values()),
                    "deletedRegistryDevices": registry.deleted,
                    "tokens": [
                        {**_camel(t.shown()), "uses": t.uses, "metadata": t.metadata}
                        for t in registry.tokens.values()
                    ],
                    "certificates": registry.certificates,
                    "checkIns": registry.check_ins,
                    "requests": self.requests,
                    "log": self.log,
                }
            )
            return state


def build(world: World) -> ASGIApp:
    """The application: a route a call of the table, the OpenAPI document, and `/_sim/…` to look
    inside.
    """
    paths: dict[str, dict[str, _Serve]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method] = _endpoint(world, call)
    paths["/openapi.json"] = {"GET": _document(world.options.scheme)}
    paths["/_sim/state"] = {"GET": _inspect(world)}
    paths["/_sim/faults"] = {"PUT": _change_faults(world)}
    # A name may hold a slash, which arrives unescaped; what is spelled out goes before what is a
    # parameter.
    ordered = sorted(
        paths.items(), key=lambda item: [part.startswith("{") for part in item[0].split("/")]
    )
    routes = [
        Route(path.replace("{name}", "{name:path}"), _Methods(methods)) for path, methods in ordered
    ]
    return Abortable(Starlette(routes=routes, exception_handlers={404: _no_route}))


class _Methods:
    """All methods of one path; any other is refused with those that there are."""

    def __init__(self, methods: Mapping[str, _Serve]) -> None:
        self._methods: Final = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the method that is asked for."""
        request = Request(scope, receive, send)
        serve = self._methods.get(request.method)
        response = _not_offered(request, self._methods) if serve is None else await serve(request)
        await response(scope, receive, send)


def _not_offered(request: Request, methods: Iterable[str]) -> Response:
    body = {"code": 405, "message": f"no such route: {request.method} {request.url.path}"}
    return Response(
        msgspec.json.encode(body), 405, {"Allow": ", ".join(methods)}, "application/json"
    )


def _endpoint(world: World, call: Call) -> _Serve:
    async def serve(request: Request) -> Response:
        struck = world.faults.strike(call.name)
        await _pause(struck, Kind.LATENCY)
        if (early := _before(world, call, struck)) is not None:
            return early
        response = await _answer(world, call, request)
        await _pause(struck, Kind.SLOW)
        return _after(world, call, struck, response)

    return serve


def _before(world: World, call: Call, struck: dict[Kind, OnCloud]) -> Response | None:
    response: Response | None = None
    if Kind.DOWN in struck or Kind.DROP_BEFORE in struck:
        response = Dropped()
    elif Kind.TOO_MANY in struck:
        response = _problem(world, 429, "too many requests", {"Retry-After": "1"})
    elif Kind.FORBIDDEN in struck:
        response = _problem(world, 403, "the credential may not do this")
    elif Kind.SERVER_ERROR_BEFORE in struck or (
        Kind.SERVER_ERROR in struck and world.faults.coin()
    ):
        response = _problem(world, world.faults.server_error(), "the service has a fault")
    elif Kind.HTML in struck:
        response = Response(HTML, 200, {**_headers(world)}, "text/html")
    if response is not None:
        world.count(
            call, None if isinstance(response, Dropped) else response.status_code, committed=False
        )
    return response


def _after(world: World, call: Call, struck: dict[Kind, OnCloud], response: Response) -> Response:
    committed = response.status_code < 400
    if Kind.DROP_AFTER in struck:
        response = Dropped()
    elif Kind.SERVER_ERROR_AFTER in struck or Kind.SERVER_ERROR in struck:
        response = _problem(world, world.faults.server_error(), "the service has a fault")
    elif Kind.HALF_JSON in struck:
        body = bytes(response.body)
        response = Response(
            body[: len(body) // 2], response.status_code, _headers(world), "application/json"
        )
    world.count(
        call, None if isinstance(response, Dropped) else response.status_code, committed=committed
    )
    return response


async def _answer(world: World, call: Call, request: Request) -> Response:
    try:
        if call.auth:
            _authorise(world, request)
        body = None if call.request is None else _decode(await request.body(), call.request)
        ask = Ask(dict(request.path_params), _query(call, request.query_params), body)
        return _json(world, call, world.carry_out(call, ask))
    except Refused as refusal:
        return _problem(world, refusal.status, refusal.message)


_HEADERS: Final = {
    "bearer": ("authorization", "Bearer"),
    "exchanged": ("authorization", "Bearer"),
    "api-key": ("authorization", "ApiKey"),
    "x-api-key": ("x-api-key", "Bearer"),
}


def _authorise(world: World, request: Request) -> None:
    name, prefix = _HEADERS[world.options.scheme]
    given = request.headers.get(name)
    if given is None:
        raise Refused(401, "no credential was given")
    if world.options.scheme == "exchanged":
        with world.clock.lock:
            world.cloud.rpc.check_token(given.removeprefix(f"{prefix} "))
    elif given != f"{prefix} {world.options.token}":
        raise Refused(401, "the credential is not valid")


def _query(call: Call, given: QueryParams) -> Any:
    try:
        texts = {
            field.encode_name: _value(field.type, values)
            for field in msgspec.structs.fields(call.query)
            if (values := given.getlist(field.encode_name))
        }
        query = msgspec.convert(texts, call.query)
    except msgspec.ValidationError as error:
        raise Refused(400, f"bad query: {error}") from None
    if (
        order := getattr(query, "order_by", msgspec.UNSET)
    ) is not msgspec.UNSET and order not in call.orders:
        raise Refused(400, f"orderBy is one of {', '.join(call.orders)}")
    return query


def _value(kind: Any, texts: list[str]) -> Any:
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(base) is list:
        return [part for text in texts for part in text.split(",")]
    # Only of a number or a yes or no is the text another form: one is no time.
    return msgspec.convert(texts[-1], kind, strict=base not in {int, bool})


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.convert(_whole(msgspec.json.decode(body)), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(400, f"bad request: {error}") from None


def _whole(value: Any) -> Any:
    # JSON knows one kind of number: 60.0 is as whole as 60.
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


def _json(world: World, call: Call, value: Any) -> Response:
    if call.answer is None:
        return Response(None, call.ok, _headers(world))
    shaped = (
        {"items": value}
        if call.is_list and call.is_registry and world.options.list_as_items
        else value
    )
    return Response(msgspec.json.encode(shaped), call.ok, _headers(world), "application/json")


def _problem(
    world: World, status: int, message: str, more: dict[str, str] | None = None
) -> Response:
    body = msgspec.json.encode({"code": status, "message": message})
    return Response(body, status, {**_headers(world), **(more or {})}, "application/json")


def _headers(world: World) -> dict[str, str]:
    return {"Date": format_datetime(world.clock.now(), usegmt=True), "X-Request-Id": new_id()}


async def _pause(struck: dict[Kind, OnCloud], kind: Kind) -> None:
    if kind in struck:
        await asyncio.sleep(struck[kind].value)


class Dropped(Response):
    """No answer at all: the connection is cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the connection, then wait until the server has noticed."""
        del send
        scope[ABORT]()
        while (await receive())["type"] != "http.disconnect":
            pass


class Abortable:
    """Outermost layer: gives the application the way to cut its connection, which ASGI itself has
    not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, with the server's own transport within reach."""
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        await self._app(
            {**scope, ABORT: transport.abort if transport is not None else lambda: None},
            receive,
            send,
        )


def _document(scheme: str) -> _Serve:
    async def serve(_: Request) -> Response:
        return Response(msgspec.json.encode(document(scheme)), media_type="application/json")

    return serve


async def _no_route(request: Request, _: Exception) -> Response:
    body = {"code": 404, "message": f"no such route: {request.method} {request.url.path}"}
    return Response(msgspec.json.encode(body), 404, media_type="application/json")


def _inspect(world: World) -> _Serve:
    async def serve(_: Request) -> Response:
        return Response(msgspec.json.encode(world.state()), media_type="application/json")

    return serve


def _change_faults(world: World) -> _Serve:
    async def serve(request: Request) -> Response:
        try:
            world.set_faults((await request.body()).decode())
        except UsageError as error:
            return Response(
                msgspec.json.encode({"code": 400, "message": error.message}),
                400,
                media_type="application/json",
            )
        return Response(None, 204)

    return serve


def _camel(names: dict[str, str]) -> dict[str, str]:
    def camel(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(part.title() for part in rest)

    return {camel(name): value for name, value in names.items()}
