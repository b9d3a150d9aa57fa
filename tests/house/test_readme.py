"""README and documentation name commands, options and files that exist, and the pictures show a
real run.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from infuse_cli.cli._argv import GLOBAL_VALUES
from infuse_cli.cli._lazy import root, walk
from infuse_cli.errors import CODES

HOME = Path(__file__).parents[2]
PAGES = sorted(
    [*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md"), *(HOME / "examples").rglob("*.md")]
)
GLOBAL_FLAGS = {"-h", "--help", "-v", "-vv", "--verbose", "--no-color", "--version"}
RUN = (
    "python3 -m venv .venv && .venv/bin/pip install -q '.[sim]' && .venv/bin/infuse provision"
    " --sim 4"
)
TEST = (
    "python3 -m venv .venv && .venv/bin/pip install -q -r requirements/dev.txt "
    "&& .venv/bin/pip install -q --no-deps -e . && .venv/bin/pytest"
)


@cache
def commands() -> dict[tuple[str, ...], set[str]]:
    """Options of every command and group, by its words."""
    return {one.path: options(one.help_text()) for one in walk(root())}


def options(help_text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", help_text))


def blocks(text: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def command_lines(text: str) -> list[str]:
    """Lines of shell blocks, and what stands in backticks, that begin with `infuse`."""
    lines = [line.strip() for body in blocks(text, "sh", "text") for line in body.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += re.findall(r"`(infuse [^`]+)`", prose)
    return [line for line in lines if re.match(r"(\S*/)?infuse ", line)]


def problems(line: str) -> list[str]:
    """What is wrong with a command line; `a|b` stands for either, `…` for anything."""
    words = shlex.split(re.split(r" (?:\d?[<>|]|&&|\d<|-- )", line)[0])[
        1:
    ]  # what stands after -- is another program's
    names = [word for word in words if not word.startswith("-")]
    path: tuple[str, ...] = ()
    for name in names:
        wanted = [(*path, one) for one in name.split("|")]
        if not all(one in commands() for one in wanted):
            break
        path = wanted[0]
    if path == () and not all(
        word.startswith("-") or word in {"…", "COMMAND"} for word in words[:1]
    ):
        return [f"no command {words[0]!r}"]
    if (
        any(one[: len(path)] == path and len(one) > len(path) for one in commands())
        and path
        and names[len(path) : len(path) + 1] not in ([], ["…"])
    ):
        return [f"no command {' '.join([*path, names[len(path)]])!r}"]
    known = commands().get(path, set()) | GLOBAL_FLAGS | set(GLOBAL_VALUES)
    return [
        f"{' '.join(path)!r} has no option {word}"
        for word in words
        if word.startswith("-") and word != "-" and word.split("=")[0] not in known
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_every_command_line_exists(page):
    found = [
        f"{line}: {problem}"
        for line in command_lines(page.read_text(encoding="utf-8"))
        for problem in problems(line)
    ]
    assert found == []


def test_a_wrong_command_line_is_noticed():
    assert problems("infuse provision --sim 4 --output json > x.json") == []
    assert problems("infuse journal show IMEI --events") == []
    assert problems("infuse serail ports")
    assert problems("infuse journal shwo IMEI")
    assert problems("infuse provision --simm 4")


def test_what_an_error_tells_to_type_exists():
    lines = [line for info in CODES.values() for line in re.findall(r"`(infuse [^`]+)`", info.hint)]
    assert lines
    assert [f"{line}: {problem}" for line in lines for problem in problems(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_links_resolve(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    inside = [target.partition("#")[0] for target in targets if not re.match(r"https?:", target)]
    assert [target for target in inside if target and not (page.parent / target).exists()] == []


def test_every_page_is_reached_from_the_readme():
    seen: set[Path] = set()
    left = [HOME / "README.md"]
    while left:
        page = left.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        left += [
            (page.parent / target.partition("#")[0]).resolve()
            for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        ]
    assert (
        sorted(
            str(page.relative_to(HOME))
            for page in (HOME / "docs").rglob("*.md")
            if page not in seen
        )
        == []
    )


def test_the_two_commands_stand_where_they_are_looked_for():
    text = (HOME / "README.md").read_text(encoding="utf-8")
    for mark, line in (("run", RUN), ("test", TEST)):
        after = text.partition(f"<!-- {mark} -->")[2]
        assert blocks(after, "sh")[0].strip() == line


def test_what_is_told_to_be_missing_is_missing():
    missing = (
        (HOME / "README.md")
        .read_text(encoding="utf-8")
        .partition("Not there yet")[2]
        .partition("\n## ")[0]
    )
    named = set(re.findall(r"`([a-z]+)`", missing))
    assert named & {path[0] for path in commands() if path} == set()


@pytest.mark.parametrize("name", ["provision.svg", "provision-running.svg"])
def test_the_pictures_show_a_run_and_fetch_nothing(name):
    picture = ET.parse(HOME / "docs" / "images" / name).getroot()
    words = " ".join(node.text or "" for node in picture.iter())
    assert {"PASS", "FAIL", "ERROR"} <= set(words.split())
    assert "infuse provision --sim 8 --faults" in words
    text = (HOME / "docs" / "images" / name).read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]


def test_the_profile_of_the_guide_has_no_mistake(tmp_path):
    text = (HOME / "docs" / "how-to" / "write-a-profile.md").read_text(encoding="utf-8")
    passphrase = tmp_path / "ca-passphrase"
    passphrase.write_text("x\n")
    path = tmp_path / "field-sensor.yaml"
    path.write_text(blocks(text, "yaml")[0].replace("/etc/infuse/ca-passphrase", str(passphrase)))
    run = subprocess.run(
        [sys.executable, "-m", "infuse_cli", "profile", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
