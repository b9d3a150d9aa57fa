"""`infuse mqtt check` against what is no broker, or breaks off: each is named, and nothing hangs.

Real sockets, real TLS.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading

import pytest

from infuse_cli.cli import main
from infuse_cli.pki.tls_key import load_key_pair
from infuse_cli.sim.authority import Authority
from tests.support.thin import thin

ACCEPTED, PONG = b"\x20\x02\x00\x00", b"\xd0\x00"
SILENCE = b"..."

# What a server says after each packet that it got, whether it speaks TLS, and what the check makes
# of it.
ODD = {
    "garbage": (True, [b"HTTP/1.1 400 Bad Request\r\n\r\n"], 6, "mqtt.bad-answer", ["tcp", "tls"]),
    "another version's answer": (
        True,
        [b"\x20\x03\x00\x84\x00"],
        6,
        "mqtt.bad-answer",
        ["tcp", "tls"],
    ),
    "an answer of no meaning": (True, [b"\x20\x02\x00\x09"], 6, "mqtt.bad-answer", ["tcp", "tls"]),
    "half an answer": (True, [ACCEPTED[:2]], 6, "mqtt.bad-answer", ["tcp", "tls"]),
    "half an answer, then nothing": (
        True,
        [ACCEPTED[:3], SILENCE],
        5,
        "mqtt.timeout",
        ["tcp", "tls"],
    ),
    "closed at once": (True, [], 6, "mqtt.refused", ["tcp", "tls"]),
    "never an answer": (True, [SILENCE], 5, "mqtt.timeout", ["tcp", "tls"]),
    "unavailable": (True, [b"\x20\x02\x00\x03"], 6, "mqtt.refused", ["tcp", "tls"]),
    "the token refused": (True, [b"\x20\x02\x00\x05"], 6, "mqtt.token-refused", ["tcp", "tls"]),
    "accepted, then closed": (True, [ACCEPTED], 6, "mqtt.refused", ["tcp", "tls"]),
    "accepted, then garbage": (True, [ACCEPTED, b"\x20\x02"], 6, "mqtt.bad-answer", ["tcp", "tls"]),
    "accepted, then silence": (True, [ACCEPTED, SILENCE], 5, "mqtt.timeout", ["tcp", "tls"]),
    "a broker": (True, [ACCEPTED, PONG], 0, None, ["tcp", "tls", "token"]),
    "garbage before TLS": (False, [b"SSH-2.0-OpenSSH_9.2\r\n"], 5, "mqtt.no-tls", ["tcp"]),
    "closed before TLS": (False, [], 5, "mqtt.no-tls", ["tcp"]),
    "silence before TLS": (False, [SILENCE], 5, "mqtt.timeout", ["tcp"]),
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A server's TLS context, and the file of the CA that it is under."""
    authority = Authority()
    certificate, key = authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key_pair(context, certificate, key)
    trusted = tmp_path_factory.mktemp("trusted") / "ca.pem"
    trusted.write_text(authority.root_pem)
    return context, trusted


@contextlib.contextmanager
def server(context: ssl.SSLContext | None, says: list[bytes]):
    """Answers every connection, one after the other, until it is over; gives its port."""
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                plain, _ = listening.accept()
                plain.settimeout(5)
                with (
                    plain if context is None else context.wrap_socket(plain, server_side=True)
                ) as one:
                    answer(one)

    def answer(one: socket.socket) -> None:
        for number, piece in enumerate(says):
            if piece == SILENCE:
                over.wait(5)
            elif number == 0 or says[number - 1] != SILENCE:
                one.recv(4096)
                one.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listening.getsockname(), 1).close()
            thread.join()


@pytest.mark.parametrize("what", thin(ODD, 4))
def test_what_answers_oddly_is_named(secured, tmp_path, capsys, what):
    context, trusted = secured
    tls, says, code, error, proven = ODD[what]
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text("marked-mqtt-token-91aa\n")
    words = [
        "mqtt",
        "check",
        "--host",
        "127.0.0.1",
        "--server-ca",
        str(trusted),
        "--token-file",
        str(tmp_path / "token"),
        "--timeout",
        "0.2" if SILENCE in says else "5",
    ]
    with server(context if tls else None, says) as port:
        got = main.run(
            [
                *words,
                "--port",
                str(port),
                "--home",
                str(tmp_path / "home"),
                "--output",
                "json",
                "-vv",
            ]
        )
    told = capsys.readouterr()
    envelope = json.loads(told.out)
    assert (got, [one["code"] for one in envelope["errors"]], envelope["data"]["proven"]) == (
        code,
        [error] if error else [],
        proven,
    )
    assert "marked-mqtt-token" not in told.out + told.err
