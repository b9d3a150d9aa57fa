"""The one table of the virtual cloud: every call with its types and statuses.

The routes of `cloud_app` and the document of `openapi` both come from it, so they can't disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

import msgspec

from infuse_cli.sim import schemas
from infuse_cli.sim.cloud_state import CloudState as C
from infuse_cli.sim.inventory_state import InventoryState as I
from infuse_cli.sim.registry_state import RegistryState as R
from infuse_cli.sim.rpc_state import RpcState as M

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.sim.store import Ask

REGISTRY: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    `handler` is a method of CloudState or RegistryState; `answer` None is an empty body.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    answer: Any
    ok: int = 200
    request: Any = None
    refusals: tuple[int, ...] = ()
    query: type[schemas.Query] = schemas.Query
    auth: bool = True

    @property
    def name(self) -> str:
        """How faults and counts call it, e.g. `POST /device`."""
        return f"{self.method} {self.path}"

    @property
    def is_registry(self) -> bool:
        """Whether it belongs to `/api/v1`."""
        return self.path.startswith(REGISTRY)

    @property
    def is_list(self) -> bool:
        """Whether the answer is a list of which pages can be asked for."""
        return issubclass(self.query, schemas.Page)

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status that it answers, but for the 5xx of faults."""
        takes = self.request is not None or bool(self.query.__struct_fields__)
        usual = {429} | ({401, 403} if self.auth else set()) | ({400} if takes else set())
        return (self.ok, *sorted(usual | set(self.refusals)))

    @property
    def orders(self) -> tuple[str, ...]:
        """Names that a list can be ordered by: the members of its items that are texts or
        numbers.
        """
        item: Any = get_args(self.answer)[0] if self.is_list else msgspec.Struct
        return (
            tuple(
                field.encode_name for field in msgspec.structs.fields(item) if _is_plain(field.type)
            )
            if self.is_list
            else ()
        )


def _is_plain(kind: Any) -> bool:
    return (get_args(kind)[0] if get_origin(kind) is Annotated else kind) in {str, int, float}


def health(_: C, __: Ask) -> schemas.Health:
    """GET /health."""
    return schemas.Health()


def _rpc(handler: Callable[[M, Ask], Any]) -> Callable[[C, Ask], Any]:
    return wraps(handler)(lambda state, ask: handler(state.rpc, ask))


def _held(handler: Callable[[I, Ask], Any]) -> Callable[[R, Ask], Any]:
    return wraps(handler)(lambda state, ask: handler(state.inventory, ask))


