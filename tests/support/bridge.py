"""A serial port behind a TCP port on loopback, as terminal servers give it: raw, or with RFC 2217
on top.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import contextmanager, suppress

import serial
from serial.rfc2217 import PortManager


class _Server:
    """Serves one client after another in a thread, until the context ends."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self._wake_out, self._wake_in = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._wake_in, b"x")
        self._thread.join(5)
        self.listener.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def ready(self, *others) -> list:
        """What can be read; empty when it is all over."""
        found = select.select([self._wake_out, *others], [], [])[0]
        return [] if self._wake_out in found else found

    def _serve(self) -> None:
        while self.ready(self.listener):
            client = self.listener.accept()[0]
            with client, suppress(OSError):
                self.session(client)

    def session(self, client: socket.socket) -> None:
        raise NotImplementedError


class _Raw(_Server):
    def __init__(self, port: str) -> None:
        super().__init__()
        self.port = port

    def session(self, client: socket.socket) -> None:
        board = os.open(self.port, os.O_RDWR | os.O_NOCTTY)
        try:
            while found := self.ready(client, board):
                if client in found:
                    data = client.recv(4096)
                    if not data:
                        return
                    os.write(board, data)
                if board in found:
                    client.sendall(os.read(board, 4096))
        finally:
            os.close(board)


class _Telnet(_Server):
    """RFC 2217 by pyserial's own server half, over a raw bridge."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def session(self, client: socket.socket) -> None:
        with serial.serial_for_url(self.url, timeout=0) as board:
            manager = PortManager(board, _Out(client))
            while found := self.ready(client, board._socket):
                if client in found:
                    data = client.recv(4096)
                    if not data:
                        return
                    board.write(b"".join(manager.filter(data)))
                if board._socket in found:
                    client.sendall(b"".join(manager.escape(board.read(4096))))


class _Out:
    def __init__(self, client: socket.socket) -> None:
        self.write = client.sendall


@contextmanager
def raw(port: str):
    """A `socket://` URL for a serial port."""
    with _Raw(port) as server:
        yield f"socket://{server.address}"


@contextmanager
def rfc2217(port: str):
    """An `rfc2217://` URL for a serial port."""
    with raw(port) as url, _Telnet(url) as server:
        yield f"rfc2217://{server.address}"
