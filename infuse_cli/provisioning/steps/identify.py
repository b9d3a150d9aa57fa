"""identify: read who the board is, and its mcuId from the source that the profile names."""

from __future__ import annotations

import base64
import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import BoardError, ProfileError
from infuse_cli.identities import IdentityKind, refuse_blank
from infuse_cli.keys import derivation
from infuse_cli.types import MCU_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infuse_cli.config.model import McuIdSource
    from infuse_cli.dialect.base import Operations
    from infuse_cli.ports import BoardLink, ChipIds
    from infuse_cli.types import BoardIdentity, Secret

_TAKES_TIME: Final = frozenset({"nrfutil", "epacket", "command", "hwinfo"})
"""Sources that are asked after the board said who it is: another one may have come meanwhile."""


@dataclass(frozen=True, slots=True)
class McuIds:
    """Where mcuId comes from in this run: the profile's source, what was given by hand, and for
    nrfutil the reader.

    `soc` is the chip's name, which says where in it the id is. `root` gives the root secret
    (base64) that a cloud shares with the device of a public key: what a `security_state` is opened
    with. `scanned` gives a label's, and waits for its scan; empty where nothing is scanned in this
    run.
    """

    source: McuIdSource | None
    given: Mapping[str, str] = field(default_factory=dict)
    chips: ChipIds | None = None
    soc: str = ""
    root: Callable[[bytes], Secret] | None = None
    scanned: Callable[[BoardIdentity], str] | None = None


def identify(link: BoardLink, ops: Operations, ids: McuIds) -> BoardIdentity:
    """Read the board's identity.

    Raises BoardError board.no-imei or board.no-mcu-id, ProfileError profile.unsupported,
    PolicyError identity.blank for what an erased or unprogrammed chip gives.
    """
    told = link.run(ops.identify())
    _refuse_blanks(told)
    seen = known(told, ids.soc)
    found = None if ids.source is None else mcu_id(link, ops, ids.source, ids, seen)
    if not seen.uuid and found is None:
        raise BoardError(
            "board.no-mcu-id",
            "the board gives no UUID of a modem, and board.mcu_id names no source of its chip's id",
        )
    _same_chip(seen, found, ids)
    if ids.source is not None and ids.source.source in _TAKES_TIME:
        link.run(
            ops.same_board(seen.uuid or f"{ids.soc}:{found}")
        )  # both were read of the board that is still there
    return dataclasses.replace(seen, mcu_id=found, uuid=seen.uuid or f"{ids.soc}:{found}")


def _refuse_blanks(seen: BoardIdentity) -> None:
    """Refuse before anything is asked for this board: every later step would bind to these."""
    refuse_blank(IdentityKind.IMEI, seen.imei, "the module")
    if MCU_ID.fullmatch(seen.uuid):
        refuse_blank(IdentityKind.MCU_ID, seen.uuid, "the chip")
    elif seen.uuid:
        refuse_blank(IdentityKind.UUID, seen.uuid, "the modem")


def _same_chip(seen: BoardIdentity, found: str | None, ids: McuIds) -> None:
    """Where the chip's id is the board's key, both readings of it agree: what a board is bound to
    stays for good.
    """
    hwinfo = ids.source is not None and ids.source.source == "hwinfo"
    if hwinfo and seen.uuid.startswith(f"{ids.soc}:") and seen.uuid != f"{ids.soc}:{found}":
        raise BoardError(
            "serial.protocol",
            f"the chip's id, read twice, was not the same: {found} is one of them",
        )


def known(seen: BoardIdentity, soc: str) -> BoardIdentity:
    """A board without a modem to ask is known by soc and the chip's own id."""
    return (
        dataclasses.replace(seen, uuid=f"{soc}:{seen.uuid}")
        if MCU_ID.fullmatch(seen.uuid)
        else seen
    )


def mcu_id(
    link: BoardLink, ops: Operations, source: McuIdSource, ids: McuIds, seen: BoardIdentity
) -> str:
    """Read the mcuId from its source; raises as `identify`."""
    match source.source:
        case "imei":
            return _from_imei(seen)
        case "command":
            return _from_command(link, ops, source)
        case "scan":
            given = ids.given.get("mcuId", "")
            return _from_label(given if given or ids.scanned is None else ids.scanned(seen))
        case "nrfutil" if ids.chips is not None:
            return _checked(ids.chips.chip_id(link.port, ids.soc), "nrfutil")
        case "hwinfo":
            return _checked(link.run(ops.hardware_id()), "hwinfo")
        case "epacket" if ids.root is not None:
            return _from_security_state(link, ops, ids.root)
        case "nrfutil" | "epacket":
            raise ProfileError(
                "profile.unsupported",
                f"board.mcu_id: from {source.source} needs a debug probe (nrfutil) or the cloud"
                " (epacket), which are not used here",
            )


def _from_imei(seen: BoardIdentity) -> str:
    if seen.imei is None:
        raise BoardError(
            "board.no-imei", "the module answers without an IMEI, and board.mcu_id is from: imei"
        )
    return "0" + seen.imei


def _from_label(text: str) -> str:
    if not text:
        raise BoardError(
            "board.no-mcu-id",
            "mcuId comes from a label, and nobody scanned or gave it",
            hint=(
                "Give it with --metadata mcuId=ID, by a column mcuId of --metadata-from, or scan"
                " it: `infuse provision --watch`."
            ),
        )
    return _checked(text, "the scan")


def _from_command(link: BoardLink, ops: Operations, source: McuIdSource) -> str:
    pattern = source.pattern or r"([0-9a-fA-F]{16})"
    return _checked(
        link.run(ops.raw(source.command or "", pattern, 5.0)), source.command or "the command"
    )


def _from_security_state(link: BoardLink, ops: Operations, root: Callable[[bytes], Secret]) -> str:
    """The hardware id that the device sealed over a fresh challenge, its first 8 bytes.

    Source: `docs/reference/interfaces/key-derivation.md#the-devices-proof`.
    """
    challenge = secrets.token_bytes(16)
    state = link.run(ops.security_state(challenge))
    header = derivation.parse_security_header(state[: derivation.SecurityHeader.SIZE])
    try:
        opened = derivation.open_security_block(
            base64.b64decode(root(header.device_public).reveal()), header, state[header.SIZE :]
        )
    except ValueError as error:
        raise BoardError(
            "board.no-mcu-id",
            f"the device's security_state cannot be opened: {error}",
            hint=(
                "Was its firmware built for this cloud? Firmware that cannot seal leaves the block"
                " out."
            ),
        ) from error
    if opened.challenge != challenge:
        raise BoardError(
            "board.no-mcu-id", "the device's security_state does not carry our challenge"
        )
    return _checked(opened.hardware_id[:8].hex(), "security_state")


def _checked(text: str, where: str) -> str:
    value = text.strip().lower()
    if not MCU_ID.fullmatch(value):
        raise BoardError(
            "board.no-mcu-id", f"{where} gave {value[:40]!r} for mcuId, not 16 hex digits"
        )
    refuse_blank(IdentityKind.MCU_ID, value, where)
    return value
