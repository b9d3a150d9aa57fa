"""Every call of the published Infuse-IoT client on the virtual cloud: run by a Python that has the
package `infuse-iot`, as `published_client.py BASE_URL TOKEN`.

Nothing of this project is imported here: requests and answers have the types of that package alone,
so that this project's reading of the API and its own types can't be wrong together. One line a
check; `heard DEVICE_ID` on stdout asks whoever started this to let the device be heard, and waits
for a line on stdin.
"""

from __future__ import annotations

import base64
import datetime as dt
import importlib
import pkgutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
from infuse_iot.api_client import AuthenticatedClient, api, models
from infuse_iot.api_client.types import Unset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MCU_ID = "0011223344556677"
NOBODY = "00000000000000ff"
KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass
class Checks:
    """The calls that were made, and what came of each."""

    client: AuthenticatedClient
    lines: list[tuple[bool, str]] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    def call(self, name: str, status: int, type_: Any, /, **arguments: Any) -> Any:
        """Make a call; its answer has this status and is read as this type, a list of it or an
        Error.
        """
        package, module = name.split(".")
        function = importlib.import_module(f"{api.__name__}.{package}.{module}").sync_detailed
        self.called.add(name)
        try:
            answer = function(client=self.client, **arguments)
        except Exception as error:  # noqa: BLE001 - whatever the models say of an answer is the finding
            self.check(name, status, good=False, why=f"{type(error).__name__}: {error}")
            return None
        parsed = answer.parsed
        rows = parsed if isinstance(parsed, list) else [parsed]
        good = answer.status_code == status and all(isinstance(row, type_) for row in rows)
        good = good and bool(rows)
        found = f"{answer.status_code} {answer.content[:300]!r}"
        self.check(name, status, good=good, why=found)
        return parsed

    def check(self, name: str, status: int | str, *, good: bool, why: str = "") -> None:
        self.lines.append((good, f"{name} {status}" + ("" if good else f"\n      {why}")))


def organisations(checks: Checks) -> UUID:
    """Organisations by every way; returns the id of one."""
    new = models.NewOrganisation(name="Published / Client")
    made = checks.call("organisation.create_organisation", 201, models.Organisation, body=new)
    checks.call("organisation.create_organisation", 409, models.Error, body=new)
    checks.call("organisation.get_all_organisations", 200, models.Organisation)
    checks.call("organisation.get_organisation_by_id", 200, models.Organisation, id=made.id)
    checks.call("organisation.get_organisation_by_id", 404, models.Error, id=uuid4())
    checks.call("organisation.get_organisation_by_name", 404, models.Error, name="Nobody")
    named = models.NewOrganisation(name="Named")
    checks.call("organisation.create_organisation", 201, models.Organisation, body=named)
    checks.call("organisation.get_organisation_by_name", 200, models.Organisation, name="Named")
    return made.id


def boards_and_networks(checks: Checks, organisation: UUID) -> UUID:
    """Boards and networks; returns the id of a board with a unique metadata field."""
    fields = [models.MetadataField(name="serialNumber", required=True, unique=True)]
    new = models.NewBoard(
        name="Sensor",
        description="",
        soc="nRF9151",
        organisation_id=organisation,
        metadata_fields=fields,
    )
    made = checks.call("board.create_board", 201, models.Board, body=new)
    checks.call("board.create_board", 409, models.Error, body=new)
    nowhere = models.NewBoard(name="x", description="", soc="nRF9151", organisation_id=uuid4())
    checks.call("board.create_board", 422, models.Error, body=nowhere)
    checks.call("board.get_boards", 200, models.Board, organisation_id=organisation)
    checks.call("board.get_board_by_id", 200, models.Board, id=made.id)
    checks.call("board.get_board_by_id", 404, models.Error, id=uuid4())
    network = models.NewNetwork(
        name="Field", description="", key=KEY, organisation_id=organisation, network_id=1001
    )
    checks.call("network.create_network", 201, models.Network, body=network)
    checks.call("network.create_network", 409, models.Error, body=network)
    checks.call("network.get_networks", 200, models.Network, organisation_id=organisation)
    return made.id


