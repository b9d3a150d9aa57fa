"""The table of dialects: every row can be used, and says what its operations do."""

import pytest

from infuse_cli import dialect
from infuse_cli.capabilities import CERTIFICATE_MODES, MCU_ID_SOURCES, TOKEN_STORES, Capability
from infuse_cli.config import model
from infuse_cli.dialect import DIALECTS
from infuse_cli.dialect.base import CodecOptions, Operations
from infuse_cli.errors import ProfileError
from infuse_cli.keys.frames import network_cipher
from infuse_cli.sim import faults, fronts

METHODS = {
    Capability.READ_DIGEST: "list_credentials",
    Capability.WRITE: "write_credential",
    Capability.DELETE: "delete_credential",
    Capability.CSR: "keygen",
    Capability.ATTEST_TOKEN: "attestation_token",
    Capability.POSSESSION: "jwt",
    Capability.RAW: "raw",
    Capability.HWINFO: "hardware_id",
    Capability.SECURITY_STATE: "security_state",
    Capability.PUBLIC_KEY: "public_keys",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_row_names_its_codec_and_what_its_operations_cover(name):
    row = DIALECTS[name]
    assert row.codec(CodecOptions(cipher=network_cipher())).name == name
    operations = type(row.operations())
    assert name == operations.DIALECT
    for capability, method in METHODS.items():
        covered = getattr(operations, method) is not getattr(Operations, method)
        assert covered == (capability in row.can), capability


def test_a_profile_may_name_every_dialect_and_no_other():
    values = {"name": "x", "board": {"serial": {"dialect": ""}}}
    for name in (*DIALECTS, "auto"):
        values["board"]["serial"]["dialect"] = name
        assert model.from_json(values).board.serial == model.Serial(dialect=name)
    with pytest.raises(ProfileError, match="unknown"):
        dialect.dialect("morse")


def test_every_store_and_source_has_a_dialect():
    for asked in (TOKEN_STORES, MCU_ID_SOURCES, CERTIFICATE_MODES):
        assert all(dialect.able(needed) for needed in asked.values())


@pytest.mark.parametrize("name", faults.DIALECTS)
def test_a_virtual_board_speaks_what_the_table_says(name):
    assert fronts.front(name) is not None
