"""`infuse org|board|network`: what devices belong to.

Creating is looked up first, sent once, and on record.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infuse_cli import api_types as api
from infuse_cli.cli.views import cloud as views
from infuse_cli.devices import session as tools
from infuse_cli.errors import CloudError, UsageError
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.cli.result import OperationResult

_BOARD_COLUMNS: Final = {
    "name": "name",
    "soc": "soc",
    "id": "id",
    "public": "public",
    "description": "description",
}
_NETWORK_COLUMNS: Final = {
    "name": "name",
    "networkId": "network id",
    "id": "id",
    "public": "public",
    "description": "description",
}
_KEY_SIZE: Final = 32
_LARGEST_NETWORK_ID: Final = 0xFFFFFF
_PUBLISHED_KEY: Final = bytes(range(_KEY_SIZE))


def organisations() -> OperationResult:
    """All organisations that the credential can see."""
    with tools.opened() as session:
        rows = session.cloud.organisations()
    return views.listing(
        "org list",
        "organisations",
        rows,
        {"name": "name", "id": "id"},
        "The credential sees no organisation.",
    )


def organisation(text: str | None) -> OperationResult:
    """One organisation, by default the profile's."""
    with tools.opened() as session:
        return views.single("org show", "organisation", session.organisation(text))


def make_organisation(name: str, *, ensure: bool) -> OperationResult:
    """Create an organisation; `ensure` is content with one that is there."""
    command = "org ensure" if ensure else "org create"
    with tools.opened() as session:
        found = session.cloud.organisation(name=name)
        if found is not None and not ensure:
            raise tools.exists(
                "organisation", name, found.id, "`infuse org ensure` is content with that."
            )
        made = found or _create_organisation(session, command, name, adopt=ensure)
    return _made(command, "organisation", made, created=found is None)


def _create_organisation(
    session: tools.Session, command: str, name: str, *, adopt: bool
) -> api.Organisation:
    with tools.on_record(session, command) as record:
        record.note("organisation intended", name=name)
        made = session.once.send(
            lambda: session.cloud.create_organisation(name),
            lambda: session.cloud.organisation(name=name),
            adopt_conflict=adopt,
        )
        record.note("organisation created", id=made.id, name=made.name)
    return made


def boards(organisation: str | None, *, public: bool) -> OperationResult:
    """The cloud boards of an organisation."""
    with tools.opened() as session:
        rows = session.cloud.boards(session.organisation(organisation).id, public=public)
    return views.listing(
        "board list", "boards", rows, _BOARD_COLUMNS, "The organisation has no cloud board."
    )


def board(text: str | None, organisation: str | None) -> OperationResult:
    """One cloud board, by default the profile's."""
    with tools.opened() as session:
        return views.single(
            "board show", "board", session.board(text, lambda: session.organisation(organisation))
        )


@dataclass(frozen=True, slots=True)
class BoardWish:
    """What a cloud board is to be; None where the profile may say it."""

    name: str | None
    soc: str | None
    description: str | None
    fields: tuple[str, ...]
    public: bool
    organisation: str | None


def make_board(wish: BoardWish, *, ensure: bool) -> OperationResult:
    """Create a cloud board; `ensure` is content with one of the same soc, and says in what it
    differs.
    """
    command = "board ensure" if ensure else "board create"
    given = [metadata_field(text) for text in wish.fields]
    with tools.opened() as session:
        spec = session.cloud_section.board
        name = wish.name or spec.name
        if name is None:
            raise UsageError("usage.bad-option", "the board has no name, and no profile names one")
        owner = session.organisation(wish.organisation)
        profiled = [
            api.MetadataField(name=one.name, required=one.required, unique=one.unique)
            for one in spec.metadata_fields
        ]
        ours = wish.name in {None, spec.name}  # the profile describes its own board and no other
        fields = given or (profiled if ours else [])
        description = (
            wish.description if wish.description is not None else spec.description if ours else ""
        )
        found = tools.named(session.cloud.boards(owner.id), name, "board")
        if found is not None and not ensure:
            raise tools.exists(
                "board", name, found.id, "`infuse board ensure` is content with that."
            )
        if found is not None:
            return _made(
                command,
                "board",
                found,
                created=False,
                differs=_differences(found, wish.soc or session.soc, description, fields),
            )
        soc = wish.soc or session.soc
        if soc is None:
            raise UsageError("usage.bad-option", "a new board needs --soc, e.g. --soc nRF9151")
        with tools.on_record(session, command) as record:
            record.note("board intended", name=name, soc=soc, organisationId=owner.id)
            made = session.once.send(
                lambda: session.cloud.create_board(
                    owner.id,
                    name,
                    soc=soc,
                    description=description,
                    metadata_fields=fields,
                    public=wish.public,
                ),
                lambda: tools.named(session.cloud.boards(owner.id), name, "board"),
                adopt_conflict=ensure,
            )
            record.note("board created", id=made.id, name=made.name)
    return _made(command, "board", made, created=True)


def metadata_field(text: str) -> api.MetadataField:
    """A field from NAME[:required][:unique]. Raises UsageError."""
    name, *flags = text.split(":")
    if not name or set(flags) - {"required", "unique"}:
        raise UsageError(
            "usage.bad-option", f"--field takes NAME[:required][:unique], not {text!r}"
        )
    return api.MetadataField(name=name, required="required" in flags, unique="unique" in flags)


