"""The simulator's broker as another client meets it: paho-mqtt, with and without a board's
certificate.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infuse_cli import mqtt_packets as mqtt
from infuse_cli.cloud.broker import BrokerProbe, Login
from infuse_cli.errors import CloudError
from infuse_cli.pki.tls_key import _through_a_file
from infuse_cli.sim.authority import Authority, pem
from infuse_cli.sim.checkin import Credentials, check_in, client_context
from infuse_cli.sim.cloud_app import CloudOptions
from infuse_cli.sim.cloud_server import ServerThread

WAIT_S = 10


@pytest.fixture(scope="module")
def cloud():
    server = ServerThread(CloudOptions(token="t"))
    server.address = server.start()
    yield server
    server.stop()


def board(authority, name):
    """Certificate with chain, and key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
    )
    certificate = authority.sign(csr.public_bytes(serialization.Encoding.PEM).decode(), name)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem(certificate) + pem(authority.intermediate), secret.decode()


@contextmanager
def connected(cloud, context, name):
    """A paho client, its answers as events."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name)
    client.tls_set_context(context)
    client.answered, client.got = threading.Event(), threading.Event()
    client.on_connect = lambda *_: client.answered.set()
    client.on_message = lambda _c, _u, message: (
        setattr(client, "message", message),
        client.got.set(),
    )
    client.connect("127.0.0.1", cloud.address.broker_port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def seen(cloud, name):
    return [entry["cn"] for entry in cloud.world.registry.check_ins].count(name)


def test_a_boards_certificate_is_let_in_and_messages_go_round(cloud):
    certificate, key = board(cloud.world.authority, "board-1")
    with connected(
        cloud, client_context(Credentials(certificate, key, cloud.address.root_pem)), "board-1"
    ) as client:
        assert client.answered.wait(WAIT_S)
        client.subscribe("to/board-1", qos=1)
        client.publish("to/board-1", b"hello", qos=1).wait_for_publish(WAIT_S)
        assert client.got.wait(WAIT_S)
        assert client.message.payload == b"hello"
    assert seen(cloud, "board-1") == 1


def test_without_a_certificate_nobody_gets_as_far_as_mqtt(cloud):
    before = len(cloud.world.registry.check_ins)
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id="nobody", reconnect_on_failure=False
    )
    client.tls_set_context(ssl.create_default_context(cadata=cloud.address.root_pem))
    admitted, refused = threading.Event(), threading.Event()
    client.on_connect = lambda *_: admitted.set()
    client.on_disconnect = lambda *_: refused.set()
    client.connect(
        "127.0.0.1", cloud.address.broker_port
    )  # in TLS 1.3 a client learns it after its handshake
    client.loop_start()
    assert refused.wait(WAIT_S)
    client.loop_stop()
    assert not admitted.is_set()
    assert len(cloud.world.registry.check_ins) == before


def test_without_a_certificate_tls_12_ends_in_the_handshake(cloud):
    context = ssl.create_default_context(cadata=cloud.address.root_pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", cloud.address.broker_port), WAIT_S) as plain,
        pytest.raises(OSError, match=r".*"),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_another_authoritys_certificate_is_refused(cloud):
    certificate, key = board(Authority(), "stranger")
    with pytest.raises(OSError, match=r".*"):
        check_in(
            "127.0.0.1",
            cloud.address.broker_port,
            Credentials(certificate, key, cloud.address.root_pem),
            "stranger",
        )
    assert seen(cloud, "stranger") == 0


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"]
)
@pytest.mark.parametrize(
    ("whose", "why"), [("nobody's", "requires"), ("another authority's", "does not know the CA")]
)
def test_who_is_kept_out_learns_why(cloud, whose, why, version):
    """As from a broker in the field: the reason comes as an alert, and the connection does not just
    break.
    """
    if whose == "nobody's":
        context = ssl.create_default_context(cadata=cloud.address.root_pem)
    else:
        context = client_context(
            Credentials(*board(Authority(), "stranger"), cloud.address.root_pem)
        )
    context.maximum_version = version
    with pytest.raises(CloudError) as refused:
        BrokerProbe("127.0.0.1", cloud.address.broker_port, WAIT_S).connect(
            context, Login("client")
        )
    assert (refused.value.code, why in refused.value.message) == (
        "mqtt.certificate-refused",
        True,
    ), refused.value.message


def test_a_client_that_talks_nonsense_harms_nobody(cloud, capfd):
    certificate, key = board(cloud.world.authority, "odd")
    credentials = Credentials(certificate, key, cloud.address.root_pem)
    for nonsense in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff\xff",
        b"\x10\x02\x00\x00",
        mqtt.PING,
    ):
        with socket.create_connection(("127.0.0.1", cloud.address.broker_port), WAIT_S) as plain:
            with client_context(credentials).wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                tls.sendall(nonsense)
    check_in("127.0.0.1", cloud.address.broker_port, credentials, "odd")
    assert seen(cloud, "odd") == 1
    assert capfd.readouterr().err == ""


def test_a_key_reaches_tls_without_files_in_memory_too(cloud, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    certificate, key = board(cloud.world.authority, "b")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _through_a_file(context, certificate, key)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (b"\x20\x02\x00\x00", mqtt.Connack.ACCEPTED),
        (b"\x20\x02\x01\x05", mqtt.Connack.NOT_AUTHORISED),
    ],
)
def test_an_answer_to_connect(packet, told):
    assert mqtt.connack(packet) is told


@pytest.mark.parametrize(
    "packet", [b"", b"\x20\x02\x00", b"HTTP", b"\x20\x02\x00\x09", b"\x20\x03\x00\x00\x00"]
)
def test_what_is_no_answer_to_connect(packet):
    with pytest.raises(ValueError):
        mqtt.connack(packet)


def test_a_long_connect_has_a_length_of_several_bytes():
    packet = mqtt.connect("c", user_name="u", password="p" * 300)
    assert packet[:3] == bytes([0x10, 0xBE, 0x02])  # 318 = 0x3E + 2 * 128
    assert len(packet) == 3 + 318
    with pytest.raises(ValueError):
        mqtt.connect("c", password="p")
