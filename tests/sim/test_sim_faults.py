"""Fault plans: what they are read as, and what each does to a board on a real pty."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import threading
from typing import Self
from uuid import UUID

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from sim_host import Host, keygen

from infuse_cli.errors import UsageError
from infuse_cli.sim.attest import without_null
from infuse_cli.sim.authority import Authority
from infuse_cli.sim.bench import Bench
from infuse_cli.sim.board import VirtualBoard, identity_for
from infuse_cli.sim.cloud_faults import call_name
from infuse_cli.sim.faults import (
    BoardFault,
    CloudFaultKind,
    FaultPlan,
    OnBoard,
    OnCloud,
    Place,
    parse,
)
from infuse_cli.sim.modem import Delays, KeyMaker, Modem

pytestmark = pytest.mark.posix
PEM = Authority().root_pem


class Rig:
    """A bench of boards with a fault plan, unthrottled, without delays."""

    def __init__(self, faults: str, boards: int = 1) -> None:
        plan, keys = parse(faults), KeyMaker()

        def board(slot: int) -> VirtualBoard:
            def modem(generation: int) -> Modem:
                return Modem(
                    identity_for(slot, generation, None),
                    delays=Delays(0, 0),
                    make_key=keys.maker((slot, generation)),
                )

            return VirtualBoard(slot, modem, plan.of_slot(slot), seed=plan.seed)

        self.bench = Bench([board(slot) for slot in range(1, boards + 1)], baud=None)

    def __enter__(self) -> Self:
        self.bench.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bench.stop()

    def host(self, slot: int = 1) -> Host:
        return Host(self.bench.ports[slot])

    def board(self, slot: int = 1) -> VirtualBoard:
        return self.bench.board(slot)

    def credentials(self, slot: int = 1) -> list:
        return self.bench.call(self.board(slot).modem.nvm.listed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", FaultPlan()),
        ("3:install=CME527", FaultPlan((OnBoard(BoardFault.REFUSE, 3, Place.INSTALL, 527, 1),))),
        ("3:install=ERROR x2", FaultPlan((OnBoard(BoardFault.REFUSE, 3, Place.INSTALL, None, 2),))),
        (
            "3:keygen=CME523 always",
            FaultPlan((OnBoard(BoardFault.REFUSE, 3, Place.KEYGEN, 523, None),)),
        ),
        (
            "5:unplug@keygen, 6:swap@install,7:mute , *:echo",
            FaultPlan(
                (
                    OnBoard(BoardFault.UNPLUG, 5, Place.KEYGEN, None, 1),
                    OnBoard(BoardFault.SWAP, 6, Place.INSTALL, None, 1),
                    OnBoard(BoardFault.MUTE, 7),
                    OnBoard(BoardFault.ECHO, None),
                )
            ),
        ),
        ("1:hang@list#2", FaultPlan((OnBoard(BoardFault.HANG, 1, Place.LIST, None, None, 2),))),
        ("1:slow=250@jwt", FaultPlan((OnBoard(BoardFault.SLOW, 1, Place.JWT, 250),))),
        (
            "1:bad-csr=null, 1:occupied=4201/2",
            FaultPlan(
                (
                    OnBoard(BoardFault.BAD_CSR, 1, Place.KEYGEN, "null"),
                    OnBoard(BoardFault.OCCUPIED, 1, Place.ANY, "4201/2"),
                )
            ),
        ),
        (
            "cloud:latency=20ms, cloud:429=0.2, seed=7",
            FaultPlan(
                (),
                (OnCloud(CloudFaultKind.LATENCY, 0.02), OnCloud(CloudFaultKind.TOO_MANY, 0.2)),
                7,
            ),
        ),
        (
            "cloud:drop-after@POST /device#1",
            FaultPlan((), (OnCloud(CloudFaultKind.DROP_AFTER, 1.0, "POST /device", None, 1),)),
        ),
        (
            "cloud:date=+600s, cloud:down x3",
            FaultPlan(
                (), (OnCloud(CloudFaultKind.DATE, 600), OnCloud(CloudFaultKind.DOWN, times=3))
            ),
        ),
    ],
)
def test_a_plan_is_read(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("3:instal=CME527", "'install'"),
        ("3:unplugg", "'unplug'"),
        ("3:unplug@keygn", "'keygen'"),
        ("0:mute", "'0'"),
        ("x:mute", "'x'"),
        ("cloud:latncy=1s", "'latency'"),
        ("cloud:latency", "20ms"),
        ("cloud:429=2", "probability"),
        ("3:install=528", "CMEn"),
        ("3:bad-csr=nul", "'null'"),
        ("mute", "TARGET:FAULT"),
        ("3:slow", "milliseconds"),
        ("3:occupied=1", "TAG/TYPE"),
        ("3:mute=1", "no value"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(text, named):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.code == "usage.bad-option"
    assert named in caught.value.message


def test_a_call_may_be_named_without_its_prefix():
    assert call_name("post /devices/provision") == "POST /api/v1/devices/provision"
    with pytest.raises(UsageError, match="POST /device"):
        call_name("POST /devic")


@given(st.text(alphabet=st.sampled_from("cloud:*19=@#x,-. alwysunpgkeinrt"), max_size=40))
def test_any_text_is_a_plan_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        assert isinstance(parse(text), FaultPlan)


def test_refusal_strikes_as_often_as_it_says():
    with Rig("1:install=CME527, 1:list=CME515 x2, 1:jwt=ERROR always") as rig, rig.host() as host:
        host.ready()
        write = f'AT%CMNG=0,1,1,"{PEM}"'
        assert [host.ask(write).final for _ in range(2)] == ["+CME ERROR: 527", "OK"]
        assert [host.ask("AT%CMNG=1").final for _ in range(3)] == ["+CME ERROR: 515"] * 2 + ["OK"]
        assert [host.ask("AT%JWT=0").final for _ in range(3)] == ["ERROR"] * 3


@pytest.mark.parametrize(("fault", "kept"), [("unplug@keygen", 1), ("unplug-before@keygen", 0)])
def test_unplug_at_a_place(fault, kept):
    with Rig(f"1:{fault}") as rig, rig.host() as host:
        host.ready().raw(b"AT%KEYGEN=4201,2,0\r")
        assert select.select([host.fd], [], [], 5)[0]
        with contextlib.suppress(OSError):
            assert os.read(host.fd, 1) == b""
        assert rig.bench.ports == {}
        assert len(rig.credentials()) == kept


def test_mute_says_nothing():
    with Rig("1:mute") as rig, rig.host() as host:
        host.raw(b"AT\r")
        assert host.read() == b""


@pytest.mark.parametrize(("fault", "kept"), [("hang@keygen", 1), ("hang-before@keygen", 0)])
def test_hang_until_reset(fault, kept):
    with Rig(f"1:{fault}") as rig, rig.host() as host:
        host.ready().raw(b"AT%KEYGEN=4201,2,0\rAT\r")
        assert host.read() == b""
        assert len(rig.credentials()) == kept
        rig.bench.reset(1)
        assert b"Booting" in host.read()
        assert host.ask("AT").final == "OK"


@pytest.mark.parametrize(("fault", "kept"), [("lost@keygen", 1), ("lost-before@keygen", 0)])
def test_lost_answer(fault, kept):
    with Rig(f"1:{fault}") as rig, rig.host() as host:
        host.ready().raw(b"AT%KEYGEN=4201,2,0\r")
        assert host.read() == b""
        assert len(host.ask("AT%CMNG=1,4201").info) == kept


def test_reset_reboots_with_its_text_and_keeps_nvm():
    with Rig("1:reset@token") as rig, rig.host() as host:
        host.ready().raw(b'AT%CMNG=0,2,3,"abcd"\r')
        assert b"Booting" in host.read()
        assert host.ask("AT+CFUN?").info == ["+CFUN: 1"]
        assert host.ask("AT+CMEE?").info == ["+CMEE: 0"]
        assert len(host.ask("AT%CMNG=1,2").info) == 1


@pytest.mark.parametrize(
    ("place", "before"),
    [
        ("install", "AT%KEYGEN=4201,2,0"),
        ("keygen", f'AT%CMNG=0,1,0,"{PEM}"'),
        ("server-ca", "AT%CMNG=1"),
        ("token", "AT%KEYGEN=4201,2,0"),
        ("identify", None),
    ],
)
def test_swap_shows_at_the_next_look_at_the_uuid(place, before):
    with Rig(f"1:swap@{place}") as rig, rig.host() as host:
        host.ready()
        first = host.ask("AT%DEVICEUUID").info
        if before is not None:
            assert host.ask(before).final == "OK"
        assert host.ask("AT%DEVICEUUID").info != first
        assert host.ask("AT+CFUN?").info == ["+CFUN: 1"]
        assert rig.credentials() == []
        assert len(rig.board().modems) == 2


def test_swap_meets_a_host_that_never_looks():
    with Rig("1:swap@install") as rig, rig.host() as host:
        host.ready()
        assert host.ask(f'AT%CMNG=0,1,1,"{PEM}"').final == "ERROR"
        assert len(rig.board().modems) == 2


def test_noise_around_answers():
    with Rig("1:garbage, 2:blank, 3:urc, 4:echo", 4) as rig:
        with rig.host(1) as host:
            noise, answer = host.wire("AT").split(b"\r\n", 1)
            assert answer == b"OK\r\n"
            assert min(noise) >= 0x80
        with rig.host(2) as host:
            assert host.wire("AT") == b"\r\nOK\r\n"
        with rig.host(3) as host:
            host.raw(b"AT\r")
            assert host.read() == b"+CEREG: 2\r\nOK\r\n+CEREG: 2\r\n"
        with rig.host(4) as host:
            assert host.wire("AT+CGMM") == b"AT+CGMM\rnRF9151-LACA\r\nOK\r\n"


def test_missing_parts():
    with (
        Rig("1:no-imei, 1:no-digest, 1:no-cose, 1:no-jwt, 1:occupied=4202/3") as rig,
        rig.host() as host,
    ):
        host.ready()
        assert host.ask("AT+CGSN=1").final == "ERROR"
        assert host.ask("AT%CMNG=1,4202").info == ["%CMNG: 4202,3"]
        assert "." not in host.ask("AT%KEYGEN=4201,2,0").info[0]
        assert host.ask('AT%JWT=0,0,"","",4201,2').final == "ERROR"


def test_occupied_key_slot_refuses_a_new_key():
    with Rig("1:occupied=4201/2") as rig, rig.host() as host:
        host.ready()
        assert host.ask("AT%KEYGEN=4201,2,0").final == "+CME ERROR: 519"


def test_wrong_readback_stores_something_else_once():
    with Rig("1:wrong-readback@server-ca") as rig, rig.host() as host:
        host.ready()
        digest = hashlib.sha256(PEM.encode()).hexdigest().upper()
        assert host.ask(f'AT%CMNG=0,1,0,"{PEM}"').final == "OK"
        assert not host.ask("AT%CMNG=1").info[0].endswith(f'"{digest}"')
        assert host.ask(f'AT%CMNG=0,2,0,"{PEM}"').final == "OK"
        assert host.ask("AT%CMNG=1,2").info[0].endswith(f'"{digest}"')


def test_slow_adds_to_the_board_time():
    plan = parse("1:slow=700@keygen")
    board = VirtualBoard(
        1, lambda g: Modem(identity_for(1, g, None), delays=Delays(0.3, 0)), plan.of_slot(1)
    )
    board.receive(b"AT+CFUN=4\r")
    (sent,) = board.receive(b"AT%KEYGEN=1,2,0\r")
    assert sent.delay_s == pytest.approx(1.0)


class TestBadCsr:
    def made(self, fault):
        with Rig(f"1:bad-csr={fault}") as rig, rig.host() as host:
            host.ready()
            uuid = UUID(host.ask("AT%DEVICEUUID").info[0].removeprefix("%DEVICEUUID: "))
            return keygen(host), uuid

    def test_signature(self):
        made, _ = self.made("signature")
        assert not x509.load_der_x509_csr(made.body).is_signature_valid
        assert made.payload[3] == hashlib.sha256(made.body).digest()

    def test_digest(self):
        made, _ = self.made("digest")
        assert made.payload[3] != hashlib.sha256(made.body).digest()
        assert x509.load_der_x509_csr(made.body).is_signature_valid

    def test_uuid(self):
        made, uuid = self.made("uuid")
        assert UUID(bytes=made.payload[1]) != uuid

    def test_tag(self):
        made, _ = self.made("tag")
        assert made.payload[2] == bytes.fromhex("19106a")

    def test_policy(self):
        made, _ = self.made("policy")
        assert (
            x509.load_der_x509_csr(made.body)
            .extensions.get_extension_for_class(x509.BasicConstraints)
            .value.ca
        )

    def test_null_is_valid_once_it_is_taken_out(self):
        made, uuid = self.made("null")
        assert made.payload[3] == hashlib.sha256(made.body).digest()
        with pytest.raises(ValueError, match="signature_alg"):
            x509.load_der_x509_csr(made.body)
        csr = x509.load_der_x509_csr(without_null(made.body))
        assert csr.is_signature_valid
        assert csr.subject.rfc4514_string() == f"CN={uuid}"

    def test_reused_key(self):
        with Rig("2:bad-csr=reused-key", 2) as rig:
            bodies = []
            for slot in (1, 2):
                with rig.host(slot) as host:
                    bodies.append(keygen(host.ready()).body)
            first, second = (x509.load_der_x509_csr(body).public_key() for body in bodies)
            assert first == second


def test_unplug_may_plug_in_again():
    with Rig("1:unplug=20ms@list") as rig:
        with rig.host() as host:
            host.ready().raw(b"AT%CMNG=1\r")
            assert select.select([host.fd], [], [], 5)[0]
        pause = threading.Event()
        for _ in range(200):
            if rig.bench.ports:
                break
            pause.wait(0.02)
        with rig.host() as host:
            host.read()
            assert host.ask("AT+CFUN?").info == ["+CFUN: 1"]


def test_a_slot_can_be_occupied_later():
    with Rig("") as rig, rig.host() as host:
        rig.bench.call(lambda: rig.board().change_faults(parse("1:occupied=4201/1").of_slot(1)))
        assert len(host.ask("AT%CMNG=1,4201,1").info) == 1


def test_swap_at_any_look():
    with Rig("1:swap@identify#3") as rig, rig.host() as host:
        seen = [host.ask("AT%DEVICEUUID").info[0] for _ in range(5)]
        assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4]
