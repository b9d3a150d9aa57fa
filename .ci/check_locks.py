"""Says what the lock files lack of what pyproject.toml and dev.in ask for.

Offline: compares, resolves nothing.

A requirement is held when the lock pins its name to a version that it allows. The two locks pin the
same version of what they share, every pin has hashes, and neither names an index. oldest.txt pins
what pyproject.toml asks for to the lowest version that it allows. Prints one line a fault; exit 1
if there was any.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ;[^\\]*)? \\$")


def pins(lock: Path) -> dict[str, str]:
    """Name to version of every pin."""
    found = (PIN.match(line) for line in lock.read_text().splitlines())
    return {canonicalize_name(pin["name"]): pin["version"] for pin in found if pin}


def bare(lock: Path) -> list[str]:
    """Lines of a lock that are neither a pin, a hash nor a comment, and pins without a hash below
    them.
    """
    lines = lock.read_text().splitlines()
    odd = [
        line
        for line in lines
        if not (
            PIN.match(line) or line.startswith(("    --hash=sha256:", "    #", "#")) or not line
        )
    ]
    after = zip(lines, [*lines[1:], ""], strict=True)
    return odd + [
        line for line, below in after if PIN.match(line) and not below.startswith("    --hash=")
    ]


def unmet(wanted: list[str], held: dict[str, str]) -> list[str]:
    """Requirements that no pin satisfies."""
    requirements = [Requirement(text) for text in wanted]
    return [
        str(one)
        for one in requirements
        if not one.specifier.contains(held.get(canonicalize_name(one.name), "0"), prereleases=True)
        or canonicalize_name(one.name) not in held
    ]


def not_lowest(wanted: list[str], oldest: Path) -> list[str]:
    """Requirements whose lowest version is not the one that `oldest` pins."""
    lines = [line.partition("==") for line in oldest.read_text().splitlines()]
    pinned = {canonicalize_name(name): Version(version) for name, _, version in lines if version}
    faults = []
    for requirement in map(Requirement, wanted):
        lowest = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        pin = pinned.get(canonicalize_name(requirement.name))
        if [pin] != [Version(version) for version in lowest]:
            faults.append(f"{oldest.name}: {requirement} is not at its lowest version")
    return faults


def main() -> int:
    """Compare and print."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = [
        line.split("#")[0].strip()
        for line in (ROOT / "requirements/dev.in").read_text().splitlines()
    ]
    wanted = {
        "runtime.txt": project["dependencies"],
        "dev.txt": [
            *project["dependencies"],
            *project["optional-dependencies"]["sim"],
            *filter(None, tools),
        ],
    }
    locks = {name: ROOT / "requirements" / name for name in wanted}
    held = {name: pins(path) for name, path in locks.items()}
    faults = [
        f"{name}: nothing satisfies {one}"
        for name in wanted
        for one in unmet(wanted[name], held[name])
    ]
    faults += [
        f"{name}: not a hashed pin: {line}" for name, path in locks.items() for line in bare(path)
    ]
    faults += [
        f"{name}=={version} in runtime.txt, {held['dev.txt'].get(name, 'absent')} in dev.txt"
        for name, version in held["runtime.txt"].items()
        if held["dev.txt"].get(name) != version
    ]
    extras = project["optional-dependencies"]
    faults += not_lowest(
        [*project["dependencies"], *extras["sim"], *extras["pkcs11"]],
        ROOT / "requirements/oldest.txt",
    )
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
