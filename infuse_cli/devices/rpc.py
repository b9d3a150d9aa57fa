"""`infuse rpc`: commands to a device through the cloud, sent once each and watched to
their end.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.errors import BoardError, CloudError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli import api_types as api
    from infuse_cli.errors import InfuseError

STATUSES: Final = ("waiting", "sent", "completed")
_LONGEST_WAIT_S: Final = 86400
_FIRST_LOOK_S: Final = 0.2
_SLOWEST_LOOK_S: Final = 2.0
_BEYOND_EXPIRY_S: Final = 15.0
_DATE_IS_WHOLE_SECONDS: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class RpcWish:
    """An RPC: the command's name or number, its parameters as KEY=VALUE, and how long the cloud
    waits, in seconds.
    """

    command: str
    parameters: tuple[str, ...]
    device: str
    soc: str | None
    send_wait_s: float
    encoded: str | None = None

    def check(self) -> None:
        """Raise UsageError for a waiting time or encoded parameters that cannot be."""
        if not 0 < self.send_wait_s <= _LONGEST_WAIT_S:
            raise UsageError(
                "usage.bad-option",
                f"--send-wait is {self.send_wait_s:g}, but must be from 1 to {_LONGEST_WAIT_S}"
                " seconds",
            )
        try:
            base64.b64decode(self.encoded or "", validate=True)
        except (binascii.Error, ValueError):
            raise UsageError("usage.bad-option", "--params-encoded is no base64") from None


def sent(wish: RpcWish, *, wait: bool) -> OperationResult:
    """Send an RPC; with `wait` follow it to its end."""
    command = int(wish.command) if wish.command.isdecimal() else wish.command
    params = {
        name: parameter(value) for name, value in tools.pairs(wish.parameters, "KEY=VALUE").items()
    }
    wish.check()
    with tools.opened() as session:
        from infuse_cli.devices.cloud_devices import find

        device = find(session, wish.device, wish.soc)
        message = _send(session, device, command, params, wish)
        if wait:
            return _followed(session, "rpc send", message, wish.send_wait_s + _BEYOND_EXPIRY_S)
    data = {"rpc": {"id": message, "deviceId": device.device_id, "status": "waiting"}}
    return OperationResult(
        "rpc send", data, human=f"Sent: {message}\nNext: infuse rpc wait {message}"
    )


def parameter(text: str) -> Any:
    """A parameter as people type it: JSON where it is JSON (5, true, "5", [1,2]), else the text
    itself.
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


def _send(
    session: tools.Session,
    device: api.Device,
    command: str | int,
    params: dict[str, Any],
    wish: RpcWish,
) -> str:
    """The id of the RPC that was sent.

    A lost answer is found by device and time, among those that are new.
    """
    start = _now(session) - _DATE_IS_WHOLE_SECONDS
    owner = device.organisation_id
    before = {one.id for one in session.cloud.rpcs(owner, device_id=device.device_id, start=start)}

    def look() -> str | None:
        rows = session.cloud.rpcs(owner, device_id=device.device_id, start=start)
        found = [row.id for row in rows if row.id not in before and _is_command(row, command)]
        if len(found) > 1:
            raise CloudError(
                "cloud.ambiguous",
                f"the answer was lost, and {len(found)} RPCs could be this one: {', '.join(found)}",
                unknown=True,
            )
        return found[0] if found else None

    with tools.on_record(session, "rpc send") as record:
        record.note("rpc intended", deviceId=device.device_id, command=command)
        wait_ms = round(wish.send_wait_s * 1000)
        sent_id = session.once.send(
            lambda: (
                session.cloud.send_rpc(
                    device.device_id, command, params, wait_ms=wait_ms, encoded=wish.encoded
                ).id
            ),
            look,
        )
        record.note("rpc sent", deviceId=device.device_id, id=sent_id)
    return sent_id


def _is_command(row: api.RpcMessage, command: str | int) -> bool:
    """Whether a message may be this command: one that does not say which it is may."""
    request = (row.downlink_message.rpc_req if row.downlink_message else None) or {}
    said = request.get("commandId" if isinstance(command, int) else "commandName")
    return said is None or said == command


def shown(rpc_id: str) -> OperationResult:
    """An RPC as it stands."""
    with tools.opened() as session:
        return _result("rpc show", _found(session, rpc_id), _now(session))


def waited(rpc_id: str, timeout_s: float | None) -> OperationResult:
    """Follow an RPC to its end: completed, or past its expiry."""
    with tools.opened() as session:
        return _followed(session, "rpc wait", rpc_id, timeout_s)


