from types import SimpleNamespace

import pytest

from infuse_cli.config.model import UsbMatch
from infuse_cli.errors import BoardError
from infuse_cli.link.discover import KNOWN, candidates, list_candidates, port_info


def usb(device, location, vid=0x1366, pid=0x1069, serial="001051200001"):
    return port_info(
        SimpleNamespace(
            device=device,
            description="J-Link",
            vid=vid,
            pid=pid,
            serial_number=serial,
            location=location,
        )
    )


def names(ports):
    return [port.port for port in ports]


def test_hub_path_and_interface_come_from_the_location():
    found = usb("/dev/ttyACM0", "1-2.3:1.2")
    assert (found.hub_path, found.interface) == ("1-2.3", 2)
    assert usb("COM3", None).interface is None


def test_only_the_at_port_of_a_board_is_a_candidate():
    ports = [
        usb("/dev/ttyACM1", "1-2:1.2"),
        usb("/dev/ttyACM0", "1-2:1.0"),
        usb("/dev/ttyACM3", "1-3:1.4", 0x1915, 0x910A, "THINGY91X_AB"),
        usb("/dev/ttyACM2", "1-3:1.1", 0x1915, 0x910A, "THINGY91X_AB"),
        usb("/dev/ttyUSB0", "1-4:1.0", 0x0403, 0x6001, "FT1"),
        usb("/dev/ttyS0", None, None, None, None),
    ]
    assert names(candidates(ports, KNOWN)) == ["/dev/ttyACM0", "/dev/ttyACM2"]


def test_slots_follow_the_hub_not_the_names():
    ports = [
        usb("/dev/ttyACM0", "1-10:1.0", serial="3"),
        usb("/dev/ttyACM5", "1-2:1.0", serial="1"),
        usb("/dev/ttyACM9", "1-2.1:1.0", serial="2"),
    ]
    assert names(candidates(ports, KNOWN)) == ["/dev/ttyACM5", "/dev/ttyACM9", "/dev/ttyACM0"]


def test_a_profiles_rule_for_a_custom_board():
    rules = [UsbMatch(vid="0403", pid="6001", serial_prefix="LINE")]
    ports = [
        usb("/dev/ttyUSB0", "1-4:1.0", 0x0403, 0x6001, "LINE7"),
        usb("/dev/ttyUSB1", "1-5:1.0", 0x0403, 0x6001, "X"),
    ]
    assert names(candidates(ports, rules)) == ["/dev/ttyUSB0"]


def test_two_ports_of_one_board_are_never_guessed_between():
    ports = [usb("/dev/cu.1", None), usb("/dev/cu.2", None)]
    with pytest.raises(BoardError) as caught:
        candidates(ports, KNOWN)
    assert caught.value.code == "serial.ambiguous"
    assert "/dev/cu.1, /dev/cu.2" in caught.value.message


def test_two_ports_of_one_board_without_a_known_interface():
    rules = [UsbMatch(vid="0403", pid="6010")]
    ports = [
        usb("/dev/ttyUSB0", "1-4:1.0", 0x0403, 0x6010),
        usb("/dev/ttyUSB1", "1-4:1.1", 0x0403, 0x6010),
    ]
    with pytest.raises(BoardError):
        candidates(ports, rules)


def test_windows_may_leave_out_interface_0():
    assert names(candidates([usb("COM4", "1-2:x.2"), usb("COM3", None)], KNOWN)) == ["COM3"]


def test_a_board_whose_at_port_is_missing_is_no_candidate():
    assert names(candidates([usb("/dev/ttyACM1", "1-2:1.2")], KNOWN)) == []


def test_the_machine_can_be_asked():
    assert list(list_candidates([UsbMatch(vid="dead", pid="beef")])) == []
