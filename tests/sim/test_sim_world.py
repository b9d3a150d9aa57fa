"""A whole simulated world: profile and files, mutual TLS check-in, first boot, `serve`."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sim_host import Host, keygen

from infuse_cli import mqtt_packets as mqtt
from infuse_cli.config.source import load
from infuse_cli.errors import UsageError
from infuse_cli.sim.authority import Authority
from infuse_cli.sim.checkin import Credentials, check_in, connect
from infuse_cli.sim.modem import Delays
from infuse_cli.sim.up import SimOptions, running
from infuse_cli.types import IdentityMode

pytestmark = pytest.mark.posix
QUICK = SimOptions(baud=None, delays=Delays(0, 0), cloud_process=False)


def until(condition, within_s=5.0):
    """Poll without bare sleeps until it holds."""
    pause = threading.Event()
    for _ in range(int(within_s / 0.02)):
        if got := condition():
            return got
        pause.wait(0.02)
    raise AssertionError("it never came")


def client(world):
    return httpx.Client(
        base_url=world.base_url, headers={"Authorization": f"Bearer {world.token}"}, timeout=5
    )


def provision(api, name="d1", key=None):
    """(registry device id, certificate with intermediate, key) in PEM, bought with a token."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    token = api.post("/api/v1/devices/registration/tokens", json={"name": name}).json()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
    )
    body = {"token": token["token"], "csr": csr.public_bytes(serialization.Encoding.PEM).decode()}
    got = api.post("/api/v1/devices/provision", json=body).json()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return token["deviceId"], got["certificate"] + got["caChain"], secret.decode()


@pytest.mark.parametrize("mode", list(IdentityMode))
def test_the_profile_fits_the_schema_and_its_files_are_private(mode):
    with running(replace(QUICK, mode=mode)) as world, client(world) as api:
        text = world.profile.read_text()
        profile = load(str(world.profile), {}).profile
        assert profile.identity.mode == mode.value
        assert world.token not in text
        assert stat.S_IMODE(world.folder.stat().st_mode) == 0o700
        named = [profile.cloud.auth.token_file, profile.identity.passphrase.file]
        assert all(stat.S_IMODE(Path(path).stat().st_mode) == 0o600 for path in named if path)
        assert api.get(f"/organisation/name/{profile.cloud.organisation.name}").status_code == 200
        if mode is IdentityMode.LOCAL_CA:
            assert {"root.pem", "intermediate.pem", "intermediate.key.pem"} <= {
                path.name for path in Path(profile.identity.ca).iterdir()
            }
        folder = world.folder
    assert not folder.exists()


def test_a_given_folder_stays_with_its_ca(tmp_path):
    options = replace(QUICK, boards=0, folder=tmp_path / "sim")
    with running(options):
        root = (tmp_path / "sim" / "ca" / "root.pem").read_text()
    with running(options):
        assert (tmp_path / "sim" / "ca" / "root.pem").read_text() == root


def test_wrong_options_are_refused_before_anything_starts():
    for options in (
        replace(QUICK, faults="1:nonsense"),
        replace(QUICK, faults="cloud:down@GET /x"),
        replace(QUICK, boards=1000),
    ):
        with pytest.raises(UsageError), running(options):
            pass


def test_readiness_and_fresh_identities():
    with running(replace(QUICK, boards=3)) as world:
        ready = world.readiness()
        assert set(ready) == {"baseUrl", "registryUrl", "token", "profile", "boards", "broker"}
        assert Path(ready["broker"].pop("ca")).read_text() == world.root_pem
        assert ready["broker"] == {"host": "127.0.0.1", "port": world.broker_port}
        assert [board["slot"] for board in ready["boards"]] == [1, 2, 3]
        assert (
            len(
                {slot["uuid"] for slot in world.state()["slots"]}
                | {slot["imei"] for slot in world.state()["slots"]}
            )
            == 6
        )


def test_a_seed_repeats_identities():
    uuids = []
    for _ in range(2):
        with running(replace(QUICK, seed=5)) as world:
            uuids.append(world.state()["slots"][0]["uuid"])
    assert uuids[0] == uuids[1]


def test_faults_change_while_it_runs():
    with (
        running(replace(QUICK, faults="1:mute")) as world,
        Host(world.port(1)) as host,
        client(world) as api,
    ):
        host.raw(b"AT\r")
        assert host.read(0.1) == b""
        world.set_faults("cloud:429@GET /health")
        assert host.ask("AT").final == "OK"
        assert api.get("/health").status_code == 429
        with pytest.raises(UsageError):
            world.set_faults("1:mut")


