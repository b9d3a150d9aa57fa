"""A shift at the line: boards come and go while one run lasts."""

from __future__ import annotations

import os
import pty
import signal
import tty
from pathlib import Path

import pytest

from infuse_cli.errors import BoardError
from infuse_cli.provisioning import fixture as jig
from tests.line.trouble import eventually, faults, in_slot, once_each, profile_with, under_way


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(20) as bench:
        yield bench


class Socket:
    """A port that keeps its name, as udev's links do: boards are put in and taken out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.path = str(path)

    def put(self, port: str) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.symlink_to(port)
        fresh.replace(self._path)

    def take(self) -> None:
        self._path.unlink()


@pytest.fixture
def sockets(tmp_path):
    return [Socket(tmp_path / f"socket{number}") for number in (1, 2)]


def count(run, event: str, **more) -> int:
    return sum(
        row["event"] == event and all(row[key] == value for key, value in more.items())
        for row in run.read()
    )


def test_boards_one_after_another_and_the_same_one_is_recognised(bench, sockets):
    one, two = bench.slot(), bench.slot()
    socket, empty = sockets
    with under_way(bench, socket.path, empty.path, more=("--watch",)) as run:
        run.until(event="run-started")
        for number, slot in enumerate((one, two, one), start=1):
            socket.put(bench.world.port(slot))
            eventually(lambda number=number: count(run, "board-ended", state="PASS") == number)
            socket.take()
            eventually(lambda number=number: count(run, "board-left") == number)
        run.signal(signal.SIGINT)
        ran = run.wait()
    assert ran.code == 0
    assert run.events[-1]["data"]["totals"] == {"pass": 2, "fail": 0, "error": 0, "aborted": 0}
    assert count(run, "run-stopping") == 0
    assert len({row["board"] for row in run.events if row["event"] == "board-found"}) == 2


@pytest.mark.storm
def test_count_ends_the_shift_and_a_board_that_failed_counts(bench, sockets):
    good, bad = bench.slot(), bench.slot()
    with (
        faults(bench, f"{bad}:install=CME527"),
        under_way(
            bench, *(socket.path for socket in sockets), more=("--watch", "--count", "2")
        ) as run,
    ):
        run.until(event="run-started")
        for socket, slot in zip(sockets, (good, bad), strict=True):
            socket.put(bench.world.port(slot))
        ran = run.wait()
    assert ran.code == 11
    assert run.events[-1]["data"]["totals"] == {"pass": 1, "fail": 1, "error": 0, "aborted": 0}


@pytest.mark.storm
def test_a_board_that_was_pulled_goes_on_in_another_socket(bench, sockets):
    slot = bench.slot()
    first, second = sockets
    with (
        faults(bench, f"{slot}:unplug@install"),
        under_way(
            bench, first.path, second.path, more=("--watch", "--count", "1", "--slots", "1")
        ) as run,
    ):
        run.until(event="run-started")
        first.put(bench.world.port(slot))
        pulled = run.until(event="board-ended", state="ERROR")
        first.take()
        second.put(bench.world.plug(slot))
        ran = run.wait()
    assert pulled["error"]["code"] == "serial.unplugged"
    assert ran.code == 0
    assert run.events[-1]["data"]["totals"] == {"pass": 1, "fail": 0, "error": 0, "aborted": 0}
    assert count(run, "step-done", step="keygen") == 1  # it went on where it was
    assert [row["slot"] for row in run.events if row["event"] == "board-ended"] == [1, 2]


@pytest.mark.storm
def test_a_hub_that_is_lost_is_one_event_and_its_boards_go_on(bench, sockets):
    slots = [bench.slot(), bench.slot()]
    plan = ", ".join(f"{slot}:unplug@install" for slot in slots)
    with (
        faults(bench, plan),
        under_way(
            bench, *(socket.path for socket in sockets), more=("--watch", "--count", "2")
        ) as run,
    ):
        run.until(event="run-started")
        for socket, slot in zip(sockets, slots, strict=True):
            socket.put(bench.world.port(slot))
        lost = run.until(event="hub-lost")
        for socket, slot in zip(
            reversed(sockets), slots, strict=True
        ):  # back, and not where they were
            socket.take()
            socket.put(bench.world.plug(slot))
        ran = run.wait()
    assert ran.code == 0
    assert lost["data"] == {"slots": [1, 2]}
    assert [row["state"] for row in run.events if row["event"] == "board-ended"] == ["PASS", "PASS"]
    assert count(run, "step-done", step="keygen") == 2


@pytest.mark.storm
def test_a_stop_with_a_board_in_hand_parks_it_and_a_killed_shift_goes_on(bench, sockets):
    slot, other = bench.slot(), bench.slot()
    profile = (
        "--profile",
        profile_with(
            bench, "soon", lambda profile: profile["cloud"].update(lost_answer_grace_s=0.2)
        ),
    )
    with under_way(
        bench, sockets[0].path, more=("--watch", *profile), failpoint="done:keygen"
    ) as run:
        run.until(event="run-started")
        sockets[0].put(bench.world.port(slot))
        assert run.wait().code == -signal.SIGKILL
    with under_way(bench, sockets[0].path, more=("--watch", "--count", "1", *profile)) as run:
        assert run.wait().code == 0
    assert "running" in {row["state"] for row in run.events[0]["data"]["unfinished"]}
    assert count(run, "step-done", step="keygen") == 0
    with (
        faults(bench, f"{other}:hang@install"),
        under_way(bench, sockets[1].path, more=("--watch",)) as run,
    ):
        run.until(event="run-started")
        sockets[1].put(bench.world.port(other))
        run.until(event="step-begun", step="install")
        run.signal(signal.SIGTERM)
        run.until(event="run-stopping")
        bench.world.unplug(other)
        assert run.wait().code == 130
    sockets[1].put(bench.world.plug(other))
    ran = bench.provision(sockets[1].path)
    assert ran.code == 0
    once_each(bench, ran.envelope["data"]["boards"])


def test_a_jig_that_stays_silent_is_told_of_once_and_one_that_speaks_at_once():
    """Pure: no clock but the one that is given."""
    silent, speaks = (
        BoardError("serial.silent", "nothing"),
        BoardError("serial.silent", "nothing", details={"heard": "it sends NMEA sentences"}),
    )
    silence = jig.SilenceMonitor("/dev/ttyACM0", since=100.0)
    told = [
        silence.after(error, 100.0 + at)
        for error, at in (
            (silent, 5),
            (speaks, 10),
            (silent, 29),
            (silent, 30),
            (silent, 60),
            (speaks, 61),
            (speaks, 62),
            (speaks, 63),
        )
    ]
    assert [one is not None for one in told] == [
        False,
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert ("/dev/ttyACM0 silent for 30 s" in told[3]["why"], "NMEA" in told[6]["heard"]) == (
        True,
        True,
    )
    assert silence.after(BoardError("serial.busy", "held"), 500.0) is None


@pytest.mark.storm
def test_in_a_jig_a_port_that_speaks_without_answering_is_told_of(bench):
    slot = bench.slot()
    profile = profile_with(bench, "jig", lambda profile: profile["board"].update(presence="answer"))
    with (
        faults(bench, f"{slot}:gps"),
        under_way(bench, bench.world.port(slot), more=("--watch", "--profile", profile)) as run,
    ):
        told = run.until(event="slot-silent", slot=1)
        run.signal(signal.SIGINT)
        assert run.wait().code == 0
    assert "GPS receiver" in told["data"]["why"]


@pytest.mark.storm
def test_in_a_jig_whose_port_stays_another_answer_is_another_board(bench):
    slot = bench.slot()
    port = bench.world.port(slot)
    profile = profile_with(bench, "jig", lambda profile: profile["board"].update(presence="answer"))
    bench.world.set_faults(f"{slot}:mute")
    with under_way(bench, port, more=("--watch", "--profile", profile)) as run:
        run.until(event="run-started")
        bench.world.set_faults("")
        eventually(lambda: count(run, "board-ended", state="PASS") == 1)
        bench.world.exchange(slot)
        eventually(lambda: count(run, "board-ended", state="PASS") == 2)
        run.signal(signal.SIGINT)
        ran = run.wait()
    assert ran.code == 0
    assert run.events[-1]["data"]["totals"]["pass"] == 2
    assert count(run, "board-left") == 1


@pytest.fixture
def scanner(bench):
    """A scanner on a serial port of this bench: what is written to it is scanned."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    bench.home.mkdir(mode=0o700, exist_ok=True)
    (bench.home / "bench.yaml").write_text(
        f'scanner: {{port: {os.ttyname(slave)}, prefix: "]C1", suffix: "#"}}\n'
    )
    yield lambda *texts: [os.write(master, f"]C1{text}#\r".encode()) for text in texts]
    os.close(master)
    os.close(slave)
    (bench.home / "bench.yaml").unlink()


