"""Collects the fragments of changelog.d/ into CHANGELOG.md, or with --check says what is wrong.

`changelog.d/README.md` says what a fragment is. Prints one line a fault; exit 1 if there was any.
"""

from __future__ import annotations

import re
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("added", "changed", "fixed", "removed", "security")
NAME = re.compile(rf"[a-z0-9-]+\.(?P<kind>{'|'.join(KINDS)})\.md")
VERSION = re.compile(r"\d+\.\d+\.\d+")
MOST = 400


def fragments(root: Path) -> list[Path]:
    """The files of changelog.d/ by name, without its README."""
    return sorted(path for path in (root / "changelog.d").iterdir() if path.name != "README.md")


def fault(path: Path) -> str | None:
    """What is wrong with a fragment, None for a good one."""
    if not NAME.fullmatch(path.name):
        return f"the name is not SUBJECT.KIND.md with a KIND of {', '.join(KINDS)}"
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        return "it is empty"
    if len(text) > MOST:
        return f"it has {len(text)} characters, at most {MOST} are allowed"
    if re.search(r"^(#|[-*] )|\n\n", text, re.MULTILINE):
        return "it is one paragraph, without a heading or a list"
    return None


def section(version: str, date: str, paths: list[Path]) -> str:
    """The section of a version."""
    parts = [f"## [{version}] - {date}\n"]
    for kind in KINDS:
        texts = [path.read_text(encoding="utf-8") for path in paths if f".{kind}." in path.name]
        if texts:
            items = (
                textwrap.fill(
                    " ".join(text.split()),
                    120,
                    initial_indent="- ",
                    subsequent_indent="  ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                for text in texts
            )
            parts.append(f"### {kind.capitalize()}\n\n" + "\n".join(items) + "\n")
    return "\n".join(parts)


def main(argv: list[str], root: Path = ROOT) -> int:
    """Check the fragments; with a version also move them into CHANGELOG.md."""
    paths = fragments(root)
    faults = [f"{path.name}: {why}" for path in paths if (why := fault(path)) is not None]
    version = next((word for word in argv if VERSION.fullmatch(word)), None)
    if version is None and argv != ["--check"]:
        faults.append("usage: changelog.py VERSION | --check")
    sys.stdout.writelines(f"{line}\n" for line in faults)
    if faults or version is None:
        return 1 if faults else 0
    changelog = root / "CHANGELOG.md"
    intro, newest, rest = changelog.read_text(encoding="utf-8").partition("## [")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    made = section(version, today, paths)
    changelog.write_text(f"{intro}{made}\n{newest}{rest}", encoding="utf-8")
    for path in paths:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
