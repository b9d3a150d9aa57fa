"""Values of a board's metadata, from the profile, the command line, a table or the board."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli.api_types import MetadataField
    from infuse_cli.config.model import MetadataValue
    from infuse_cli.types import BoardIdentity


def row_for(table: Mapping[str, Mapping[str, str]], identity: BoardIdentity) -> Mapping[str, str]:
    """Return the row of a --metadata-from table that is keyed by this board's IMEI, UUID or
    mcuId.
    """
    keys = (identity.imei, identity.uuid, identity.mcu_id)
    found = [table[key.lower()] for key in keys if key is not None and key.lower() in table]
    return found[0] if found else {}


def values_for(
    spec: Mapping[str, str | MetadataValue],
    identity: BoardIdentity,
    given: Mapping[str, str],
    required: Sequence[MetadataField] = (),
) -> dict[str, str]:
    """Return the board's metadata; a given value beats the profile's.

    Raises ProfileError metadata.invalid for a value that does not match its pattern,
    metadata.missing for a value that the profile or the cloud board asks for and nobody gave.
    """
    values = {
        name: value
        for name, rule in spec.items()
        if (value := _value(name, rule, identity, given)) is not None
    }
    values.update({name: value for name, value in given.items() if name not in spec})
    asked = [field.name for field in required if field.required] + list(spec)
    missing = sorted({name for name in asked if not values.get(name)})
    if missing:
        raise ProfileError("metadata.missing", f"no value for metadata {', '.join(missing)}")
    return values


def _value(
    name: str, rule: str | MetadataValue, identity: BoardIdentity, given: Mapping[str, str]
) -> str | None:
    if isinstance(rule, str):
        return given.get(name, rule)
    value = given.get(name) or _read(rule, identity)
    if value is not None and rule.pattern is not None and not re.fullmatch(rule.pattern, value):
        raise ProfileError(
            "metadata.invalid", f"{name} is {value!r}, which does not match {rule.pattern!r}"
        )
    return value


def _read(rule: MetadataValue, identity: BoardIdentity) -> str | None:
    sources = {
        "imei": identity.imei,
        "uuid": identity.uuid,
        "mcuId": identity.mcu_id,
        "iccid": identity.iccid,
    }
    return sources.get(rule.source)


def template(text: str, values: Mapping[str, str | None]) -> str:
    """Fill `{name}` places of a profile template.

    Raises ProfileError metadata.missing for a name without a value.
    """

    def fill(match: re.Match[str]) -> str:
        value = values.get(match.group(1))
        if not value:
            raise ProfileError("metadata.missing", f"no value for {{{match.group(1)}}} in {text!r}")
        return value

    return re.sub(r"\{([A-Za-z][A-Za-z0-9_]*)\}", fill, text)
