"""pyserial's port on Linux and macOS, with one system call where pyserial makes three.

An exchange is a write and a read. pyserial looks after each write whether the next would fit, and
gives what has come only to those who know how much it is. With many slots each of those calls also
hands the interpreter to another thread, and getting it back takes longer than the call.
"""

from __future__ import annotations

import os
import select

import serial


class DirectPort(serial.Serial):
    """A `link.session.Port`; everything but `write` and `read_some` is pyserial's."""

    def write(self, data: bytes, /) -> int | None:  # type: ignore[override] # a session only writes bytes
        """Write all of it. Raises as pyserial does."""
        try:
            sent = os.write(self.fileno(), data)
        except OSError:
            sent = 0  # full, or gone: pyserial knows how to wait, and what to say
        return sent if sent == len(data) else sent + (super().write(data[sent:]) or 0)

    def read_some(self, most: int) -> bytes:
        """What has come, at most `most` bytes, waiting up to the port's time-out for the first.

        Raises serial.SerialException, an OSError, when the port went away.
        """
        descriptor = self.fileno()
        if not select.select([descriptor], [], [], self.timeout)[0]:
            return b""
        try:
            data = os.read(descriptor, most)
        except BlockingIOError:
            return b""
        if not data:
            raise serial.SerialException(
                "the port says that something has come, and gives nothing: it was unplugged"
            )
        return data
