"""Being let in by an MQTT broker, step by step, so that whatever refuses is known by its name.

TCP, TLS and CONNECT each have their own failures, and all share one deadline. The packets are
`mqtt_packets`; who connects (certificate, token) comes with the TLS context and the login.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import mqtt_packets as mqtt
from infuse_cli.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable

    from infuse_cli.types import Secret

_WRONG_NAME: Final = frozenset(
    {62, 64}
)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_ALERTS: Final = {
    "UNKNOWN_CA": "it does not know the CA that signed the certificate",
    "CERTIFICATE_EXPIRED": "it takes the certificate for expired, or not valid yet by its clock",
    "CERTIFICATE_REVOKED": "the certificate was revoked",
    "CERTIFICATE_REQUIRED": "it requires a certificate",
    "BAD_CERTIFICATE": "it takes the certificate for a bad one",
    "UNSUPPORTED_CERTIFICATE": "it does not take this kind of certificate",
    "CERTIFICATE_UNKNOWN": "it does not accept the certificate",
    "ACCESS_DENIED": "it denies access to this certificate",
    "DECRYPT_ERROR": "it could not verify the certificate, or the signature of its key",
    "HANDSHAKE_FAILURE": "it does not accept the certificate, or requires one",
}
"""What TLS alerts (RFC 8446, section 6.2) that are about a client's certificate mean."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects; `password` goes with `user_name`."""

    client_id: str
    user_name: str | None = None
    password: Secret | None = None


