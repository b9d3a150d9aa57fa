"""Says what a wheel and a source distribution lack, and what the wheel holds that it should not:
`python .ci/check_wheel.py FILE.whl FILE.tar.gz`. Exit 1 if anything.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
PROFILES = sorted(path.name for path in (ROOT / "profiles").glob("*.yaml"))


def main(wheel: str, sdist: str) -> int:
    """Compare both with the package in the checkout."""
    names = set(ZipFile(wheel).namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "infuse_cli").rglob("*")
        if path.is_file() and path.suffix in {".py", ".yaml", ".typed"}
    }
    package |= {f"infuse_cli/profiles/{name}" for name in PROFILES}
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    faults = [f"missing: {name}" for name in sorted(package - names)]
    faults += [f"does not belong in it: {name}" for name in sorted(names - package - about)]
    faults += [
        f"missing: {part}"
        for part in ("METADATA", "entry_points.txt", "licenses/LICENSE")
        if not any(name.endswith(part) for name in about)
    ]
    faults += [f"missing: {part}" for part in ("infuse_cli/py.typed",) if part not in names]
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    faults += [
        f"missing in the sources: {part}"
        for part in ("pyproject.toml", *(f"profiles/{name}" for name in PROFILES))
        if part not in sources
    ]
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
