"""A row compared with the cloud device that has its soc and mcuId."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import PolicyError

if TYPE_CHECKING:
    from infuse_cli.api_types import Device
    from infuse_cli.records.rows import Row

_PLACE: Final = frozenset({"organisation", "board"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the row has it.

    `have` None: the device has no such metadata. `field` is the row's column.
    """

    field: str
    have: str | None
    want: str

    def words(self) -> str:
        """The difference for people."""
        have = "missing" if self.have is None else repr(self.have)
        return f"{self.field} is {have}, not {self.want!r}"


@dataclass(frozen=True, slots=True)
class Differences:
    """`fixed` can never be changed (organisation, board, deviceId); `metadata` can, with --update.

    Empty: the device is the row's.
    """

    fixed: tuple[Difference, ...] = ()
    metadata: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fixed or self.metadata)

    @property
    def all(self) -> tuple[Difference, ...]:
        """All differences, those that cannot be changed first."""
        return (*self.fixed, *self.metadata)

    def patch(self, row: Row) -> dict[str, str]:
        """The metadata that makes the device the row's."""
        keys = [difference.field.removeprefix("metadata.") for difference in self.metadata]
        return {key: row.metadata[key] for key in keys}

    def error(self, device: Device) -> PolicyError:
        """The differences as an error, the ones that cannot be changed first."""
        named = "; ".join(difference.words() for difference in self.all)
        if any(difference.field in _PLACE for difference in self.fixed):
            return PolicyError(
                "cloud.wrong-owner",
                f"cloud device {device.device_id} exists elsewhere: {named}",
            )
        hint = None if self.fixed else "--update overwrites metadata with what the file has."
        return PolicyError(
            "cloud.device-conflict",
            f"cloud device {device.device_id} exists with other values: {named}",
            hint=hint,
        )


def compare(row: Row, device: Device, *, organisation_id: str, board_id: str) -> Differences:
    """What of a cloud device is not as the row has it.

    Metadata that only the cloud has is no difference.
    """
    fields = (
        ("organisation", device.organisation_id, organisation_id),
        ("board", device.board_id, board_id),
        ("deviceId", device.device_id, row.device_id or device.device_id),
    )
    fixed = tuple(
        Difference(field, have, want)
        for field, have, want in fields
        if have.lower() != want.lower()
    )
    metadata = tuple(
        Difference(f"metadata.{key}", device.metadata.get(key), value)
        for key, value in row.metadata.items()
        if device.metadata.get(key) != value
    )
    return Differences(fixed, metadata)
