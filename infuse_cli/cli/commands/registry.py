"""`infuse registry`: the device registry, a group of commands for each of its resources."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from infuse_cli.cli.context import current
from infuse_cli.cli.options import (
    check_secret_output,
    pairs,
    registry_status,
)
from infuse_cli.cli.options import (
    location as parse_location,
)
from infuse_cli.cli.result import finish
from infuse_cli.cli.since import moment
from infuse_cli.errors import UsageError

app = typer.Typer(
    help="The registry: token, device, component, sensor, health, group.", no_args_is_help=True
)
tokens = typer.Typer(
    help="One-time registration tokens: create, list, revoke.", no_args_is_help=True
)
devices = typer.Typer(
    help="Registry devices: list, show, create, update, delete, summary.", no_args_is_help=True
)
components = typer.Typer(
    help="Components of devices: list, show, create, ensure, update, delete.", no_args_is_help=True
)
sensors = typer.Typer(help="Sensors across the organisation: list.", no_args_is_help=True)
health = typer.Typer(
    help="What devices say of themselves: show, latest, window, summary.", no_args_is_help=True
)
groups = typer.Typer(
    help="Groups of devices by tag: list, show, create, update, delete.", no_args_is_help=True
)
for name, below in (
    ("token", tokens),
    ("device", devices),
    ("component", components),
    ("sensor", sensors),
    ("health", health),
    ("group", groups),
):
    app.add_typer(below, name=name)

Device = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Name or registry device id.", show_default=False)
]
OfDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Its device, by name or registry device id.",
        show_default=False,
    ),
]
Component = Annotated[
    str, typer.Argument(metavar="COMPONENT", help="Id or name.", show_default=False)
]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="Name or id.", show_default=False)]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="A tag; may be given again.", show_default=False),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata", metavar="KEY=VALUE", help="Metadata; may be given again.", show_default=False
    ),
]
Location = Annotated[
    str | None,
    typer.Option(
        "--location", metavar="LAT,LON", help="Where it is, in degrees.", show_default=False
    ),
]
Site = Annotated[
    str | None, typer.Option("--site", metavar="ID", help="Its site.", show_default=False)
]
DeviceProfile = Annotated[
    str | None,
    typer.Option("--device-profile", metavar="ID", help="Its device profile.", show_default=False),
]
Status = Annotated[
    str | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="PENDING, ACTIVE, INACTIVE, MAINTENANCE or OFFLINE.",
        show_default=False,
    ),
]
SensorProfile = Annotated[
    str | None,
    typer.Option("--sensor-profile", metavar="ID", help="What it measures.", show_default=False),
]
NewName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Its new name.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="Beginning, e.g. 2026-03-31T12:00:00Z.", show_default=False
    ),
]
To = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="End. [default: now]", show_default=False)
]


@tokens.command("create")
def create_token(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the device, which exists from now on, PENDING.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="New file (0600) for the token.", show_default=False
        ),
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the token, on a terminal only.")
    ] = False,
    tag: Tag = None,
    metadata: Metadata = None,
    location: Location = None,
    site: Site = None,
    device_profile: DeviceProfile = None,
    expires: Annotated[
        int | None,
        typer.Option(
            "--expires",
            metavar="S",
            min=1,
            help="How long it is good for. [default: the profile's, else 3600]",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the device has connected.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0, help="How long --wait waits.")
    ] = 600.0,
) -> None:
    """Mint a registration token; the cloud shows it this once.

    Tags, metadata, site and profile default to the product profile's.
    """
    from infuse_cli.cli.views import tokens as views
    from infuse_cli.devices import registry_tokens

    check_secret_output(out, reveal=reveal, needed="the registration token")
    request = registry_tokens.TokenRequest(
        name,
        tuple(tag or ()),
        pairs(metadata, "--metadata"),
        parse_location(location),
        site,
        device_profile,
        expires,
        out,
        timeout if wait else None,
    )
    result = registry_tokens.create_token(current().settings, request)
    finish(views.created(result, reveal=reveal, wait_s=request.wait_s))


@tokens.command("list")
def list_tokens() -> None:
    """List the pending tokens, without their secrets."""
    from infuse_cli.cli.views import tokens as views
    from infuse_cli.devices import registry_tokens

    finish(views.listed(registry_tokens.list_tokens(current().settings)))


@tokens.command("revoke")
def revoke_token(
    token: Annotated[
        str | None,
        typer.Argument(
            metavar="TOKEN", help="Token id, or the name of its device.", show_default=False
        ),
    ] = None,
    *,
    station: Annotated[
        str | None,
        typer.Option(
            "--station",
            metavar="NAME",
            help=(
                "Instead of one token: all live ones that this station minted, by the journal here."
            ),
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Take a pending token back, or all that a station minted and that are still alive."""
    from infuse_cli.cli.views import tokens as views
    from infuse_cli.devices import registry_tokens, token_ledger

    if (token is None) == (station is None):
        raise UsageError("usage.bad-option", "give either TOKEN or --station NAME")
    if station is not None:
        result = token_ledger.revoke_station(current().settings, station, yes=yes)
        finish(views.station_revoked(result))
    finish(views.revoked(registry_tokens.revoke_token(current().settings, token or "", yes=yes)))


