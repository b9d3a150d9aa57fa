"""A virtual board's check-in: an MQTT connection over mutual TLS, with the certificate it was given
and its modem's key.
"""

from __future__ import annotations

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


def check_in(
    host: str, port: int, credentials: Credentials, client_id: str, *, timeout_s: float = TIMEOUT_S
) -> None:
    """Connect as a board does, and leave again.

    Raises OSError (ssl.SSLError among them) when refused or unreachable.
    """
    context = client_context(credentials)
    user_name = None if credentials.token is None else USER_NAME
    with (
        socket.create_connection((host, port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        tls.sendall(mqtt.connect(client_id, user_name=user_name, password=credentials.token))
        with tls.makefile("rb") as answers:
            packet = answers.read(mqtt.CONNACK_SIZE)
        try:
            answer = mqtt.connack(packet)
        except ValueError as error:
            raise ConnectionAbortedError(f"the broker's answer to CONNECT: {error}") from None
        if answer is not mqtt.Connack.ACCEPTED:
            raise ConnectionRefusedError(f"the broker refused: {answer.words}")
        tls.sendall(mqtt.DISCONNECT)


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
