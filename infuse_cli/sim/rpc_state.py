"""RPCs of the virtual cloud, and its IAM: what POST /rpc leaves behind, and how it moves on.

A device that was heard answers: each time an RPC is looked at, it goes one state further, waiting,
sent, completed. One that was never heard leaves its RPCs waiting past their `expiresAt`, as a real
one that is switched off does.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from infuse_cli.sim import wire
from infuse_cli.sim.store import Ask, Clock, Refused, new_id, page, stamp, wanted

if TYPE_CHECKING:
    from infuse_cli.sim.cloud_state import CloudState

_NEXT: Final[dict[wire.RpcStatus, wire.RpcStatus]] = {"waiting": "sent", "sent": "completed"}


class RpcState:
    """Everything that the cloud remembers of RPCs. Callers hold `clock.lock`."""

    def __init__(self, clock: Clock, cloud: CloudState) -> None:
        self._clock: Final = clock
        self._cloud: Final = cloud
        self.messages: Final[dict[str, wire.RpcMessage]] = {}
        self.iam_ttl_s = 900.0
        self._sold: Final[dict[str, datetime]] = {}

    def send(self, ask: Ask) -> wire.SentRpc:
        """POST /rpc."""
        body: wire.RpcRequest = ask.body
        if not body.rpc.command_name and body.rpc.command_id in {None, UNSET}:
            raise Refused(400, "rpc needs commandName or commandId")
        try:
            device = self._cloud.by_device_id(body.device_id)
        except Refused:
            raise Refused(400, f"there is no device {body.device_id}") from None
        now = self._clock.now()
        downlink = wire.Downlink(
            id=new_id(),
            device_id=device.device_id,
            status="waiting",
            rpc_req=body.rpc,
            expires_at=stamp(now + timedelta(milliseconds=body.send_wait_timeout_ms)),
        )
        made = wire.RpcMessage(
            id=new_id(),
            created_at=stamp(now),
            downlink_message_id=downlink.id,
            downlink_message=downlink,
        )
        self.messages[made.id] = made
        return wire.SentRpc(id=made.id, downlink_message_id=downlink.id, created_at=made.created_at)

    def show(self, ask: Ask) -> wire.RpcMessage:
        """GET /rpc/{id}: the message as it stands; looking at it lets time pass for its device."""
        message = self.messages.get(ask.path["id"])
        if message is None:
            raise Refused(404, "no such rpc")
        downlink = message.downlink_message
        shown = wire.RpcMessage(
            id=message.id,
            created_at=message.created_at,
            downlink_message_id=message.downlink_message_id,
            downlink_message=wire.copied(downlink),
        )
        self._move_on(downlink)
        return shown

    def list(self, ask: Ask) -> list[wire.RpcMessage]:
        """GET /rpc."""
        query: wire.RpcQuery = ask.query
        return page(
            [message for message in self.messages.values() if self._fits(message, query)], query
        )

    def exchange(self, ask: Ask) -> wire.IamToken:
        """POST /iam/auth/token: any well-formed IAM key buys a short-lived token."""
        key_id, dot, secret = ask.body.api_key.removeprefix("ik_").partition(".")
        if not ask.body.api_key.startswith("ik_") or not (key_id and dot and secret):
            raise Refused(401, "the API key is not valid")
        until, token = (
            self._clock.now() + timedelta(seconds=self.iam_ttl_s),
            secrets.token_urlsafe(24),
        )
        self._sold[token] = until
        return wire.IamToken(token=token, expires_at=stamp(until))

    def check_token(self, token: str) -> None:
        """Refuse 401 for what is no token of the exchange, and for one that has expired."""
        until = self._sold.get(token)
        if until is None:
            raise Refused(401, "the credential is not valid")
        if until <= self._clock.now():
            raise Refused(401, "the token has expired")

    def _move_on(self, downlink: wire.Downlink) -> None:
        heard = self._cloud.was_heard(downlink.device_id)
        if not heard or downlink.status == "completed":
            return
        downlink.status, now = _NEXT[downlink.status], stamp(self._clock.now())
        if downlink.status == "sent":
            downlink.sent_at = now
        else:
            downlink.completed_at, downlink.rpc_rsp = now, {"returnCode": 0, "params": {}}

    def _fits(self, message: wire.RpcMessage, query: wire.RpcQuery) -> bool:
        downlink, sent = message.downlink_message, datetime.fromisoformat(message.created_at)
        organisation = self._cloud.by_device_id(downlink.device_id).organisation_id
        return (
            wanted(query.organisation_id, organisation)
            and wanted(query.device_id, downlink.device_id)
            and wanted(query.status, downlink.status)
            and (query.start_time is UNSET or sent >= query.start_time)
            and (query.end_time is UNSET or sent < query.end_time)
        )
