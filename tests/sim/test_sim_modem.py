"""The virtual modem as a host sees it over a real pty."""

from __future__ import annotations

import hashlib
import json
import os
import time
from uuid import UUID

import pytest
import serial
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from sim_host import Host, b64, keygen

from infuse_cli.sim.authority import Authority
from infuse_cli.sim.bench import Bench
from infuse_cli.sim.board import VirtualBoard
from infuse_cli.sim.modem import Delays, Modem, ModemIdentity

pytestmark = pytest.mark.posix
NO_DELAYS = Delays(keygen_s=0, nvm_s=0)
PEM = Authority().root_pem


@pytest.fixture
def modem():
    return Modem(ModemIdentity.make("modem-test"), delays=NO_DELAYS)


@pytest.fixture
def host(modem):
    bench = Bench([VirtualBoard(1, lambda _: modem)], baud=None)
    bench.start()
    with Host(bench.ports[1]) as found:
        yield found
    bench.stop()


def gone(fd):
    try:
        return os.read(fd, 1) == b""
    except OSError:
        return True


def listed(host):
    return [
        tuple(part.strip('"') for part in line.removeprefix("%CMNG: ").split(","))
        for line in host.ask("AT%CMNG=1").info
        if "42949672" not in line
    ]


def test_the_modems_own_keys_are_listed_and_nobodys_to_touch(host):
    host.ready()
    own = [line.removeprefix("%CMNG: ").split(",") for line in host.ask("AT%CMNG=1").info]
    assert [(tag, kind) for tag, kind, _ in own] == [
        ("4294967292", "11"),
        ("4294967293", "10"),
        ("4294967294", "6"),
    ]
    for command in (
        "AT%CMNG=2,4294967293,10",
        "AT%CMNG=3,4294967294,6",
        'AT%CMNG=0,4294967292,3,"ab"',
    ):
        assert host.ask(command).final == "+CME ERROR: 514"


def test_identity_is_what_a_real_module_shows(host, modem):
    assert host.ask("AT+CGMR").info == ["mfw_nrf91x1_2.0.2"]
    assert host.ask("AT+CGMM").info == ["nRF9151-LACA"]
    assert host.ask("AT%HWVERSION").info == ["%HWVERSION: nRF9151 LACA A0A"]
    assert host.ask("AT%DEVICEUUID").info == [f"%DEVICEUUID: {modem.identity.uuid}"]
    imei = modem.identity.imei
    assert len(imei) == 15
    assert host.ask("AT+CGSN=1").info == [f'+CGSN: "{imei}"']
    assert host.ask("AT+CGSN").info == [imei]
    assert host.ask("AT%XICCID").info[0].startswith("%XICCID: 8901")


def test_boots_active_with_bare_errors(host):
    assert host.ask("AT+CFUN?").info == ["+CFUN: 1"]
    assert host.ask("AT%KEYGEN=4201,2,0").final == "ERROR"
    host.ask("AT+CMEE=1")
    assert host.ask("AT%KEYGEN=4201,2,0").final == "+CME ERROR: 518"
    assert host.ask(f'AT%CMNG=0,4201,0,"{PEM}"').final == "+CME ERROR: 518"
    assert host.ask("AT%CMNG=3,4201,0").final == "+CME ERROR: 518"
    assert host.ask("AT%CMNG=1").final == "OK"


@pytest.mark.parametrize(
    "command",
    [
        "ATX",
        "AT+CMEE=2",
        "AT+CFUN=99",
        'AT%CMNG=0,1,9,"x"',
        "AT%CMNG=7",
        "AT%KEYGEN=1",
        "AT%NONSENSE",
        "hello",
    ],
)
def test_unknown_and_malformed_is_error(host, command):
    host.ready()
    assert host.ask(command).final == "ERROR"


