"""The public API has a page, knows no command line, and costs little until it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import infuse_cli
from infuse_cli import batch
from infuse_cli.pki.store import init_ca
from infuse_cli.types import Secret

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs/reference/library.md").read_text(encoding="utf-8")
NAMES = [*infuse_cli.__all__, *(f"batch.{name}" for name in batch.__all__)]
NETWORK_AND_DATABASE = ["httpx", "httpcore", "ssl", "_ssl", "sqlalchemy", "sqlite3", "_sqlite3"]
FAR = [*NETWORK_AND_DATABASE, "serial", "keyring", "typer", "rich", "click", "prompt_toolkit"]
IMPORT = """
import sys
from infuse_cli import Line, CertificateAuthority, InfuseClient, Journal
print([name for name in {far!r} if name in sys.modules])
"""
WITHOUT = """
import importlib, pkgutil, sys
from pathlib import Path

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"typer", "rich", "click", "prompt_toolkit"}}:
            raise ImportError("blocked: " + name)
        return None

sys.meta_path.insert(0, Blocked())
sys.argv = sys.stdin = None

import infuse_cli
apart = ["infuse_cli.cli", "infuse_cli.sim", "infuse_cli.__main__"]
apart.append("infuse_cli.serial_tools.console")  # still imports the command line: take out once not
def modules(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name in apart:
            continue
        loaded = importlib.import_module(module.name)
        yield module.name
        if module.ispkg:
            yield from modules(loaded)
count = len(list(modules(infuse_cli)))

from infuse_cli import CertificateAuthority, Journal, Secret
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
home = Path({home!r})
ca = CertificateAuthority.open(home, "default", Secret({passphrase!r}))
issued = ca.sign(csr.public_bytes(serialization.Encoding.DER), device_id="d00d000000000001")
with Journal.open(home) as journal:
    print(count > 100, [run.start.command for run in journal.runs()], issued.name)
"""


def run(text: str) -> str:
    # What measures coverage loads a database of its own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    ran = subprocess.run(
        [sys.executable, "-c", text], env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_on_the_page_and_says_what_it_is(name: str) -> None:
    assert f"`{name}`" in PAGE or f"`{name}(" in PAGE
    if name != "__version__":
        value = infuse_cli
        for part in name.split("."):
            value = getattr(value, part)
        assert value.__doc__


def test_examples_on_the_page_are_python() -> None:
    examples = PAGE.split("```python\n")[1:]
    assert len(examples) >= 5
    for example in examples:
        compile(example.split("```")[0], "library.md", "exec")


def test_an_import_loads_neither_network_nor_database_nor_terminal() -> None:
    assert run(IMPORT.format(far=FAR)) == "[]"


def test_the_library_works_without_what_the_command_line_is_made_of(tmp_path: Path) -> None:
    passphrase = "correct horse battery staple"
    init_ca(tmp_path / "ca" / "default", "default", Secret(passphrase))
    text = WITHOUT.format(home=str(tmp_path), passphrase=passphrase)
    assert run(text) == "True ['ca sign'] d00d000000000001"


def test_benchmarks_use_the_library_alone() -> None:
    users = [
        path.name
        for path in (HOME / "benchmarks").glob("*.py")
        if "infuse_cli.cli" in path.read_text(encoding="utf-8")
    ]
    assert users == []
