"""What a scanned code says, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.errors import InfuseError, ProfileError
from infuse_cli.provisioning.scan import Rules, is_imei, read

RULES = Rules({"serialNumber": r"SN-\d{5}"}, prefix="]C1", suffix="#")
IMEI = "490154203237518"


PIECES = st.sampled_from(
    [
        "]C1",
        "SLOT-3",
        "SLOT-",
        "SN-00012",
        "SN-1",
        IMEI,
        "490154203237519",
        " ",
        ";",
        ",",
        "|",
        "#",
        "\r",
    ]
) | st.text(max_size=6)


def only_reads_or_refuses(pieces):
    with suppress(ProfileError):
        code = read("".join(pieces), RULES)
        assert code.slot is not None or code.imei is not None or code.values
        assert code.imei is None or is_imei(code.imei)


@settings(max_examples=80)
@given(st.lists(PIECES, max_size=6))
def test_a_code_says_something_or_is_refused(pieces):
    only_reads_or_refuses(pieces)


@pytest.mark.storm
@pytest.mark.timeout(3600)
@settings(max_examples=100_000)
@given(st.lists(PIECES, max_size=8))
def test_many_codes_say_something_or_are_refused(pieces):
    only_reads_or_refuses(pieces)


@pytest.mark.parametrize(
    ("text", "slot", "imei", "values"),
    [
        ("]C1SLOT-3#", 3, None, {}),
        ("slot 12", 12, None, {}),
        (IMEI, None, IMEI, {}),
        (f"IMEI: {IMEI}", None, IMEI, {}),
        ("]C1SN-00012#\r", None, None, {"serialNumber": "SN-00012"}),
        (f"SN-00012;{IMEI}", None, IMEI, {"serialNumber": "SN-00012"}),
    ],
)
def test_codes_are_told_apart(text, slot, imei, values):
    code = read(text, RULES)
    assert (code.slot, code.imei, dict(code.values)) == (slot, imei, values)


@pytest.mark.parametrize(
    "text", ["", "SN-1", "490154203237519", f"{IMEI} SLOT-1 SLOT-2", "SN-00012 SN-00013", "x" * 600]
)
def test_what_is_none_of_them_is_refused(text):
    with pytest.raises(InfuseError):
        read(text, RULES)