def test_what_tools_ask_to_look_around_is_answered(host, modem):
    assert host.ask("AT+CGMI").info == ["Nordic Semiconductor ASA"]
    assert host.ask("AT+CGSN=2").info == [f'+CGSN: "{modem.identity.imei[:-1]}01"']
    assert host.ask("AT+CEREG?").info == ["+CEREG: 0,1"]
    host.ready()
    assert host.ask("AT+CEREG?").info == ["+CEREG: 0,0"]
    assert host.ask("AT+CFUN=?").info == ["+CFUN: (0,1,2,4,20,21,30,31,40,41,44)"]
    assert [host.ask(text).final for text in ("ATI", "AT+CMEE=2", 'AT%CMNG=0,7,3,""')] == [
        "ERROR"
    ] * 3


def test_certificate_is_kept_byte_for_byte(host):
    host.ready()
    crlf = PEM.strip().replace("\n", "\r\n")
    assert host.ask(f'AT%CMNG=0,4201,0,"{crlf}"').final == "OK"
    assert listed(host) == [("4201", "0", hashlib.sha256(crlf.encode()).hexdigest().upper())]
    digest, content = (
        host.wire("AT%CMNG=2,4201,0").decode().removeprefix("%CMNG: 4201,0,").split(",", 1)
    )
    assert digest == f'"{hashlib.sha256(crlf.encode()).hexdigest().upper()}"'
    assert content == f'"{crlf}"\r\nOK\r\n'


def test_cmng_refusals(host):
    host.ready()
    assert host.ask('AT%CMNG=0,1,3,"abcd"').final == "OK"
    assert host.ask('AT%CMNG=0,1,3,"abcd"').final == "+CME ERROR: 519"
    assert host.ask('AT%CMNG=0,2147483648,3,"ab"').final == "+CME ERROR: 514"
    assert host.ask('AT%CMNG=0,1,1,"HONKHONK"').final == "+CME ERROR: 527"
    assert host.ask("AT%CMNG=2,1,3").final == "+CME ERROR: 514"
    assert host.ask("AT%CMNG=2,9,0").final == "+CME ERROR: 513"
    assert host.ask("AT%CMNG=3,9,0").final == "+CME ERROR: 513"
    assert host.ask("AT%CMNG=3,1,3").final == "OK"
    assert listed(host) == []


def test_credential_memory_ends(host):
    host.ready()
    finals = [host.ask(f'AT%CMNG=0,{tag},3,"ab"').final for tag in range(41)]
    assert finals == ["OK"] * 40 + ["+CME ERROR: 515"]


def test_list_can_be_narrowed(host):
    host.ready()
    for tag, kind in ((1, 3), (1, 4), (2, 3)):
        host.ask(f'AT%CMNG=0,{tag},{kind},"ab"')
    assert [line[:11] for line in host.ask("AT%CMNG=1,1").info] == ["%CMNG: 1,3,", "%CMNG: 1,4,"]
    assert len(host.ask("AT%CMNG=1,1,4").info) == 1
    assert host.ask("AT%CMNG=1,77").final == "OK"


def test_keygen_attests_its_csr(host, modem):
    host.ready()
    made = keygen(host)
    csr = x509.load_der_x509_csr(made.body)
    assert csr.is_signature_valid
    assert csr.subject.rfc4514_string() == f"CN={modem.identity.uuid}"
    usage = csr.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (
        usage.digital_signature,
        usage.content_commitment,
        usage.key_encipherment,
        usage.data_encipherment,
        usage.key_agreement,
    ) == (True, True, True, False, True)
    kind, uuid, tag, digest, nonce = made.payload
    assert (kind, UUID(bytes=uuid), tag, len(nonce)) == (
        9,
        modem.identity.uuid,
        bytes.fromhex("191069"),
        16,
    )
    assert digest == hashlib.sha256(made.body).digest()
    assert made.protected == {1: -7}
    assert made.unprotected == {4: bytes.fromhex("21")}
    r, s = made.signature[:32], made.signature[32:]
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    modem.identity.key.public_key().verify(der, made.signed, ec.ECDSA(hashes.SHA256()))


