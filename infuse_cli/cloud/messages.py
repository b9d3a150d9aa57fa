"""The calls of the Infuse IoT API that talk to devices: routes, MQTT tokens, RPCs; and the exchange
of IAM keys.

Tokens, routes and the exchange have no lasting effect and retry like GETs. POST /rpc is sent once:
a lost answer is looked up by the device and the time it was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli import api_types as api
from infuse_cli.cloud import decoding
from infuse_cli.cloud._client import ABSENT, Client
from infuse_cli.cloud.failures import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from infuse_cli.types import Secret

LAST_ROUTE: Final = Call("GET", "/device/deviceId/{deviceId}/lastRoute", none=ABSENT)
LAST_ROUTES: Final = Call("POST", "/device/lastRoute")
MQTT_TOKEN: Final = Call("POST", "/mqtt/token")
SEND_RPC: Final = Call("POST", "/rpc", effect=True)
RPC_BY_ID: Final = Call("GET", "/rpc/{id}", none=ABSENT)
RPCS: Final = Call("GET", "/rpc")
IAM_TOKEN: Final = Call("POST", "/iam/auth/token", credential=False, key_in_body=True)
HEALTH: Final = Call("GET", "/health", credential=False)


class MessageCalls(Client):
    """Routes, tokens and RPCs."""

    def last_route(self, device_id: str) -> api.UplinkRoute | None:
        """The way that a device's last packet came, None until it has been heard."""
        return self._find(LAST_ROUTE, api.UplinkRoute, {"deviceId": device_id})

    def last_routes(self, device_ids: Sequence[str]) -> Sequence[api.DeviceRoute]:
        """The same for many devices in one call."""
        answer = self._transport.ask(LAST_ROUTES, body={"deviceIds": list(device_ids)})
        return decoding.page(answer, api.DeviceRoute)

    def mqtt_token(self, organisation_id: str, ttl_s: int) -> api.MqttToken:
        """POST /mqtt/token: a token for the broker; `ttl_s` from 60 to 86400 seconds."""
        return self._send(
            MQTT_TOKEN, api.MqttToken, {"organisationId": organisation_id, "ttlSeconds": ttl_s}
        )

    def send_rpc(
        self,
        device_id: str,
        command: str | int,
        params: Mapping[str, Any],
        *,
        wait_ms: int = 60_000,
        encoded: str | None = None,
    ) -> api.SentRpc:
        """POST /rpc, once.

        `command` is a name, or a number for its id; `wait_ms` is how long the cloud waits for the
        device.

        `encoded` are parameters in the device's own form, base64, for commands that the cloud
        cannot encode.
        """
        named = {"commandId": command} if isinstance(command, int) else {"commandName": command}
        body = {
            "deviceId": device_id,
            "sendWaitTimeoutMs": wait_ms,
            "rpc": {
                **named,
                "params": dict(params),
                **({} if encoded is None else {"paramsEncoded": encoded}),
            },
        }
        return self._send(SEND_RPC, api.SentRpc, body)

    def rpc(self, id: str) -> api.RpcMessage | None:  # noqa: A002
        """One RPC as it stands."""
        return self._find(RPC_BY_ID, api.RpcMessage, {"id": id})

    def rpcs(
        self,
        organisation_id: str,
        *,
        device_id: str | None = None,
        status: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[api.RpcMessage]:
        """The RPCs of an organisation, the list read to its end; `start` and `end` are
        aware times.
        """
        query = {
            "organisationId": organisation_id,
            "deviceId": device_id,
            "status": status,
            "startTime": decoding.time_text(start),
            "endTime": decoding.time_text(end),
        }
        return self._list(
            RPCS,
            api.RpcMessage,
            {name: value for name, value in query.items() if value is not None},
        )

    def exchange_key(self, key: Secret) -> api.BearerToken:
        """POST /iam/auth/token: a short-lived bearer token for an IAM key; no credential goes
        along.
        """
        answer = self._transport.ask(IAM_TOKEN, body={"apiKey": key.reveal()}, hide=(key,))
        return decoding.bearer_token(answer)

    def health(self) -> str:
        """GET /health: the cloud's own word, asked without a credential."""
        answer = self._transport.ask(HEALTH)
        return decoding.value(answer, decoding.HealthAnswer).health
