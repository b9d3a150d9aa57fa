from __future__ import annotations

import json
import shutil
from pathlib import Path

import hsm
import pytest

from infuse_cli.cli.main import run
from infuse_cli.pki.store import init_ca, load_ca
from infuse_cli.types import Secret
from tests.support.quick_keys import quicken

PASSPHRASE = Secret("correct horse")


@pytest.fixture(scope="session")
def made_ca(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("ca")
    init_ca(base / "line", "Line 1", PASSPHRASE, root_out=base / "stick")
    quicken(base / "line", PASSPHRASE.reveal())
    return base / "line"


@pytest.fixture(scope="session")
def signer(made_ca):
    return load_ca(made_ca, PASSPHRASE)


@pytest.fixture
def ca_copy(made_ca, tmp_path) -> Path:
    return Path(shutil.copytree(made_ca, tmp_path / "line"))


@pytest.fixture(scope="session")
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


@pytest.fixture
def bench(tmp_path, monkeypatch, made_ca, secret) -> Path:
    """A home with a CA called `default`, and the passphrase beside it."""
    home = tmp_path / "home"
    shutil.copytree(made_ca, home / "ca" / "default")
    word = tmp_path / "word"
    word.write_text(secret.reveal() + "\n")
    word.chmod(0o600)
    monkeypatch.setenv("INFUSE_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    for name in ("INFUSE_PROFILE", "INFUSE_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def infuse(bench, capsys):
    def call(*words: str | Path, code: int = 0) -> dict:
        found = run([str(word) for word in words] + ["--output", "json"])
        envelope = json.loads(capsys.readouterr().out)
        assert found == code, envelope["errors"]
        assert envelope["infuse"] == 1
        return envelope["data"] if code == 0 else envelope["errors"][0]

    return call


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    if not hsm.installed():
        pytest.skip(hsm.MISSING)
    return hsm.make_token(tmp_path_factory.mktemp("hsm"))
