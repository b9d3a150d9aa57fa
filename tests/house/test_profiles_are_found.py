"""The profiles that come with the program are found however it is installed.

The environment of the tests is an editable install; wheel and source distribution are built and
tried by `.ci/run`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
SHOW = "import infuse_cli; print(infuse_cli.__file__)"


def listed(*argv, cwd, path=None):
    """Built-in profiles that a run of the program lists, and where its package is."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("INFUSE_")}
    env |= {"PYTHONPATH": str(path)} if path else {}

    def run(*words):
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=cwd,
            env={**env, "INFUSE_HOME": str(cwd / "home")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    rows = json.loads(run(*argv, "profile", "list", "--output", "json"))["data"]["profiles"]
    shown = json.loads(run(*argv, "profile", "show", "thingy91x", "--output", "json"))
    assert shown["data"]["profile"]["board"]["soc"]
    assert all(row["ok"] and row["where"] == "built in" for row in rows)
    return sorted(row["name"] for row in rows), run("-c", SHOW).strip()


def package(folder, *, profiles):
    """The package in a folder, with the profiles where `profiles` says."""
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "infuse_cli", folder / "infuse_cli", ignore=leave)
    shutil.copytree(ROOT / "profiles", folder / profiles)
    return folder


def test_in_an_editable_install(tmp_path):
    assert listed("-m", "infuse_cli", cwd=tmp_path)[0] == NAMES


@pytest.mark.parametrize("profiles", ["profiles", "infuse_cli/profiles"])
def test_in_a_checkout_and_as_a_wheel_lays_them_down(profiles, tmp_path):
    there = package(tmp_path, profiles=profiles)
    names, where = listed("-m", "infuse_cli", cwd=there)
    assert names == NAMES
    assert where == str(there / "infuse_cli" / "__init__.py")


def test_in_a_program_that_is_one_file(tmp_path):
    folder = package(tmp_path / "parts", profiles="infuse_cli/profiles")
    single = tmp_path / "infuse.pyz"
    with zipfile.ZipFile(single, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__main__.py", "from infuse_cli.cli.main import main\nmain()\n")
    names, where = listed(str(single), cwd=tmp_path, path=single)
    assert names == NAMES
    assert where.startswith(str(single))
