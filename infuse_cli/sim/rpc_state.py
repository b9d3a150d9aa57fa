"""RPCs of the virtual cloud, and its IAM: what POST /rpc leaves behind, and how it moves on.

A device that was heard answers: each time an RPC is looked at, it goes one state further, waiting, sent, completed. One
that was never heard leaves its RPCs waiting past their `expiresAt`, as a real one that is switched off does.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.sim import wire
from infuse_cli.sim.store import Ask, Clock, Refused, new_id, page, stamp

if TYPE_CHECKING:
    from infuse_cli.sim.cloud_state import CloudState

_IAM_TTL_S: Final = 900
_NEXT: Final = {"waiting": "sent", "sent": "completed"}


class RpcState:
    """Everything that the cloud remembers of RPCs. Callers hold `clock.lock`."""

    def __init__(self, clock: Clock, cloud: CloudState) -> None:
        self._clock: Final = clock
        self._cloud: Final = cloud
        self.messages: Final[dict[str, wire.RpcMessage]] = {}

    def send(self, ask: Ask) -> wire.SentRpc:
        """POST /rpc."""
        body: wire.RpcRequest = ask.body
        if not body.rpc.command_name and body.rpc.command_id is None:
            raise Refused(400, "rpc needs commandName or commandId")
        try:
            device = self._cloud.by_device_id(body.device_id)
        except Refused:
            raise Refused(400, f"there is no device {body.device_id}") from None
        now = self._clock.now()
        downlink = wire.Downlink(id=new_id(), device_id=device.device_id, status="waiting", rpc_req=body.rpc,
                                 expires_at=stamp(now + timedelta(milliseconds=body.send_wait_timeout_ms)))
        made = wire.RpcMessage(id=new_id(), created_at=stamp(now), downlink_message_id=downlink.id, downlink_message=downlink)
        self.messages[made.id] = made
        return wire.SentRpc(id=made.id, downlink_message_id=downlink.id, created_at=made.created_at)

    def show(self, ask: Ask) -> wire.RpcMessage:
        """GET /rpc/{id}: the message as it stands; looking at it lets time pass for its device."""
        message = self.messages.get(ask.path["id"])
        if message is None:
            raise Refused(404, "no such rpc")
        downlink = message.downlink_message
        shown = wire.RpcMessage(id=message.id, created_at=message.created_at, downlink_message_id=message.downlink_message_id,
                                downlink_message=wire.copied(downlink))
        self._move_on(downlink)
        return shown

    def list(self, ask: Ask) -> list[wire.RpcMessage]:
        """GET /rpc."""
        query = ask.query
        start, end = _moment(query, "startTime"), _moment(query, "endTime")
        return page([
            message for message in self.messages.values()
            if query.get("organisationId") in {None, self._cloud.by_device_id(message.downlink_message.device_id).organisation_id}
            and query.get("deviceId") in {None, message.downlink_message.device_id}
            and query.get("status") in {None, message.downlink_message.status}
            and (start is None or datetime.fromisoformat(message.created_at) >= start)
            and (end is None or datetime.fromisoformat(message.created_at) < end)
        ], query)

    def exchange(self, ask: Ask) -> wire.IamToken:
        """POST /iam/auth/token: any well-formed IAM key buys a short-lived token."""
        key_id, dot, secret = ask.body.api_key.removeprefix("ik_").partition(".")
        if not ask.body.api_key.startswith("ik_") or not (key_id and dot and secret):
            raise Refused(401, "the API key is not valid")
        until = self._clock.now() + timedelta(seconds=_IAM_TTL_S)
        return wire.IamToken(token=secrets.token_urlsafe(24), expires_at=stamp(until))

    def _move_on(self, downlink: wire.Downlink) -> None:
        heard = self._cloud.was_heard(downlink.device_id)
        if not heard or downlink.status == "completed":
            return
        downlink.status, now = _NEXT[downlink.status], stamp(self._clock.now())
        if downlink.status == "sent":
            downlink.sent_at = now
        else:
            downlink.completed_at, downlink.rpc_rsp = now, {"returnCode": 0, "params": {}}


def _moment(query: dict[str, Any], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"{name} is no time") from None
    if moment.tzinfo is None:
        raise Refused(400, f"{name} has no zone")
    return moment