def _metadata(**values: str) -> Any:
    return models.DeviceMetadata.from_dict(values)


def devices(checks: Checks, organisation: UUID, board: UUID) -> Any:
    """A device by every way, and a change of its metadata; returns it."""
    new = models.NewDevice(
        mcu_id=MCU_ID,
        board_id=board,
        organisation_id=organisation,
        metadata=_metadata(serialNumber="SN-1"),
    )
    made = checks.call("device.create_device", 201, models.Device, body=new)
    checks.call("device.create_device", 409, models.Error, body=new)
    without = models.NewDevice(mcu_id=MCU_ID[::-1], board_id=board, organisation_id=organisation)
    checks.call("device.create_device", 422, models.Error, body=without)
    odd = models.NewDevice(mcu_id="no chip", board_id=board, organisation_id=organisation)
    checks.call("device.create_device", 400, models.Error, body=odd)
    for name, known, unknown in (
        ("device.get_device_by_id", {"id": made.id}, {"id": uuid4()}),
        ("device.get_device_by_device_id", {"device_id": made.device_id}, {"device_id": NOBODY}),
        (
            "device.get_device_by_soc_and_mcu_id",
            {"soc": "nRF9151", "mcu_id": MCU_ID},
            {"soc": "nRF9151", "mcu_id": NOBODY},
        ),
    ):
        found = checks.call(name, 200, models.Device, **known)
        checks.check(name, "is the device", good=found == made, why=f"{found} is not {made}")
        checks.call(name, 404, models.Error, **unknown)
    checks.call("device.get_devices", 200, models.Device, organisation_id=organisation)
    checks.call("board.get_devices_by_board_id", 200, models.Device, id=board)
    change = models.DeviceUpdate(
        metadata=models.DeviceMetadataUpdate(
            operation=models.DeviceMetadataUpdateOperation.PATCH, value=_metadata(site="Brisbane")
        )
    )
    checks.call("device.update_device_by_id", 200, models.Device, id=made.id, body=change)
    checks.call("device.update_device_by_id", 404, models.Error, id=uuid4(), body=change)
    return made


def states(checks: Checks, device: Any) -> None:
    """State and route, before and after the device was heard."""
    by_id, by_device_id = {"id": device.id}, {"device_id": device.device_id}
    ways = (
        ("device.get_device_state_by_id", by_id, models.DeviceState),
        ("device.get_device_state_by_device_id", by_device_id, models.DeviceState),
        ("device.get_device_last_route_by_device_id", by_device_id, models.UplinkRoute),
    )
    for name, arguments, _ in ways:
        checks.call(name, 404, models.Error, **arguments)
    hear(device)
    for name, arguments, type_ in ways:
        checks.call(name, 200, type_, **arguments)
    many = models.GetLastRoutesForDevicesBody(device_ids=[device.device_id, NOBODY])
    name = "device.get_last_routes_for_devices"
    checks.call(name, 200, models.UplinkRouteAndDeviceId, body=many)


def hear(device: Any) -> None:
    """Let the device be heard."""
    print(f"heard {device.device_id}", flush=True)
    sys.stdin.readline()


def keys_and_tokens(checks: Checks, organisation: UUID, device: Any) -> None:
    """Keys, the token for the broker, and health."""
    checks.call("default.get_health", 200, models.HealthCheck)
    checks.call("key.get_public_key", 200, models.Key)
    secret = models.GetDeviceSharedSecretBody(device_id=device.device_id)
    checks.call("key.get_device_shared_secret", 200, models.Key, body=secret)
    for interface in models.KeyInterface:
        derived = models.DeriveDeviceKeyBody(device_id=device.device_id, interface=interface)
        checks.call("key.derive_device_key", 200, models.Key, body=derived)
    token = models.GenerateMQTTTokenBody(organisation_id=organisation)
    checks.call("mqtt.generate_mqtt_token", 200, models.GeneratedMQTTToken, body=token)


