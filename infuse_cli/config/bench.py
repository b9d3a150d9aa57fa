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
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import ProfileError
from infuse_cli.home import BENCH

if TYPE_CHECKING:
    from collections.abc import Mapping
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
    from infuse_cli.config.bench_values import read_values

    return Bench(**{"station": _host(), **read_values(text, path)})


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