def listed(
    device: str | None,
    status: str | None,
    since: str | None,
    until: str | None,
    organisation: str | None,
) -> OperationResult:
    """The RPCs of an organisation."""
    start, end = moment(since, "--since"), moment(until, "--until")
    with tools.opened() as session:
        from infuse_cli.devices.cloud_devices import find

        found = find(session, device) if device else None
        owner = (
            found.organisation_id
            if found and organisation is None
            else session.organisation(organisation).id
        )
        rows = session.cloud.rpcs(
            owner, device_id=found.device_id if found else None, status=status, start=start, end=end
        )
        now = _now(session)
    data = [_row(row, now) for row in rows]
    cells = [
        [views.text(one[name]) for name in ("id", "createdAt", "deviceId", "command", "status")]
        for one in data
    ]
    return OperationResult(
        "rpc list",
        {"rpcs": data},
        human=lambda console: views.table(
            console,
            ["id", "created", "device id", "command", "status"],
            cells,
            "There is no such RPC.",
        ),
    )


def moment(text: str | None, option: str) -> datetime | None:
    """A time with its zone. Raises UsageError for one that could mean anything."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "usage.bad-option",
            f"{option} is {text!r}, but must be a time such as 2026-03-31T12:00:00Z",
        ) from None
    if found.tzinfo is None:
        raise UsageError(
            "usage.bad-option",
            f"{option} {text!r} has no zone",
            hint=f"Say which, e.g. {text}Z for UTC.",
        )
    return found


def _now(session: tools.Session) -> datetime:
    """The time as the cloud has it: expiries and starts are its own."""
    return datetime.now(UTC) + timedelta(seconds=session.cloud.server_time_offset_s() or 0.0)


def _found(session: tools.Session, rpc_id: str) -> api.RpcMessage:
    found = session.cloud.rpc(rpc_id)
    if found is None:
        raise CloudError(
            "cloud.not-found",
            f"the cloud knows no RPC {rpc_id!r}",
            hint="`infuse rpc list` shows them.",
        )
    return found


def _followed(
    session: tools.Session, command: str, rpc_id: str, timeout_s: float | None
) -> OperationResult:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    pause = _FIRST_LOOK_S
    while True:
        message = _found(session, rpc_id)
        now = _now(session)
        expires = message.downlink_message.expires_at if message.downlink_message else None
        over = until is not None and time.monotonic() >= until
        if (
            status_of(message, now) in {"completed", "expired"}
            or over
            or (until is None and expires is None)
        ):
            return _result(command, message, now, ended=True)
        session.clock.wait(pause)
        pause = min(pause * 2, _SLOWEST_LOOK_S)


def status_of(message: api.RpcMessage, now: datetime) -> str:
    """waiting, sent, completed, or expired: past its expiry without an answer."""
    downlink = message.downlink_message
    if downlink is None:
        return "waiting"
    if (
        downlink.status != "completed"
        and downlink.expires_at is not None
        and now > downlink.expires_at
    ):
        return "expired"
    return downlink.status


def _row(message: api.RpcMessage, now: datetime) -> dict[str, Any]:
    downlink = message.downlink_message
    request = (downlink.rpc_req if downlink else None) or {}
    values = views.plain(message)
    below: dict[str, Any] = values.get("downlinkMessage") or {}
    return {
        "id": message.id,
        "deviceId": message.device.device_id if message.device else None,
        "createdAt": values.get("createdAt"),
        "command": request.get("commandName", request.get("commandId")),
        "params": request.get("params"),
        "status": status_of(message, now),
        "expiresAt": below.get("expiresAt"),
        "completedAt": below.get("completedAt"),
        "result": below.get("rpcRsp"),
    }


def _result(
    command: str, message: api.RpcMessage, now: datetime, *, ended: bool = False
) -> OperationResult:
    row = _row(message, now)
    error = _error(row) if ended else None
    errors: Sequence[dict[str, Any]] = [] if error is None else [error.as_json()]
    return OperationResult(
        command,
        {"rpc": row},
        status="ok" if error is None else "error",
        errors=list(errors),
        exit_code=0 if error is None else int(error.exit),
        human=lambda console: views.fields(console, row),
    )


def _error(row: dict[str, Any]) -> InfuseError | None:
    if row["status"] != "completed":
        return BoardError(
            "rpc.no-answer",
            f"device {row['deviceId']} did not answer RPC {row['id']} ({row['status']})",
        )
    code = (row["result"] or {}).get("returnCode")
    return (
        BoardError(
            "rpc.failed",
            f"device {row['deviceId']} answered RPC {row['id']} with return code {code}",
        )
        if code
        else None
    )
