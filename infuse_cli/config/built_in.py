"""The profiles that come with the program."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.home import PROFILES

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUFFIXES: Final = (".yaml", ".yml")


def built_in_profiles() -> list[Traversable]:
    """Their files, by name: inside the package where it is installed or packed into one file,
    beside it in a checkout.
    """
    package = resources.files("infuse_cli")
    inside = package / PROFILES
    folder = inside if inside.is_dir() else Path(str(package)).parent / PROFILES
    files = [file for file in folder.iterdir() if file.name.endswith(SUFFIXES)]
    return sorted(files, key=lambda file: file.name)
