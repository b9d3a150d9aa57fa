"""Ports that are not there, not ours or not answering; boards that are unplugged or swapped under
the open port.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path

import pytest

from infuse_cli.dialect.base import PROBE_S, PROBES
from tests.line.trouble import (
    MINT,
    ended,
    faults,
    in_slot,
    modem,
    one_line,
    passes,
    refused,
    requests,
    under_way,
    well_said,
)
from tests.support.thin import thin

HOLD = (
    "import os, fcntl, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); fcntl.flock(fd,"
    " fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(40) as bench:
        yield bench


def test_no_board_on_any_port(bench):
    words = ("provision", "--profile", bench.profile)
    refused(bench.infuse(*words, "--output", "json"), "serial.none", 7)
    assert "infuse serial ports" in one_line(bench.infuse(*words), "serial.none", 7)


@pytest.mark.parametrize("kind", ["missing", "file", "folder"])
def test_what_is_no_port_is_named(bench, tmp_path, kind):
    path = {"missing": tmp_path / "ttyNONE0", "file": tmp_path / "notes.txt", "folder": tmp_path}[
        kind
    ]
    if kind == "file":
        path.write_text("not a port\n")
    error = refused(bench.provision(str(path)), "serial.no-port", 7)
    assert str(path) in error["message"]
    assert ("there is no port" if kind == "missing" else "is not a serial port") in error["message"]
    assert str(path) in one_line(bench.provision(str(path), output="human"), "serial.no-port", 7)
    assert kind != "file" or path.read_text() == "not a port\n"


@contextmanager
def held_by_lock(port: str):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process.pid
    process.communicate()


@contextmanager
def held_exclusively(port: str):
    """As ModemManager and terminals do it; a superuser gets through, so the run has to be
    powerless, and may not see who it is.
    """
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(descriptor, termios.TIOCEXCL)
    yield None
    fcntl.ioctl(descriptor, termios.TIOCNXCL)
    os.close(descriptor)


@pytest.mark.parametrize("hold", [held_by_lock, held_exclusively])
def test_a_port_that_another_process_holds_names_it(bench, hold):
    slot = bench.slot()
    port = bench.world.port(slot)
    with hold(port) as pid:
        error = refused(bench.provision(port, powerless=True), "serial.busy", 7)
        line = one_line(bench.provision(port, output="human", powerless=True), "serial.busy", 7)
    holder = "is held by" if pid is None else f"(pid {pid})"
    assert holder in error["message"]
    assert holder in line
    assert in_slot(bench, slot)["counts"]["keygen"] == 0
    passes(bench, slot)


def test_a_port_without_permission(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    mode = Path(port).stat().st_mode
    Path(port).chmod(0)
    error = refused(bench.provision(port, powerless=True), "serial.denied", 7)
    one_line(bench.provision(port, output="human", powerless=True), "serial.denied", 7)
    Path(port).chmod(mode)
    assert port in error["message"]
    assert "group 'root'" not in error["hint"]  # nobody is told to become the superuser
    passes(bench, slot)


def test_a_silent_port_is_found_out_within_two_seconds(bench):
    slots = [bench.slot() for _ in range(3)]
    ports = [bench.world.port(slot) for slot in slots]
    with faults(bench, f"{slots[0]}:mute, {slots[1]}:gps, {slots[2]}:wrong-baud"):
        ran = bench.provision(*ports)
        assert "GPS receiver" in one_line(
            bench.infuse("serial", "probe", ports[1]), "serial.silent", 7
        )
    for number, (port, said) in enumerate(
        zip(
            ports,
            (
                "answered AT or an ePacket ping within",
                "this is a GPS receiver",
                "the baud rate may be wrong",
            ),
            strict=True,
        ),
        1,
    ):
        board = ended(ran, number)
        assert (board["result"], board["error"]["code"], board["failedStep"]) == (
            "ERROR",
            "serial.silent",
            "open",
        )
        assert port in board["error"]["message"]
        assert said in well_said(board["error"])["message"]
    assert PROBES * PROBE_S <= 2.0
    passes(bench, *slots)


UNPLUGGED = [
    (kind, place)
    for kind in ("unplug", "unplug-before")
    for place in ("identify", "list", "server-ca", "keygen")
] + [(kind, place) for kind in ("unplug", "unplug-before") for place in ("token", "install", "jwt")]


UNPLUGGED_TOGETHER = [UNPLUGGED[8:11], UNPLUGGED[:4], UNPLUGGED[4:8], UNPLUGGED[11:]]


@pytest.mark.parametrize(
    "group", thin(UNPLUGGED_TOGETHER, 2), ids=lambda group: f"{group[0][0]}-{group[0][1]}"
)
def test_a_board_that_is_unplugged_goes_on_where_it_was(bench, group):
    slots = [bench.slot() for _ in group]
    before = requests(bench, "POST /device"), requests(bench, MINT)
    with faults(
        bench,
        ", ".join(
            f"{slot}:{kind}@{place}" for slot, (kind, place) in zip(slots, group, strict=True)
        ),
    ):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots))
    assert ran.code == 11
    for number in range(1, len(group) + 1):
        board = ended(ran, number)
        assert (board["result"], board["error"]["code"]) == ("ERROR", "serial.unplugged"), board
        assert "went away" in well_said(board["error"])["message"]
    for slot in slots:
        bench.world.plug(slot)
    passes(bench, *slots)
    assert (requests(bench, "POST /device"), requests(bench, MINT)) == (
        before[0] + len(slots),
        before[1] + len(slots),
    )
    for slot, place in zip(slots, group, strict=True):
        assert in_slot(bench, slot)["counts"]["keygen"] == (
            2 if place == ("unplug", "keygen") else 1
        )


def test_one_board_that_is_unplugged_has_its_own_exit_code_and_line(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:unplug@install"):
        line = one_line(
            bench.provision(bench.world.port(slot), output="human"), "serial.unplugged", 7
        )
    assert "goes on where it was" in line
    bench.world.plug(slot)
    ran = bench.infuse("resume", "--port", bench.world.port(slot), "--output", "json")
    assert ran.code == 0, ran.stdout
    assert ended(ran)["result"] == "PASS"
    assert in_slot(bench, slot)["counts"]["keygen"] == 1


SWAPPED = ["list", "server-ca", "keygen", "token", "install", "delete", "jwt"]


def put_back(bench, slot: int) -> None:
    """The board that was swapped out comes back into its place."""

    def back() -> None:
        board = bench.world.bench.board(slot)
        board.modems.append(board.modems[0])

    bench.world.bench.call(back)
    bench.world.reset(slot)


@pytest.mark.parametrize("group", thin([SWAPPED[3:], SWAPPED[:3]], 2), ids=["last", "first"])
def test_a_board_that_is_swapped_under_the_open_port_is_noticed(bench, group):
    """Nothing is written to the other board; each of the two goes on by itself."""
    slots = [bench.slot() for _ in group]
    first = {slot: in_slot(bench, slot)["uuid"] for slot in slots}
    occupied = "".join(
        f", {slot}:occupied=4201/1"
        for slot, place in zip(slots, group, strict=True)
        if place == "delete"
    )
    with faults(
        bench,
        ", ".join(f"{slot}:swap@{place}" for slot, place in zip(slots, group, strict=True))
        + occupied,
    ):
        ran = bench.provision(*(bench.world.port(slot) for slot in slots), more=("--replace",))
    assert ran.code == 11
    state = bench.world.state()
    for number, slot in enumerate(slots, start=1):
        board = ended(ran, number)
        assert (board["result"], board["error"]["code"]) == ("ABORTED", "board.changed"), (
            group[number - 1],
            board,
        )
        other = next(row for row in state["slots"] if row["slot"] == slot)
        assert other["uuid"] != first[slot]
        assert first[slot] in well_said(board["error"])["message"]
        assert other["uuid"] in board["error"]["message"]
        assert [row for row in other["credentials"] if row["type"] != 1] == []
        assert (other["counts"]["write"], other["counts"]["delete"], other["functionalMode"]) == (
            0,
            0,
            1,
        )
    passes(bench, *slots, more=("--replace",))
    for slot in slots:
        put_back(bench, slot)
    passes(bench, *slots, more=("--replace",))
    assert {modem(bench.world.state(), uuid)["uuid"] for uuid in first.values()} == set(
        first.values()
    )


def test_one_swapped_board_has_its_own_exit_code_and_line(bench):
    slot = bench.slot()
    with faults(bench, f"{slot}:swap@keygen"):
        one_line(bench.provision(bench.world.port(slot), output="human"), "board.changed", 7)
    passes(bench, slot)


def test_a_board_that_passed_is_not_blamed_for_another_in_its_place(bench):
    slot = bench.slot()
    passes(bench, slot)
    first = in_slot(bench, slot)["uuid"]
    with faults(bench, f"{slot}:swap@list"):
        error = refused(bench.provision(bench.world.port(slot)), "board.changed", 7)
    assert first in error["message"]
    put_back(bench, slot)
    assert passes(bench, slot)[0]["already"]


def test_a_dead_port_and_a_hung_board_delay_no_other(bench):
    """All others have their result while one port is silent and one board hangs in the middle of
    its key.
    """
    slots = [bench.slot() for _ in range(8)]
    with faults(bench, f"{slots[0]}:mute, {slots[1]}:hang@keygen"):
        with under_way(bench, *(bench.world.port(slot) for slot in slots)) as run:
            for number in range(3, 9):
                assert run.until(event="board-ended", slot=number)["state"] == "PASS"
            assert not any(row["event"] == "board-ended" and row["slot"] == 2 for row in run.read())
            bench.world.unplug(slots[1])
            ran = run.wait()
    assert ran.code == 11
    assert run.of(1, "board-ended")["error"]["code"] == "serial.silent"
    assert run.of(2, "board-ended")["error"]["code"] == "serial.unplugged"
    bench.world.plug(slots[1])
    bench.world.reset(slots[1])
    assert all(board["already"] for board in passes(bench, *slots)[2:])
