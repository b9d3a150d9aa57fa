"""Labels that are scanned: whose they are, and what is refused (rule 31)."""

from __future__ import annotations

import os
import pty
import signal
import tty
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.errors import InfuseError, ProfileError
from infuse_cli.pipeline.scan import Rules, is_imei, read
from tests.line.test_watch import count
from tests.line.trouble import eventually, profile_with, under_way

RULES = Rules({"serialNumber": r"SN-\d{5}"}, prefix="]C1", suffix="#")
IMEI = "490154203237518"


PIECES = st.sampled_from(["]C1", "SLOT-3", "SLOT-", "SN-00012", "SN-1", IMEI, "490154203237519", " ", ";", ",", "|", "#", "\r"]) | st.text(max_size=6)


def only_reads_or_refuses(pieces):
    with suppress(ProfileError):
        code = read("".join(pieces), RULES)
        assert code.slot is not None or code.imei is not None or code.values
        assert code.imei is None or is_imei(code.imei)


@settings(max_examples=80, deadline=None)
@given(st.lists(PIECES, max_size=6))
def test_a_code_says_something_or_is_refused(pieces):
    only_reads_or_refuses(pieces)


@pytest.mark.storm
@settings(max_examples=100_000, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_many_codes_say_something_or_are_refused(pieces):
    only_reads_or_refuses(pieces)


@pytest.mark.parametrize(("text", "slot", "imei", "values"), [
    ("]C1SLOT-3#", 3, None, {}), ("slot 12", 12, None, {}), (IMEI, None, IMEI, {}), (f"IMEI: {IMEI}", None, IMEI, {}),
    ("]C1SN-00012#\r", None, None, {"serialNumber": "SN-00012"}), (f"SN-00012;{IMEI}", None, IMEI, {"serialNumber": "SN-00012"}),
])
def test_codes_are_told_apart(text, slot, imei, values):
    code = read(text, RULES)
    assert (code.slot, code.imei, dict(code.values)) == (slot, imei, values)


@pytest.mark.parametrize("text", ["", "SN-1", "490154203237519", f"{IMEI} SLOT-1 SLOT-2", "SN-00012 SN-00013", "x" * 600])
def test_what_is_none_of_them_is_refused(text):
    with pytest.raises(InfuseError):
        read(text, RULES)


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(6) as bench:
        yield bench


@pytest.fixture
def scanner(bench):
    """A scanner on a serial port of this bench: what is written to it is scanned."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    bench.home.mkdir(mode=0o700, exist_ok=True)
    (bench.home / "bench.yaml").write_text(f'scanner: {{port: {os.ttyname(slave)}, prefix: "]C1", suffix: "#"}}\n')
    yield lambda *texts: [os.write(master, f"]C1{text}#\r".encode()) for text in texts]
    os.close(master)
    os.close(slave)


def scans(profile):
    profile["metadata"] = {"serialNumber": {"from": "scan", "pattern": r"SN-\d{5}"}}


def labels(bench) -> dict[str, str]:
    return {device["mcuId"]: device["metadata"]["serialNumber"] for device in bench.world.state()["devices"]}


def test_a_label_is_bound_by_slot_or_by_imei_and_never_by_timing(bench, scanner):
    slots = [bench.slot(), bench.slot()]
    imeis = [row["imei"] for row in bench.world.state()["slots"] if row["slot"] in slots]
    more = ("--watch", "--count", "2", "--profile", profile_with(bench, "scan", scans))
    with under_way(bench, *(bench.world.port(slot) for slot in slots), more=more) as run:
        eventually(lambda: count(run, "board-waiting") >= 2)
        scanner("SN-00007")  # whose?
        eventually(lambda: count(run, "scan-refused") == 1)
        scanner("SLOT-2", "SN-00002")
        run.until(event="board-ended", slot=2, state="PASS")
        scanner("SLOT-1", imeis[1], "SN-00003")  # another board's label
        eventually(lambda: count(run, "scan-refused") == 2)
        scanner(imeis[0], "SN-00002")  # doubled
        eventually(lambda: count(run, "scan-refused") == 3)
        scanner(f"{imeis[0]} SN-00001")
        assert run.wait().code == 0
    assert labels(bench) == {f"0{imeis[0]}": "SN-00001", f"0{imeis[1]}": "SN-00002"}


def test_a_board_that_is_recognised_wants_no_scan(bench, scanner):
    with under_way(bench, bench.world.port(1), more=("--watch", "--profile", profile_with(bench, "scan", scans))) as run:
        run.until(event="board-ended", state="PASS")
        scanner("SLOT-1")
        run.until(event="scan-refused")
        run.signal(signal.SIGTERM)
        assert run.wait().code == 0
