"""The device id in one-time memory: the failures that other tools report as success are told here,
and nothing is overwritten.
"""

from __future__ import annotations

import pytest

from infuse_cli.errors import BoardError
from infuse_cli.link.nrfutil import ProbeReader
from infuse_cli.types import PortInfo
from tests.support.nrfutil import PROBE, ChipMemory

pytestmark = pytest.mark.posix
PORT = "/dev/ttyACM0"
WANTED = "d291d4d66bf0a955"
STORED = bytes.fromhex("55a9f06bd6d491d2")


@pytest.fixture
def chip(tmp_path, monkeypatch):
    memory = ChipMemory(tmp_path / "bin")
    monkeypatch.setenv("PATH", memory.path)
    return memory


def probe() -> ProbeReader:
    return ProbeReader(ports=lambda: (PortInfo(PORT, "J-Link", 0x1366, 0x1069, PROBE, "1-1.2", 0),))


def written() -> str | None:
    """None when it went well, else the code of the error."""
    try:
        probe().write_device_id(PORT, "nRF9151", WANTED)
    except BoardError as error:
        return error.code
    return None


def test_the_id_is_written_word_by_word_least_significant_first(chip):
    assert probe().device_id(PORT, "nRF9151") is None
    assert written() is None
    assert chip.read(ChipMemory.OTP) == STORED
    assert (chip.folder / "writes").read_text().splitlines() == [
        "0xff8108 0x6bf0a955",
        "0xff810c 0xd291d4d6",
    ]
    assert probe().device_id(PORT, "nRF9151") == WANTED


def test_an_id_that_is_right_already_is_left(chip):
    chip.put(ChipMemory.OTP, STORED)
    assert written() is None
    assert chip.writes == 0


def test_a_write_that_broke_off_is_completed(chip):
    chip.put(ChipMemory.OTP, STORED[:4] + b"\xff" * 4)
    assert written() is None
    assert (chip.writes, chip.read(ChipMemory.OTP)) == (1, STORED)


@pytest.mark.parametrize("there", [b"\x01" * 8, STORED[:4] + b"\0" * 4, b"\xff" * 4 + b"\x12" * 4])
def test_another_id_is_refused_and_nothing_is_written(chip, there):
    chip.put(ChipMemory.OTP, there)
    assert written() == "board.other-id"
    assert (chip.writes, chip.read(ChipMemory.OTP)) == (0, there)


@pytest.mark.parametrize(
    "trouble",
    [
        "exit 1",
        "true",
        "value=0x0; store",
        """echo '{"error": {"description": "access protection"}}'""",
        """echo '{"type": "task_end", "data": {"error": {"message": "write failed"}}}'; store""",
        "echo not json; exit 3",
    ],
    ids=[
        "exit code",
        "nothing happens",
        "wrong bits",
        "told in JSON",
        "told in a frame",
        "garbage",
    ],
)
def test_a_failed_write_is_never_a_success(chip, trouble):
    chip.trouble(trouble)
    assert written() == "board.id-not-written"


@pytest.mark.parametrize("there", [b"\0" * 8, bytes.fromhex("addeadde") * 2])
def test_memory_that_cannot_be_read_is_no_id(chip, there):
    chip.put(ChipMemory.OTP, there)
    assert written() == "board.id-not-written"
    assert chip.writes == 0


def test_without_the_tool_or_for_another_chip_it_is_said(chip, monkeypatch):
    with pytest.raises(BoardError, match="not known") as caught:
        probe().write_device_id(PORT, "ESP32", WANTED)
    assert caught.value.code == "board.id-not-written"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BoardError, match="no nrfutil"):
        probe().write_device_id(PORT, "nRF9151", WANTED)
