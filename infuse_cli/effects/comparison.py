"""A cloud device beside what is expected of it: the one comparison of all commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.api_types import Device


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not as expected. `actual` None: the device has no such metadata."""

    name: str
    actual: str | None
    expected: str


@dataclass(frozen=True, slots=True)
class DeviceComparison:
    """How a cloud device differs from what is expected.

    `ids` can never be changed: organisation, board, deviceId, mcuId. `metadata` can: its names are
    those of the metadata.
    """

    ids: tuple[Difference, ...] = ()
    metadata: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ids or self.metadata)

    @property
    def missing(self) -> dict[str, str]:
        """Metadata that the device lacks, with the values that are expected."""
        return {row.name: row.expected for row in self.metadata if row.actual is None}

    @property
    def differing(self) -> tuple[Difference, ...]:
        """Metadata that the device has with another value."""
        return tuple(row for row in self.metadata if row.actual is not None)

    @property
    def patch(self) -> dict[str, str]:
        """The metadata that makes the device what is expected."""
        return {row.name: row.expected for row in self.metadata}


def compare_device(
    device: Device,
    *,
    mcu_id: str | None = None,
    device_id: str | None = None,
    board_id: str | None = None,
    organisation_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> DeviceComparison:
    """Compare a device with the values that are expected; None or empty is not compared.

    Ids are compared without regard to case. Metadata that only the cloud has is no difference.
    """
    pairs = (
        ("deviceId", device.device_id, device_id),
        ("mcuId", device.mcu_id, mcu_id),
        ("board", device.board_id, board_id),
        ("organisation", device.organisation_id, organisation_id),
    )
    ids = tuple(
        Difference(name, actual, expected)
        for name, actual, expected in pairs
        if expected and actual.lower() != expected.lower()
    )
    values = tuple(
        Difference(name, device.metadata.get(name), expected)
        for name, expected in sorted((metadata or {}).items())
        if device.metadata.get(name) != expected
    )
    return DeviceComparison(ids, values)