CALLS: Final = (
    Call("GET", "/health", health, schemas.Health, auth=False),
    Call(
        "GET", "/organisation", C.list_organisations, list[schemas.Organisation], query=schemas.Page
    ),
    Call(
        "GET", "/organisation/id/{id}", C.organisation_by_id, schemas.Organisation, refusals=(404,)
    ),
    Call(
        "GET",
        "/organisation/name/{name}",
        C.organisation_by_name,
        schemas.Organisation,
        refusals=(404,),
    ),
    Call(
        "POST",
        "/organisation",
        C.create_organisation,
        schemas.Organisation,
        201,
        schemas.OrganisationRequest,
        (400, 409),
    ),
    Call("GET", "/board", C.list_boards, list[schemas.Board], query=schemas.OwnedQuery),
    Call("GET", "/board/id/{id}", C.board_by_id, schemas.Board, refusals=(404,)),
    Call(
        "GET",
        "/board/id/{id}/devices",
        C.board_devices,
        list[schemas.Device],
        refusals=(404,),
        query=schemas.Page,
    ),
    Call(
        "POST", "/board", C.create_board, schemas.Board, 201, schemas.BoardRequest, (400, 409, 422)
    ),
    Call("GET", "/network", C.list_networks, list[schemas.Network], query=schemas.OwnedQuery),
    Call(
        "POST",
        "/network",
        C.create_network,
        schemas.Network,
        201,
        schemas.NetworkRequest,
        (400, 409, 422),
    ),
    Call(
        "POST",
        "/device",
        C.create_device,
        schemas.Device,
        201,
        schemas.DeviceRequest,
        (400, 409, 422),
    ),
    Call(
        "GET",
        "/device/soc/{soc}/mcuId/{mcuId}",
        C.device_by_mcu_id,
        schemas.Device,
        refusals=(404,),
    ),
    Call(
        "GET", "/device/deviceId/{deviceId}", C.device_by_device_id, schemas.Device, refusals=(404,)
    ),
    Call("GET", "/device/id/{id}", C.device_by_id, schemas.Device, refusals=(404,)),
    Call("GET", "/device", C.list_devices, list[schemas.Device], query=schemas.DeviceQuery),
    Call(
        "PUT",
        "/device/id/{id}",
        C.change_device,
        schemas.Device,
        200,
        schemas.DeviceChange,
        (400, 404, 409, 422),
    ),
    Call(
        "GET",
        "/device/deviceId/{deviceId}/state",
        C.device_state,
        schemas.DeviceState,
        refusals=(404,),
    ),
    Call("GET", "/device/id/{id}/state", C.device_state, schemas.DeviceState, refusals=(404,)),
    Call(
        "GET",
        "/device/deviceId/{deviceId}/lastRoute",
        C.last_route,
        schemas.UplinkRoute,
        refusals=(404,),
    ),
    Call(
        "POST",
        "/device/lastRoute",
        C.last_routes,
        list[schemas.DeviceRoute],
        200,
        schemas.RoutesRequest,
        (400,),
    ),
    Call("GET", "/key/publicKey", C.public_key, schemas.Key),
    Call(
        "POST",
        "/key/sharedSecret",
        C.shared_secret,
        schemas.Key,
        200,
        schemas.SharedSecretRequest,
        (400,),
    ),
    Call(
        "POST",
        "/key/sharedSecret/device",
        C.device_secret,
        schemas.Key,
        200,
        schemas.DeviceKeyRequest,
        (400, 404),
    ),
    Call(
        "POST",
        "/key/derived/device",
        C.derived_key,
        schemas.Key,
        200,
        schemas.DerivedKeyRequest,
        (400, 404),
    ),
    Call(
        "POST",
        "/mqtt/token",
        C.mqtt_token,
        schemas.MqttToken,
        200,
        schemas.MqttTokenRequest,
        (400, 422),
    ),
    Call("POST", "/rpc", _rpc(M.send), schemas.SentRpc, 201, schemas.RpcRequest, (400, 403)),
    Call("GET", "/rpc/{id}", _rpc(M.show), schemas.RpcMessage, refusals=(404,)),
    Call(
        "GET",
        "/rpc",
        _rpc(M.list),
        list[schemas.RpcMessage],
        refusals=(400,),
        query=schemas.RpcQuery,
    ),
    Call(
        "POST",
        "/iam/auth/token",
        _rpc(M.exchange),
        schemas.IamToken,
        200,
        schemas.IamRequest,
        (400, 401),
        auth=False,
    ),
    Call(
        "POST",
        f"{REGISTRY}/devices/registration/tokens",
        R.mint,
        schemas.MintedToken,
        201,
        schemas.MintRequest,
        (400, 409),
    ),
    Call(
        "GET",
        f"{REGISTRY}/devices/registration/tokens",
        R.pending,
        list[schemas.PendingToken],
        query=schemas.Page,
    ),
    Call(
        "DELETE",
        f"{REGISTRY}/devices/registration/tokens/{{tokenId}}",
        R.revoke,
        None,
        204,
        refusals=(404, 409),
    ),
    Call(
        "POST",
        f"{REGISTRY}/devices/provision",
        R.provision,
        schemas.Provisioned,
        200,
        schemas.ProvisionRequest,
        (400, 401, 409, 410),
        auth=False,
    ),
    Call("GET", f"{REGISTRY}/devices/summary", R.summary, schemas.Summary),
    Call(
        "GET",
        f"{REGISTRY}/devices",
        R.list_devices,
        list[schemas.RegistryDevice],
        query=schemas.RegistryDeviceQuery,
    ),
    Call(
        "POST",
        f"{REGISTRY}/devices",
        R.create_device,
        schemas.RegistryDevice,
        201,
        schemas.RegistryDeviceRequest,
        (400, 409),
    ),
    Call(
        "GET", f"{REGISTRY}/devices/{{deviceId}}", R.device, schemas.RegistryDevice, refusals=(404,)
    ),
    Call(
        "PUT",
        f"{REGISTRY}/devices/{{deviceId}}",
        R.replace_device,
        schemas.RegistryDevice,
        200,
        schemas.RegistryDeviceRequest,
        (400, 404, 409),
    ),
    Call("DELETE", f"{REGISTRY}/devices/{{deviceId}}", R.delete_device, None, 204, refusals=(404,)),
    Call(
        "GET",
        f"{REGISTRY}/devices/{{deviceId}}/health",
        _held(I.health_history),
        list[schemas.HealthRecord],
        refusals=(404,),
        query=schemas.Page,
    ),
    Call(
        "GET",
        f"{REGISTRY}/devices/{{deviceId}}/health/latest",
        _held(I.health_latest),
        schemas.HealthRecord,
        refusals=(404,),
    ),
    Call(
        "GET",
        f"{REGISTRY}/devices/{{deviceId}}/health/window",
        _held(I.health_window),
        list[schemas.HealthRecord],
        refusals=(400, 404),
        query=schemas.HealthWindowQuery,
    ),
    Call(
        "GET",
        f"{REGISTRY}/devices/{{deviceId}}/health/summary",
        _held(I.health_summary),
        dict[str, Any],
        refusals=(404,),
    ),
    Call(
        "GET",
        f"{REGISTRY}/components",
        _held(I.list_components),
        list[schemas.Component],
        query=schemas.ComponentQuery,
    ),
    Call(
        "POST",
        f"{REGISTRY}/components",
        _held(I.create_component),
        schemas.Component,
        201,
        schemas.ComponentRequest,
        (400, 409, 422),
    ),
    Call(
        "GET",
        f"{REGISTRY}/components/{{id}}",
        _held(I.component),
        schemas.Component,
        refusals=(404,),
    ),
    Call(
        "PUT",
        f"{REGISTRY}/components/{{id}}",
        _held(I.replace_component),
        schemas.Component,
        200,
        schemas.ComponentRequest,
        (400, 404),
    ),
    Call(
        "DELETE",
        f"{REGISTRY}/components/{{id}}",
        _held(I.delete_component),
        None,
        204,
        refusals=(404,),
    ),
    Call(
        "GET",
        f"{REGISTRY}/sensors",
        _held(I.list_sensors),
        list[schemas.Sensor],
        refusals=(422,),
        query=schemas.SensorQuery,
    ),
    Call(
        "GET",
        f"{REGISTRY}/device-groups",
        _held(I.list_groups),
        list[schemas.Group],
        query=schemas.Page,
    ),
    Call(
        "POST",
        f"{REGISTRY}/device-groups",
        _held(I.create_group),
        schemas.Group,
        201,
        schemas.GroupRequest,
        (400, 409),
    ),
    Call("GET", f"{REGISTRY}/device-groups/{{id}}", _held(I.group), schemas.Group, refusals=(404,)),
    Call(
        "PUT",
        f"{REGISTRY}/device-groups/{{id}}",
        _held(I.replace_group),
        schemas.Group,
        200,
        schemas.GroupRequest,
        (400, 404),
    ),
    Call(
        "DELETE",
        f"{REGISTRY}/device-groups/{{id}}",
        _held(I.delete_group),
        None,
        204,
        refusals=(404,),
    ),
)