@tokens.command("ledger")
def token_ledger_(
    *,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Only count what the journal has; do not ask the registry."),
    ] = False,
    settle: Annotated[
        bool,
        typer.Option(
            "--settle",
            help="Record what is certain, and revoke what has ended here and not there.",
        ),
    ] = False,
) -> None:
    """Count every token of the journal by how it ended, and name those that the registry shows
    otherwise.
    """
    from infuse_cli.cli.views import tokens as views
    from infuse_cli.devices import token_ledger

    result = token_ledger.ledger(current().settings, offline=offline, settle=settle)
    finish(views.ledger(result))


@devices.command("list")
def list_devices(*, status: Status = None, tag: Tag = None) -> None:
    """List the registry's devices, all of them, or those of a status or with all of these tags."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    rows = registry.list_devices(current().settings, registry_status(status), tag or ())
    finish(views.devices(rows))


@devices.command("show")
def show_device(device: Device) -> None:
    """Show one registry device."""
    from infuse_cli.cli.views.cloud import single
    from infuse_cli.devices import registry

    found = registry.find_device(current().settings, device)
    finish(single("registry device show", "device", found))


@devices.command("create")
def create_device(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)],
    *,
    status: Status = None,
    tag: Tag = None,
    metadata: Metadata = None,
    location: Location = None,
    site: Site = None,
    device_profile: DeviceProfile = None,
) -> None:
    """Create a registry device without a token; `infuse registry token create` makes one with."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    request = registry.RegistryDeviceRequest(
        name,
        registry_status(status),
        tuple(tag or ()),
        pairs(metadata, "--metadata"),
        parse_location(location),
        site,
        device_profile,
    )
    made = registry.create_device(current().settings, request)
    finish(views.created("registry device", made, made.name))


@devices.command("update")
def update_device(
    device: Device,
    *,
    name: NewName = None,
    status: Status = None,
    tag: Tag = None,
    metadata: Metadata = None,
    location: Location = None,
    site: Site = None,
    device_profile: DeviceProfile = None,
) -> None:
    """Change a registry device: metadata is merged, tags are replaced, the rest stays."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    request = registry.RegistryDeviceRequest(
        name,
        registry_status(status),
        tuple(tag or ()),
        pairs(metadata, "--metadata"),
        parse_location(location),
        site,
        device_profile,
    )
    made = registry.update_device(current().settings, device, request)
    finish(views.changed("registry device", made, made.name))


@devices.command("delete")
def delete_device(device: Device, *, yes: Yes = False) -> None:
    """Delete a registry device; its pending token goes with it, its name is free again."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    gone = registry.delete_device(current().settings, device, yes=yes)
    finish(views.deleted("registry device", gone, gone.name))


@devices.command("summary")
def summary() -> None:
    """How many registry devices there are, by status."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.summary(registry.summarise(current().settings)))


@components.command("list")
def list_components(*, device: OfDevice = None) -> None:
    """List components, all of them or those of a device."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.components(registry.list_components(current().settings, device)))


@components.command("show")
def show_component(component: Component, *, device: OfDevice = None) -> None:
    """Show one component."""
    from infuse_cli.cli.views.cloud import single
    from infuse_cli.devices import registry

    found = registry.find_component(current().settings, component, device)
    finish(single("registry component show", "component", found))


