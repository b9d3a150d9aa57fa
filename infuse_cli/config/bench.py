"""INFUSE_HOME/bench.yaml: what is local to one bench.

The product is in the profile, never here.

station: line-2-left            # default: the host's name
slots: {"1-1.2": 1, "001051234567": 2}   # USB hub path or serial number -> slot number (`infuse
serial slots learn`)
sealing: {key_file: /etc/infuse/sealing.key}   # or {keyring: true}
operator: day shift
lot: L-2041
scanner: {port: /dev/ttyACM9, baud: 9600, prefix: "]C1", suffix: "#"}   # without port: the
keyboard's
mirror: {folder: /mnt/records}   # a copy of each board's record, as boards end
probes: {/dev/ttyUSB0: "000683298616"}   # port or USB hub path -> serial number of the debug probe

Guaranteed: `docs/reference/guarantees.md#what-belongs-to-the-bench`.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.errors import ProfileError
from infuse_cli.home import BENCH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILE: Final = BENCH
SEALING_KEY_VARIABLE: Final = "INFUSE_SEALING_KEY_FILE"


@dataclass(frozen=True, slots=True)
class Sealing:
    """Where the key that seals secrets at rest is: a file outside the home, or the keyring."""

    key_file: str | None = None
    keyring: bool = False


@dataclass(frozen=True, slots=True)
class Scanner:
    """How codes are scanned: at a serial port or, without one, at the keyboard; what the scanner
    puts around them.

    `slot` is the pattern of the slots' barcodes; its one group is the slot's number.
    """

    port: str | None = None
    baud: int = 9600
    prefix: str = ""
    suffix: str = ""
    slot: str | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """One bench. `slots` maps a USB hub path or serial number to a slot number, counted from 1.

    `probes` maps a port or USB hub path to the serial number of the debug probe on that board.
    """

    station: str
    slots: dict[str, int] = field(default_factory=dict)
    sealing: Sealing = Sealing()
    operator: str | None = None
    lot: str | None = None
    scanner: Scanner | None = None
    probes: dict[str, str] = field(default_factory=dict)
    mirror: str | None = None


def load_bench(home: Path) -> Bench:
    """The bench of a home; without a file only the station is known: the host's name.

    Raises ProfileError profile.unreadable, profile.bad-yaml or profile.invalid, naming file and
    line.
    """
    path = home / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Bench(station=_host())
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError("profile.unreadable", f"{path} cannot be read: {error}") from error
    values = _Reader(path).mapping(_compose(path, text), _TOP)
    return Bench(**{"station": _host(), **values})


def sealing_key_file(home: Path, named: str | None, env: Mapping[str, str]) -> Path:
    """Where the sealing key's file is: by environment, else as bench.yaml names it, else in the
    user's settings.
    """
    from pathlib import Path

    text = env.get(SEALING_KEY_VARIABLE) or named
    if text:
        return home / Path(text).expanduser()
    from platformdirs import user_config_dir

    return Path(user_config_dir("infuse")) / "sealing.key"


def _host() -> str:
    return platform.node() or "bench"


def _compose(path: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ProfileError(
            "profile.bad-yaml", f"{where}: {getattr(error, 'problem', None) or 'not valid YAML'}"
        ) from error


class _Reader:
    """Reads YAML nodes against tables of keys, so that every refusal has its line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refuse(self, node: Any, why: str) -> ProfileError:
        return ProfileError(
            "profile.invalid",
            f"{self._path}:{node.start_mark.line + 1}: {why}",
            hint="Correct the line that is named.",
        )

    def pairs(self, node: Any) -> list[tuple[Any, Any]]:
        if node.id != "mapping":
            raise self.refuse(node, "expected keys and values")
        found = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if key.id != "scalar":
                raise self.refuse(key, "a key must be a plain word")
            if found.count(key.value) > 1:
                raise self.refuse(key, f"{key.value} is there twice")
        return list(node.value)

    def mapping(self, node: Any, known: dict[str, Callable[[_Reader, Any], Any]]) -> dict[str, Any]:
        if node is None:
            return {}
        values = {}
        for key, value in self.pairs(node):
            if key.value not in known:
                raise self.refuse(key, f"unknown key {key.value!r}; known: {', '.join(known)}")
            values[key.value] = known[key.value](self, value)
        return values

    def text(self, node: Any) -> str:
        if node.id != "scalar" or not node.value.strip() or node.tag.endswith(":null"):
            raise self.refuse(node, "expected a text")
        return str(node.value)

    def slot(self, node: Any) -> int:
        if (
            node.id != "scalar"
            or not node.tag.endswith(":int")
            or not node.value.isdecimal()
            or int(node.value) < 1
        ):
            raise self.refuse(node, "a slot is a number from 1")
        return int(node.value)

    def flag(self, node: Any) -> bool:
        if node.id != "scalar" or not node.tag.endswith(":bool"):
            raise self.refuse(node, "expected true or false")
        return str(node.value).lower() in {"true", "yes", "on"}

    def slots(self, node: Any) -> dict[str, int]:
        values: dict[str, int] = {}
        for key, value in self.pairs(node):
            slot = self.slot(value)
            if slot in values.values():
                raise self.refuse(value, f"slot {slot} is there twice")
            values[key.value] = slot
        return values

    def probes(self, node: Any) -> dict[str, str]:
        return {str(key.value): self.text(value) for key, value in self.pairs(node)}

    def sealing(self, node: Any) -> Sealing:
        values = self.mapping(node, _SEALING)
        if values.get("keyring") and values.get("key_file"):
            raise self.refuse(node, "sealing takes key_file or keyring, not both")
        return Sealing(**values)

    def mirror(self, node: Any) -> str | None:
        folder = self.mapping(node, _MIRROR).get("folder")
        if folder is not None and not folder.startswith(("/", "~", "\\")) and ":" not in folder[:2]:
            raise self.refuse(node, "mirror.folder is named by its whole path")
        return folder

    def scanner(self, node: Any) -> Scanner:
        return Scanner(**self.mapping(node, _SCANNER))

    def baud(self, node: Any) -> int:
        if (
            node.id != "scalar"
            or not node.tag.endswith(":int")
            or not node.value.isdecimal()
            or int(node.value) < 1
        ):
            raise self.refuse(node, "baud is a whole number, such as 9600")
        return int(node.value)

    def pattern(self, node: Any) -> str:
        import re

        text = self.text(node)
        try:
            groups = re.compile(text).groups
        except re.error as error:
            raise self.refuse(node, f"no regular expression: {error}") from error
        if groups != 1:
            raise self.refuse(node, "expected one group, the slot's number")
        return text


_SEALING: Final[dict[str, Callable[[_Reader, Any], Any]]] = {
    "key_file": _Reader.text,
    "keyring": _Reader.flag,
}
_SCANNER: Final[dict[str, Callable[[_Reader, Any], Any]]] = {
    "port": _Reader.text,
    "baud": _Reader.baud,
    "prefix": _Reader.text,
    "suffix": _Reader.text,
    "slot": _Reader.pattern,
}
_MIRROR: Final[dict[str, Callable[[_Reader, Any], Any]]] = {"folder": _Reader.text}
_TOP: Final[dict[str, Callable[[_Reader, Any], Any]]] = {
    "station": _Reader.text,
    "slots": _Reader.slots,
    "sealing": _Reader.sealing,
    "operator": _Reader.text,
    "lot": _Reader.text,
    "scanner": _Reader.scanner,
    "probes": _Reader.probes,
    "mirror": _Reader.mirror,
}


def login_name() -> str:
    """The name of the user who is logged in; `unknown` where the machine has none."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def operator_name(bench: Bench) -> str:
    """Who works here: the operator of bench.yaml, else who is logged in."""
    return bench.operator or login_name()
