"""A virtual board's check-in: an MQTT connection over mutual TLS, with the certificate it was given
and its modem's key.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final

from infuse_cli import mqtt_packets as mqtt
from infuse_cli.pki.tls_key import load_key_pair

TIMEOUT_S: Final = 5.0
USER_NAME: Final = "token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a board brings: PEM texts and the token. `server_ca` None: the server is not checked."""

    certificate: str
    key: str = field(repr=False)
    server_ca: str | None = None
    token: str | None = field(default=None, repr=False)


class BrokerConnection:
    """A board's connection to the broker, open until it is closed; no packet keeps it alive."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls: Final = tls

    def leave(self) -> None:
        """Say goodbye and close."""
        with contextlib.suppress(OSError):
            self._tls.sendall(mqtt.DISCONNECT)
        self.drop()

    def drop(self) -> None:
        """Close without a word, as when the radio is switched off; safe to call twice."""
        self._tls.close()


def connect(
    host: str, port: int, credentials: Credentials, client_id: str, *, timeout_s: float = TIMEOUT_S
) -> BrokerConnection:
    """Connect as a board does, and stay.

    Raises OSError (ssl.SSLError among them) when refused or unreachable.
    """
    context = client_context(credentials)
    user_name = None if credentials.token is None else USER_NAME
    with contextlib.ExitStack() as on_error:
        plain = on_error.enter_context(socket.create_connection((host, port), timeout=timeout_s))
        tls = on_error.enter_context(context.wrap_socket(plain, server_hostname=host))
        packet = mqtt.connect(
            client_id, user_name=user_name, password=credentials.token, keep_alive_s=0
        )
        tls.sendall(packet)
        with tls.makefile("rb") as answers:
            packet = answers.read(mqtt.CONNACK_SIZE)
        try:
            answer = mqtt.connack(packet)
        except ValueError as error:
            raise ConnectionAbortedError(f"the broker's answer to CONNECT: {error}") from None
        if answer is not mqtt.Connack.ACCEPTED:
            raise ConnectionRefusedError(f"the broker refused: {answer.words}")
        on_error.pop_all()
        return BrokerConnection(tls)


def check_in(
    host: str, port: int, credentials: Credentials, client_id: str, *, timeout_s: float = TIMEOUT_S
) -> None:
    """Connect as a board does, and leave again. Raises as `connect`."""
    connect(host, port, credentials, client_id, timeout_s=timeout_s).leave()


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """TLS as a board's modem is set up for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if credentials.server_ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=credentials.server_ca)
    load_key_pair(context, credentials.certificate, credentials.key)
    return context
