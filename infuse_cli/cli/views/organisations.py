"""Results of `infuse org|board|network`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.views import cloud as views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli import api_types as api
    from infuse_cli.cli.result import OperationResult
    from infuse_cli.devices.organisations import Creation, NetworkCreation

_BOARDS: Final = {
    "name": "name",
    "soc": "soc",
    "id": "id",
    "public": "public",
    "description": "description",
}
_NETWORKS: Final = {
    "name": "name",
    "networkId": "network id",
    "id": "id",
    "public": "public",
    "description": "description",
}


def organisations(rows: Sequence[api.Organisation]) -> OperationResult:
    """`org list`."""
    titles = {"name": "name", "id": "id"}
    empty = "The credential sees no organisation."
    return views.listing("org list", "organisations", rows, titles, empty)


def boards(rows: Sequence[api.CloudBoard]) -> OperationResult:
    """`board list`."""
    empty = "The organisation has no cloud board."
    return views.listing("board list", "boards", rows, _BOARDS, empty)


def networks(rows: Sequence[api.Network]) -> OperationResult:
    """`network list`."""
    empty = "The organisation has no network."
    return views.listing("network list", "networks", rows, _NETWORKS, empty)


def created(command: str, result: Creation[Any]) -> OperationResult:
    """`org|board create|ensure`."""
    what = "organisation" if command.startswith("org") else "board"
    verb = "Created" if result.created else "There already:"
    lines = [f"{verb} {what} {result.thing.name!r}."]
    if result.differs:
        lines.append(f"Note: it differs from what was asked for in: {', '.join(result.differs)}.")
    more = {"differs": list(result.differs)} if what == "board" else {}
    return views.single(
        command, what, result.thing, first="\n".join(lines), created=result.created, **more
    )


def network_created(result: NetworkCreation) -> OperationResult:
    """`network create`."""
    notes = (
        ["this key is published in the firmware's sources: use it for trials only"]
        if result.published_key
        else []
    )
    lines = [f"Created network {result.network.name!r}."]
    if result.out is not None:
        lines.append(f"Key written to {result.out} (0600)")
    lines += [f"Note: {note}." for note in notes]
    return views.single(
        "network create",
        "network",
        result.network,
        first="\n".join(lines),
        created=True,
        out=result.out,
        notes=notes,
    )
