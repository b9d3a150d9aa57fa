"""A barcode scanner on a serial port: texts, one a scan."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from infuse_cli.errors import BoardError
from infuse_cli.link.source import open_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from infuse_cli.link.session import Port

_AGAIN_S: Final = 1.0
_MOST: Final = 4096


@dataclass(frozen=True, slots=True)
class _Settings:
    """Most scanners know no other."""

    baud: int
    rtscts: bool = False
    xonxoff: bool = False
    dialect: str = "at"
    terminator: Literal["cr", "crlf", "lf"] = "cr"
    line_limit: int = 4096


class Scanner:
    """Reads a scanner for as long as the context lasts; one that is unplugged is looked for until
    it is back.

    A scan ends with CR, LF or the `suffix` that the scanner was told to send. `trouble` hears once
    of each reason why it cannot be read.
    """

    def __init__(
        self,
        port: str,
        baud: int,
        *,
        suffix: str,
        line: Callable[[str], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._port: Final = port
        self._settings: Final = _Settings(baud)
        self._ends: Final = re.compile(
            "|".join(["[\r\n]", *([re.escape(suffix)] if suffix.strip() else [])]).encode()
        )
        self._line: Final = line
        self._trouble: Final = trouble
        self._over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._serve, name="scanner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(1)

    def _serve(self) -> None:
        reported = ""
        while not self._over.is_set():
            try:
                handle = open_port(self._port, self._settings)
            except BoardError as error:
                if error.message != reported:
                    reported = error.message
                    self._trouble(reported)
                self._over.wait(_AGAIN_S)
                continue
            reported = ""
            self._read(handle)

    def _read(self, handle: Port) -> None:
        data = b""
        try:
            while not self._over.is_set():
                data += (
                    handle.read(1) + handle.read(handle.in_waiting or 0)
                    if handle.in_waiting
                    else handle.read(1)
                )
                *texts, data = self._ends.split(data[-_MOST:])
                for text in texts:
                    if text.strip():
                        self._line(text.decode("utf-8", "replace"))
        except OSError:
            return
        finally:
            handle.close()
