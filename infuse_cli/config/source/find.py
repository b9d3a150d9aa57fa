"""Where profiles are: built in, in INFUSE_HOME/profiles, or at a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.config.built_in import SUFFIXES, built_in_profiles
from infuse_cli.config.source.finding import Source, nearest
from infuse_cli.errors import ProfileError
from infuse_cli.home import PROFILES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from importlib.resources.abc import Traversable

_MOST_BYTES: Final = 262_144


def is_path(text: str) -> bool:
    """Whether a text means a file rather than a name: it has a separator or ends like a
    YAML file.
    """
    return "/" in text or "\\" in text or text.endswith(SUFFIXES)


def locate(
    text: str, env: Mapping[str, str], folder: Path, *, not_these: Collection[Path | None] = ()
) -> Source:
    """The source that a name or path means; relative paths start from `folder`.

    A name is looked for in INFUSE_HOME/profiles, then among the built-in profiles. Raises
    ProfileError profile.not-found.
    """
    if is_path(text):
        path = folder / Path(text).expanduser()
        if path.exists():
            return Source(str(text), path.absolute().parent, path, path.stem)
        raise ProfileError("profile.not-found", f"there is no profile file {path}")
    for source in available(env):
        if source.name == text and source.path not in not_these:
            return source
    meant = nearest(text, {source.name for source in available(env)})
    hint = (
        f"did you mean {meant!r}?"
        if meant
        else f"known are {', '.join(sorted({s.name for s in available(env)}))}"
    )
    raise ProfileError("profile.not-found", f"there is no profile {text!r}; {hint}")


def available(env: Mapping[str, str]) -> list[Source]:
    """All profiles that have a name: the user's first, then the built-in ones."""
    own = Path(env["INFUSE_HOME"]) / PROFILES if env.get("INFUSE_HOME") else None
    found = [] if own is None else [_source(path) for path in _files(own)]
    return [*found, *map(_built_in, built_in_profiles())]


def read_text(source: Source) -> str:
    """The text of a source.

    Raises ProfileError profile.unreadable, profile.bad-yaml where it is not UTF-8.
    """
    if source.resource is not None:
        return source.resource.read_text(encoding="utf-8")
    if source.path is None:
        return ""
    try:
        if source.path.exists() and not source.path.is_file():
            raise ProfileError("profile.unreadable", f"{source.path} is not a file")
        if source.path.stat().st_size > _MOST_BYTES:
            raise ProfileError(
                "profile.unreadable",
                f"{source.label} is larger than any profile ({_MOST_BYTES} bytes)",
            )
        return source.path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProfileError(
            "profile.bad-yaml", f"{source.label} is not UTF-8 text (byte {error.start})"
        ) from error
    except OSError as error:
        raise ProfileError(
            "profile.unreadable", f"{source.path}: {error.strerror or error}"
        ) from error


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except OSError:
        return []


def _source(path: Path) -> Source:
    return Source(str(path), path.absolute().parent, path, path.stem)


def _built_in(resource: Traversable) -> Source:
    path = Path(str(resource)).absolute()
    return Source(f"{path.stem} (built in)", path.parent, path, path.stem, resource)
