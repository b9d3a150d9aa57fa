"""What devices belong to: organisations, cloud boards (product profiles) and networks.

What is created is looked up first, sent once, and recorded in the journal.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from infuse_cli import api_types as api
from infuse_cli.devices import session as tools
from infuse_cli.devices.secret_file import SecretFile
from infuse_cli.errors import CloudError, UsageError
from infuse_cli.records.notes import NoteKind
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infuse_cli.settings import Settings

T = TypeVar("T", bound=api.ApiObject)

_KEY_SIZE: Final = 32
_LARGEST_NETWORK_ID: Final = 0xFFFFFF
_PUBLISHED_KEY: Final = bytes(range(_KEY_SIZE))


@dataclass(frozen=True, slots=True)
class Creation(Generic[T]):
    """A thing in the cloud that was created, or was there already.

    `differs` names the members of an existing one that are not what was asked for.
    """

    thing: T
    created: bool
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoardRequest:
    """What a cloud board is to be; None where the profile may say it."""

    name: str | None = None
    soc: str | None = None
    description: str | None = None
    fields: tuple[api.MetadataField, ...] = ()
    public: bool = False
    organisation: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What a network is to be.

    `network_id` is its number, 24 bits. Its key comes from a private file, or is generated and
    written to `out` first.
    """

    name: str
    network_id: int
    key_file: Path | None = None
    generate: bool = False
    out: Path | None = None
    description: str = ""
    public: bool = False
    organisation: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkCreation:
    """A network that was created; `published_key` where its key is the one in the firmware's
    sources.
    """

    network: api.Network
    out: Path | None
    published_key: bool


def list_organisations(settings: Settings) -> Sequence[api.Organisation]:
    """All organisations that the credential can see."""
    with tools.opened(settings) as session:
        return session.cloud.organisations()


def find_organisation(settings: Settings, text: str | None) -> api.Organisation:
    """One organisation by name or id, by default the profile's."""
    with tools.opened(settings) as session:
        return session.organisation(text)


def create_organisation(
    settings: Settings, name: str, *, ensure: bool
) -> Creation[api.Organisation]:
    """Create an organisation; `ensure` is content with one that exists.

    Raises CloudError cloud.refused without `ensure` where the name exists.
    """
    command = "org ensure" if ensure else "org create"
    with tools.opened(settings) as session:
        cloud = session.cloud
        existing = cloud.organisation(name=name)
        if existing is not None and not ensure:
            raise tools.exists(
                "organisation", name, existing.id, "`infuse org ensure` is content with that."
            )
        if existing is not None:
            return Creation(existing, created=False)
        with tools.journal_run(session, command) as run:
            run.note(NoteKind.ORGANISATION_INTENDED, name=name)
            made = session.once.send(
                lambda: cloud.create_organisation(name),
                lambda: cloud.organisation(name=name),
                adopt_conflict=ensure,
            )
            run.note(NoteKind.ORGANISATION_CREATED, id=made.id, name=made.name)
    return Creation(made, created=True)


def list_boards(
    settings: Settings, organisation: str | None, *, public: bool
) -> Sequence[api.CloudBoard]:
    """The cloud boards of an organisation; `public` adds everybody's public ones."""
    with tools.opened(settings) as session:
        return session.cloud.boards(session.organisation(organisation).id, public=public)


def find_board(settings: Settings, text: str | None, organisation: str | None) -> api.CloudBoard:
    """One cloud board by name or id, by default the profile's."""
    with tools.opened(settings) as session:
        return session.board(text, lambda: session.organisation(organisation))


def create_board(
    settings: Settings, request: BoardRequest, *, ensure: bool
) -> Creation[api.CloudBoard]:
    """Create a cloud board; `ensure` is content with one of the same soc, and says in what it
    differs.

    Raises UsageError, CloudError cloud.refused or cloud.soc-mismatch.
    """
    command = "board ensure" if ensure else "board create"
    with tools.opened(settings) as session:
        cloud = session.cloud
        wanted = _with_profile(request, session)
        name, soc = wanted.name, wanted.soc
        if name is None:
            raise UsageError("usage.bad-option", "the board has no name, and no profile names one")
        owner = session.organisation(wanted.organisation)
        existing = tools.named(cloud.boards(owner.id), name, "board")
        if existing is not None and not ensure:
            raise tools.exists(
                "board", name, existing.id, "`infuse board ensure` is content with that."
            )
        if existing is not None:
            return Creation(existing, created=False, differs=_differences(existing, wanted))
        if soc is None:
            raise UsageError("usage.bad-option", "a new board needs --soc, e.g. --soc nRF9151")
        with tools.journal_run(session, command) as run:
            run.note(NoteKind.BOARD_INTENDED, name=name, soc=soc, organisationId=owner.id)
            made = session.once.send(
                lambda: cloud.create_board(
                    owner.id,
                    name,
                    soc=soc,
                    description=wanted.description or "",
                    metadata_fields=wanted.fields,
                    public=wanted.public,
                ),
                lambda: tools.named(cloud.boards(owner.id), name, "board"),
                adopt_conflict=ensure,
            )
            run.note(NoteKind.BOARD_CREATED, id=made.id, name=made.name)
    return Creation(made, created=True)


