"""Values of options as people type them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from infuse_cli.cli import context
from infuse_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from infuse_cli import api_types as api


def pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """KEY=VALUE texts; the value may be empty. Raises UsageError usage.bad-option."""
    values: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError("usage.bad-option", f"{option} takes KEY=VALUE, not {text!r}")
        if key in values:
            raise UsageError("usage.bad-option", f"{option} gives {key!r} twice")
        values[key] = value
    return values


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """A JSON object, None where none was given. Raises UsageError usage.bad-option."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(
            "usage.bad-option",
            f"{option} is no JSON object",
            hint=f"For example {option} '{{\"key\": 1}}'.",
        )
    return value


def json_or_text(text: str) -> Any:
    """A parameter: JSON where it is JSON (5, true, "5", [1,2]), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def location(text: str | None) -> api.Location | None:
    """A place from LATITUDE,LONGITUDE in degrees. Raises UsageError usage.bad-option."""
    if text is None:
        return None
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        latitude = longitude = float("nan")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise UsageError(
            "usage.bad-option",
            f"--location is {text!r}, but must be LATITUDE,LONGITUDE in degrees, e.g."
            " -27.47,153.03",
        )
    from infuse_cli.api_types import Location

    return Location(latitude=latitude, longitude=longitude)


def registry_status(text: str | None) -> str | None:
    """A registry device's status in upper case. Raises UsageError usage.bad-option."""
    from infuse_cli.api_types import REGISTRY_STATUSES

    if text is not None and text.upper() not in REGISTRY_STATUSES:
        raise UsageError(
            "usage.bad-option",
            f"--status is {text!r}, but must be one of {', '.join(REGISTRY_STATUSES)}",
        )
    return text.upper() if text else None


def metadata_field(text: str) -> api.MetadataField:
    """A field from NAME[:required][:unique]. Raises UsageError usage.bad-option."""
    name, *flags = text.split(":")
    if not name or set(flags) - {"required", "unique"}:
        raise UsageError(
            "usage.bad-option", f"--field takes NAME[:required][:unique], not {text!r}"
        )
    from infuse_cli.api_types import MetadataField

    return MetadataField(name=name, required="required" in flags, unique="unique" in flags)


def check_secret_output(out: Path | None, *, reveal: bool, needed: str | None = None) -> None:
    """Refuse a place that cannot take a secret, before anything is asked of the cloud.

    `needed` names a secret that would be lost without a place. Raises UsageError.
    """
    from infuse_cli.devices.secret_file import SecretFile

    if reveal and not (context.current().output == "human" and sys.stdout.isatty()):
        raise UsageError(
            "usage.no-terminal",
            "--reveal shows a secret on a terminal, and standard output is none",
            hint="--out FILE writes it to a private file.",
        )
    SecretFile(out).check(context.current().settings)
    if needed is not None and out is None and not reveal:
        raise UsageError(
            "usage.bad-option",
            f"{needed} is shown this once and would be lost",
            hint="Give --out FILE (made 0600), or --reveal on a terminal.",
        )
