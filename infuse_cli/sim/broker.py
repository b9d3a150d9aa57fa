"""The virtual cloud's MQTT broker: mutual TLS, and being let in is a board's check-in.

The listener is ours and not amqtt's, whose TLS listener takes clients without a certificate: here
the context requires one, so that nobody without gets as far as MQTT. The board's token, if it has
one, is the CONNECT's password; the user name says nothing, the certificate is who the board is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from amqtt.adapters import StreamReaderAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin
from cryptography import x509

from infuse_cli.pki.tls_key import load_key_pair
from infuse_cli.sim.tls_stream import TlsStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from amqtt.session import Session

    from infuse_cli.sim.registry_state import RegistryState
    from infuse_cli.sim.store import Clock

HANDSHAKE_S: Final = 5.0
_STOP_S: Final = 2.0
_LISTENER: Final = "default"

# What a client did wrong is seen at its own end; without a handler the library's warnings would go
# to stderr.
logging.getLogger("amqtt").addHandler(logging.NullHandler())
logging.getLogger("amqtt").propagate = False
logging.getLogger("amqtt").setLevel(logging.CRITICAL)


def server_context(certificate_pem: str, key_pem: str, roots_pem: Sequence[str]) -> ssl.SSLContext:
    """TLS for the broker: a client certificate under one of the roots is required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata="\n".join(roots_pem))
    load_key_pair(context, certificate_pem, key_pem)
    return context


class CheckIns(BaseAuthPlugin):  # type: ignore[misc]
    """Lets in whom TLS let in, and records the check-in; nobody without a certificate is let in."""

    @dataclass
    class Config:
        """Where check-ins are recorded: the virtual cloud's, and the registryDeviceId of every
        connection that is open.
        """

        registry: object
        clock: object
        connected: object

    async def authenticate(self, *, session: Session) -> bool:
        """Whether the session may go on."""
        tls = session.ssl_object
        der = tls.getpeercert(binary_form=True) if tls else None
        if not der:
            return False
        registry: RegistryState = self.config.registry
        clock: Clock = self.config.clock
        connected: dict[ssl.SSLObject, str] = self.config.connected
        certificate = x509.load_der_x509_certificate(der)
        with clock.lock:
            if (device_id := registry.check_in(certificate, session.password)) is not None:
                connected[tls] = device_id
        return True


class BoardBroker:
    """The broker on a listening socket; made and used in one event loop."""

    def __init__(self, registry: RegistryState, clock: Clock, context: ssl.SSLContext) -> None:
        self._context: Final = context
        self._registry: Final = registry
        self._clock: Final = clock
        self._connected: Final[dict[ssl.SSLObject, str]] = {}
        self._under_way: Final[set[asyncio.Task[None]]] = set()
        self._listening: asyncio.Server | None = None
        self._broker: Final = Broker(
            BrokerConfig(
                listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL, bind="boards:0")},
                plugins={
                    f"{CheckIns.__module__}.{CheckIns.__name__}": {
                        "registry": registry,
                        "clock": clock,
                        "connected": self._connected,
                    }
                },
            )
        )

    async def start(self, listening: socket.socket) -> None:
        """Serve who connects, and who did already."""
        await self._broker.start()
        self._listening = await asyncio.start_server(self._accept, sock=listening)

    async def end(self) -> None:
        """Cut every connection and stop."""
        if self._listening is not None:
            self._listening.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._broker.shutdown(), _STOP_S)
        await asyncio.sleep(0)  # transports that were aborted close in the loop's next turn

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of our own: asyncio shows a traceback for one of its own
        that is cancelled.
        """
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TlsStream(self._context, reader, writer)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await stream.shake_hands()
            async with asyncio.TaskGroup() as both:
                pump = both.create_task(stream.pump())
                await self._broker.external_connected(
                    StreamReaderAdapter(stream.reader), stream, _LISTENER
                )
                pump.cancel()
        except Exception:  # noqa: BLE001, S110 - whatever a client sent must not end the broker; its end shows the client
            pass
        finally:
            writer.transport.abort()
            self._disconnected(stream.get_ssl_info())

    def _disconnected(self, tls: ssl.SSLObject) -> None:
        registry_device_id = self._connected.pop(tls, None)
        if registry_device_id is not None:
            with self._clock.lock:
                self._registry.disconnected(registry_device_id)