def _with_profile(request: BoardRequest, session: tools.Session) -> BoardRequest:
    """The request filled from the profile, which describes its own board and no other."""
    spec = session.cloud_section.board
    is_profiles = request.name in {None, spec.name}
    fields = request.fields
    if is_profiles and not fields:
        fields = tuple(
            api.MetadataField(name=field.name, required=field.required, unique=field.unique)
            for field in spec.metadata_fields
        )
    description = request.description
    if is_profiles and description is None:
        description = spec.description
    return BoardRequest(
        request.name or spec.name,
        request.soc or session.soc,
        description,
        fields,
        request.public,
        request.organisation,
    )


def _differences(existing: api.CloudBoard, wanted: BoardRequest) -> tuple[str, ...]:
    if wanted.soc is not None and wanted.soc.lower() != existing.soc.lower():
        raise CloudError(
            "cloud.soc-mismatch",
            f"board {existing.name!r} exists with soc {existing.soc}, not {wanted.soc}",
            hint="A board's soc cannot be changed: choose another name, or correct the soc.",
        )
    differs = {
        "description": wanted.description and wanted.description != existing.description,
        "metadataFields": wanted.fields and set(wanted.fields) != set(existing.metadata_fields),
    }
    return tuple(name for name, is_other in differs.items() if is_other)


def list_networks(
    settings: Settings, organisation: str | None, *, public: bool
) -> Sequence[api.Network]:
    """The networks of an organisation, without their keys."""
    with tools.opened(settings) as session:
        return session.cloud.networks(session.organisation(organisation).id, public=public)


def find_network(settings: Settings, text: str | None, organisation: str | None) -> api.Network:
    """One network by name or id, by default the profile's."""
    with tools.opened(settings) as session:
        spec = session.cloud_section.network
        wanted = text or (spec.id or spec.name if spec else None)
        if wanted is None:
            raise UsageError("usage.bad-option", "no network was named, and no profile names one")
        rows = session.cloud.networks(session.organisation(organisation).id)
        return tools.pick(rows, wanted, "network")


def create_network(settings: Settings, request: NetworkRequest) -> NetworkCreation:
    """Create a network. A key that is generated is in its file before the cloud gets it.

    Raises UsageError, CloudError cloud.refused where the name exists, CredentialError.
    """
    if (request.key_file is None) == (not request.generate):
        raise UsageError(
            "usage.bad-option",
            "a network needs a key",
            hint="Give either --key-file FILE, or --generate-key with --out FILE.",
        )
    if not 0 <= request.network_id <= _LARGEST_NETWORK_ID:
        raise UsageError(
            "usage.bad-option",
            f"--network-id {request.network_id} is not from 0 to {_LARGEST_NETWORK_ID}",
        )
    file, name = SecretFile(request.out), request.name
    key = secrets.token_bytes(_KEY_SIZE)
    if request.key_file is not None:
        key = read_key(request.key_file)
    wire_key = Secret(base64.b64encode(key).decode())
    with tools.opened(settings) as session:
        cloud, owner = session.cloud, session.organisation(request.organisation).id
        existing = tools.named(cloud.networks(owner), name, "network")
        if existing is not None:
            raise tools.exists(
                "network",
                name,
                existing.id,
                "A network's key cannot be changed: choose another name.",
            )
        if request.generate:
            file.reserve()
            file.write(wire_key)
        with tools.journal_run(session, "network create") as run:
            number = request.network_id
            run.note(NoteKind.NETWORK_INTENDED, name=name, networkId=number, organisationId=owner)
            made = session.once.send(
                lambda: cloud.create_network(
                    owner,
                    name,
                    key=wire_key,
                    network_id=number,
                    description=request.description,
                    public=request.public,
                ),
                lambda: tools.named(cloud.networks(owner), name, "network"),
            )
            run.note(NoteKind.NETWORK_CREATED, id=made.id, name=made.name)
    return NetworkCreation(made, request.out, key == _PUBLISHED_KEY)


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