class TestCheckIn:
    def test_without_a_certificate_it_is_refused(self):
        with running(replace(QUICK, boards=0)) as world:
            context = ssl.create_default_context(cadata=world.root_pem)
            with (  # noqa: PT012
                socket.create_connection(("127.0.0.1", world.broker_port), timeout=5) as plain,
                pytest.raises((ssl.SSLError, ConnectionError)),
            ):
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                    tls.sendall(mqtt.connect("nobody"))
                    tls.recv(1)
                raise ConnectionAbortedError  # an end without an answer is a refusal as well
            assert world.state()["checkIns"] == []

    def test_with_a_strange_certificate_it_is_refused(self):
        stranger = Authority()
        certificate, key = stranger.server()
        with running(replace(QUICK, boards=0)) as world:
            with pytest.raises(OSError, match=r".*"):
                check_in("127.0.0.1", world.broker_port, Credentials(certificate, key), "stranger")
            assert world.state()["checkIns"] == []

    def test_with_a_certificate_the_device_becomes_active(self):
        with running(replace(QUICK, boards=0)) as world, client(world) as api:
            device, certificate, key = provision(api)
            credentials = Credentials(certificate, key, world.root_pem)
            connection = connect("127.0.0.1", world.broker_port, credentials, "d1")
            assert [entry["registryDeviceId"] for entry in world.state()["checkIns"]] == [device]
            assert status(api, device) == "ACTIVE"
            connection.leave()
            until(lambda: status(api, device) == "OFFLINE")
            first = connect("127.0.0.1", world.broker_port, credentials, "d1")
            assert status(api, device) == "ACTIVE"
            second = connect("127.0.0.1", world.broker_port, credentials, "d2")
            first.drop()
            check_in("127.0.0.1", world.broker_port, credentials, "d3")
            assert status(api, device) == "ACTIVE"
            second.drop()
            until(lambda: status(api, device) == "OFFLINE")

    @pytest.mark.parametrize("chosen", ["MAINTENANCE", "INACTIVE"])
    def test_what_people_set_stays(self, chosen):
        with running(replace(QUICK, boards=0)) as world, client(world) as api:
            device, certificate, key = provision(api)
            other, *others = provision(api, "d2")
            path = f"/api/v1/devices/{device}"
            assert api.put(path, json={"name": "d1", "status": chosen}).json()["status"] == chosen
            for name, pair in (("d1", (certificate, key)), ("d2", others)):
                credentials = Credentials(*pair, world.root_pem)
                check_in("127.0.0.1", world.broker_port, credentials, name)
            until(lambda: status(api, other) == "OFFLINE")
            assert status(api, device) == chosen

    def test_the_server_is_checked_by_the_board(self):
        with running(replace(QUICK, boards=0)) as world, client(world) as api:
            _, certificate, key = provision(api)
            with pytest.raises(ssl.SSLCertVerificationError):
                check_in(
                    "127.0.0.1",
                    world.broker_port,
                    Credentials(certificate, key, Authority().root_pem),
                    "d1",
                )


def status(api, device):
    return api.get(f"/api/v1/devices/{device}").json()["status"]


@pytest.mark.parametrize("faults", ["", "1:quick-drop x1", "1:quick-drop=50ms x1"])
def test_a_board_is_online_as_long_as_its_modem_is(faults):
    options = replace(QUICK, mode=IdentityMode.FIRST_BOOT, faults=faults)
    with running(options) as world, client(world) as api, Host(world.port(1)) as host:
        token = api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).json()
        device = token["deviceId"]
        host.ready()
        host.ask(f'AT%CMNG=0,4202,3,"{token["token"].encode().hex()}"')
        host.ask("AT+CFUN=1")
        if faults:
            until(lambda: status(api, device) == "OFFLINE")
        if "x1" in faults and "ms" not in faults:
            host.ask("AT+CFUN=4")
            host.ask("AT+CFUN=1")
        until(lambda: status(api, device) == "ACTIVE")
        host.ask("AT+CFUN=4")
        until(lambda: status(api, device) == "OFFLINE")
        host.ask("AT+CFUN=1")
        until(lambda: status(api, device) == "ACTIVE")
        world.unplug(1)
        until(lambda: status(api, device) == "OFFLINE")
        assert [row["uses"] for row in world.state()["tokens"]] == [1]


def test_local_ca_board_shows_its_token_and_is_heard():
    with running(QUICK) as world, client(world) as api, Host(world.port(1)) as host:
        host.ready()
        csr = x509.load_der_x509_csr(keygen(host).body)
        device = register(api)
        token = api.post(
            "/api/v1/devices/registration/tokens", json={"name": "line-1-serial"}
        ).json()
        chain = sign_with_local_ca(world, csr, device["deviceId"])
        assert host.ask(f'AT%CMNG=0,4201,0,"{world.root_pem}"').final == "OK"
        assert host.ask(f'AT%CMNG=0,4201,1,"{chain}"').final == "OK"
        assert host.ask(f'AT%CMNG=0,4202,3,"{token["token"].encode().hex()}"').final == "OK"
        host.ask("AT+CFUN=1")
        state = until(lambda: (got := world.state())["checkIns"] and got)
        assert state["checkIns"][0]["cn"] == device["deviceId"]
        assert [(t["status"], t["uses"]) for t in state["tokens"]] == [("CONSUMED", 1)]
        assert state["registryDevices"][0]["status"] == "ACTIVE"
        heard = api.get(f"/device/deviceId/{device['deviceId']}/state").json()
        assert heard["lastRouteInterface"] == "udp"
        assert (
            api.get(f"/device/deviceId/{device['deviceId']}/lastRoute").json()["interface"] == "udp"
        )
        many = api.post("/device/lastRoute", json={"deviceIds": [device["deviceId"]]}).json()
        assert many[0]["lastRoute"]["interfaceData"] == {"sequence": 1}


