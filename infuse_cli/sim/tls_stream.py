"""TLS for the simulator's broker over plain asyncio streams, so that a client that is refused
learns why.

asyncio's own TLS ends a connection whose handshake failed without sending the alert (RFC 8446,
section 6) that says what was wrong with the client's certificate; brokers in the field send it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from amqtt.adapters import WriterAdapter

_PIECE: Final = 65536
_FAREWELL_S: Final = 1.0


class TlsStream(WriterAdapter):  # type: ignore[misc]
    """The server's side of one connection: `reader` gives what the client says, what is written
    goes to it.
    """

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader: Final = asyncio.StreamReader()
        self._from, self._to = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: Final = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._closed = False

    async def shake_hands(self) -> None:
        """Do the handshake.

        Raises ssl.SSLError once the client was told why, OSError for a connection that ended.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._more()
            except ssl.SSLError:
                await self._farewell()
                raise
            else:
                return await self._flush()

    async def pump(self) -> None:
        """Give to `reader` what the client says, until it ends; run beside whoever reads."""
        try:
            while not self._closed:
                with contextlib.suppress(ssl.SSLWantReadError):
                    while piece := self._tls.read(_PIECE):
                        self.reader.feed_data(piece)
                    return
                await self._more()
        except OSError:
            await self._flush()
        finally:
            self.reader.feed_eof()

    async def _more(self) -> None:
        await self._flush()
        piece = await self._from.read(_PIECE)
        if not piece:
            raise ConnectionAbortedError("the client ended the connection")
        self._incoming.write(piece)

    async def _flush(self) -> None:
        self._to.write(self._outgoing.read())
        await self._to.drain()

    async def _farewell(self) -> None:
        """Send the alert and wait until the client has gone: what it still says would otherwise
        reset the connection.
        """
        with contextlib.suppress(OSError, TimeoutError):
            await self._flush()
            self._to.write_eof()
            async with asyncio.timeout(_FAREWELL_S):
                while await self._from.read(_PIECE):
                    pass

    def write(self, data: bytes) -> None:
        """Encrypt; `drain` sends."""
        if not self._closed:
            self._tls.write(data)
            self._to.write(self._outgoing.read())

    async def drain(self) -> None:
        """Wait until there is room for more."""
        if not self._closed:
            await self._to.drain()

    def get_peer_info(self) -> tuple[str, int] | None:
        """Address and port of the client."""
        found = self._to.get_extra_info("peername")
        return (found[0], found[1]) if found else None

    def get_ssl_info(self) -> ssl.SSLObject:
        """What knows the client's certificate."""
        return self._tls

    async def close(self) -> None:
        """Say goodbye and end the connection."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
            await self._flush()
        self._to.close()