class BrokerProbe:
    """One broker: host, port, and the seconds that each connection may take in all.

    `reached(step, facts)` is told each step that is proven: tcp, tls, mqtt.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float,
        reached: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self.host: Final = host
        self.port: Final = port
        self.timeout_s: Final = timeout_s
        self._reached: Final = reached or (lambda _step, _facts: None)

    def connect(self, context: ssl.SSLContext, login: Login) -> None:
        """Connect and log in, send one ping, disconnect.

        Raises CloudError with a code of `mqtt.`, by what refused.
        """
        try:
            self._connect(context, login)
        except _CutError:
            # In TLS 1.3 the reason can be lost with the connection; in TLS 1.2 it comes within the
            # handshake.
            if context.maximum_version is ssl.TLSVersion.TLSv1_2 or not ssl.HAS_TLSv1_2:
                raise
            self._ask_why(context, login)
            raise

    def _ask_why(self, context: ssl.SSLContext, login: Login) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            BrokerProbe(self.host, self.port, self.timeout_s)._connect(context, login)  # noqa: SLF001 - one more of ourselves, silent
        except CloudError as error:
            if error.code == "mqtt.certificate-refused":
                raise

    def _connect(self, context: ssl.SSLContext, login: Login) -> None:
        ends = time.monotonic() + self.timeout_s
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(self._connected(ends))
            tls = stack.enter_context(self._secured(plain, context, ends))
            self._admitted(tls, login, ends)

    def _connected(self, ends: float) -> socket.socket:
        began, error = time.monotonic(), OSError("no address")
        for address in self._addresses(ends):
            try:
                found = socket.create_connection(
                    address, timeout=self._left(ends, "did not accept a connection")
                )
            except OSError as failed:
                error = failed
                continue
            self._reached(
                "tcp",
                {
                    "address": address[0],
                    "port": address[1],
                    "ms": round((time.monotonic() - began) * 1000, 1),
                },
            )
            return found
        if isinstance(error, TimeoutError):
            raise self._late("did not accept a connection")
        raise CloudError("mqtt.unreachable", f"{self} cannot be reached: {error.strerror or error}")

    def _addresses(self, ends: float) -> list[tuple[str, int]]:
        """Looked up in a thread, because nothing else gives a look-up a deadline."""
        box: queue.SimpleQueue[list[tuple[str, int]] | OSError] = queue.SimpleQueue()

        def look() -> None:
            try:
                found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
                box.put([(str(entry[4][0]), self.port) for entry in found])
            except (OSError, UnicodeError) as error:
                box.put(error if isinstance(error, OSError) else OSError(str(error)))

        threading.Thread(target=look, name="mqtt-name", daemon=True).start()
        try:
            found = box.get(timeout=self._left(ends, "could not be looked up"))
        except queue.Empty:
            raise self._late("could not be looked up") from None
        if isinstance(found, OSError):
            raise CloudError(
                "mqtt.unreachable",
                f"the name of {self} cannot be looked up: {found.strerror or found}",
            )
        return found

    def _secured(self, plain: socket.socket, context: ssl.SSLContext, ends: float) -> ssl.SSLSocket:
        plain.settimeout(self._left(ends, "did not begin TLS"))
        try:
            tls = context.wrap_socket(plain, server_hostname=self.host)
        except ssl.SSLCertVerificationError as error:
            raise self._untrusted(error) from None
        except ssl.SSLError as error:
            raise self._refused(error) or CloudError(
                "mqtt.no-tls", f"{self} {_handshake_words(error)}"
            ) from None
        except TimeoutError:
            raise self._late("did not answer in the TLS handshake") from None
        except OSError as error:
            raise CloudError(
                "mqtt.no-tls",
                f"{self} ended the connection in the TLS handshake: {error.strerror or error}",
            ) from None
        self._reached(
            "tls",
            {
                "version": tls.version(),
                "cipher": (tls.cipher() or ("",))[0],
                "certificate": tls.getpeercert(binary_form=True),
            },
        )
        return tls

    def _admitted(self, tls: ssl.SSLSocket, login: Login, ends: float) -> None:
        password = None if login.password is None else login.password.reveal()
        packet = self._ask(
            tls,
            mqtt.connect(login.client_id, user_name=login.user_name, password=password),
            mqtt.CONNACK_SIZE,
            ends,
        )
        try:
            answer = mqtt.connack(packet)
        except ValueError:
            raise CloudError(
                "mqtt.bad-answer", f"{self} answered CONNECT with something that is not MQTT 3.1.1"
            ) from None
        if answer is not mqtt.Connack.ACCEPTED:
            about_login = (
                answer in {mqtt.Connack.BAD_CREDENTIALS, mqtt.Connack.NOT_AUTHORISED}
                and login.password is not None
            )
            raise CloudError(
                "mqtt.token-refused" if about_login else "mqtt.refused",
                f"{self} refused the connection: {answer.words}",
            )
        # A broker may accept, and end the connection of whom its rules do not know at once.
        if self._ask(tls, mqtt.PING, len(mqtt.PING_ANSWER), ends) != mqtt.PING_ANSWER:
            raise CloudError(
                "mqtt.bad-answer", f"{self} accepted the connection, but did not answer a ping"
            )
        self._reached("mqtt", {})
        with contextlib.suppress(OSError):
            tls.sendall(mqtt.DISCONNECT)

    def _ask(self, tls: ssl.SSLSocket, packet: bytes, size: int, ends: float) -> bytes:
        answer = b""
        try:
            tls.settimeout(self._left(ends, "did not answer"))
            tls.sendall(packet)
            while len(answer) < size:
                tls.settimeout(self._left(ends, "did not answer"))
                if not (piece := tls.recv(size - len(answer))):
                    raise (
                        CloudError(
                            "mqtt.bad-answer",
                            f"{self} ended the connection in the middle of an answer",
                        )
                        if answer
                        else self._cut()
                    )
                answer += piece
        except TimeoutError:
            raise self._late("did not answer") from None
        except ssl.SSLError as error:
            raise self._refused(error) or self._cut() from None
        except OSError:
            raise self._cut() from None
        return answer

    def _refused(self, error: ssl.SSLError) -> CloudError | None:
        """The error of an alert about the client's certificate, None for any other."""
        reason = error.reason or ""
        words = next(
            (words for name, words in _ALERTS.items() if reason.endswith(f"ALERT_{name}")), None
        )
        return (
            None
            if words is None
            else CloudError("mqtt.certificate-refused", f"{self} refused: {words}")
        )

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> CloudError:
        why = error.verify_message.rstrip(".")
        if error.verify_code in _WRONG_NAME:
            return CloudError(
                "mqtt.wrong-name", f"the certificate of {self} is not for this name: {why}"
            )
        return CloudError("mqtt.untrusted", f"the certificate of {self} cannot be accepted: {why}")

    def _cut(self) -> _CutError:
        return _CutError("mqtt.refused", f"{self} ended the connection without a word")

    def _late(self, what: str) -> CloudError:
        return CloudError("mqtt.timeout", f"{self} {what} within {self.timeout_s:g} s")

    def _left(self, ends: float, what: str) -> float:
        if (left := ends - time.monotonic()) <= 0:
            raise self._late(what)
        return left

    def __str__(self) -> str:
        return f"the broker {self.host}:{self.port}"


def _handshake_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "ended the connection in the TLS handshake"
    return (
        "does not speak TLS as it should"
        f" ({(error.reason or str(error)).replace('_', ' ').lower()})"
    )


class _CutError(CloudError):
    """The broker ended the connection after TLS, and why is not known."""
