"""Results of `infuse rpc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.devices.rpc import Rpc, SentRpc

_COLUMNS: Final = {
    "id": "id",
    "createdAt": "created",
    "deviceId": "device id",
    "command": "command",
    "status": "status",
}


def sent(result: SentRpc) -> OperationResult:
    """`rpc send`."""
    if result.end is not None:
        return ended("rpc send", result.end)
    data = {"rpc": {"id": result.id, "deviceId": result.device_id, "status": "waiting"}}
    human = f"Sent: {result.id}\nNext: infuse rpc wait {result.id}"
    return OperationResult("rpc send", data, human=human)


def shown(rpc: Rpc, command: str = "rpc show") -> OperationResult:
    """`rpc show`."""
    row = _row(rpc)
    return OperationResult(command, {"rpc": row}, human=lambda console: views.fields(console, row))


def ended(command: str, rpc: Rpc) -> OperationResult:
    """An RPC that was waited for; one that the device did not answer is an error."""
    result, error = shown(rpc, command), rpc.error()
    return result if error is None else views.with_error(result, error)


def listed(rpcs: Sequence[Rpc]) -> OperationResult:
    """`rpc list`."""
    rows = [_row(rpc) for rpc in rpcs]
    cells = [[views.text(row[name]) for name in _COLUMNS] for row in rows]
    titles = list(_COLUMNS.values())
    return OperationResult(
        "rpc list",
        {"rpcs": rows},
        human=lambda console: views.table(console, titles, cells, "There is no such RPC."),
    )


def _row(rpc: Rpc) -> dict[str, Any]:
    values = views.plain(rpc.message)
    downlink: dict[str, Any] = values.get("downlinkMessage") or {}
    request = rpc.request
    return {
        "id": rpc.message.id,
        "deviceId": rpc.device_id,
        "createdAt": values.get("createdAt"),
        "command": request.get("commandName", request.get("commandId")),
        "params": request.get("params"),
        "status": rpc.status,
        "expiresAt": downlink.get("expiresAt"),
        "completedAt": downlink.get("completedAt"),
        "result": downlink.get("rpcRsp"),
    }
