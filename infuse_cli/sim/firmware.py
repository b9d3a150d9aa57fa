"""What the firmware of a virtual board does by itself once it is on the air: provision itself,
check in.

Boards are touched only in the bench's thread; the network is waited for in a small pool.
"""

from __future__ import annotations

import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from infuse_cli.sim.checkin import BrokerConnection, Credentials, connect
from infuse_cli.sim.epacket_front import TOKEN_KEY, text_of
from infuse_cli.types import CredentialType as Type

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.sim.bench import Bench
    from infuse_cli.sim.board import VirtualBoard
    from infuse_cli.sim.modem import Modem

T = TypeVar("T")

HOST: Final = "127.0.0.1"
TOKEN_SETTING: Final = "infuse/token"  # noqa: S105 - its name
"""Where firmware with Zephyr's settings looks for its registration token."""
PROVISION: Final = "/api/v1/devices/provision"
_RETRY_S: Final = 0.5
_TRIES: Final = 60
_THREADS: Final = 4
_TIMEOUT_S: Final = 10.0


class Rejected(Exception):  # noqa: N818 - it is an answer, not a fault of the program
    """The cloud said no for good."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Ports of the virtual cloud on loopback."""

    http: int
    broker: int


@dataclass(frozen=True, slots=True)
class _Online:
    """An open connection, and how often the modem had booted when it was made."""

    connection: BrokerConnection
    boots: int


