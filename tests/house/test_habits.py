"""Habits: decisions with status and date, the changelog by fragments, templates for issues, and
pages for contributors that name what is there.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs/decisions"
RECORDS = {int(path.name[:4]): path for path in sorted(DECISIONS.glob("[0-9]*.md"))}
HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>.+)\n\n- Status: (?P<status>.+)\n"
    r"- Date: (?P<date>\d{4}-\d{2}-\d{2})\n\n"
)
PAIRS = {
    "superseded by": "supersedes",
    "supersedes": "superseded by",
    "amended by": "amends",
    "amends": "amended by",
}
RELATION = re.compile(rf"({'|'.join(PAIRS)}) \[(\d+)\]")


def heads() -> dict[int, re.Match[str]]:
    """The head of each decision by its number."""
    found = {}
    for number, path in RECORDS.items():
        head = HEAD.match(path.read_text(encoding="utf-8"))
        assert head, f"{path.name}: a title, then `- Status:` and `- Date:`"
        assert int(head["number"]) == number, path.name
        found[number] = head
    return found


def test_decisions_are_numbered_without_gaps():
    assert list(RECORDS) == list(range(1, len(RECORDS) + 1))


def test_each_decision_has_a_status_that_its_partner_confirms():
    found = heads()
    for number, head in found.items():
        first, *relations = head["status"].split(", ")
        stated = RELATION.findall(head["status"])
        plain = {"proposed", "accepted"}
        assert first in plain or first.startswith("superseded by"), RECORDS[number].name
        assert len(stated) == len(relations) + (first not in plain), RECORDS[number].name
        for relation, other in stated:
            assert f"{PAIRS[relation]} [{number}]" in found[int(other)]["status"], (number, other)


def test_the_index_lists_every_decision_as_it_is():
    lines = (DECISIONS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| \d+ \|", line)]
    assert rows == [
        f"| {number} | [{head['title']}]({RECORDS[number].name}) | {head['status']}"
        f" | {head['date']} |"
        for number, head in heads().items()
    ]


PLACES = re.compile(
    r"`((?:infuse_cli|docs|tests|profiles|requirements|examples|benchmarks)/[\w./-]*|pyproject\.toml)`"
)
NAMES = re.compile(r"`([A-Z]\w+|[a-z]+_[a-z_]+)`")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_a_page_for_contributors_names_files_that_exist(page):
    named = PLACES.findall((ROOT / page).read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [place for place in named if not (ROOT / place).exists()] == []


def text_below(place: str) -> str:
    path = ROOT / place
    files = path.rglob("*.py") if path.is_dir() else [path]
    return "".join(file.read_text(encoding="utf-8") for file in files)


def test_a_row_of_contributing_names_what_its_files_hold():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where things go")[2]
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 8
    missing = [
        (row.split("|")[1].strip(), name)
        for row in rows
        for name in NAMES.findall(row)
        if not any(re.search(rf"\b{name}\b", text_below(place)) for place in PLACES.findall(row))
    ]
    assert missing == []


def test_the_picture_of_the_rooms_has_the_layers_of_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    boxes = [text.split(" — ")[0] for text in re.findall(r'^  \w+\["(.+)"\]$', page, re.MULTILINE)]
    assert boxes == layers


@pytest.fixture(scope="module")
def tool():
    path = ROOT / ".ci/changelog.py"
    spec = importlib.util.spec_from_file_location("changelog_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_fragments_are_well_formed(tool):
    assert {path.name: tool.fault(path) for path in tool.fragments(ROOT)} == {
        path.name: None for path in tool.fragments(ROOT)
    }


def test_a_release_moves_the_fragments_into_the_changelog(tool, tmp_path, capsys):
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / "README.md").write_text("how\n")
    (folder / "labels.added.md").write_text("Labels\nare printed.\n")
    (folder / "proxy.fixed.md").write_text("A proxy is asked politely.\n")
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\nWords.\n\n## [0.1.0] - 2026-01-01\n\n- First.\n")
    assert tool.main(["0.2.0"], tmp_path) == 0
    intro, made = changelog.read_text().split("## [0.2.0] - ")
    assert intro == "# Changelog\n\nWords.\n\n"
    assert made.split("\n", 1)[1] == (
        "\n### Added\n\n- Labels are printed.\n\n### Fixed\n\n- A proxy is asked politely.\n"
        "\n## [0.1.0] - 2026-01-01\n\n- First.\n"
    )
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("labels.md", "Labels.", "SUBJECT.KIND"),
        ("labels.new.md", "Labels.", "SUBJECT.KIND"),
        ("labels.added.md", " \n", "empty"),
        ("labels.added.md", "- Labels.", "without a heading or a list"),
        ("labels.added.md", "x" * 401, "401 characters"),
    ],
)
def test_a_bad_fragment_is_named_and_nothing_is_moved(tool, tmp_path, capsys, name, text, named):
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / name).write_text(text)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [0.1.0]\n")
    assert tool.main(["0.2.0"], tmp_path) == 1
    assert named in capsys.readouterr().out
    assert changelog.read_text() == "# Changelog\n\n## [0.1.0]\n"
    assert (folder / name).exists()


def test_the_first_version_fits_a_screen():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = text.partition("## [0.1.0]")[2]
    assert len(first.splitlines()) <= 40


def test_there_are_templates_for_issues():
    folder = ROOT / ".github/ISSUE_TEMPLATE"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    assert set(texts) == {"bug.md", "feature.md"}
    for name, text in texts.items():
        assert re.match(r"---\nname: .+\nabout: .+\n", text), name
        assert "://" not in text, name
