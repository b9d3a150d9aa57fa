"""`infuse serial creds, token, csr` for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infuse_cli.cli.result import OperationResult
from infuse_cli.cli.views.layout import columns, fields
from infuse_cli.effects.credentials import described, kind_name
from infuse_cli.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from infuse_cli.serial_tools.board import CredentialList, CredentialRow, IdentifiedBoard
    from infuse_cli.serial_tools.credentials import DeleteResult, WriteResult, WrittenCredential
    from infuse_cli.serial_tools.csr import MadeKey
    from infuse_cli.serial_tools.token import WrittenToken
    from infuse_cli.types import StoredCredential

_WIDE: Final = 120
"""Columns from which on a digest has room beside the rest."""


def listed(result: CredentialList, tag: int | None) -> OperationResult:
    """The credentials, then how many keys are the modem's own."""

    def human(console: Console) -> None:
        table(console, result.credentials, tag)
        if result.built_in:
            keys = plural(len(result.built_in), "key")
            console.print(
                f"and {keys} of the modem's own, which nobody can write or delete", soft_wrap=True
            )

    data = {
        "port": result.board.port,
        "board": board_json(result.board),
        "credentials": rows_json(result.credentials),
        "modemOwn": [_entry_json(entry) for entry in result.built_in],
    }
    return OperationResult("serial creds list", data, human=human)


def written(result: WriteResult) -> OperationResult:
    """A line a credential: what was written and read back, or left because it was there."""

    def human(console: Console) -> None:
        _show_written(console, result.credentials)
        show_notes(console, result.notes)

    rows = [_written_json(row) for row in result.credentials]
    data = change_json(result.board, result.notes, credentials=rows)
    return OperationResult("serial creds write", data, human=human)


def deleted(result: DeleteResult) -> OperationResult:
    """A line a credential that is gone."""

    def human(console: Console) -> None:
        for entry in result.credentials:
            name = described(entry).replace(" (SHA-256", ", SHA-256").rstrip(")")
            console.print(f"Deleted: {name}", soft_wrap=True, markup=False)
        if not result.credentials:
            console.print("Nothing there, nothing deleted.", soft_wrap=True)
        show_notes(console, result.notes)

    rows = [{**_entry_json(row), "typeName": kind_name(row.type)} for row in result.credentials]
    data = change_json(result.board, result.notes, deleted=rows)
    return OperationResult("serial creds delete", data, human=human)


def token(result: WrittenToken) -> OperationResult:
    """Where a registration token went, and whether the board shows it."""

    def human(console: Console) -> None:
        if result.store != "psk":
            seen = "read back" if result.read_back else "the board cannot show it"
            place = f"store {result.store} {result.name or ''}".rstrip()
            console.print(
                f"{_token_verb(result)}, {seen}: registration token, {place}",
                soft_wrap=True,
                markup=False,
            )
        _show_written(console, result.credentials)
        show_notes(console, result.notes)

    data = change_json(
        result.board,
        result.notes,
        store=result.store,
        registryDeviceId=result.device_id,
        tokenSha256=result.token_sha256,
        onRecord=result.known,
        secTag=result.sec_tag,
        credentials=[_written_json(row) for row in result.credentials],
        name=result.name,
        already=result.already,
        replaced=result.replaced,
        readBack=result.read_back,
    )
    return OperationResult("serial token write", data, human=human)


def requested(result: MadeKey) -> OperationResult:
    """A key that was made, and where its CSR is."""
    made = {
        "secTag": result.sec_tag,
        "keySha256": result.key_sha256,
        "publicKeySha256": result.csr.spki_sha256,
        "subject": result.csr.subject,
        "attestation": result.csr.attestation,
        "out": str(result.request.out.absolute()),
        "keygen": str(result.request.raw.absolute()),
    }

    def human(console: Console) -> None:
        fields(
            console,
            {
                "sec_tag": made["secTag"],
                "subject": made["subject"],
                "public key": f"SHA-256 {made['publicKeySha256']}",
                "attestation": made["attestation"],
                "CSR": made["out"],
                "modem's text": made["keygen"],
            },
        )
        show_notes(console, result.notes)
        console.print(
            f"Next: infuse ca sign {made['out']} --device-id ID --out CERT.pem",
            soft_wrap=True,
            markup=False,
        )

    data = change_json(result.board, result.notes, **made)
    return OperationResult("serial csr", data, human=human)


def table(console: Console, rows: Sequence[CredentialRow], tag: int | None = None) -> None:
    """A line a credential; `journal` says whether this journal put it there."""
    if not rows:
        where = "" if tag is None else f" under sec_tag {tag}"
        console.print(f"The modem holds no credential{where}.", soft_wrap=True)
        return
    cells = [
        (
            str(row.entry.sec_tag),
            str(row.entry.type),
            kind_name(row.entry.type),
            _origin(row),
            row.entry.sha256 or "not given",
        )
        for row in rows
    ]
    if console.width >= _WIDE:
        columns(console, ("sec_tag", "type", "what", "journal", "SHA-256"), cells)
        return
    for place, kind, what, origin, sha256 in cells:
        console.print(
            f"sec_tag {place}, type {kind}: {what}, {origin}",
            soft_wrap=True,
            markup=False,
            style="bold",
        )
        console.print(f"    {sha256}", soft_wrap=True, markup=False)


def rows_json(rows: Sequence[CredentialRow]) -> list[dict[str, Any]]:
    """Credentials as JSON values."""
    return [
        {
            "secTag": row.entry.sec_tag,
            "type": row.entry.type,
            "typeName": kind_name(row.entry.type),
            "sha256": row.entry.sha256,
            "known": row.attempt is not None,
            "attempt": row.attempt,
            "byHand": row.manual,
        }
        for row in rows
    ]


def board_json(board: IdentifiedBoard) -> dict[str, Any]:
    """A board's names as JSON values."""
    seen = board.identity
    return {"uuid": seen.uuid, "imei": seen.imei, "mcuId": seen.mcu_id}


def change_json(board: IdentifiedBoard, notes: Sequence[str], **values: Any) -> dict[str, Any]:
    """A board and what was done to it, as JSON values."""
    return {
        "port": board.port,
        "dialect": board.dialect,
        "board": board_json(board),
        **values,
        "notes": list(notes),
    }


def show_notes(console: Console, notes: Sequence[str]) -> None:
    """A line a note."""
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)


def _origin(row: CredentialRow) -> str:
    """Whose a credential is, by the journal of this bench."""
    if row.attempt is not None:
        return "ours"
    return "by hand" if row.manual else "unknown"


def _token_verb(result: WrittenToken) -> str:
    if result.already:
        return "There already"
    return "Written" if result.replaced is None else f"Written over SHA-256 {result.replaced}"


def _show_written(console: Console, rows: Sequence[WrittenCredential]) -> None:
    for row in rows:
        verb = "Written, read back" if row.replaced is None else "Replaced, read back"
        if row.already:
            verb = "There already"
        console.print(
            f"{verb}: {row.credential.name}, SHA-256 {row.sha256}", soft_wrap=True, markup=False
        )


def _written_json(row: WrittenCredential) -> dict[str, Any]:
    return {
        "secTag": row.credential.sec_tag,
        "type": int(row.credential.kind),
        "typeName": kind_name(row.credential.kind),
        "sha256": row.sha256,
        "already": row.already,
        "replaced": row.replaced,
    }


def _entry_json(entry: StoredCredential) -> dict[str, Any]:
    return {"secTag": entry.sec_tag, "type": entry.type, "sha256": entry.sha256}
