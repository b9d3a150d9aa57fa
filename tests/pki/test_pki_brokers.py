"""A real Mosquitto judges what the line makes: a board's certificate comes in, all that should stay
out does.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from infuse_cli.cli.main import run
from infuse_cli.pki import issuing
from infuse_cli.pki.certificate_profiles import DEVICE
from infuse_cli.pki.store import init_ca, load_ca
from infuse_cli.pki.tls_key import load_key_pair
from infuse_cli.sim.modem import Modem
from infuse_cli.sim.up import SimOptions, identity_for
from infuse_cli.types import CredentialType, Secret
from tests.support import mosquitto

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(mosquitto.program() is None, reason=mosquitto.MISSING),
]
WAIT_S = 10
TAG = 4201


@dataclass
class Board:
    """A virtual modem with the key that it made, and the request for it."""

    modem: Modem
    csr: bytes

    @property
    def key(self) -> str:
        held = self.modem.nvm.get(TAG, CredentialType.CLIENT_KEY).key
        return held.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def request(self, folder: Path) -> Path:
        path = folder / f"{self.modem.identity.imei}.csr"
        path.write_bytes(x509.load_der_x509_csr(self.csr).public_bytes(Encoding.PEM))
        return path


def board() -> Board:
    modem = Modem(identity_for(1, 0, None), delays=SimOptions().delays)
    return Board(modem, modem.generate(TAG))


def connects(port: int, root: Path, certificate: str | None = None, key: str | None = None) -> bool:
    """Whether paho-mqtt is let in, and a message comes back."""
    context = ssl.create_default_context(cafile=root)
    if certificate is not None:
        load_key_pair(context, certificate, key)
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id="board", reconnect_on_failure=False
    )
    client.tls_set_context(context)
    ended, got = threading.Event(), threading.Event()
    client.on_message = lambda *_: (got.set(), ended.set())
    client.on_connect = lambda *_: client.subscribe("to/board", qos=1)
    client.on_subscribe = lambda *_: client.publish("to/board", b"hello", qos=1)
    client.on_disconnect = lambda *_: ended.set()
    client.connect("localhost", port)
    client.loop_start()
    assert ended.wait(WAIT_S)
    client.disconnect()
    client.loop_stop()
    return got.is_set()


@pytest.fixture
def broker(bench, infuse):
    """Settings of a Mosquitto that a person set up by the how-to: root, its own certificate from
    the CA, the newest list.
    """
    word = bench / "word"
    infuse("ca", "export", "--out", bench / "root.pem")
    infuse(
        "ca",
        "issue",
        "localhost",
        "--certificate",
        "broker",
        "--out",
        bench / "broker.pem",
        "--key-out",
        bench / "broker.key",
        "--passphrase-file",
        word,
    )
    infuse("ca", "crl", "--out", bench / "list.pem", "--passphrase-file", word)
    return {
        "cafile": bench / "root.pem",
        "certfile": bench / "broker.pem",
        "keyfile": bench / "broker.key",
        "crlfile": bench / "list.pem",
        "require_certificate": "true",
    }


def signed(infuse, folder: Path, device: str, one: Board) -> str:
    """The bundle of a board as the line installs it: leaf, then intermediate."""
    out = folder / f"{device}.pem"
    infuse(
        "ca",
        "sign",
        one.request(folder),
        "--device-id",
        device,
        "--out",
        out,
        "--passphrase-file",
        folder / "word",
    )
    infuse("ca", "export", "--chain", "--out", folder / "chain.pem")
    return out.read_text() + "".join(
        (folder / "chain.pem").read_text().partition("-----END CERTIFICATE-----\n")[:2]
    )


def expired(made_ca, secret, one: Board) -> str:
    signer = load_ca(made_ca, secret)
    spki = x509.load_der_x509_csr(one.csr).public_key()
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "00112233aabbcc04")]))
        .issuer_name(signer.chain[0].subject)
        .public_key(spki)
        .serial_number(issuing.new_serial())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(DEVICE.extended_key_usage), critical=False)
        .sign(signer.private_key, hashes.SHA256())
    )
    return (
        leaf.public_bytes(Encoding.PEM).decode()
        + signer.chain[0].public_bytes(Encoding.PEM).decode()
    )


def test_mosquitto_lets_in_a_board_and_keeps_out_all_others(
    bench, infuse, broker, made_ca, secret, tmp_path
):
    good, bad, other, old = board(), board(), board(), board()
    one, two = (
        signed(infuse, bench, "00112233aabbcc01", good),
        signed(infuse, bench, "00112233aabbcc02", bad),
    )
    init_ca(tmp_path / "strange", "Line 1", Secret("other words"))
    stranger = load_ca(tmp_path / "strange", Secret("other words"))
    spki = (
        x509.load_der_x509_csr(other.csr)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    alien = (
        issuing.issue(
            stranger,
            spki_der=spki,
            common_name="00112233aabbcc03",
            serial=issuing.new_serial(),
            profile=DEVICE,
            now=datetime.now(UTC),
            validity_days=30,
        ).pem
        + stranger.chain[0].public_bytes(Encoding.PEM).decode()
    )
    infuse("ca", "revoke", "--device", "00112233aabbcc02", "--reason", "key-compromise")
    infuse("ca", "crl", "--out", bench / "list.pem", "--passphrase-file", bench / "word")
    with mosquitto.running(bench, **broker) as port:
        root = bench / "root.pem"
        assert connects(port, root, one, good.key)
        assert not connects(port, root), "no certificate"
        assert not connects(port, root, alien, other.key), "another CA's"
        assert not connects(port, root, two, bad.key), "revoked"
        assert not connects(port, root, expired(made_ca, secret, old), old.key), "expired"
        assert connects(port, root, one, good.key)


@contextmanager
def silent():
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def check(bench, broker, capsys):
    """`infuse mqtt check`: (exit code, code of its error, what it proved, all of the envelope)."""

    def call(
        port: int, *words: str | Path, trust: str = "root.pem", host: str = "localhost"
    ) -> tuple[int, str | None, list[str], dict]:
        argv = [
            "mqtt",
            "check",
            "--host",
            host,
            "--port",
            str(port),
            "--server-ca",
            str(bench / trust),
            "--timeout",
            "5",
            *map(str, words),
        ]
        code = run([*argv, "--passphrase-file", str(bench / "word"), "--output", "json"])
        envelope = json.loads(capsys.readouterr().out)
        errors = envelope["errors"]
        return (
            code,
            errors[0]["code"] if errors else None,
            envelope["data"].get("proven", []),
            envelope,
        )

    return call


def test_mqtt_check_says_that_the_broker_takes_the_line(bench, broker, check, infuse):
    before = {path for path in bench.rglob("*") if path.is_file()}
    with mosquitto.running(bench, **broker) as port:
        code, error, proven, envelope = check(port)
    assert (code, error, proven) == (0, None, ["tcp", "tls", "certificate", "closed"])
    client = envelope["data"]["client"]
    assert [
        (row["serial"], row["name"])
        for row in infuse("ca", "list")["certificates"]
        if row["serial"] == client["serial"]
    ] == [(client["serial"], client["commonName"])]
    made = [path for path in bench.rglob("*") if path.is_file() and path not in before]
    assert not [path for path in made if b"PRIVATE KEY" in path.read_bytes()]


def test_mqtt_check_names_what_is_wrong(bench, broker, check, infuse, tmp_path, secret):
    issued = infuse("ca", "list")["certificates"]
    with mosquitto.running(bench, **broker) as port, mosquitto.running(bench) as bare:
        init_ca(tmp_path / "elsewhere", "Other", secret)
        (bench / "other.pem").write_bytes((tmp_path / "elsewhere" / "root.pem").read_bytes())
        assert check(port, trust="other.pem")[:3] == (5, "mqtt.untrusted", ["tcp"])
        assert check(port, host="127.0.0.1")[:3] == (5, "mqtt.wrong-name", ["tcp"])
        assert (
            infuse("ca", "list")["certificates"] == issued
        )  # nothing is signed for a broker that is not there
        assert check(bare)[:3] == (5, "mqtt.no-tls", ["tcp"])
        assert check(port, "--ca", tmp_path / "elsewhere")[:3] == (
            6,
            "mqtt.certificate-refused",
            ["tcp", "tls"],
        )
    assert check(port)[:3] == (5, "mqtt.unreachable", [])
    with silent() as port:
        assert check(port, "--timeout", "0.3")[:3] == (5, "mqtt.timeout", ["tcp"])


@pytest.mark.storm
def test_mqtt_check_of_brokers_that_are_open_or_take_tokens(bench, broker, check):
    anybody = {key: value for key, value in broker.items() if key != "require_certificate"}
    (bench / "token").write_text("a-token\n")
    (bench / "token").chmod(0o600)
    with mosquitto.running(bench, **anybody) as port:
        assert check(port)[:3] == (6, "mqtt.anonymous-allowed", ["tcp", "tls", "certificate"])
        assert check(port, "--token-file", bench / "token")[:3] == (
            0,
            None,
            ["tcp", "tls", "token"],
        )
    with mosquitto.running(bench, **{**anybody, "allow_anonymous": "false"}) as port:
        assert check(port, "--token-file", bench / "token")[:3] == (
            6,
            "mqtt.token-refused",
            ["tcp", "tls"],
        )
    with mosquitto.running(bench, **broker) as port:
        assert check(port, "--token-file", bench / "token")[:3] == (
            6,
            "mqtt.certificate-refused",
            ["tcp", "tls"],
        )
