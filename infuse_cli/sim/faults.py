"""The fault plan: what goes wrong on which virtual board and in which cloud call, as data.

    3:install=CME527, 5:unplug@keygen, 6:swap@install, 7:mute, *:echo, cloud:latency=20ms, seed=7

An item is `TARGET:FAULT[=VALUE][@PLACE][#N] [xK|always]`, items are separated by commas. TARGET is
a slot (from 1), `*` for all, or `cloud`. PLACE is what the board sees (or a call such as `POST
/device` for the cloud), `#N` means only the N-th time, `xK` the first K times, `always` every time.
`PLACE=CMEn` and `PLACE=ERROR` are short for `refuse=CMEn@PLACE`; `unplug=2s@PLACE` plugs in again
after that time.
"""

from __future__ import annotations

import difflib
import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from infuse_cli import dialect
from infuse_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


V = TypeVar("V")


class Place(enum.Enum):
    """What a board sees: the kind of command that a fault waits for."""

    IDENTIFY = "identify"
    LIST = "list"
    KEYGEN = "keygen"
    SERVER_CA = "server-ca"
    INSTALL = "install"
    TOKEN = "token"  # noqa: S105 - a place, not a password
    DELETE = "delete"
    JWT = "jwt"
    ANY = "any"


class BoardFault(enum.Enum):
    """What can be wrong with a board.

    Those named `…-before` strike before the command has its effect.
    """

    REFUSE = "refuse"
    UNPLUG = "unplug"
    UNPLUG_BEFORE = "unplug-before"
    SWAP = "swap"
    MUTE = "mute"
    HANG = "hang"
    HANG_BEFORE = "hang-before"
    LOST = "lost"
    LOST_BEFORE = "lost-before"
    RESET = "reset"
    RESET_BEFORE = "reset-before"
    GARBAGE = "garbage"
    SLOW = "slow"
    BAD_CSR = "bad-csr"
    NO_IMEI = "no-imei"
    ECHO = "echo"
    BLANK = "blank"
    URC = "urc"
    NO_JWT = "no-jwt"
    BAD_JWT = "bad-jwt"
    NO_DIGEST = "no-digest"
    OCCUPIED = "occupied"
    WRONG_READBACK = "wrong-readback"
    NO_COSE = "no-cose"
    DIALECT = "dialect"
    NO_ECHO = "no-echo"
    PLAIN = "plain"
    BROWN_OUT = "brown-out"
    ACTIVE = "active"
    FLIP = "flip"
    FLIP_BEFORE = "flip-before"
    DROP = "drop"
    DROP_BEFORE = "drop-before"
    SLOW_NVM = "slow-nvm"
    BOOT_LOG = "boot-log"
    DTR_RESET = "dtr-reset"
    GPS = "gps"
    WRONG_BAUD = "wrong-baud"
    QUICK_DROP = "quick-drop"


class CloudFaultKind(enum.Enum):
    """What can be wrong with the cloud.

    `-before` and `-after` say whether the call takes effect.
    """

    LATENCY = "latency"
    TOO_MANY = "429"
    FORBIDDEN = "403"
    SERVER_ERROR = "5xx"
    SERVER_ERROR_BEFORE = "5xx-before"
    SERVER_ERROR_AFTER = "5xx-after"
    DROP_BEFORE = "drop-before"
    DROP_AFTER = "drop-after"
    SLOW = "slow"
    HTML = "html"
    HALF_JSON = "half-json"
    DATE = "date"
    DOWN = "down"


ALWAYS: Final = None
"""As `times`: strikes every time."""

DIALECTS: Final = (*(name for name, row in dialect.DIALECTS.items() if row.simulated), "all")
"""What a virtual board can speak."""

CSR_FAULTS: Final = ("signature", "digest", "uuid", "tag", "reused-key", "policy", "null")


@dataclass(frozen=True, slots=True)
class OnBoard:
    """A fault of the board in `slot` (None: all).

    `value` is CME number, milliseconds or text, by kind.
    """

    kind: BoardFault
    slot: int | None = None
    place: Place = Place.ANY
    value: int | str | None = None
    times: int | None = ALWAYS
    nth: int | None = None


