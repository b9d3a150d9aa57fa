"""Texts of new profiles: the short one from a few answers, the full one from the schema and its
docstrings.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml
from msgspec import inspect as kinds

from infuse_cli.config.source.schema import ROOT, describe
from infuse_cli.config.yaml_text import pair

if TYPE_CHECKING:
    from collections.abc import Iterator


_EXAMPLES: Final[dict[str, Any]] = {
    "name": "my-product",
    "board.soc": "nRF9151",
    "board.mcu_id.from": "nrfutil",
    "cloud.organisation.name": "<organisation>",
    "cloud.board.name": "<cloud board>",
    "cloud.network.name": "<network>",
    "registry.base_url": "https://registry.example",
    "broker.host": "broker.example",
    "keys.public_key.command": "AT#PUBKEY",
    "registry.location.latitude": -27.47,
    "registry.location.longitude": 153.03,
}
"""Values for keys that have no default, or whose default says too little."""

_ITEMS: Final = {
    "board.usb": "- {vid: '1366', pid: '1069', interface: 0, serial_prefix: null}",
    "cloud.board.metadata_fields": "- {name: serialNumber, required: true, unique: true}",
    "registry.metadata": "line: '1'",
    "metadata": "serialNumber: {from: scan, pattern: 'SN-\\d{5}', name: null}",
}
"""What an entry of a list or of free names looks like."""

_ACTIVE: Final = ("board.mcu_id",)
"""Sections that are absent by default, but that no product goes without."""

_COLUMN: Final = 48


def full(name: str) -> str:
    """Every key with its default, what it takes and what its section is for; absent sections are
    commented out.
    """
    values = {**_EXAMPLES, "name": name}
    head = [
        (
            "# Every key of a profile with its default. Remove what you do not change; unknown keys"
            " are refused."
        ),
        (
            "# `extends: NAME` takes over another profile's values. ${VAR} and ${VAR:-default} come"
            " from the environment."
        ),
        "# What is in <…> has to be replaced: `infuse profile check` refuses it.",
        "# extends: nrf9151-dk",
        "",
    ]
    return "\n".join([*head, *_struct(ROOT, "", values)]) + "\n"


def short(answers: dict[str, Any]) -> str:
    """A profile of nothing but what was answered (nested values as in the schema, `extends` beside
    them).
    """
    text = yaml.safe_dump(
        answers, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100
    )
    return f"# All keys: infuse profile new --full\n{text}"


def _struct(kind: Any, key: str, values: dict[str, Any]) -> Iterator[str]:
    for field in kind.fields:
        yield from _field(field, f"{key}.{field.encode_name}" if key else field.encode_name, values)
        if not key:
            yield ""


def _field(field: Any, path: str, values: dict[str, Any]) -> Iterator[str]:
    section = _section(field.type)
    if section is None:
        yield from _leaf(field, path, values)
        return
    doc = inspect.cleandoc(section.cls.__doc__ or "")
    yield from (f"# {line}".rstrip() for line in doc.splitlines())
    body = [f"{field.encode_name}:", *(f"  {line}" for line in _struct(section, path, values))]
    if field.default is None and path not in _ACTIVE:
        yield "# Absent by default:"
        yield from (f"# {line}" for line in body)
    else:
        yield from body


def _leaf(field: Any, path: str, values: dict[str, Any]) -> Iterator[str]:
    value = values[path] if path in values else _default(field)
    yield f"{pair(field.encode_name, value):<{_COLUMN}} # {describe(field.type)}"
    if path in _ITEMS:
        yield f"#   {_ITEMS[path]}"


def _default(field: Any) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    raise AssertionError(f"{field.encode_name} has neither a default nor an example")


def _section(kind: kinds.Type) -> Any | None:
    options = kind.types if isinstance(kind, kinds.UnionType) else (kind,)
    return next((one for one in options if isinstance(one, kinds.StructType)), None)