def scans(profile):
    profile["metadata"] = {"serialNumber": {"from": "scan", "pattern": r"SN-\d{5}"}}


def labels(bench) -> dict[str, str]:
    return {
        device["mcuId"]: device["metadata"]["serialNumber"]
        for device in bench.world.state()["devices"]
    }


def test_a_label_is_bound_by_slot_or_by_imei_and_never_by_timing(bench, scanner):
    slots, later = [bench.slot(), bench.slot()], bench.slot()
    imeis = [row["imei"] for row in bench.world.state()["slots"] if row["slot"] in slots]
    profile = profile_with(bench, "scan", scans)
    more = ("--watch", "--count", "2", "--profile", profile)
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
    assert {mcu_id: label for mcu_id, label in labels(bench).items() if mcu_id[1:] in imeis} == {
        f"0{imeis[0]}": "SN-00001",
        f"0{imeis[1]}": "SN-00002",
    }
    with under_way(
        bench, bench.world.port(later), more=("--watch", "--count", "1", "--profile", profile)
    ) as run:
        run.until(event="board-waiting")
        scanner("SLOT-1", "SN-00002")  # on record since the run before
        refused = run.until(event="scan-refused")
        scanner("SLOT-1", "SN-00003")  # was refused then, and is nobody's
        assert run.wait().code == 0
    assert f"on record for board {in_slot(bench, slots[1])['uuid']}" in refused["data"]["text"]
    assert "SN-00003" in labels(bench).values()


