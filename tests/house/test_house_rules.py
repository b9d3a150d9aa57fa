"""Rules of the house that no linter knows: sizes, codes of errors, and words that don't belong into
what is shipped.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infuse_cli.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = {
    path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "infuse_cli").rglob("*.py"))
}
MOST_LINES, MOST_IN_A_FUNCTION = 500, 60
# What may be longer, and why. The list only gets shorter.
LONG_FILES = {
    "infuse_cli/errors.py": "the table of all codes",
    "infuse_cli/cli/commands/ca.py": "one function a command",
    "infuse_cli/cli/commands/registry.py": "one function a command",
}
LONG_FUNCTIONS = {}
OPTIONS = "infuse_cli/cli/commands/"
"""A command's function is its list of options: the limit is for its body."""
CODE = re.compile(r"[a-z]+\.[a-z0-9-]+")


@functools.cache
def nodes() -> dict[Path, list[ast.FunctionDef | ast.AsyncFunctionDef | ast.Call]]:
    """Functions and calls of each file of the package."""
    wanted = ast.FunctionDef | ast.AsyncFunctionDef | ast.Call
    return {
        path: [node for node in ast.walk(ast.parse(text)) if isinstance(node, wanted)]
        for path, text in PACKAGE.items()
    }


def tracked() -> list[Path]:
    """Files of the project: what git knows or would, else all that are not hidden and not made."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        paths = [
            path
            for path in ROOT.rglob("*")
            if not any(
                part.startswith(".") or part == "__pycache__"
                for part in path.relative_to(ROOT).parts[:-1]
            )
        ]
    return [path for path in paths if path.is_file() and path.suffix not in {".png", ".pyc"}]


def lines_with(pattern: str) -> list[str]:
    found = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), 1
        )
        if found.search(line)
    ]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> int:
    """Lines of a function; of a command those of its body, since its options are a list."""
    first = node.body[0].lineno if name.startswith(OPTIONS) else node.lineno
    return node.end_lineno - first + 1


def test_files_and_functions_are_small():
    long_files, long_functions = set(), {}
    for path, text in PACKAGE.items():
        name = path.relative_to(ROOT).as_posix()
        if len(text.splitlines()) > MOST_LINES:
            long_files.add(name)
        for node in nodes()[path]:
            if isinstance(node, ast.Call) or length(node, name) <= MOST_IN_A_FUNCTION:
                continue
            long_functions.setdefault(name, set()).add(node.name)
    assert long_files == set(LONG_FILES)
    assert long_functions == LONG_FUNCTIONS


def called(node: ast.Call) -> str:
    """The last word of what is called."""
    return getattr(node.func, "attr", None) or getattr(node.func, "id", "")


def raised() -> dict[str, str]:
    """Every code that the package gives to an error, and one place of it."""
    found = {}
    for path, inside in nodes().items():
        for node in inside:
            if (
                isinstance(node, ast.Call)
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and called(node).endswith("Error")
            ):
                found[node.args[0].value] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return {
        code: place
        for code, place in found.items()
        if isinstance(code, str) and CODE.fullmatch(code)
    }


def test_every_code_of_an_error_is_in_the_table():
    assert {code: place for code, place in raised().items() if code not in CODES} == {}


def test_the_table_has_no_code_that_nothing_gives():
    everything = "\n".join(text for path, text in PACKAGE.items() if path.name != "errors.py")
    assert [
        code for code in CODES if f'"{code}"' not in everything and code != "run.interrupted"
    ] == []


def test_nothing_names_a_place_on_one_machine():
    homes = r"/(home|Users)/(?!\$|<|you\b|\.\.\.)\w+/|(?<![\w/.])[/]root/"
    here = re.escape(str(ROOT))
    assert lines_with(homes if len(ROOT.parts) < 3 else rf"{homes}|(?<![\w.]){here}(?!\w)") == []


def test_nothing_is_left_to_do_without_saying_what():
    assert lines_with(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b(?! \d|\()") == []


@pytest.mark.parametrize("lock", ["runtime.txt", "dev.txt"])
def test_locks_name_no_index(lock):
    assert not re.search(
        r"index-url|find-links|trusted-host|https?:|file:",
        (ROOT / "requirements" / lock).read_text(),
    )
