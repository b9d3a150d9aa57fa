"""What a profile and a cloud board ask of each row, as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infuse_cli.api_types import MetadataField
    from infuse_cli.config.model import MetadataFieldSpec, Profile


@dataclass(frozen=True, slots=True)
class Rules:
    """What rows have to fit. Without any, a row only has to make sense by itself.

    `constants` are metadata that every row gets where it has no value of its own; `from_mcu_id` and
    `from_imei` are keys whose value is the mcuId, or the IMEI that it was made of.
    """

    required: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    from_mcu_id: tuple[str, ...] = ()
    from_imei: tuple[str, ...] = ()
    patterns: Mapping[str, re.Pattern[str]] = field(default_factory=dict)


def rules_of(profile: Profile, fields: Sequence[MetadataField]) -> Rules:
    """The rules of a profile and of the cloud board's metadata fields.

    What the profile reads from a board at the bench (scan, iccid, uuid) may be absent here: `infuse
    provision` adds it. A field that the profile's own board section calls unique counts as unique
    inside a file, also while the board is not there yet.
    """
    sources = {name: rule for name, rule in profile.metadata.items() if not isinstance(rule, str)}
    is_imei = profile.board.mcu_id is not None and profile.board.mcu_id.source == "imei"
    metadata_fields: list[MetadataField | MetadataFieldSpec] = [
        *fields,
        *profile.cloud.board.metadata_fields,
    ]
    return Rules(
        required=tuple(dict.fromkeys(field.name for field in metadata_fields if field.required)),
        unique=tuple(dict.fromkeys(field.name for field in metadata_fields if field.unique)),
        constants={name: rule for name, rule in profile.metadata.items() if isinstance(rule, str)},
        from_mcu_id=tuple(name for name, rule in sources.items() if rule.source == "mcuId"),
        from_imei=(
            tuple(name for name, rule in sources.items() if rule.source == "imei")
            if is_imei
            else ()
        ),
        patterns={
            name: re.compile(rule.pattern)
            for name, rule in sources.items()
            if rule.pattern is not None
        },
    )
