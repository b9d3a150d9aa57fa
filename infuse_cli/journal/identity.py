"""One to one: UUID, IMEI and mcuId of a board, and the board of a public key.

Guaranteed: `docs/reference/guarantees.md#the-key-of-a-board`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, or_, select, update

from infuse_cli.errors import CloudError, PolicyError
from infuse_cli.journal import schema
from infuse_cli.journal.prepared import DuplicateError

if TYPE_CHECKING:
    from infuse_cli.journal.prepared import Prepared
    from infuse_cli.records import OpenAttempt

_board, _key = schema.board.c, schema.seen_key.c

_ALIKE = select(_board.uuid, _board.soc, _board.imei, _board.mcu_id).where(
    or_(
        _board.uuid == bindparam("u"),
        _board.imei == bindparam("i"),
        _board.mcu_id == bindparam("m"),
    )
)
_ADD_BOARD = insert(schema.board)
_SET_BOARD = (
    update(schema.board)
    .where(_board.uuid == bindparam("u"))
    .values(imei=bindparam("i"), mcu_id=bindparam("m"))
)
_OWNER = select(_key.board).where(_key.spki_sha256 == bindparam("k"))
_ADD_KEY = insert(schema.seen_key)
_device = schema.device_owner.c
_DEVICE_OWNER = select(_device.board).where(_device.device_id == bindparam("d"))
_ADD_DEVICE = insert(schema.device_owner)
_DROP_DEVICE = delete(schema.device_owner).where(_device.board == bindparam("b"))


def check(
    sql: Prepared, uuid: str, imei: str | None, mcu_id: str | None, soc: str | None = None
) -> tuple[str | None, str | None] | None:
    """Return the IMEI and mcuId that are on record with this board, None for a new board.

    Without `soc` an mcuId counts as taken whatever the soc. Raises PolicyError identity.clone
    naming the other board.
    """
    own = None
    for other, other_soc, other_imei, other_mcu_id in sql.all(
        _ALIKE, {"u": uuid, "i": imei, "m": mcu_id}
    ):
        if other == uuid:
            own = (other_imei, other_mcu_id)
            _same("IMEI", uuid, other_imei, imei)
            _same("mcuId", uuid, other_mcu_id, mcu_id)
        elif imei is not None and other_imei == imei:
            raise PolicyError(
                "identity.clone",
                f"IMEI {imei} of board {uuid} is on record with board {other}",
                details={"other": other},
            )
        elif soc is None or soc == other_soc:
            raise PolicyError(
                "identity.clone",
                f"mcuId {mcu_id} of board {uuid} is on record with board {other}",
                details={"other": other},
            )
    return own


def bind_board(sql: Prepared, write: OpenAttempt) -> None:
    """Bind IMEI and mcuId to the board for good. Raises PolicyError identity.clone."""
    own = check(sql, write.board, write.imei, write.mcu_id, write.soc)
    try:
        if own is None:
            sql.change(
                _ADD_BOARD,
                {"uuid": write.board, "soc": write.soc, "imei": write.imei, "mcu_id": write.mcu_id},
            )
        elif (imei := own[0] or write.imei, mcu_id := own[1] or write.mcu_id) != own:
            sql.change(_SET_BOARD, {"u": write.board, "i": imei, "m": mcu_id})
    except DuplicateError as error:
        raise PolicyError(
            "identity.clone",
            f"IMEI or mcuId of board {write.board} is on record with another board",
        ) from error


def check_key(sql: Prepared, spki_sha256: str, board: str) -> bool:
    """Record that a public key was seen on a board; True when it is new.

    Raises PolicyError identity.key-reused.
    """
    owner = sql.value(_OWNER, {"k": spki_sha256})
    if owner is None:
        sql.change(_ADD_KEY, {"spki_sha256": spki_sha256, "board": board})
        return True
    if owner != board:
        raise PolicyError(
            "identity.key-reused",
            f"the public key of board {board} was already seen on board {owner}",
            details={"other": owner},
        )
    return False


def bind_device(sql: Prepared, device_id: str, board: str) -> None:
    """Record that a board PASSed as a cloud device.

    Raises CloudError cloud.bad-answer where another board is that device: the cloud gave one id to
    two.
    """
    owner = sql.value(_DEVICE_OWNER, {"d": device_id})
    if owner is None:
        sql.change(_ADD_DEVICE, {"device_id": device_id, "board": board})
    elif owner != board:
        raise CloudError(
            "cloud.bad-answer",
            f"the cloud gave device {device_id} for board {board}, and board {owner} PASSed as it",
        )


def release_device(sql: Prepared, board: str) -> None:
    """Forget which cloud device a board is: its PASS counts no longer."""
    sql.change(_DROP_DEVICE, {"b": board})


def _same(what: str, uuid: str, known: str | None, found: str | None) -> None:
    if known is not None and found is not None and known != found:
        raise PolicyError(
            "identity.clone",
            f"board {uuid} shows {what} {found}, but is on record with {known}",
            details={"known": known},
        )
