"""A port as a plain stream of bytes, for a person at a console: opened exclusively, no command and
no answer known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infuse_cli.errors import BoardError
from infuse_cli.link.source import open_port

if TYPE_CHECKING:
    from infuse_cli.link.source import SerialOptions

_MOST: Final = 4096


class Stream:
    """An open port. One thread may read while another writes."""

    def __init__(self, port: str, options: SerialOptions) -> None:
        """Raise BoardError as `source.open_port`."""
        self._port: Final = port
        self._handle: Final = open_port(port, options)

    def read(self) -> bytes:
        """What has come, b"" after a short wait without anything.

        Raises BoardError serial.unplugged.
        """
        try:
            some = getattr(self._handle, "read_some", None)
            if some is not None:
                return bytes(some(_MOST))
            first = self._handle.read(1)
            return first + (
                self._handle.read(min(self._handle.in_waiting, _MOST))
                if first and self._handle.in_waiting
                else b""
            )
        except (
            OSError,
            TypeError,
            ValueError,
        ) as error:  # pyserial reads a closed port with None where a number belongs
            raise self._gone(error) from error

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises BoardError serial.unplugged, serial.timeout when the port takes no more.
        """
        from serial import SerialTimeoutException

        try:
            self._handle.write(data)
        except SerialTimeoutException:
            raise BoardError(
                "serial.timeout",
                f"{self._port} takes no more bytes: flow control holds, or the board is off",
            ) from None
        except (OSError, TypeError, ValueError) as error:
            raise self._gone(error) from error

    def close(self) -> None:
        """Release the port; safe to call twice."""
        try:
            self._handle.close()
        except OSError:
            return

    def _gone(self, error: Exception) -> BoardError:
        return BoardError(
            "serial.unplugged",
            f"{self._port} went away",
            hint="Plug the board back in; --reconnect waits for it.",
            details={"reason": str(error)},
        )