@components.command("create")
def create_component(
    device: Device,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)],
    *,
    sensor_profile: SensorProfile = None,
) -> None:
    """Create a component of a device; refused where the device has one of this name."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    result = registry.create_component(
        current().settings, device, name, sensor_profile, ensure=False
    )
    finish(views.component_created("registry component create", result, sensor_profile))


@components.command("ensure")
def ensure_component(
    device: Device,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)],
    *,
    sensor_profile: SensorProfile = None,
) -> None:
    """Create a component unless it is there; one that the device announced itself is found, not
    doubled.
    """
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    result = registry.create_component(
        current().settings, device, name, sensor_profile, ensure=True
    )
    finish(views.component_created("registry component ensure", result, sensor_profile))


@components.command("update")
def update_component(
    component: Component,
    *,
    device: OfDevice = None,
    name: NewName = None,
    sensor_profile: SensorProfile = None,
) -> None:
    """Change a component's name or sensor profile."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    made = registry.update_component(current().settings, component, device, name, sensor_profile)
    finish(views.changed("component", made, made.name))


@components.command("delete")
def delete_component(component: Component, *, device: OfDevice = None, yes: Yes = False) -> None:
    """Delete a component and its sensors."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    gone = registry.delete_component(current().settings, component, device, yes=yes)
    finish(views.deleted("component", gone, gone.name))


@sensors.callback()
def _sensors() -> None:
    """Sensors across the organisation: list."""


@sensors.command("list")
def list_sensors(
    *,
    device: OfDevice = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="GROUP",
            help="Only those of the devices of a group, by name or id.",
            show_default=False,
        ),
    ] = None,
    value_type: Annotated[
        str | None,
        typer.Option(
            "--value-type",
            metavar="TYPE",
            help="Only those of this value type.",
            show_default=False,
        ),
    ] = None,
    tag: Tag = None,
) -> None:
    """List the sensors that fit all filters."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    rows = registry.list_sensors(current().settings, device, group, value_type, tag or ())
    finish(views.sensors(rows))


@health.command("show")
def show_health(device: Device) -> None:
    """Show all that a device said of itself."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.health("registry health show", registry.health(current().settings, device)))


@health.command("latest")
def latest_health(device: Device) -> None:
    """Show a device's newest word of itself."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.health_latest(registry.health_latest(current().settings, device)))


@health.command("window")
def health_window(device: Device, *, from_: From = None, to: To = None) -> None:
    """Show what a device said of itself between two times."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    if from_ is None:
        raise UsageError("usage.bad-option", "a window needs --from TIME")
    now = datetime.now(UTC)
    start = moment(from_, "--from", now)
    end = None if to is None else moment(to, "--to", now)
    result = registry.health_window(current().settings, device, start, end)
    finish(views.health("registry health window", result))


@health.command("summary")
def health_summary(device: Device) -> None:
    """Show the registry's own summary of a device's health."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.health_summary(registry.health_summary(current().settings, device)))


@groups.command("list")
def list_groups() -> None:
    """List all groups."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.groups(registry.list_groups(current().settings)))


@groups.command("show")
def show_group(group: Group) -> None:
    """Show a group and the devices that carry all of its tags."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    finish(views.group(registry.find_group(current().settings, group)))


@groups.command("create")
def create_group(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)],
    *,
    tag: Tag = None,
) -> None:
    """Create a group of all devices that carry these tags."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    made = registry.create_group(current().settings, name, tag or ())
    finish(views.created("group", made, name))


@groups.command("update")
def update_group(group: Group, *, name: NewName = None, tag: Tag = None) -> None:
    """Change a group's name or tags."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    made = registry.update_group(current().settings, group, name, tag or ())
    finish(views.changed("group", made, made.name))


@groups.command("delete")
def delete_group(group: Group, *, yes: Yes = False) -> None:
    """Delete a group; its devices stay."""
    from infuse_cli.cli.views import registry as views
    from infuse_cli.devices import registry

    gone = registry.delete_group(current().settings, group, yes=yes)
    finish(views.deleted("group", gone, gone.name))
