"""RPCs of the virtual cloud, and its IAM: what POST /rpc leaves behind, and how it moves on.

A device that was heard answers: each time an RPC is looked at, it goes one state further, waiting,
sent, completed. One that was never heard leaves its RPCs waiting past their `expiresAt`, as a real
one that is switched off does.
"""

from __future__ import annotations

import secrets
import zlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from infuse_cli.sim import schemas
from infuse_cli.sim.store import (
    Ask,
    Clock,
    Collection,
    Refused,
    filter_matches,
    new_id,
    page,
    stamp,
)

if TYPE_CHECKING:
    from infuse_cli.sim.cloud_state import CloudState

COMMANDS: Final = (
    "reboot",
    "fault",
    "time_get",
    "time_set",
    "kv_write",
    "kv_read",
    "kv_reflect_crcs",
    "zbus_channel_state",
    "application_info",
    "wifi_scan",
    "wifi_state",
    "last_reboot",
    "data_logger_state",
    "data_logger_read",
    "mem_read",
    "infuse_states_query",
    "infuse_states_update",
    "data_logger_erase",
    "heap_stats",
)
"""Names of the public RPCs in the order of their numbers, from 1 (package infuse-iot 0.10.4)."""

_OWN_COMMANDS: Final = 0x8000
_PAYLOAD_RPC_REQUEST: Final = 1
_AUTH_DEVICE: Final = 1
_NEXT: Final[dict[schemas.RpcStatus, schemas.RpcStatus]] = {"waiting": "sent", "sent": "completed"}


class RpcState:
    """Everything that the cloud remembers of RPCs. Callers hold `clock.lock`."""

    def __init__(self, clock: Clock, cloud: CloudState) -> None:
        self._clock: Final = clock
        self._cloud: Final = cloud
        self.messages: Final = Collection[schemas.RpcMessage]("rpc")
        self.iam_ttl_s = 900.0
        self._sold: Final[dict[str, datetime]] = {}

    def send(self, ask: Ask) -> schemas.SentRpc:
        """POST /rpc."""
        body: schemas.RpcRequest = ask.body
        if not body.rpc.command_name and body.rpc.command_id in {None, UNSET}:
            raise Refused(400, "rpc needs commandName or commandId")
        try:
            device = self._cloud.by_device_id(body.device_id)
        except Refused:
            raise Refused(400, f"there is no device {body.device_id}") from None
        now = self._clock.now()
        downlink = schemas.Downlink(
            **self._clock.stamps(),
            device_id=device.id,
            payload_type=_PAYLOAD_RPC_REQUEST,
            auth=_AUTH_DEVICE,
            status="waiting",
            rpc_req=self._request(body.rpc),
            send_wait_timeout_ms=body.send_wait_timeout_ms,
            expires_at=stamp(now + timedelta(milliseconds=body.send_wait_timeout_ms)),
        )
        made = schemas.RpcMessage(
            id=new_id(),
            created_at=downlink.created_at,
            downlink_message_id=downlink.id,
            device=device,
            downlink_message=downlink,
        )
        self.messages.add(made)
        return schemas.SentRpc(
            id=made.id, downlink_message_id=downlink.id, created_at=made.created_at
        )

    def _request(self, call: schemas.RpcCall) -> schemas.RpcReq:
        return schemas.RpcReq(
            request_id=len(self.messages) + 1,
            command_id=_command_id(call),
            command_name=call.command_name or None,
            params=call.params,
            params_encoded=call.params_encoded or None,
        )

    def show(self, ask: Ask) -> schemas.RpcMessage:
        """GET /rpc/{id}: the message as it stands; looking at it lets time pass for its device."""
        message = self.messages.get_or_refuse(ask.path["id"])
        downlink = message.downlink_message
        shown = msgspec.structs.replace(message, downlink_message=msgspec.structs.replace(downlink))
        self._move_on(message)
        return shown

    def list(self, ask: Ask) -> list[schemas.RpcMessage]:
        """GET /rpc."""
        query: schemas.RpcQuery = ask.query
        return page(
            [message for message in self.messages.values() if self._fits(message, query)], query
        )

    def exchange(self, ask: Ask) -> schemas.IamToken:
        """POST /iam/auth/token: any well-formed IAM key buys a short-lived token."""
        key_id, dot, secret = ask.body.api_key.removeprefix("ik_").partition(".")
        if not ask.body.api_key.startswith("ik_") or not (key_id and dot and secret):
            raise Refused(401, "the API key is not valid")
        until, token = (
            self._clock.now() + timedelta(seconds=self.iam_ttl_s),
            secrets.token_urlsafe(24),
        )
        self._sold[token] = until
        return schemas.IamToken(token=token, expires_at=stamp(until))

    def check_token(self, token: str) -> None:
        """Refuse 401 for what is no token of the exchange, and for one that has expired."""
        until = self._sold.get(token)
        if until is None:
            raise Refused(401, "the credential is not valid")
        if until <= self._clock.now():
            raise Refused(401, "the token has expired")

    def _move_on(self, message: schemas.RpcMessage) -> None:
        downlink = message.downlink_message
        route = self._cloud.route_of(message.device)
        if route is None or downlink.status == "completed":
            return
        now = stamp(self._clock.now())
        downlink.status, downlink.updated_at = _NEXT[downlink.status], now
        if downlink.status == "sent":
            downlink.sent_at = now
        else:
            downlink.completed_at, downlink.rpc_rsp = now, schemas.RpcRsp(route=route)

    def _fits(self, message: schemas.RpcMessage, query: schemas.RpcQuery) -> bool:
        downlink, sent = message.downlink_message, datetime.fromisoformat(message.created_at)
        device = message.device
        return (
            filter_matches(query.organisation_id, device.organisation_id)
            and filter_matches(query.device_id, device.device_id)
            and filter_matches(query.status, downlink.status)
            and (query.start_time is UNSET or sent >= query.start_time)
            and (query.end_time is UNSET or sent < query.end_time)
        )


def _command_id(call: schemas.RpcCall) -> int:
    """The number of a command; one of a name that is not public has a number of its own."""
    if isinstance(call.command_id, int):
        return call.command_id
    name = str(call.command_name)
    if name in COMMANDS:
        return COMMANDS.index(name) + 1
    return _OWN_COMMANDS + zlib.crc32(name.encode()) % _OWN_COMMANDS