class Firmware:
    """Of all boards of a bench. With `first_boot` a board that holds a token and no certificate
    provisions itself.
    """

    def __init__(
        self, endpoints: Endpoints, *, first_boot: bool = False, sec_tag: int = 4201
    ) -> None:
        self._endpoints: Final = endpoints
        self._first_boot: Final = first_boot
        self._sec_tag: Final = sec_tag
        self._pool: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="sim-board")
        self._csrs: Final[dict[Modem, str]] = {}
        self._connections: Final[dict[Modem, _Online]] = {}
        self._bench: Bench | None = None
        self._stopping = False
        self.failures: Final[list[dict[str, Any]]] = []

    def attach(self, bench: Bench) -> None:
        """The bench whose boards these are; before it starts."""
        self._bench = bench

    def stop(self) -> None:
        """Let nothing new begin and wait for what is under way (10 s at most)."""
        self._stopping = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        for online in list(self._connections.values()):
            online.connection.leave()

    def on_active(self, board: VirtualBoard) -> None:
        """A board is on the air (bench thread)."""
        self._go_on(board, board.modem, _TRIES)

    def on_change(self, board: VirtualBoard, *, powered: bool) -> None:
        """A command, a reset or the cable may have taken a modem off the air (bench thread)."""
        for modem in board.modems:
            online = self._connections.get(modem)
            on_air = powered and modem is board.modem and modem.active
            if online is not None and not (on_air and online.boots == modem.counts["boot"]):
                del self._connections[modem]
                online.connection.drop()

    def _connected(self, board: VirtualBoard, modem: Modem, connection: BrokerConnection) -> None:
        if self._stopping or board.modem is not modem or not modem.active:
            connection.leave()
            return
        fault = board.quick_drop()
        if fault is None:
            before = self._connections.pop(modem, None)
            self._connections[modem] = _Online(connection, modem.counts["boot"])
            if before is not None:
                before.connection.drop()
            return
        connection.leave()
        if self._bench is not None and isinstance(fault.value, int):
            again = fault.value / 1000
            self._bench.later(again, lambda: self._go_on(board, modem, _TRIES))

    def _go_on(self, board: VirtualBoard, modem: Modem, tries: int) -> None:
        if self._stopping or tries <= 0 or board.modem is not modem or not modem.active:
            return
        token = _token(modem)
        if (credentials := _credentials(modem, token)) is not None:
            self._submit(
                board,
                modem,
                tries,
                lambda: connect(
                    HOST, self._endpoints.broker, credentials, str(modem.identity.uuid)
                ),
                lambda connection: self._connected(board, modem, connection),
            )
        elif self._first_boot and token is not None:
            csr = self._csr(modem)
            self._submit(
                board,
                modem,
                tries,
                lambda: self._provision(token, csr),
                lambda got: self._store(board, modem, got),
            )

    def _submit(
        self,
        board: VirtualBoard,
        modem: Modem,
        tries: int,
        work: Callable[[], T],
        then: Callable[[T], None],
    ) -> None:
        bench = self._bench
        if bench is None:
            return

        def run() -> None:
            try:
                got = work()
            except (OSError, http.client.HTTPException, ValueError) as error:
                # A TLS refusal may heal too: the token may be late, the cloud may come back.
                self._failed(board, error)
                bench.post(
                    lambda: bench.later(_RETRY_S, lambda: self._go_on(board, modem, tries - 1))
                )
            except Rejected as error:
                self._failed(board, error)
            else:
                bench.post(lambda: then(got))

        self._pool.submit(run)

    def _failed(self, board: VirtualBoard, error: Exception) -> None:
        text = error.reason if isinstance(error, ssl.SSLError) else str(error)
        self.failures.append({"slot": board.slot, "error": f"{type(error).__name__}: {text}"})

    def _csr(self, modem: Modem) -> str:
        if modem not in self._csrs:
            if modem.nvm.get(self._sec_tag, Type.CLIENT_KEY) is not None:
                modem.nvm.delete(self._sec_tag, Type.CLIENT_KEY)
            csr = x509.load_der_x509_csr(modem.generate(self._sec_tag))
            self._csrs[modem] = csr.public_bytes(serialization.Encoding.PEM).decode()
        return self._csrs[modem]

    def _provision(self, token: str, csr: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self._endpoints.http, timeout=_TIMEOUT_S)
        try:
            connection.request(
                "POST",
                PROVISION,
                json.dumps({"token": token, "csr": csr}),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if (
            response.status == http.client.TOO_MANY_REQUESTS
            or response.status >= http.client.INTERNAL_SERVER_ERROR
        ):
            raise ConnectionError(f"POST /devices/provision answered {response.status}")
        if response.status != http.client.OK:
            raise Rejected(f"POST /devices/provision answered {response.status}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _store(self, board: VirtualBoard, modem: Modem, got: dict[str, Any]) -> None:
        chain = got["caChain"]
        parts = x509.load_pem_x509_certificates(
            ("".join(chain) if isinstance(chain, list) else chain).encode()
        )
        pems = [part.public_bytes(serialization.Encoding.PEM) for part in parts]
        modem.nvm.overwrite(
            self._sec_tag,
            Type.CLIENT_CERTIFICATE,
            got["certificate"].encode() + b"".join(pems[:-1]),
        )
        if modem.nvm.get(self._sec_tag, Type.ROOT_CA) is None:
            modem.nvm.overwrite(self._sec_tag, Type.ROOT_CA, pems[-1])
        self._go_on(board, modem, _TRIES)


def _token(modem: Modem) -> str | None:
    if TOKEN_KEY in modem.kv:
        return text_of(modem.kv[TOKEN_KEY])
    if TOKEN_SETTING in modem.settings:
        return modem.settings[TOKEN_SETTING]
    for tag in modem.nvm.tags_with(Type.PSK):
        entry = modem.nvm.get(tag, Type.PSK)
        try:
            return bytes.fromhex(entry.content.decode("ascii")).decode() if entry else None
        except ValueError:
            continue
    return None


def _credentials(modem: Modem, token: str | None) -> Credentials | None:
    for tag in modem.nvm.tags_with(Type.CLIENT_CERTIFICATE, Type.CLIENT_KEY):
        certificate, key = (
            modem.nvm.get(tag, Type.CLIENT_CERTIFICATE),
            modem.nvm.get(tag, Type.CLIENT_KEY),
        )
        root = modem.nvm.get(tag, Type.ROOT_CA)
        if certificate is not None and key is not None and key.key is not None:
            pem = key.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            return Credentials(
                certificate.content.decode("latin-1"),
                pem.decode(),
                None if root is None else root.content.decode("latin-1"),
                token,
            )
    return None