def _differences(
    found: api.CloudBoard, soc: str | None, description: str, fields: Sequence[api.MetadataField]
) -> list[str]:
    if soc is not None and soc.lower() != found.soc.lower():
        raise CloudError(
            "cloud.soc-mismatch",
            f"board {found.name!r} exists with soc {found.soc}, not {soc}",
            hint="A board's soc cannot be changed: choose another name, or correct the soc.",
        )
    differs = ["description"] if description and description != found.description else []
    return [
        *differs,
        *(["metadataFields"] if fields and set(fields) != set(found.metadata_fields) else []),
    ]


def networks(organisation: str | None, *, public: bool) -> OperationResult:
    """The networks of an organisation, without their keys."""
    with tools.opened() as session:
        rows = session.cloud.networks(session.organisation(organisation).id, public=public)
    return views.listing(
        "network list", "networks", rows, _NETWORK_COLUMNS, "The organisation has no network."
    )


def network(text: str | None, organisation: str | None) -> OperationResult:
    """One network, by default the profile's."""
    with tools.opened() as session:
        spec = session.cloud_section.network
        wanted = text or (spec.id or spec.name if spec else None)
        if wanted is None:
            raise UsageError("usage.bad-option", "no network was named, and no profile names one")
        rows = session.cloud.networks(session.organisation(organisation).id)
        return views.single("network show", "network", tools.pick(rows, wanted, "network"))


@dataclass(frozen=True, slots=True)
class NetworkWish:
    """What a network is to be.

    Its key comes from a private file, or is made and written to one first.
    """

    name: str
    network_id: int
    key_file: Path | None
    generate: bool
    out: Path | None
    description: str
    public: bool
    organisation: str | None


def make_network(wish: NetworkWish) -> OperationResult:
    """Create a network. A key that is made here is in its file before the cloud hears of it."""
    if (wish.key_file is None) == (not wish.generate):
        raise UsageError(
            "usage.bad-option",
            "a network needs a key",
            hint="Give either --key-file FILE, or --generate-key with --out FILE.",
        )
    if not 0 <= wish.network_id <= _LARGEST_NETWORK_ID:
        raise UsageError(
            "usage.bad-option",
            f"--network-id {wish.network_id} is not from 0 to {_LARGEST_NETWORK_ID}",
        )
    place = tools.Destination(wish.out, reveal=False, needed="the key" if wish.generate else None)
    given = None if wish.key_file is None else read_key(wish.key_file)
    with tools.opened() as session:
        owner = session.organisation(wish.organisation)
        found = tools.named(session.cloud.networks(owner.id), wish.name, "network")
        if found is not None:
            raise tools.exists(
                "network",
                wish.name,
                found.id,
                "A network's key cannot be changed: choose another name.",
            )
        key = given or secrets.token_bytes(_KEY_SIZE)
        wire_key = Secret(base64.b64encode(key).decode())
        if wish.generate:
            place.reserve()
            place.take(wire_key)
        made = _create_network(session, wish, owner.id, wire_key)
    notes = (
        ["this key is published in the firmware's sources: use it for trials only"]
        if key == _PUBLISHED_KEY
        else []
    )
    first = [
        f"Created network {made.name!r}.",
        *place.shown(wire_key, "Key"),
        *(f"Note: {note}." for note in notes),
    ]
    return views.single(
        "network create",
        "network",
        made,
        first="\n".join(first),
        created=True,
        out=wish.out,
        notes=notes,
    )


def _create_network(
    session: tools.Session, wish: NetworkWish, owner: str, key: Secret
) -> api.Network:
    def look() -> api.Network | None:
        return tools.named(session.cloud.networks(owner), wish.name, "network")

    with tools.on_record(session, "network create") as record:
        record.note(
            "network intended", name=wish.name, networkId=wish.network_id, organisationId=owner
        )
        made = session.once.send(
            lambda: session.cloud.create_network(
                owner,
                wish.name,
                key=key,
                network_id=wish.network_id,
                description=wish.description,
                public=wish.public,
            ),
            look,
        )
        record.note("network created", id=made.id, name=made.name)
    return made


def read_key(path: Path) -> bytes:
    """A 32-byte key from a private file: base64, 64 hex digits, or the bytes themselves.

    Raises UsageError, CredentialError credential.unsafe-file or credential.malformed.
    """
    from infuse_cli.keys.files import read_private

    try:
        content = read_private(path, "the key file")
    except FileNotFoundError:
        raise UsageError("usage.bad-option", f"there is no key file {path}") from None
    if len(content) == _KEY_SIZE:
        return content
    text = content.strip()
    if re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text.decode())
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_SIZE:
        raise UsageError(
            "usage.bad-option",
            f"the key file {path} holds no key of {_KEY_SIZE} bytes: base64, hex or the bare bytes",
        )
    return key


def _made(
    command: str, what: str, thing: Any, *, created: bool, differs: Sequence[str] = ()
) -> OperationResult:
    first = f"{'Created' if created else 'There already:'} {what} {thing.name!r}."
    first += (
        f"\nNote: it differs from what was asked for in: {', '.join(differs)}." if differs else ""
    )
    more = {"differs": list(differs)} if what == "board" else {}
    return views.single(command, what, thing, first=first, created=created, **more)
