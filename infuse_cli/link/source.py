"""Opens boards' ports exclusively, finds their dialect, and says by name why one cannot be
opened.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from infuse_cli import dialect as dialects
from infuse_cli.dialect.base import CodecOptions
from infuse_cli.errors import BoardError
from infuse_cli.link import discover
from infuse_cli.link.holder import holder_of
from infuse_cli.link.session import CHUNK, POLL_S, Port, SerialLink
from infuse_cli.types import PortInfo

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from infuse_cli.dialect.frames import FrameCipher

_STALL_S: Final = 2.0
_GPS_EPOCH_UNIX_S: Final = 315964800
_LEAP_SECONDS: Final = 18
_NUMBER: Final = re.compile(r"(?:Errno |\()(\d+)")

_CODES: Final[Mapping[int, str]] = {
    errno.ENOENT: "serial.no-port",
    errno.ENOTDIR: "serial.no-port",
    errno.EACCES: "serial.denied",
    errno.EPERM: "serial.denied",
    errno.EBUSY: "serial.busy",
    errno.EAGAIN: "serial.busy",
    errno.EIO: "serial.unplugged",
    errno.ENXIO: "serial.unplugged",
    errno.ENODEV: "serial.unplugged",
}
# Windows gives words instead of numbers; there, access denied means that another program has the
# port.
_WORDS: Final[Mapping[str, str]] = {
    "FileNotFoundError": "serial.no-port",
    "PermissionError": "serial.busy",
    "exclusively lock": "serial.busy",
}


_NEEDS_RULE: Final = (
    "A udev rule has to give this port to a group such as `dialout`, and the user has to be in it."
)


class SerialOptions(Protocol):
    """How the port is set: the keys of `board.serial` in a profile that matter here."""

    @property
    def baud(self) -> int: ...  # noqa: D102
    @property
    def rtscts(self) -> bool: ...  # noqa: D102
    @property
    def xonxoff(self) -> bool: ...  # noqa: D102
    @property
    def dialect(self) -> str: ...  # noqa: D102
    @property
    def terminator(self) -> str: ...  # noqa: D102
    @property
    def line_limit(self) -> int: ...  # noqa: D102


class BoardOptions(Protocol):
    """What of a profile's `board` section says where boards are and how to talk to them."""

    @property
    def usb(self) -> Sequence[discover.UsbRule]: ...  # noqa: D102
    @property
    def serial(self) -> SerialOptions: ...  # noqa: D102


class SerialSource:
    """Boards on serial ports; see `ports.BoardSource`.

    `ports` names them (device paths, `socket://` or `rfc2217://` URLs); None looks for the
    profile's USB ids. `abort` is the second stop: it ends what is under way at once. `cipher` is
    the network's, for dialect `epacket`.
    """

    def __init__(
        self,
        board: BoardOptions,
        ports: Sequence[str] | None,
        abort: threading.Event,
        *,
        cipher: FrameCipher | None = None,
    ) -> None:
        self._board: Final = board
        self._ports: Final = None if ports is None else tuple(ports)
        self._abort: Final = abort
        self._cipher: Final = cipher

    def present(self) -> Sequence[PortInfo]:
        """Named ports in their order, else what is plugged in, by hub path.

        Raises BoardError serial.ambiguous when a board shows several ports and none is known to be
        the one.
        """
        if self._ports is not None:
            return tuple(PortInfo(port) for port in self._ports)
        return discover.list_candidates(self._board.usb)

    def open(self, port: str) -> SerialLink:
        """Open exclusively and get into step; see `ports.BoardSource.open`."""
        serial = self._board.serial
        codec = dialects.codec(
            serial.dialect,
            CodecOptions(
                serial.line_limit,
                serial.terminator,
                baud=serial.baud,
                cipher=self._cipher,
                gps_time=_gps_time,
                random=os.urandom,
            ),
        )
        handle = open_port(port, serial)
        session = SerialLink(handle, codec, port=port, abort=self._abort)
        try:
            session.start()
        except OSError as exc:
            session.close()
            raise BoardError(
                "serial.unplugged",
                f"{port} went away while it was opened",
                details={"reason": str(exc)},
            ) from exc
        except BaseException:
            session.close()
            raise
        return session


def _gps_time() -> int:
    """GPS time: leap seconds included, from 1980-01-06."""
    return int(time.time()) - _GPS_EPOCH_UNIX_S + _LEAP_SECONDS


def open_port(port: str, options: SerialOptions) -> Port:
    """Open a port exclusively.

    Raises BoardError serial.no-port, .denied, .busy (holder named), .unplugged.
    """
    try:
        handle: Port = _opener(port)(
            port,
            baudrate=options.baud,
            rtscts=options.rtscts,
            xonxoff=options.xonxoff,
            timeout=POLL_S,
            write_timeout=_write_timeout(port, options.baud),
            exclusive=_exclusively(port),
        )
    except Exception as exc:
        # termios.error, which a port that goes away raises, is no OSError and not importable
        # everywhere.
        raise open_error(port, exc) from exc
    return handle


def _opener(port: str) -> Callable[..., Port]:
    if "://" not in port and sys.platform != "win32":
        from infuse_cli.link.direct import DirectPort

        return DirectPort
    import serial

    return serial.serial_for_url


def open_error(port: str, exc: Exception) -> BoardError:
    """The reason why a port could not be opened, by name."""
    code, hint = _code_of(exc), None
    match code:
        case "serial.denied":
            owner = _owner(port)
            message = f"{port} belongs to {owner}, and this user may not open it"
            hint = (
                f"Add the user to {owner} and log in again." if _is_for_users(port) else _NEEDS_RULE
            )
        case "serial.busy":
            message = f"{port} is held by {holder_of(port) or 'another program'}"
        case "serial.unplugged":
            message = f"{port} went away while it was opened"
        case _ if Path(port).exists():
            message = f"{port} is not a serial port"
        case _:
            message = (
                f"there is no port {port}" if "://" not in port else f"{port} cannot be reached"
            )
    return BoardError(code, message, hint=hint, details={"reason": str(exc)})


def _write_timeout(port: str, baud: int) -> float | None:
    """Seconds for one chunk; None over RFC 2217, where pyserial has no such time-out and refuses to
    be given one.
    """
    return None if port.lower().startswith("rfc2217:") else _STALL_S + CHUNK * 20 / baud


def _exclusively(port: str) -> bool | None:
    """Windows always opens exclusively, and a URL has nothing to lock; both refuse to be asked."""
    return None if "://" in port or sys.platform == "win32" else True


def _code_of(exc: Exception) -> str:
    text = str(exc)
    for word, code in _WORDS.items():
        if word in text:
            return code
    numbers = [arg for arg in (getattr(exc, "errno", None), *exc.args) if isinstance(arg, int)]
    numbers += [int(found) for found in _NUMBER.findall(text)]
    return next((_CODES[number] for number in numbers if number in _CODES), "serial.no-port")


def _is_for_users(port: str) -> bool:
    """Whether the port's group is one that people are put into: never the superuser's."""
    try:
        return os.stat(port).st_gid != 0  # noqa: PTH116 - follows links, as opening does
    except OSError:
        return True


def _owner(port: str) -> str:
    if sys.platform != "win32":
        with suppress(OSError, KeyError, NotImplementedError, ImportError):
            return f"the group {Path(port).group()!r}"
    return _numbers(port)


def _numbers(port: str) -> str:
    try:
        return f"the group {os.stat(port).st_gid}"  # noqa: PTH116 - the number, where the name is unknown
    except OSError:
        return "another group"
