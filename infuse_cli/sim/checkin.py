"""Mutual TLS check-in: the endpoint that refuses a client without a certificate, and the board's side of it.

After the handshake the board sends one line of JSON, `{"token": "…"}` or `{}`, and gets one back:
`{"deviceId", "registryDeviceId", "status"}`. The client certificate is what counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.sim.registry_state import RegistryState
    from infuse_cli.sim.store import Clock

TIMEOUT_S: Final = 5.0
_LINE: Final = 16384


def server_context(certificate_pem: str, key_pem: str, roots_pem: Sequence[str]) -> ssl.SSLContext:
    """TLS for the endpoint: a client certificate under one of the roots is required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata="\n".join(roots_pem))
    _load_chain(context, certificate_pem, key_pem)
    return context


class CheckInServer:
    """What serves one check-in connection."""

    def __init__(self, registry: RegistryState, clock: Clock) -> None:
        self._registry: Final = registry
        self._clock: Final = clock
        self._under_way: Final[set[asyncio.Task[None]]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of our own: asyncio shows a traceback for one of its own that is cancelled."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def end(self) -> None:
        """Cut what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the line, note the check-in, answer, close."""
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, ValueError):
            line = await asyncio.wait_for(reader.readline(), TIMEOUT_S)
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            answer = self._note(x509.load_der_x509_certificate(der), json.loads(line))
            writer.write(json.dumps(answer).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), TIMEOUT_S)
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), TIMEOUT_S)

    def _note(self, certificate: x509.Certificate, said: dict[str, Any]) -> dict[str, Any]:
        token = said.get("token")
        with self._clock.lock:
            return self._registry.check_in(certificate, token if isinstance(token, str) else None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a board brings: PEM texts and the token. `server_ca` None: the server is not checked."""

    certificate: str
    key: str = field(repr=False)
    server_ca: str | None = None
    token: str | None = field(default=None, repr=False)


def check_in(host: str, port: int, credentials: Credentials, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Check in as a board does. Raises OSError (ssl.SSLError among them) when refused or unreachable."""
    context = _client_context(credentials)
    with socket.create_connection((host, port), timeout=timeout_s) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        said = {} if credentials.token is None else {"token": credentials.token}
        tls.sendall(json.dumps(said).encode() + b"\n")
        with tls.makefile("rb") as answers:
            line = answers.readline(_LINE)
    if not line:
        raise ConnectionAbortedError("the endpoint closed without an answer")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _client_context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if credentials.server_ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=credentials.server_ca)
    _load_chain(context, credentials.certificate, credentials.key)
    return context


def _load_chain(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    # The ssl module takes keys from files only; this one is 0600 and gone again at once.
    with tempfile.NamedTemporaryFile("w", prefix="infuse-sim-", suffix=".pem") as file:
        file.write(f"{key_pem.strip()}\n{certificate_pem.strip()}\n")
        file.flush()
        context.load_cert_chain(Path(file.name))
