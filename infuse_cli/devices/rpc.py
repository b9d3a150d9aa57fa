"""Commands to a device through the cloud (RPC), sent once each and watched to their end."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.devices import session as tools
from infuse_cli.errors import BoardError, CloudError, UsageError
from infuse_cli.records.notes import NoteKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli import api_types as api
    from infuse_cli.errors import InfuseError
    from infuse_cli.settings import Settings

_LONGEST_WAIT_S: Final = 86400
_FIRST_LOOK_S: Final = 0.2
_SLOWEST_LOOK_S: Final = 2.0
_BEYOND_EXPIRY_S: Final = 15.0
_DATE_IS_WHOLE_SECONDS: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """An RPC: the command's name or number, its parameters, and how long the cloud waits for the
    device, in seconds.

    `encoded` are parameters in the device's own form, base64.
    """

    command: str | int
    device: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    soc: str | None = None
    send_wait_s: float = 60.0
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


@dataclass(frozen=True, slots=True)
class Rpc:
    """An RPC as it stands at `now`, a time of the cloud's clock."""

    message: api.RpcMessage
    now: datetime

    @property
    def request(self) -> Mapping[str, Any]:
        """What was sent: commandName or commandId, and params."""
        downlink = self.message.downlink_message
        return (downlink.rpc_req if downlink else None) or {}

    @property
    def device_id(self) -> str | None:
        """The device that it was sent to."""
        return self.message.device.device_id if self.message.device else None

    @property
    def status(self) -> str:
        """waiting, sent, completed, or expired: past its expiry without an answer."""
        downlink = self.message.downlink_message
        if downlink is None:
            return "waiting"
        expires = downlink.expires_at
        if downlink.status != "completed" and expires is not None and self.now > expires:
            return "expired"
        return downlink.status

    def error(self) -> InfuseError | None:
        """What is wrong with how it ended; None where the device answered with return code 0."""
        name = f"device {self.device_id}"
        if self.status != "completed":
            return BoardError(
                "rpc.no-answer", f"{name} did not answer RPC {self.message.id} ({self.status})"
            )
        downlink = self.message.downlink_message
        code = ((downlink.rpc_rsp if downlink else None) or {}).get("returnCode")
        if not code:
            return None
        return BoardError(
            "rpc.failed", f"{name} answered RPC {self.message.id} with return code {code}"
        )


@dataclass(frozen=True, slots=True)
class SentRpc:
    """An RPC that was sent; `end` is how it ended, None where nobody waited for that."""

    id: str
    device_id: str
    end: Rpc | None = None


def send(settings: Settings, request: RpcRequest, *, wait: bool = False) -> SentRpc:
    """Send an RPC; with `wait` follow it to its end. Raises UsageError, CloudError."""
    request.check()
    with tools.opened(settings) as session:
        from infuse_cli.devices.cloud_devices import find

        device = find(session, request.device, request.soc)
        id_ = _send(session, device, request)
        end = _follow(session, id_, request.send_wait_s + _BEYOND_EXPIRY_S) if wait else None
    return SentRpc(id_, device.device_id, end)


def _send(session: tools.Session, device: api.Device, request: RpcRequest) -> str:
    """The id of the RPC that was sent.

    A lost answer is found by device and time, among those that are new.
    """
    start = _now(session) - _DATE_IS_WHOLE_SECONDS
    cloud, owner, device_id = session.cloud, device.organisation_id, device.device_id
    before = {row.id for row in cloud.rpcs(owner, device_id=device_id, start=start)}

    def look_up() -> str | None:
        rows = cloud.rpcs(owner, device_id=device_id, start=start)
        ids = [row.id for row in rows if row.id not in before and _may_be(row, request.command)]
        if len(ids) > 1:
            raise CloudError(
                "cloud.ambiguous",
                f"the answer was lost, and {len(ids)} RPCs could be this one: {', '.join(ids)}",
                unknown=True,
            )
        return ids[0] if ids else None

    def post() -> str:
        wait_ms = round(request.send_wait_s * 1000)
        sent = cloud.send_rpc(
            device_id,
            request.command,
            dict(request.parameters),
            wait_ms=wait_ms,
            encoded=request.encoded,
        )
        return sent.id

    with tools.journal_run(session, "rpc send") as run:
        run.note(NoteKind.RPC_INTENDED, deviceId=device_id, command=request.command)
        id_ = session.once.send(post, look_up)
        run.note(NoteKind.RPC_SENT, deviceId=device_id, id=id_)
    return id_


def _may_be(row: api.RpcMessage, command: str | int) -> bool:
    """Whether a message may be this command: one that does not say which it is may."""
    request = Rpc(row, datetime.now(UTC)).request
    value = request.get("commandId" if isinstance(command, int) else "commandName")
    return value is None or value == command


def find_rpc(settings: Settings, rpc_id: str) -> Rpc:
    """An RPC as it stands. Raises CloudError cloud.not-found."""
    with tools.opened(settings) as session:
        return _find(session, rpc_id)


def wait_for_rpc(settings: Settings, rpc_id: str, timeout_s: float | None = None) -> Rpc:
    """Follow an RPC to its end: completed, past its expiry, or `timeout_s` seconds from now."""
    with tools.opened(settings) as session:
        return _follow(session, rpc_id, timeout_s)


def list_rpcs(
    settings: Settings,
    *,
    device: str | None = None,
    status: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    organisation: str | None = None,
) -> list[Rpc]:
    """The RPCs of an organisation that fit all filters; times are aware."""
    with tools.opened(settings) as session:
        from infuse_cli.devices.cloud_devices import find

        found = find(session, device) if device else None
        if found is not None and organisation is None:
            owner = found.organisation_id
        else:
            owner = session.organisation(organisation).id
        device_id = found.device_id if found else None
        rows = session.cloud.rpcs(owner, device_id=device_id, status=status, start=start, end=end)
        now = _now(session)
    return [Rpc(row, now) for row in rows]


def _now(session: tools.Session) -> datetime:
    """The time as the cloud has it: expiries and starts are its own."""
    return datetime.now(UTC) + timedelta(seconds=session.cloud.server_time_offset_s() or 0.0)


def _find(session: tools.Session, rpc_id: str) -> Rpc:
    message = session.cloud.rpc(rpc_id)
    if message is None:
        raise CloudError(
            "cloud.not-found",
            f"the cloud knows no RPC {rpc_id!r}",
            hint="`infuse rpc list` shows them.",
        )
    return Rpc(message, _now(session))


def _follow(session: tools.Session, rpc_id: str, timeout_s: float | None) -> Rpc:
    clock, pause = session.clock, _FIRST_LOOK_S
    end = None if timeout_s is None else clock.monotonic() + timeout_s
    while True:
        rpc = _find(session, rpc_id)
        downlink = rpc.message.downlink_message
        never_ends = end is None and (downlink is None or downlink.expires_at is None)
        is_over = end is not None and clock.monotonic() >= end
        if rpc.status in {"completed", "expired"} or is_over or never_ends or clock.wait(pause):
            return rpc
        pause = min(pause * 2, _SLOWEST_LOOK_S)