def rpcs(checks: Checks, organisation: UUID, device: Any) -> None:
    """An RPC by name and one by number, followed from waiting to completed."""
    for request in (
        models.NewRPCReq(command_name="application_info"),
        models.NewRPCReq(command_id=30000, params_encoded=base64.b64encode(b"12").decode()),
    ):
        new = models.NewRPCMessage(device_id=device.device_id, rpc=request)
        sent = checks.call("rpc.send_rpc", 201, models.CreatedRpcMessage, body=new)
        seen = [
            checks.call("rpc.get_rpc_by_id", 200, models.RpcMessage, id=sent.id) for _ in range(3)
        ]
        states_seen = [message and str(message.downlink_message.status) for message in seen]
        good = states_seen == ["waiting", "sent", "completed"]
        checks.check("rpc.get_rpc_by_id", "goes on", good=good, why=str(states_seen))
        ids = [(one.device.device_id, one.downlink_message.device_id) for one in seen if one]
        good = ids == [(device.device_id, device.id)] * 3
        checks.check("rpc.get_rpc_by_id", "both ids", good=good, why=str(ids))
    nobody = models.NewRPCMessage(device_id=NOBODY, rpc=models.NewRPCReq(command_id=1))
    checks.call("rpc.send_rpc", 400, models.Error, body=nobody)
    checks.call("rpc.get_rpc_by_id", 404, models.Error, id=uuid4())
    checks.call(
        "rpc.get_rp_cs",
        200,
        models.RpcMessage,
        organisation_id=organisation,
        device_id=device.device_id,
        status=models.DownlinkMessageStatus.COMPLETED,
        start_time=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1),
    )


def published() -> Iterator[tuple[str, str, str]]:
    """Name, method and path of every call of the package; its parameters are all called `{}`."""
    for package in pkgutil.iter_modules(api.__path__):
        folder = importlib.import_module(f"{api.__name__}.{package.name}")
        for module in pkgutil.iter_modules(folder.__path__):
            found = importlib.import_module(f"{folder.__name__}.{module.name}")
            yield f"{package.name}.{module.name}", *_request(found._get_kwargs)  # noqa: SLF001 - the package shows its paths nowhere else


class _Anything(Unset):
    """Stands for any argument of a call whose path is looked for."""

    def __str__(self) -> str:
        return "{}"

    def to_dict(self) -> dict[str, Any]:
        return {}

    to_multipart = to_dict


def _request(arguments_of: Callable[..., dict[str, Any]]) -> tuple[str, str]:
    code = arguments_of.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    arguments = arguments_of(**{name: _Anything() for name in names})
    return arguments["method"].upper(), httpx.URL(arguments["url"]).path


def main() -> int:
    """Check, print a line a check, and say by the exit code whether all was well."""
    base_url, token = sys.argv[1:]
    checks = Checks(AuthenticatedClient(base_url=base_url, token=token))
    organisation = organisations(checks)
    board = boards_and_networks(checks, organisation)
    device = devices(checks, organisation, board)
    states(checks, device)
    keys_and_tokens(checks, organisation, device)
    rpcs(checks, organisation, device)
    offered = {
        (method.upper(), "/".join("{}" if part[:1] == "{" else part for part in path.split("/")))
        for path, methods in httpx.get(f"{base_url}/openapi.json").json()["paths"].items()
        for method in methods
    }
    for name, method, path in published():
        if (method, path) in offered and name not in checks.called:
            checks.check(name, "was called", good=False, why=f"{method} {path} is not checked here")
    for good, text in checks.lines:
        print(f"{'ok    ' if good else 'FAILED'} {text}")
    failed = sum(not good for good, _ in checks.lines)
    print(f"{len(checks.lines) - failed} of {len(checks.lines)} checks of the published client")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
