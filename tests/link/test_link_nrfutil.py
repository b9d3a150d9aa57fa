"""The chip's id through a debug probe: nothing that `nrfutil` says is taken on trust."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from infuse_cli.errors import BoardError, Interrupted
from infuse_cli.link.nrfutil import ProbeReader
from infuse_cli.types import PortInfo
from tests.support.nrfutil import ID, PROBE, Nrfutil, answer

PORT = "/dev/ttyACM0"
JIG = "/dev/ttyUSB0"
SEEN = (
    PortInfo(PORT, "J-Link", 0x1366, 0x1069, PROBE, "1-1.2", 0),
    PortInfo(JIG, "UART", 0x0403, 0x6001, None, "1-1.3", 0),
)


@pytest.fixture
def nrfutil(tmp_path, monkeypatch):
    tool = Nrfutil(tmp_path / "bin")
    monkeypatch.setenv("PATH", tool.path)
    return tool


def reader(**more) -> ProbeReader:
    return ProbeReader(more.pop("probes", None), ports=lambda: SEEN, **more)


def refusal(port: str = PORT, soc: str = "nRF9151", **more) -> BoardError:
    with pytest.raises(BoardError) as caught:
        reader(**more).chip_id(port, soc)
    assert caught.value.code == "board.no-mcu-id"
    assert "board.mcu_id" in caught.value.hint or "board.soc" in caught.value.hint
    return caught.value


def test_the_id_is_the_bytes_in_their_order(nrfutil):
    assert reader().chip_id(PORT, "nRF9151") == ID.hex()


def test_only_the_probe_on_the_port_is_asked_and_only_read(nrfutil):
    reader().chip_id(PORT, "nRF9151")
    assert nrfutil.argv == [
        "--json",
        "--skip-overhead",
        "device",
        "x-read",
        "--address",
        "0xff0204",
        "--bytes",
        "8",
        "--direct",
        "--serial-number",
        PROBE,
    ]


def test_no_credential_of_ours_is_handed_on(nrfutil, monkeypatch):
    monkeypatch.setenv("INFUSE_TOKEN", "a-credential")
    reader().chip_id(PORT, "nRF9151")
    assert "a-credential" not in nrfutil.env


def test_a_link_to_the_port_is_followed(nrfutil, tmp_path):
    link = tmp_path / "board"
    link.symlink_to(PORT)
    assert reader().chip_id(str(link), "nRF9151") == ID.hex()


def test_leading_zeros_of_a_probe_do_not_matter(nrfutil):
    nrfutil.says(answer(serial_number=PROBE.lstrip("0")))
    assert reader().chip_id(PORT, "nRF9151") == ID.hex()


def test_a_frame_around_the_payload_is_fine(nrfutil):
    nrfutil.says(f'{{"type":"info","data":{answer().strip()}}}\n')
    assert reader().chip_id(PORT, "nRF9151") == ID.hex()


@pytest.mark.parametrize("named", [JIG, "1-1.3"])
def test_the_bench_may_name_the_probe_of_a_jig(nrfutil, named):
    nrfutil.says(answer(serial_number="000683298616"))
    assert reader(probes={named: "000683298616"}).chip_id(JIG, "nRF9151") == ID.hex()
    assert nrfutil.argv[-1] == "000683298616"


@pytest.mark.parametrize("port", [JIG, "/dev/ttyNONE", "socket://127.0.0.1:7"])
def test_a_port_without_a_serial_number_has_no_probe(nrfutil, port):
    told = refusal(port)
    assert port in told.message
    assert "probes" in told.hint


def test_without_the_tool_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = refusal()
    assert "no nrfutil on the PATH" in told.message
    assert "Install nrfutil" in told.hint


def test_a_soc_whose_id_is_nowhere_known(nrfutil):
    assert "'STM32L4'" in refusal(soc="STM32L4").message


def test_an_exit_code_is_believed_whatever_was_printed(nrfutil):
    nrfutil.says(answer(), code=1, err="probe is busy\n")
    assert "probe is busy" in refusal().message


def test_an_error_in_json_is_told_in_its_own_words(nrfutil):
    nrfutil.says(
        '{"type":"task_end","data":{"result":"fail","error":{"code":15,"description":"Access'
        ' protection is enabled"}}}\n',
        code=1,
    )
    assert "Access protection is enabled" in refusal().message


def test_success_without_a_value_is_none(nrfutil):
    nrfutil.says(
        '{"type":"task_end","data":{"result":"fail","error":{"code":15,"description":"No'
        ' debugger"}}}\n'
    )
    assert "No debugger" in refusal().message


OTHER = answer(serial_number="000683298616")
TWO = answer().replace(
    '[{"serialNumber"', '[{"serialNumber": "7", "memoryData": []}, {"serialNumber"', 1
)


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("", "for 0 probes"),
        ('{"devices": []}\n', "for 0 probes"),
        ("[1, 2]\n", "for 0 probes"),
        (TWO, "for 2 probes"),
        (OTHER, "for probe 000683298616"),
        (answer(address="0x00FF8108"), "not at 0x00ff0204"),
        (answer(ID[:4]), "8 bytes"),
        (answer([*ID[:7], 256]), "8 bytes"),
        (answer([*ID[:7], "8"]), "8 bytes"),
        (answer([*ID[:7], True]), "8 bytes"),
        (answer().replace("memoryData", "memory"), "for 0 probes"),
        ("Reading...\n" + answer(), "not JSON"),
        ("x" * 100_000, "not JSON"),
        (answer([0xFF] * 8), "no id"),
        (answer([0] * 8), "no id"),
        (answer(bytes.fromhex("addeaddeaddeadde")), "no id"),
    ],
)
def test_what_is_no_id_is_refused(nrfutil, out, why):
    nrfutil.says(out)
    assert why in refusal().message


def test_a_tool_that_hangs_is_ended_with_all_it_started(nrfutil, tmp_path):
    nrfutil.says("", first=f"sleep 60 & echo $! > '{tmp_path}/child'; wait")
    assert "no answer" in refusal(deadline_s=0.5).message
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    pause = threading.Event()
    for _ in range(100):
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        pause.wait(0.02)
    raise AssertionError("what nrfutil had started still runs")


def test_the_second_stop_does_not_wait_for_the_tool(nrfutil):
    nrfutil.says("", first="exec sleep 60")
    abort = threading.Event()
    abort.set()
    with pytest.raises(Interrupted):
        reader(abort=abort).chip_id(PORT, "nRF9151")