@pytest.mark.storm
def test_a_label_goes_with_the_board_that_was_pulled_and_not_to_the_next(bench, scanner, sockets):
    pulled, following = bench.slot(), bench.slot()
    more = ("--watch", "--count", "2", "--profile", profile_with(bench, "scan", scans))
    sockets[0].put(bench.world.port(pulled))
    with (
        faults(bench, f"{pulled}:unplug@install"),
        under_way(bench, sockets[0].path, more=more) as run,
    ):
        run.until(event="board-waiting")
        scanner("SLOT-1", "SN-00041")
        run.until(event="board-ended", state="ERROR")
        sockets[0].put(bench.world.port(following))
        eventually(lambda: count(run, "board-waiting") == 2)  # its own label is wanted
        scanner("SLOT-1", "SN-00042")
        run.until(event="board-ended", state="PASS")
        sockets[0].put(bench.world.plug(pulled))
        eventually(
            lambda: count(run, "board-waiting") == 3 or count(run, "board-ended", state="PASS") == 2
        )
        scanner("SLOT-1", "SN-00041")
        assert run.wait().code == 0
    assert {"SN-00041", "SN-00042"} <= set(labels(bench).values())


@pytest.mark.storm
def test_a_board_that_is_recognised_wants_no_scan(bench, scanner):
    port = bench.world.port(bench.slot())
    with under_way(
        bench,
        port,
        more=("--watch", "--count", "1", "--profile", profile_with(bench, "scan", scans)),
    ) as run:
        run.until(event="board-waiting")
        scanner("SLOT-1", "SN-00099")
        assert run.wait().code == 0
    with under_way(
        bench, port, more=("--watch", "--profile", profile_with(bench, "scan", scans))
    ) as run:
        run.until(event="board-ended", state="PASS")
        scanner("SLOT-1")
        run.until(event="scan-refused")
        run.signal(signal.SIGTERM)
        assert run.wait().code == 0
