"""A cloud device beside what is expected of it."""

from infuse_cli.api_types import Device
from infuse_cli.effects.comparison import Difference, compare_device

DEVICE = Device(
    id="id",
    mcu_id="00aa",
    board_id="b1",
    organisation_id="o1",
    device_id="d1",
    metadata={"serial": "S1", "colour": "red", "only": "cloud"},
)


def test_what_is_not_expected_is_not_compared():
    assert not compare_device(DEVICE)
    assert not compare_device(DEVICE, mcu_id="00AA", metadata={"serial": "S1"})


def test_ids_and_metadata_are_told_apart():
    found = compare_device(
        DEVICE,
        device_id="d2",
        board_id="b2",
        organisation_id="o1",
        metadata={"serial": "S2", "imei": "35", "colour": "red"},
    )
    assert found.ids == (Difference("deviceId", "d1", "d2"), Difference("board", "b1", "b2"))
    assert found.missing == {"imei": "35"}
    assert found.differing == (Difference("serial", "S1", "S2"),)
    assert found.patch == {"imei": "35", "serial": "S2"}
