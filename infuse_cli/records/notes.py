"""What a run notes in the journal beside the steps of boards: one kind a row, read back by kind.

The value of a kind is what the chain of hashes holds, so it never changes. Journals of versions
before 0.1 hold a phrase in its place (`KINDS_BY_PHRASE`): what was written is not rewritten, but
understood.
"""

from __future__ import annotations

import enum
from typing import Final


class NoteKind(enum.StrEnum):
    """What a note is about; its facts say the rest."""

    BOARD_REFUSED = "board-refused"
    CLOCK_CORRECTED = "clock-corrected"
    FUNCTIONAL_MODE = "functional-mode"

    # Changes of a board by a person (`infuse serial`).
    CREDENTIAL_WRITTEN = "credential-written"
    CREDENTIAL_DELETED = "credential-deleted"
    KEY_MADE = "key-made"
    COMMAND_SENT = "command-sent"
    LINE_TYPED = "line-typed"
    DEVICE_ID_WRITTEN = "device-id-written"
    CSR_VETTED = "csr-vetted"

    JOURNAL_IMPORTED = "journal-imported"
    REKEY_BEGUN = "rekey-begun"
    REKEYED = "rekeyed"

    HANDED_OVER = "handed-over"
    TAKEN_OVER = "taken-over"
    TAKE_BACK_INTENDED = "take-back-intended"

    RETIREMENT_INTENDED = "retirement-intended"
    RETIRED = "retired"
    TOKEN_REVOCATION_INTENDED = "token-revocation-intended"  # noqa: S105 - a kind, not a secret
    STATION_REVOCATION_INTENDED = "station-revocation-intended"
    REGISTRY_DEVICE_DELETION_INTENDED = "registry-device-deletion-intended"
    DELETION_INTENDED = "deletion-intended"
    DELETED = "deleted"

    ORGANISATION_INTENDED = "organisation-intended"
    ORGANISATION_CREATED = "organisation-created"
    BOARD_INTENDED = "board-intended"
    BOARD_CREATED = "board-created"
    NETWORK_INTENDED = "network-intended"
    NETWORK_CREATED = "network-created"
    DEVICE_INTENDED = "device-intended"
    DEVICE_CREATED = "device-created"
    DEVICE_METADATA_INTENDED = "device-metadata-intended"
    DEVICE_METADATA_CHANGED = "device-metadata-changed"
    REGISTRY_DEVICE_INTENDED = "registry-device-intended"
    REGISTRY_DEVICE_CREATED = "registry-device-created"
    REGISTRY_DEVICE_CHANGE_INTENDED = "registry-device-change-intended"
    REGISTRY_DEVICE_CHANGED = "registry-device-changed"
    COMPONENT_INTENDED = "component-intended"
    COMPONENT_CREATED = "component-created"
    COMPONENT_CHANGE_INTENDED = "component-change-intended"
    COMPONENT_CHANGED = "component-changed"
    GROUP_INTENDED = "group-intended"
    GROUP_CREATED = "group-created"
    GROUP_CHANGE_INTENDED = "group-change-intended"
    GROUP_CHANGED = "group-changed"
    RPC_INTENDED = "rpc-intended"
    RPC_SENT = "rpc-sent"


MANUAL_CHANGES: Final = frozenset(
    {
        NoteKind.CREDENTIAL_WRITTEN,
        NoteKind.CREDENTIAL_DELETED,
        NoteKind.KEY_MADE,
        NoteKind.COMMAND_SENT,
        NoteKind.LINE_TYPED,
        NoteKind.DEVICE_ID_WRITTEN,
    }
)
"""Notes of what a person changed on a board."""

KINDS_BY_PHRASE: Final[dict[str, NoteKind]] = {
    **{kind.value.replace("-", " "): kind for kind in NoteKind},
    "written by hand": NoteKind.CREDENTIAL_WRITTEN,
    "deleted by hand": NoteKind.CREDENTIAL_DELETED,
    "key made by hand": NoteKind.KEY_MADE,
    "sent by hand": NoteKind.COMMAND_SENT,
    "typed by hand": NoteKind.LINE_TYPED,
    "CSR vetted": NoteKind.CSR_VETTED,
    "handed over to another bench": NoteKind.HANDED_OVER,
    "taken over from another bench": NoteKind.TAKEN_OVER,
    "tokens to be taken back from another bench": NoteKind.TAKE_BACK_INTENDED,
    "revocation of a station's tokens intended": NoteKind.STATION_REVOCATION_INTENDED,
}
"""Phrases in journals of old, each with the kind that it stands for."""

_KINDS: Final[dict[str, NoteKind]] = KINDS_BY_PHRASE | {kind.value: kind for kind in NoteKind}


def kind_of(text: object) -> NoteKind | None:
    """The kind that a journal's text stands for; None for a kind of a later version."""
    return _KINDS.get(text) if isinstance(text, str) else None


def texts_of(kind: NoteKind) -> tuple[str, ...]:
    """Every text that stands for a kind in some journal."""
    return tuple(text for text, found in _KINDS.items() if found is kind)


def created_kinds(thing: str) -> tuple[NoteKind, NoteKind]:
    """The kinds of a note before a thing is created and after it, e.g. of `organisation`."""
    name = thing.replace(" ", "-")
    return NoteKind(f"{name}-intended"), NoteKind(f"{name}-created")


def changed_kinds(thing: str) -> tuple[NoteKind, NoteKind]:
    """The kinds of a note before a thing is changed and after it."""
    name = thing.replace(" ", "-")
    return NoteKind(f"{name}-change-intended"), NoteKind(f"{name}-changed")