@dataclass(frozen=True, slots=True)
class OnCloud:
    """A fault of the cloud.

    `value` is a probability, or seconds, by kind; `call` such as `POST /device`.
    """

    kind: CloudFaultKind
    value: float = 1.0
    call: str | None = None
    times: int | None = ALWAYS
    nth: int | None = None


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """All faults of a simulated world; `seed` makes chance repeatable."""

    boards: tuple[OnBoard, ...] = ()
    cloud: tuple[OnCloud, ...] = ()
    seed: int | None = None

    def of_slot(self, slot: int) -> tuple[OnBoard, ...]:
        """Faults that the board in `slot` (from 1) has, in the order of the plan."""
        return tuple(fault for fault in self.boards if fault.slot in {None, slot})


_ITEM: Final = re.compile(
    r"(?P<name>[A-Za-z0-9-]+)(?:=(?P<value>[^@#\s]+?))?(?:@(?P<place>[^#]+?))?(?:#(?P<nth>[1-9]\d*))?"
    r"(?:\s*(?:x(?P<times>[1-9]\d*)|[\s-](?P<always>always)))?",
)
_SECONDS: Final = re.compile(r"([+-]?\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_ONCE: Final = frozenset(
    {
        BoardFault.REFUSE,
        BoardFault.UNPLUG,
        BoardFault.UNPLUG_BEFORE,
        BoardFault.SWAP,
        BoardFault.HANG,
        BoardFault.HANG_BEFORE,
        BoardFault.LOST,
        BoardFault.LOST_BEFORE,
        BoardFault.RESET,
        BoardFault.RESET_BEFORE,
        BoardFault.WRONG_READBACK,
        BoardFault.BROWN_OUT,
        BoardFault.ACTIVE,
        BoardFault.FLIP,
        BoardFault.FLIP_BEFORE,
        BoardFault.DROP,
        BoardFault.DROP_BEFORE,
    }
)
_PLACES: Final = {
    BoardFault.BROWN_OUT: Place.INSTALL,
    BoardFault.ACTIVE: Place.INSTALL,
    BoardFault.BAD_CSR: Place.KEYGEN,
    BoardFault.NO_COSE: Place.KEYGEN,
    BoardFault.WRONG_READBACK: Place.INSTALL,
    BoardFault.NO_JWT: Place.JWT,
    BoardFault.BAD_JWT: Place.JWT,
    BoardFault.NO_DIGEST: Place.LIST,
}
_TIMED: Final = frozenset({CloudFaultKind.LATENCY, CloudFaultKind.SLOW, CloudFaultKind.DATE})


def parse(text: str) -> FaultPlan:
    """Read a fault plan; an empty text is no faults.

    Raises UsageError usage.bad-option that names the item and the nearest thing it could have
    meant.
    """
    boards: list[OnBoard] = []
    cloud: list[OnCloud] = []
    seed: int | None = None
    for item in (part.strip() for part in text.split(",")):
        target, colon, fault = (part.strip() for part in item.partition(":"))
        if not item:
            continue
        if not colon:
            seed = _seed(item)
        elif target == "cloud":
            cloud.append(_cloud(item, fault))
        else:
            boards.append(_board(item, target, fault))
    return FaultPlan(tuple(boards), tuple(cloud), seed)


def _seed(item: str) -> int:
    name, _, value = item.partition("=")
    if name.strip() != "seed" or not value.strip().isdigit():
        raise _bad(
            item, "an item is TARGET:FAULT with a slot number, * or cloud as target, or seed=N"
        )
    return int(value)


def _match(item: str, fault: str) -> re.Match[str]:
    found = _ITEM.fullmatch(fault)
    if found is None:
        raise _bad(item, "a fault is NAME[=VALUE][@PLACE][#N][ xK| always]")
    return found


def _board(item: str, target: str, text: str) -> OnBoard:
    found = _match(item, text)
    kind, place, value = _board_kind(item, found)
    return OnBoard(
        kind,
        _slot(item, target),
        place,
        value,
        _times(found, once=kind in _ONCE and not found["nth"]),
        _number(found["nth"]),
    )


