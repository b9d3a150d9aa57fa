"""A board on a pty, served by one thread; what it does at a command can be changed, unplugging
included.
"""

from __future__ import annotations

import os
import pty
import select
import threading
import tty

from tiny_modem import TinyModem


class PtyBoard:
    def __init__(self, **more) -> None:
        self.modem = TinyModem(**more)
        self.mute = False
        self.raw = bytearray()
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._wake_out, self._wake_in = os.pipe()
        self._plugged = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def unplug(self) -> bytes:
        """Usable as a special answer: the port goes away instead of an answer."""
        self._plugged = False
        os.close(self._slave)
        os.close(self._master)
        return b""

    def unplug_at(self, pattern: str) -> None:
        self.modem.once(pattern, lambda _modem, _command: self.unplug())

    def end(self) -> None:
        os.write(self._wake_in, b"x")
        self._thread.join(5)
        if self._plugged:
            self.unplug()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _serve(self) -> None:
        while self._plugged:
            ready, _, _ = select.select([self._master, self._wake_out], [], [])
            if self._wake_out in ready:
                return
            data = os.read(self._master, 4096)
            self.raw += data
            answer = b"" if self.mute else self.modem.hear(data)
            if answer and self._plugged:
                os.write(self._master, answer)
