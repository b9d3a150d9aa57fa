"""The OpenAPI 3.1 document of the virtual cloud, made from its table."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from infuse_cli.sim import schemas
from infuse_cli.sim.cloud_table import CALLS, REGISTRY, Call

_TEMPLATE: Final = "#/components/schemas/{name}"
_SECURITY: Final[dict[str, dict[str, str]]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "exchanged": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token that POST /iam/auth/token gave for an IAM key",
    },
    "api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`ApiKey` and the credential",
    },
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "`Bearer` and the credential",
    },
}
_DESCRIPTIONS: Final = {
    200: "Done",
    201: "Made",
    204: "Done",
    400: "The request is not well formed",
    401: "No credential, or not this one",
    403: "The credential may not do this",
    404: "There is no such thing",
    409: "There is such a thing already, or it is over",
    410: "Revoked or expired",
    422: "Well formed, but against what is there",
    429: "Too many requests",
}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}}
}
# What a path may hold; a name is free text.
_IN_PATH: Final[dict[str, Any]] = {
    "id": schemas.Uuid,
    "tokenId": schemas.Uuid,
    "deviceId": schemas.Hex16,
    "mcuId": schemas.McuId,
    "soc": schemas.Name,
    "name": schemas.Name,
}


# What the types cannot say: one of the two is there, and is no null.
_EXTRA_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "RpcCall": {
        "anyOf": [
            {
                "required": ["commandName"],
                "properties": {"commandName": {"type": "string", "minLength": 1}},
            },
            {"required": ["commandId"], "properties": {"commandId": {"type": "integer"}}},
        ]
    },
}
# Where the answer of a call that makes something leads: beginning of the paths, their parameter,
# member of the answer.
_LEADS_TO: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "POST /organisation": (("/organisation/id/", "id", "id"),),
    "POST /board": (("/board/id/", "id", "id"),),
    "POST /device": (("/device/id/", "id", "id"), ("/device/deviceId/", "deviceId", "deviceId")),
    "POST /rpc": (("/rpc/", "id", "id"),),
    f"POST {REGISTRY}/devices/registration/tokens": (
        (f"{REGISTRY}/devices/registration/tokens/", "tokenId", "id"),
        (f"{REGISTRY}/devices/{{deviceId}}", "deviceId", "deviceId"),
    ),
    f"POST {REGISTRY}/devices": ((f"{REGISTRY}/devices/{{deviceId}}", "deviceId", "id"),),
    f"POST {REGISTRY}/components": ((f"{REGISTRY}/components/", "id", "id"),),
    f"POST {REGISTRY}/device-groups": ((f"{REGISTRY}/device-groups/", "id", "id"),),
}


def document(scheme: str = "bearer") -> dict[str, Any]:
    """Every call with its types and statuses; `scheme` is how the credential travels, as in a
    profile's `auth.scheme`.
    """
    types = [kind for call in CALLS for kind in (call.request, call.answer) if kind is not None]
    _, components = msgspec.json.schema_components(
        [*types, schemas.Problem], ref_template=_TEMPLATE
    )
    components = {
        name: {**schema, **_EXTRA_SCHEMAS.get(name, {})} for name, schema in components.items()
    }
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, scheme)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Virtual Infuse IoT cloud and device registry",
            "version": "1",
            "description": (
                "What the simulator's cloud takes and answers. It is written from the project's"
                " interface pages, and is no document of the real services."
            ),
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {scheme: _SECURITY[scheme]}},
    }


def _operation(call: Call, scheme: str) -> dict[str, Any]:
    responses: dict[str, Any] = {str(call.ok): _response(call.ok, call.answer) | _links(call)}
    responses |= {str(status): _response(status, schemas.Problem) for status in call.statuses[1:]}
    responses["5XX"] = {
        "description": "The service has a fault, by a fault plan",
        "content": _content(schemas.Problem),
    }
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": _summary(call),
        "tags": ["registry" if call.is_registry else "infuse"],
        "parameters": [*_path_parameters(call), *_query_parameters(call)],
        "responses": responses,
        "security": [{scheme: []}] if call.auth else [],
    }
    if call.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(call.request)}
    return operation


def _links(call: Call) -> dict[str, Any]:
    links = {
        target.name: {
            "operationId": target.name,
            "parameters": {parameter: f"$response.body#/{member}"},
        }
        for start, parameter, member in _LEADS_TO.get(call.name, ())
        for target in CALLS
        if target.path.startswith(start)
    }
    return {"links": links} if links else {}


def _summary(call: Call) -> str:
    return next(iter((inspect.getdoc(call.handler) or call.name).splitlines()))


def _path_parameters(call: Call) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in call.path.split("/") if part.startswith("{")]
    kinds = {**_IN_PATH, "deviceId": schemas.Uuid} if call.is_registry else _IN_PATH
    return [
        {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(kinds[name])}
        for name in names
    ]


def _query_parameters(call: Call) -> list[dict[str, Any]]:
    fields = msgspec.structs.fields(call.query)
    return [
        _query_parameter(call, field, _without_default(msgspec.json.schema(field.type)))
        for field in fields
    ]


def _query_parameter(
    call: Call, field: msgspec.structs.FieldInfo, schema: dict[str, Any]
) -> dict[str, Any]:
    if field.encode_name == "orderBy":
        schema["enum"] = list(call.orders)
    if field.default not in {msgspec.NODEFAULT, msgspec.UNSET}:
        schema["default"] = field.default
    parameter: dict[str, Any] = {
        "name": field.encode_name,
        "in": "query",
        "required": field.required,
        "schema": schema,
    }
    return (
        {**parameter, "style": "form", "explode": False}
        if schema.get("type") == "array"
        else parameter
    )


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in {"$defs", "title"}}


def _response(status: int, kind: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _DESCRIPTIONS[status]}
    if status == 429:
        response["headers"] = _RETRY_AFTER
    return response if kind is None else {**response, "content": _content(kind)}


def _content(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_TEMPLATE)
    return {"application/json": {"schema": schema}}