def register(api):
    organisation = api.get("/organisation").json()[0]["id"]
    board = api.post(
        "/board",
        json={"organisationId": organisation, "name": "b", "description": "", "soc": "nRF9151"},
    ).json()["id"]
    return api.post(
        "/device",
        json={"mcuId": "0359890000000001", "boardId": board, "organisationId": organisation},
    ).json()


def sign_with_local_ca(world, csr, name):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    folder = world.folder / "ca"
    passphrase = (world.folder / "passphrase").read_text().strip().encode()
    key = load_pem_private_key((folder / "intermediate.key.pem").read_bytes(), passphrase)
    issuer = x509.load_pem_x509_certificate((folder / "intermediate.pem").read_bytes())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in (leaf, issuer))


@pytest.mark.parametrize(
    "faults",
    ["", "cloud:drop-before@POST /devices/provision x1", "cloud:429@POST /devices/provision x1"],
)
def test_first_boot_board_provisions_itself(faults):
    with (
        running(replace(QUICK, mode=IdentityMode.FIRST_BOOT, faults=faults)) as world,
        client(world) as api,
        Host(world.port(1)) as host,
    ):
        token = api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).json()
        host.ready()
        host.ask(f'AT%CMNG=0,4202,3,"{token["token"].encode().hex()}"')
        host.ask(f'AT%CMNG=0,4202,4,"{token["deviceId"]}"')
        host.ask("AT+CFUN=1")
        until(lambda: api.get(f"/api/v1/devices/{token['deviceId']}").json()["status"] == "ACTIVE")
        state = world.state()
        assert [(t["status"], t["uses"]) for t in state["tokens"]] == [("CONSUMED", 1)]
        assert len(state["certificates"]) == 1
        assert [(c["secTag"], c["type"]) for c in state["slots"][0]["credentials"]] == [
            (4201, 0),
            (4201, 1),
            (4201, 2),
            (4202, 3),
            (4202, 4),
        ]
        assert bool(state["firmwareFailures"]) == bool(faults)


def test_a_board_that_is_not_first_boot_never_spends_its_token():
    with running(QUICK) as world, client(world) as api, Host(world.port(1)) as host:
        token = api.post("/api/v1/devices/registration/tokens", json={"name": "d1"}).json()
        host.ready()
        host.ask(f'AT%CMNG=0,4202,3,"{token["token"].encode().hex()}"')
        host.ask("AT+CFUN=1")
        host.read(0.2)
        assert world.state()["tokens"][0]["status"] == "PENDING"


SERVE = """
import json, sys
from infuse_cli.sim.up import SimOptions, serve
ready = lambda data: print(json.dumps(data), flush=True)
serve(SimOptions(boards=1), ready, until_stdin_closes=True)
print("ended", flush=True)
"""


@pytest.mark.parametrize("how", ["stdin", "signal"])
def test_serve_ends_and_cleans_up(how):
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        ready = json.loads(process.stdout.readline())
        folder = Path(ready["profile"]).parent
        with Host(ready["boards"][0]["port"]) as host:
            assert host.ask("AT").final == "OK"
        assert httpx.get(f"{ready['baseUrl']}/health").status_code == 200
        if how == "stdin":
            process.stdin.close()
        else:
            process.terminate()
        assert process.stdout.readline() == "ended\n"
        assert process.wait(timeout=10) == 0
    assert not folder.exists()


@pytest.mark.storm
def test_a_killed_parent_leaves_no_cloud_behind():
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        ready = json.loads(process.stdout.readline())
        process.kill()
        process.wait(timeout=10)

        def gone():
            try:
                return httpx.get(f"{ready['baseUrl']}/health").status_code != 200
            except httpx.TransportError:
                return True

        until(gone)
    folder = Path(ready["profile"]).parent
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def test_many_boards_at_once_keep_their_pace():
    with running(replace(QUICK, boards=32, baud=115200, cloud_process=True)) as world:
        answers: dict[int, str] = {}

        def drive(slot: int) -> None:
            with Host(world.port(slot)) as host:
                host.ready()
                body = keygen(host).body
                answers[slot] = base64.b64encode(body).decode()

        threads = [threading.Thread(target=drive, args=(slot,)) for slot in range(1, 33)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert len(set(answers.values())) == 32
