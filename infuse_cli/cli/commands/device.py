"""`infuse device`: devices in the cloud."""

from __future__ import annotations

from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import json_object, pairs
from infuse_cli.cli.result import finish

app = typer.Typer(
    help="Devices in the cloud: list, show, create, update, retire, replace.", no_args_is_help=True
)

Organisation = Annotated[
    str | None,
    typer.Option(
        "--organisation",
        metavar="NAME|ID",
        help="The organisation. [default: the profile's, else the only one]",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    typer.Argument(
        metavar="DEVICE",
        help="Device id, id, mcuId, IMEI, or KEY=VALUE of its metadata.",
        show_default=False,
    ),
]
Soc = Annotated[
    str | None,
    typer.Option(
        "--soc",
        metavar="SOC",
        help="The chip that an mcuId or IMEI belongs to. [default: the profile's]",
        show_default=False,
    ),
]
MCU_ID = Annotated[
    str,
    typer.Argument(
        metavar="MCU_ID", help="The chip's own id: 16 lower-case hex digits.", show_default=False
    ),
]
OfBoard = Annotated[
    str | None,
    typer.Option(
        "--board",
        metavar="NAME|ID",
        help="The cloud board. [default: the profile's]",
        show_default=False,
    ),
]
DeviceId = Annotated[
    str | None,
    typer.Option(
        "--device-id",
        metavar="ID",
        help="Its device id, 16 hex digits. [default: the cloud chooses]",
        show_default=False,
    ),
]
Update = Annotated[
    bool,
    typer.Option("--update-metadata", help="Overwrite differing metadata of a device that exists."),
]
Initial = Annotated[
    str | None,
    typer.Option(
        "--initial-state",
        metavar="JSON",
        help="Its initialDeviceState, passed on as it is.",
        show_default=False,
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="KEY=VALUE",
        help="Metadata of the device; may be given again.",
        show_default=False,
    ),
]


@app.command("list")
def list_devices(
    *,
    organisation: Organisation = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            metavar="NAME|ID",
            help="Only devices of this cloud board.",
            show_default=False,
        ),
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option(
            "--metadata",
            metavar="KEY=VALUE",
            help="Only devices with this metadata.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List an organisation's devices, all of them."""
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    wanted = pairs([metadata] if metadata else [], "--metadata")
    rows = cloud_devices.list_devices(current().settings, organisation, board, wanted)
    finish(views.listed(rows))


@app.command()
def show(device: Device, *, soc: Soc = None) -> None:
    """Show a device: in the cloud, in the registry, its state, its last route, and what the journal
    here has.
    """
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    finish(views.overview(cloud_devices.show_device(current().settings, device, soc)))


@app.command()
def create(
    mcu_id: MCU_ID,
    *,
    board: OfBoard = None,
    organisation: Organisation = None,
    device_id: DeviceId = None,
    metadata: Metadata = None,
    update_metadata: Update = False,
    initial_state: Initial = None,
) -> None:
    """Create a device. It cannot be undone or moved, so everything is checked first.

    One that soc and mcuId name already is taken as it is: missing metadata is added, differing
    values are refused.
    """
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    request = cloud_devices.DeviceRequest(
        mcu_id,
        board,
        organisation,
        device_id,
        pairs(metadata, "--metadata"),
        update_metadata,
        json_object(initial_state, "--initial-state"),
        "device create",
    )
    finish(views.created("device create", cloud_devices.create_device(current().settings, request)))


@app.command()
def ensure(
    mcu_id: MCU_ID,
    *,
    board: OfBoard = None,
    organisation: Organisation = None,
    device_id: DeviceId = None,
    metadata: Metadata = None,
    update_metadata: Update = False,
    initial_state: Initial = None,
) -> None:
    """The same as create, under the name that it has for all other things: a device that is there
    is content enough.
    """
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    request = cloud_devices.DeviceRequest(
        mcu_id,
        board,
        organisation,
        device_id,
        pairs(metadata, "--metadata"),
        update_metadata,
        json_object(initial_state, "--initial-state"),
        "device ensure",
    )
    finish(views.created("device ensure", cloud_devices.create_device(current().settings, request)))


@app.command()
def update(
    device: Device,
    *,
    metadata: Metadata = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop all metadata that is not named here.")
    ] = False,
    soc: Soc = None,
) -> None:
    """Change a device's metadata."""
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    values = pairs(metadata, "--metadata")
    changed = cloud_devices.update_device(
        current().settings, device, values, soc=soc, replace=replace
    )
    finish(views.updated(changed))


@app.command()
def state(device: Device, *, soc: Soc = None) -> None:
    """Show what the cloud last heard of a device."""
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    finish(views.state(cloud_devices.device_state(current().settings, device, soc)))


@app.command()
def route(
    device: Annotated[
        list[str],
        typer.Argument(
            metavar="DEVICE…",
            help="Devices, each as for `show`; several are asked for in one call.",
            show_default=False,
        ),
    ],
    *,
    soc: Soc = None,
) -> None:
    """Show the way that a device's last packet came."""
    from infuse_cli.cli.views import devices as views
    from infuse_cli.devices import cloud_devices

    finish(views.routes(cloud_devices.last_routes(current().settings, device, soc)))


@app.command()
def retire(
    device: Annotated[
        str,
        typer.Argument(
            metavar="BOARD",
            help=(
                "Whatever names it in the journal or the cloud: UUID, serial number, IMEI, mcuId,"
                " device id."
            ),
            show_default=False,
        ),
    ],
    *,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why: scrapped, lost, exposed, reassigned, replaced, or in your own words.",
        ),
    ] = "scrapped",
    soc: Soc = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a device: revoke its certificates and tokens, delete its registry device, mark it in the
    cloud.

    The cloud device itself cannot be deleted; its unique metadata is given free first. Stopped
    anywhere, run it again.
    """
    from infuse_cli.cli.views import retirement as views
    from infuse_cli.devices import retirement

    finish(views.retired(retirement.retire(current().settings, device, reason, soc, yes=yes)))


@app.command()
def replace(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD", help="The device that goes, named as for `retire`.", show_default=False
        ),
    ],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="The device that takes its place, provisioned already.",
            show_default=False,
        ),
    ],
    *,
    move: Annotated[
        list[str] | None,
        typer.Option(
            "--move",
            metavar="KEY",
            help="Metadata that goes over to the new device; may be given again.",
            show_default=False,
        ),
    ] = None,
    soc: Soc = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Retire a device that another one replaces, and link the two in the journal and in the
    cloud.
    """
    from infuse_cli.cli.views import retirement as views
    from infuse_cli.devices import retirement

    result = retirement.replace(current().settings, old, new, tuple(move or ()), soc, yes=yes)
    finish(views.retired(result))
