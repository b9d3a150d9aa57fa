"""Says what a wheel lacks and what it holds that it should not: `python .ci/check_wheel.py
FILE.whl`. Exit 1 if anything.
"""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent


def main(wheel: str) -> int:
    """Compare the wheel with the package in the checkout."""
    names = set(ZipFile(wheel).namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "infuse_cli").rglob("*")
        if path.is_file() and path.suffix in {".py", ".yaml", ".typed"}
    }
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    faults = [f"missing: {name}" for name in sorted(package - names)]
    faults += [f"does not belong in it: {name}" for name in sorted(names - package - about)]
    faults += [
        f"missing: {part}"
        for part in ("METADATA", "entry_points.txt", "licenses/LICENSE")
        if not any(name.endswith(part) for name in about)
    ]
    faults += [
        f"missing: {part}"
        for part in ("infuse_cli/py.typed", "infuse_cli/profiles/nrf9151-dk.yaml")
        if part not in names
    ]
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
