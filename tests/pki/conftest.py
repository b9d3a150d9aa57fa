from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infuse_cli.pki.store import init_ca, load_ca
from infuse_cli.types import Secret

PASSPHRASE = Secret("correct horse")


@pytest.fixture(scope="session")
def made_ca(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("ca")
    init_ca(base / "line", "Line 1", PASSPHRASE, root_out=base / "stick")
    return base / "line"


@pytest.fixture(scope="session")
def signer(made_ca):
    return load_ca(made_ca, PASSPHRASE)


@pytest.fixture
def ca_copy(made_ca, tmp_path) -> Path:
    return Path(shutil.copytree(made_ca, tmp_path / "line"))


@pytest.fixture
def secret() -> Secret:
    return PASSPHRASE


@pytest.fixture(autouse=True, scope="session")
def no_keyring():
    """The keyring of the person who runs the tests is none of their business."""
    import keyring
    from keyring.backends.null import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    yield
    keyring.set_keyring(before)
