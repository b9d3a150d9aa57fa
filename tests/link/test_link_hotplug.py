"""Ports that come, go and change their names while a run lasts, on a machine whose list of ports is
made up.
"""

from __future__ import annotations

import pytest

from infuse_cli.link import discover, hotplug
from infuse_cli.link.hotplug import NamedPorts, UsbPorts
from infuse_cli.types import PortInfo


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Plugs boards in: `plug("1-1.2", "ttyACM0")`; all of them nRF9151 DKs, AT port on
    interface 0.
    """
    monkeypatch.setattr(hotplug, "_LIST_AGAIN_S", 0.0)
    plugged: dict[str, PortInfo] = {}

    class Machine:
        def plug(self, hub_path: str, name: str, serial: str | None = None) -> str:
            port = tmp_path / name
            port.touch()
            plugged[hub_path] = PortInfo(
                str(port), "", 0x1366, 0x1069, serial or f"0010512{hub_path[-1]}", hub_path, 0
            )
            return str(port)

        def pull(self, *hub_paths: str) -> None:
            for hub_path in hub_paths:
                (tmp_path / plugged.pop(hub_path).port).unlink()

    monkeypatch.setattr(discover, "list_ports", lambda: discover.in_slot_order(plugged.values()))
    return Machine()


def names(monitor) -> dict[int, str]:
    return {slot: plugged.port.rpartition("/")[2] for slot, plugged in monitor.poll().items()}


def test_a_socket_keeps_its_slot_when_its_port_gets_another_name(machine):
    machine.plug("1-1.2", "ttyACM0")
    machine.plug("1-1.10", "ttyACM1")
    monitor = UsbPorts((), {})
    assert names(monitor) == {1: "ttyACM0", 2: "ttyACM1"}
    machine.pull("1-1.2", "1-1.10")  # the hub
    assert names(monitor) == {}
    machine.plug("1-1.10", "ttyACM0")
    assert names(monitor) == {2: "ttyACM0"}
    machine.plug("1-1.2", "ttyACM3")
    machine.plug("1-1.4", "ttyACM4")
    assert names(monitor) == {1: "ttyACM3", 2: "ttyACM0", 3: "ttyACM4"}


def test_learned_slots_by_socket_and_by_serial_number(machine):
    machine.plug("1-1.2", "ttyACM0", "A")
    machine.plug("1-1.3", "ttyACM1", "B")
    machine.plug("1-1.4", "ttyACM2", "C")
    monitor = UsbPorts((), {"1-1.4": 1, "A": 7})
    assert names(monitor) == {7: "ttyACM0", 2: "ttyACM1", 1: "ttyACM2"}
    machine.pull("1-1.2")
    machine.plug("1-1.5", "ttyACM9", "A")  # the adapter went to another socket
    assert names(monitor) == {7: "ttyACM9", 2: "ttyACM1", 1: "ttyACM2"}


def test_a_scanner_is_never_a_board(machine):
    scanner = machine.plug("1-1.2", "ttyACM0")
    machine.plug("1-1.3", "ttyACM1")
    assert names(UsbPorts((), {}, (scanner,))) == {1: "ttyACM1"}


def test_a_port_that_went_and_came_under_its_name_is_another(tmp_path):
    port = tmp_path / "ttyACM0"
    monitor = NamedPorts([str(port), "socket://127.0.0.1:4161"])
    assert names(monitor) == {2: "127.0.0.1:4161"}
    port.touch()
    before = monitor.poll()[1]
    assert monitor.poll()[1] == before
    (tmp_path / "other").touch()
    (tmp_path / "other").replace(port)
    assert monitor.poll()[1] != before