def _board_kind(item: str, found: re.Match[str]) -> tuple[BoardFault, Place, int | str | None]:
    name, value = found["name"], found["value"]
    places = {place.value: place for place in Place}
    if name in places and value is not None:
        return BoardFault.REFUSE, places[name], _refusal(item, value)
    kind = _one_of(item, name, {fault.value: fault for fault in BoardFault}, extra=places)
    place = (
        _PLACES.get(kind, Place.ANY)
        if found["place"] is None
        else _one_of(item, found["place"].strip(), places)
    )
    return kind, place, _VALUES.get(kind, _no_value)(item, value)


def _cloud(item: str, text: str) -> OnCloud:
    found = _match(item, text)
    kind = _one_of(item, found["name"], {fault.value: fault for fault in CloudFaultKind})
    value = _seconds(item, found["value"]) if kind in _TIMED else _chance(item, found["value"])
    call = " ".join(found["place"].split()) if found["place"] else None
    return OnCloud(kind, value, call, _times(found, once=False), _number(found["nth"]))


def _slot(item: str, target: str) -> int | None:
    if target == "*":
        return None
    if not target.isdigit() or int(target) < 1:
        raise _bad(item, f"{target!r} is no slot number, * or cloud")
    return int(target)


def _times(found: re.Match[str], *, once: bool) -> int | None:
    if found["times"]:
        return int(found["times"])
    return 1 if once and not found["always"] else ALWAYS


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _refusal(item: str, value: str | None) -> int | None:
    found = re.fullmatch(r"(?:CME\s*(\d{1,4})|ERROR)", value or "", re.IGNORECASE)
    if found is None:
        raise _bad(item, f"{value!r} is neither CMEn nor ERROR")
    return _number(found[1])


def _milliseconds(item: str, value: str | None) -> int:
    if value is None or not (found := re.fullmatch(r"(\d{1,7})(?:ms)?", value)):
        raise _bad(item, "slow and slow-nvm want milliseconds, as in slow=500")
    return int(found[1])


def _back_after(item: str, value: str | None) -> int | None:
    return None if value is None else round(_seconds(item, value) * 1000)


def _csr_fault(item: str, value: str | None) -> str:
    return _one_of(item, value or "", {name: name for name in CSR_FAULTS})


def _dialect(item: str, value: str | None) -> str:
    return _one_of(item, value or "", {name: name for name in DIALECTS})


def _occupied(item: str, value: str | None) -> str:
    if value is None or not re.fullmatch(r"\d{1,10}/[0-4]", value):
        raise _bad(item, "occupied wants TAG/TYPE, as in occupied=4201/2")
    return value


def _no_value(item: str, value: str | None) -> None:
    if value is not None:
        raise _bad(item, "this fault takes no value")


_VALUES: Final[dict[BoardFault, Callable[[str, str | None], int | str | None]]] = {
    BoardFault.REFUSE: _refusal,
    BoardFault.SLOW: _milliseconds,
    BoardFault.SLOW_NVM: _milliseconds,
    BoardFault.BAD_CSR: _csr_fault,
    BoardFault.OCCUPIED: _occupied,
    BoardFault.DIALECT: _dialect,
    BoardFault.UNPLUG: _back_after,
    BoardFault.UNPLUG_BEFORE: _back_after,
    BoardFault.QUICK_DROP: _back_after,
}


def _seconds(item: str, value: str | None) -> float:
    if value is None or not (found := _SECONDS.fullmatch(value)):
        raise _bad(item, "wants a time such as 20ms, 30s or +600s")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _chance(item: str, value: str | None) -> float:
    try:
        chance = 1.0 if value is None else float(value)
    except ValueError:
        chance = -1.0
    if not 0 <= chance <= 1:
        raise _bad(item, f"{value!r} is no probability from 0 to 1")
    return chance


def _one_of(item: str, name: str, names: dict[str, V], extra: Iterable[str] = ()) -> V:
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, [*names, *extra], n=1, cutoff=0.0)
    raise _bad(item, f"{name!r} is not known; the nearest is {near[0] if near else '?'!r}")


def _bad(item: str, why: str) -> UsageError:
    return UsageError("usage.bad-option", f"fault {item!r}: {why}", hint=describe())


def describe() -> str:
    """All names that a plan may use, for hints and help."""
    kinds = (("board faults", BoardFault), ("places", Place), ("cloud faults", CloudFaultKind))
    return (
        "; ".join(f"{title}: {', '.join(member.value for member in kind)}" for title, kind in kinds)
        + "."
    )
