"""Changes of `slots` in bench.yaml that leave every other line of the file as a person wrote it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from infuse_cli.config.bench import FILE, load_bench
from infuse_cli.errors import ProfileError
from infuse_cli.files import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def store_slots(home: Path, slots: Mapping[str, int]) -> Path:
    """Put the slots into the bench file of a home, whole or not at all; its path.

    Raises ProfileError profile.invalid where the file cannot be changed without touching the rest
    of it, naming the line to put in by hand; profile.unreadable, profile.bad-yaml as `load_bench`.
    """
    path = home / FILE
    before = load_bench(home)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    line = f"slots: {_flow(slots)}"
    changed = with_slots(text, line)
    wanted = dataclasses.replace(before, slots=dict(slots))
    try:
        if _read(changed) != wanted:
            raise ProfileError(
                "profile.invalid",
                f"{path} cannot be changed without touching the rest of it",
                hint=f"Put this line in by hand: {line}",
            )
        write_private(path, changed.encode())
    except OSError as error:
        raise ProfileError(
            "profile.unreadable",
            f"{path} cannot be written: {error.strerror}",
            hint=f"Put this line in by hand: {line}",
        ) from error
    return path


def with_slots(text: str, line: str) -> str:
    """The text of a bench file with this line for its `slots`, at the place where they were, else
    at the end.
    """
    import yaml

    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    pair = (
        None
        if root is None
        else next(((key, value) for key, value in root.value if key.value == "slots"), None)
    )
    if pair is None:
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"
    key, value = pair
    end = max(_end(value), key.end_mark.index + 1)
    return f"{text[: key.start_mark.index]}{line}{text[end:]}"


def _end(node: Any) -> int:
    """Where a value's own text ends: a block goes on to the next key, comments between them
    included.
    """
    block = node.id == "mapping" and not node.flow_style and node.value
    return int(node.value[-1][1].end_mark.index if block else node.end_mark.index)


def _flow(slots: Mapping[str, int]) -> str:
    rows = sorted(slots.items(), key=lambda item: item[1])
    return "{" + ", ".join(f"{json.dumps(place)}: {slot}" for place, slot in rows) + "}"


def _read(text: str) -> object:
    """What the changed file would say, read where the real one is not touched."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="infuse-bench-") as folder:
        (Path(folder) / FILE).write_text(text, encoding="utf-8")
        return load_bench(Path(folder))