def test_key_lists_with_a_digest_and_is_not_overwritten(host):
    host.ready()
    first = keygen(host)
    (row,) = listed(host)
    assert row[:2] == ("4201", "2")
    assert len(row[2]) == 64
    assert host.ask("AT%KEYGEN=4201,2,0").final == "+CME ERROR: 519"
    assert listed(host) == [row]
    assert host.ask("AT%CMNG=3,4201,2").final == "OK"
    assert keygen(host).body != first.body


def test_keygen_takes_attributes_and_key_usage(host):
    host.ready()
    said = host.ask('AT%KEYGEN=7,2,0,"CN=abc,O=Example","101000000"')
    csr = x509.load_der_x509_csr(b64(said.info[0].removeprefix('%KEYGEN: "').partition(".")[0]))
    assert csr.subject.rfc4514_string() == "O=Example,CN=abc"
    usage = csr.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment
    assert not usage.key_agreement
    assert host.ask('AT%KEYGEN=8,2,0,"NONSENSE=abc"').final == "+CME ERROR: 523"


def test_attestation_token_uses_the_challenge(host, modem):
    body = (
        host.ask("AT%ATTESTTOKEN=00112233445566778899aabbccddeeff")
        .info[0]
        .removeprefix('%ATTESTTOKEN: "')
        .partition(".")[0]
    )
    assert bytes.fromhex("00112233445566778899aabbccddeeff") in b64(body)
    assert modem.identity.uuid.bytes in b64(body)


def test_jwt_is_signed_by_the_key_of_the_tag(host):
    host.ready()
    assert host.ask('AT%JWT=0,0,"x","y",4201,2').final == "+CME ERROR: 513"
    key = x509.load_der_x509_csr(keygen(host).body).public_key()
    said = host.ask('AT%JWT=0,0,"nonce-1","infuse",4201,2').info[0]
    header, claims, signature = said.removeprefix('%JWT: "').removesuffix('"').split(".")
    assert json.loads(b64(header))["alg"] == "ES256"
    assert json.loads(b64(claims))["sub"] == "nonce-1"
    assert json.loads(b64(claims))["aud"] == "infuse"
    raw = b64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.verify(der, f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))


def test_echo_goes_on_and_off(host):
    assert host.wire("ATE1") == b"OK\r\n"
    assert host.wire("AT") == b"AT\rOK\r\n"
    assert host.wire("ATE0") == b"ATE0\rOK\r\n"
    assert host.wire("AT") == b"OK\r\n"


def test_pyserial_gets_through_and_a_client_may_come_and_go(modem):
    bench = Bench([VirtualBoard(1, lambda _: modem)])
    bench.start()
    try:
        for _ in range(2):
            with serial.Serial(bench.ports[1], 115200, timeout=2, exclusive=True) as port:
                port.write(b"AT+CGMM\r")
                assert port.read_until(b"OK\r\n") == b"nRF9151-LACA\r\nOK\r\n"
    finally:
        bench.stop()


def test_wire_and_nvm_take_their_time():
    modem = Modem(ModemIdentity.make(), delays=Delays(keygen_s=0.1, nvm_s=0.02))
    bench = Bench([VirtualBoard(1, lambda _: modem)], baud=115200)
    bench.start()
    try:
        with Host(bench.ports[1]) as host:
            host.ready()
            begun = time.monotonic()
            answer = host.wire("AT%KEYGEN=4201,2,0")
            assert time.monotonic() - begun >= 0.1 + (len(answer) + 19) * 10 / 115200
    finally:
        bench.stop()


def test_unplugged_port_is_gone_and_comes_back(modem):
    bench = Bench([VirtualBoard(1, lambda _: modem)], baud=None)
    bench.start()
    try:
        with Host(bench.ports[1]) as host:
            host.ready()
            host.ask('AT%CMNG=0,1,3,"abcd"')
            bench.unplug(1)
            assert bench.ports == {}
            assert gone(host.fd)
        with Host(bench.plug(1)) as again:
            assert b"Booting" in again.read()
            assert again.ask("AT+CFUN?").info == ["+CFUN: 1"]
            assert len(listed(again)) == 1
    finally:
        bench.stop()
