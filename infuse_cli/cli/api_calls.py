"""Every call of both APIs and the commands that make it: for the reference page, and for a test
that none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call as the interface pages name it, and the commands that make it, without `infuse`."""

    call: str
    commands: tuple[str, ...]
    note: str = ""


INFUSE: Final = (
    ApiCall("GET /health", ("doctor",)),
    ApiCall("GET /organisation", ("org list", "auth status"), "with `--check`"),
    ApiCall("GET /organisation/id/{id}", ("org show",)),
    ApiCall("GET /organisation/name/{name}", ("org show",)),
    ApiCall(
        "POST /organisation",
        ("org create", "org ensure"),
        "`provision` too where the profile says `create: true`",
    ),
    ApiCall("GET /board", ("board list", "board show")),
    ApiCall("GET /board/id/{id}", ("board show",)),
    ApiCall("GET /board/id/{id}/devices", ("device list",), "with `--board ID`"),
    ApiCall(
        "POST /board",
        ("board create", "board ensure"),
        "`provision` too where the profile says `create: true`",
    ),
    ApiCall("GET /network", ("network list", "network show")),
    ApiCall("POST /network", ("network create",)),
    ApiCall("POST /device", ("provision", "device create", "device ensure")),
    ApiCall(
        "GET /device/soc/{soc}/mcuId/{mcuId}", ("provision", "device show", "journal reconcile")
    ),
    ApiCall("GET /device/deviceId/{deviceId}", ("device show",)),
    ApiCall("GET /device/id/{id}", ("device show",)),
    ApiCall("GET /device", ("device list",)),
    ApiCall(
        "PUT /device/id/{id}",
        ("device update", "device ensure", "provision"),
        "`provision` and `ensure` add what is missing",
    ),
    ApiCall(
        "GET /device/deviceId/{deviceId}/state",
        ("device state", "device show", "journal reconcile"),
    ),
    ApiCall("GET /device/id/{id}/state", ("device state",), "by the server's id"),
    ApiCall(
        "GET /device/deviceId/{deviceId}/lastRoute",
        ("device route", "device show", "journal reconcile"),
    ),
    ApiCall("POST /device/lastRoute", ("device route",), "for several devices"),
    ApiCall("GET /key/publicKey", ("key public",)),
    ApiCall("POST /key/sharedSecret", ("key shared-secret", "key derive"), "with `--public-key`"),
    ApiCall("POST /key/sharedSecret/device", ("key shared-secret",), "with `--device`"),
    ApiCall("POST /key/derived/device", ("key derive", "provision")),
    ApiCall("POST /mqtt/token", ("mqtt token",)),
    ApiCall("POST /rpc", ("rpc send",)),
    ApiCall("GET /rpc/{id}", ("rpc show", "rpc wait")),
    ApiCall("GET /rpc", ("rpc list",)),
    ApiCall(
        "POST /iam/auth/token",
        ("auth exchange",),
        "every command under `cloud.auth.scheme: exchanged`",
    ),
)

REGISTRY: Final = (
    ApiCall("POST /devices/registration/tokens", ("registry token create", "provision")),
    ApiCall("GET /devices/registration/tokens", ("registry token list",)),
    ApiCall("DELETE /devices/registration/tokens/{tokenId}", ("registry token revoke",)),
    ApiCall(
        "POST /devices/provision", ("provision",), "in mode `cloud-ca`; the token is its credential"
    ),
    ApiCall("GET /devices", ("registry device list",)),
    ApiCall("POST /devices", ("registry device create",)),
    ApiCall(
        "GET /devices/{deviceId}", ("registry device show", "device show", "journal reconcile")
    ),
    ApiCall("PUT /devices/{deviceId}", ("registry device update",)),
    ApiCall("DELETE /devices/{deviceId}", ("registry device delete",)),
    ApiCall("GET /devices/summary", ("registry device summary",)),
    ApiCall(
        "GET /components",
        ("registry component list", "registry component ensure"),
        "`ensure` finds what a device announced itself",
    ),
    ApiCall("POST /components", ("registry component create", "registry component ensure")),
    ApiCall("GET /components/{id}", ("registry component show",)),
    ApiCall("PUT /components/{id}", ("registry component update",)),
    ApiCall("DELETE /components/{id}", ("registry component delete",)),
    ApiCall("GET /sensors", ("registry sensor list",)),
    ApiCall("GET /devices/{deviceId}/health", ("registry health show",)),
    ApiCall("GET /devices/{deviceId}/health/latest", ("registry health latest",)),
    ApiCall("GET /devices/{deviceId}/health/window", ("registry health window",)),
    ApiCall("GET /devices/{deviceId}/health/summary", ("registry health summary",)),
    ApiCall("GET /device-groups", ("registry group list",)),
    ApiCall("POST /device-groups", ("registry group create",)),
    ApiCall("GET /device-groups/{id}", ("registry group show",)),
    ApiCall("PUT /device-groups/{id}", ("registry group update",)),
    ApiCall("DELETE /device-groups/{id}", ("registry group delete",)),
)
