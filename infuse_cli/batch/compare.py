"""A row compared with the cloud device that has its soc and mcuId."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from infuse_cli.effects.comparison import DeviceComparison, Difference, compare_device
from infuse_cli.errors import PolicyError

if TYPE_CHECKING:
    from infuse_cli.api_types import Device
    from infuse_cli.records.rows import Row

_PLACE: Final = ("organisation", "board")


def compare(row: Row, device: Device, *, organisation_id: str, board_id: str) -> DeviceComparison:
    """What of a cloud device is not as the row has it.

    Metadata that only the cloud has is no difference.
    """
    return compare_device(
        device,
        organisation_id=organisation_id,
        board_id=board_id,
        device_id=row.device_id,
        metadata=row.metadata,
    )


def by_column(found: DeviceComparison) -> tuple[Difference, ...]:
    """The differences under the names of the file's columns, the gravest first."""
    ids = sorted(found.ids, key=lambda difference: difference.name not in _PLACE)
    metadata = [
        replace(difference, name=f"metadata.{difference.name}") for difference in found.metadata
    ]
    return (*ids, *metadata)


def words(differences: tuple[Difference, ...]) -> str:
    """Differences for people."""
    return "; ".join(
        f"{difference.name} is"
        f" {'missing' if difference.actual is None else repr(difference.actual)},"
        f" not {difference.expected!r}"
        for difference in differences
    )


def conflict(device: Device, found: DeviceComparison) -> PolicyError:
    """The differences as an error."""
    differences = by_column(found)
    if differences[0].name in _PLACE:
        return PolicyError(
            "cloud.wrong-owner",
            f"cloud device {device.device_id} exists elsewhere: {words(differences)}",
        )
    return PolicyError(
        "cloud.device-conflict",
        f"cloud device {device.device_id} exists with other values: {words(differences)}",
        hint=None if found.ids else "--update overwrites metadata with what the file has.",
    )
