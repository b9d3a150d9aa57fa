"""identify: what the board says it is, and its mcuId from the source that the profile names (rules 1, 2)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.types import MCU_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import Board, ChipIds
    from infuse_cli.profile import McuIdSource
    from infuse_cli.types import BoardIdentity


@dataclass(frozen=True, slots=True)
class McuIds:
    """Where mcuId comes from in this run: the profile's source, what was given by hand, and for nrfutil the reader.

    `soc` is the chip's name, which says where in it the id is.
    """

    source: McuIdSource | None
    given: Mapping[str, str] = field(default_factory=dict)
    chips: ChipIds | None = None
    soc: str = ""


def identify(link: Board, ops: Operations, ids: McuIds) -> BoardIdentity:
    """Read the board's identity. Raises BoardError board.no-imei or board.no-mcu-id, ProfileError profile.cannot."""
    seen = _keyed(link.run(ops.identify()), ids.soc)
    if ids.source is None:
        return seen
    return dataclasses.replace(seen, mcu_id=mcu_id(link, ops, ids.source, ids, seen))


def _keyed(seen: BoardIdentity, soc: str) -> BoardIdentity:
    """A board without a modem to ask is known by soc and the chip's own id (rule 1)."""
    return dataclasses.replace(seen, uuid=f"{soc}:{seen.uuid}") if MCU_ID.fullmatch(seen.uuid) else seen


def mcu_id(link: Board, ops: Operations, source: McuIdSource, ids: McuIds, seen: BoardIdentity) -> str:
    """Read the mcuId from its source; raises as `identify`."""
    match source.source:
        case "imei":
            return _from_imei(seen)
        case "command":
            return _from_command(link, ops, source)
        case "scan":
            return _checked(ids.given.get("mcuId", ""), "the scan")
        case "nrfutil" if ids.chips is not None:
            return _checked(ids.chips.chip_id(link.port, ids.soc), "nrfutil")
        case "hwinfo":
            return _checked(link.run(ops.hardware_id()), "hwinfo")
        case "nrfutil" | "epacket":
            raise ProfileError("profile.cannot", f"board.mcu_id: from {source.source} is not offered over dialect {link.dialect}; "
                               "hwinfo, nrfutil, imei, command and scan are")


def _from_imei(seen: BoardIdentity) -> str:
    if seen.imei is None:
        raise BoardError("board.no-imei", "the module answers without an IMEI, and board.mcu_id is from: imei")
    return "0" + seen.imei  # rule 2


def _from_command(link: Board, ops: Operations, source: McuIdSource) -> str:
    pattern = source.pattern or r"([0-9a-fA-F]{16})"
    return _checked(link.run(ops.raw(source.command or "", pattern, 5.0)), source.command or "the command")


def _checked(text: str, where: str) -> str:
    value = text.strip().lower()
    if not MCU_ID.fullmatch(value):
        raise BoardError("board.no-mcu-id", f"{where} gave {value[:40]!r} for mcuId, not 16 hex digits")
    return value
