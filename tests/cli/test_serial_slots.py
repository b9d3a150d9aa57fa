"""`infuse serial slots`: sockets and serial numbers tied to slots, in a bench file whose other
lines stay as they are.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infuse_cli.cli import main
from infuse_cli.config import bench_file
from infuse_cli.config.bench import load_bench
from infuse_cli.errors import ProfileError
from infuse_cli.link.discover import explain
from infuse_cli.link.places import free, kind_of, numbered, place_of, slot_of
from infuse_cli.serial_tools import ports as serial_ports
from infuse_cli.serial_tools import slots as serial_slots
from infuse_cli.settings import Settings
from infuse_cli.types import PortInfo
from tests.line.trouble import one_line, refused
from tests.support.zygote import Ran


def dk(number, hub, serial=None):
    return PortInfo(
        f"/dev/ttyACM{number}", "J-Link", 0x1366, 0x1069, serial or f"00105120000{number}", hub, 0
    )


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """Run `infuse serial …` in this process on a machine with these boards; `bench.boards` may be
    changed.
    """
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path))
    for name in ("INFUSE_PROFILE", "INFUSE_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, output="json"):
        code = main.run(["serial", *words, "--output", output])
        return Ran(code, *capsys.readouterr())

    run.boards = [dk(0, "1-1.2"), dk(1, "1-1.3")]
    run.home = tmp_path
    monkeypatch.setattr(serial_ports, "list_ports", lambda: tuple(run.boards))
    return run


def data(ran):
    assert ran.code == 0, ran.stdout + ran.stderr
    return ran.envelope["data"]


def test_boards_that_are_plugged_in_are_learned_and_keep_their_numbers(bench):
    assert data(bench("slots"))["slots"] == []
    made = data(bench("slots", "learn", "--from-present"))
    assert [(row["slot"], row["place"], row["kind"]) for row in made["learned"]] == [
        (1, "1-1.2", "hub path"),
        (2, "1-1.3", "hub path"),
    ]
    bench.boards = [dk(7, "1-1.1"), dk(3, "1-1.3")]
    assert [(row["slot"], row["port"]) for row in data(bench("slots", "show"))["slots"]] == [
        (1, None),
        (2, "/dev/ttyACM3"),
    ]
    assert [(row["port"], row["slot"]) for row in data(bench("ports"))["ports"]] == [
        ("/dev/ttyACM7", None),
        ("/dev/ttyACM3", 2),
    ]
    assert [row["slot"] for row in data(bench("slots", "learn", "--from-present"))["learned"]] == [
        3
    ]
    again = data(bench("slots", "learn", "--from-present"))
    assert (again["learned"], again["file"]) == ([], None)
    assert "slot  tied to" in bench("slots", output="human").stdout


def test_slots_can_follow_the_adapter(bench):
    data(bench("slots", "learn", "--from-present", "--by", "serial"))
    assert load_bench(bench.home).slots == {"001051200000": 1, "001051200001": 2}
    bench.boards = [dk(5, "1-9", serial="001051200001")]
    assert [row["slot"] for row in data(bench("ports"))["ports"]] == [2]


def test_slots_are_forgotten(bench):
    data(bench("slots", "learn", "--from-present"))
    assert data(bench("slots", "forget", "1"))["forgotten"] == [1]
    assert load_bench(bench.home).slots == {"1-1.3": 2}
    assert [row["slot"] for row in data(bench("slots", "learn", "--from-present"))["learned"]] == [
        1
    ]  # the lowest that is free
    for words in (("9",), (), ("1", "--all")):
        refused(bench("slots", "forget", *words), "usage.bad-option", 2)
    assert data(bench("slots", "forget", "--all"))["slots"] == []


def test_nothing_to_learn_and_nobody_to_ask(bench):
    refused(bench("slots", "learn"), "usage.no-terminal", 2)
    refused(bench("slots", "learn", "--from-present", "--by", "name"), "usage.bad-option", 2)
    bench.boards = []
    one_line(bench("slots", "learn", "--from-present", output="human"), "serial.none", 7)
    bench.boards = [PortInfo("COM3", "J-Link", 0x1366, 0x1069)]
    refused(bench("slots", "learn", "--from-present"), "serial.ambiguous", 7)


def test_a_person_is_walked_through_it(bench, monkeypatch):
    steps = [
        [dk(0, "1-1.2")],
        [],
        [dk(4, "1-1.2")],
        [dk(4, "1-1.2")],
        [dk(4, "1-1.2"), dk(5, "1-1.4")],
    ]

    class Clock:
        def wait(self, seconds):
            bench.boards = steps.pop(0) if steps else bench.boards
            return not steps

    bench.boards = steps.pop(0)
    steps.append(steps[-1])
    sentences = []
    learned = serial_slots.learn_plugged(Settings(bench.home), "hub", Clock(), sentences.append)
    assert [(slot.number, slot.port) for slot in learned.new] == [(1, None), (2, None)]
    assert load_bench(bench.home).slots == {"1-1.2": 1, "1-1.4": 2}
    assert "1 board plugged in already" in sentences[0]
    assert any("Slot 2 is hub path 1-1.4" in text for text in sentences)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\nstation: left  # of two\n",
        "slots: {'1-1': 4}\n# end\nlot: L\n",
        "station: a\nslots:\n  1-1: 4  # top\n  # bottom comes next\n  1-2: 5\nlot: L # x\n",
        "slots: {}",
        "station: a",
        "lot: L\nslots: {}  # none\n",
    ],
)
def test_the_rest_of_the_bench_file_stays(tmp_path, text):
    path = tmp_path / "bench.yaml"
    path.write_text(text)
    before = load_bench(tmp_path)
    bench_file.store_slots(tmp_path, {"1-1.2": 1, "0010": 2})
    after = load_bench(tmp_path)
    assert (after.slots, after.station, after.lot) == (
        {"1-1.2": 1, "0010": 2},
        before.station,
        before.lot,
    )
    kept = [
        line
        for line in text.splitlines()
        if line and "slots" not in line and not line.startswith("  ")
    ]
    assert all(line in path.read_text().splitlines() for line in kept)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_bench_file_with_mistakes_is_not_touched(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text("nonsense: 1\n")
    with pytest.raises(ProfileError):
        bench_file.store_slots(tmp_path, {"1-1": 1})
    assert path.read_text() == "nonsense: 1\n"


def test_a_socket_counts_before_a_serial_number():
    board = dk(0, "1-1.2")
    assert slot_of(board, {"1-1.2": 3, "001051200000": 4}) == 3
    assert slot_of(board, {"001051200000": 4}) == 4
    assert (place_of(board), place_of(board, "serial"), place_of(PortInfo("COM1"))) == (
        "1-1.2",
        "001051200000",
        None,
    )
    assert (kind_of("1-1.2"), kind_of("001051200000")) == ("hub path", "serial number")


@given(st.lists(st.integers(1, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_every_board_has_a_slot_of_its_own(learned, present):
    slots = {f"1-{number}": slot for slot, number in enumerate(learned, 3)}
    found = numbered([dk(number, f"1-{number}") for number in present], slots)
    assert len(set(found.values())) == len(present)
    assert list(found.values()) == sorted(found.values())
    assert all(
        found[f"/dev/ttyACM{number}"] == slots[f"1-{number}"]
        for number in present
        if f"1-{number}" in slots
    )
    assert free(found.values()) not in found.values()


def test_common_adapters_are_called_by_name_and_never_taken():
    rows = [
        PortInfo("/dev/a", "", 0x0403, 0x6001, "FT7"),
        PortInfo("/dev/b", "", 0x1366, 0x0105, "000821"),
        PortInfo("/dev/c", "", 0x1366, 0x1055, "001050912345"),
        PortInfo("/dev/d", "", 0x1546, 0x01A8),
    ]
    told = {one.info.port: one for one in explain(rows)}
    assert {port: one.board for port, one in told.items()} == {
        "/dev/a": "FTDI adapter",
        "/dev/b": "J-Link",
        "/dev/c": "nRF9161 DK",
        "/dev/d": "u-blox receiver",
    }
    assert not any(one.chosen for one in told.values())
    assert "--port" in told["/dev/a"].why
