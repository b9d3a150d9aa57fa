"""`infuse serial csr`: a key made in the modem by hand, and its CSR given out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.capabilities import Can
from infuse_cli.config.model import Identity, Token
from infuse_cli.errors import BoardError, PolicyError, UsageError
from infuse_cli.files import PUBLIC, write_file
from infuse_cli.pki.vetting import VettedCsr, vet
from infuse_cli.records import SeeKey
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.serial_tools.credentials import Hand, changing, described
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.serial_tools.manual_log import Notes

RAW: Final = ".keygen"
"""Ends the name of the file beside a CSR that holds what the modem said, whole."""


class Files:
    """Where a CSR goes: PEM at `out`, and what the modem said, whole, at `out` + `.keygen`.

    Neither may be there yet.
    """

    def __init__(self, out: Path) -> None:
        """Raise UsageError for a place that cannot take both, before a key is made."""
        self.pem: Final = out
        self.raw: Final = out.with_name(out.name + RAW)
        for path in (self.pem, self.raw):
            if path.exists():
                raise UsageError(
                    "usage.bad-option",
                    f"{path} exists and is not overwritten",
                    hint="Name another file with --out.",
                )
        if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
            raise UsageError(
                "usage.bad-option",
                f"{out} cannot be written: its folder does not exist or may not be written to",
            )

    def keep(self, path: Path, text: str) -> None:
        """Write one of them, whole, never over another file.

        Raises UsageError; the text is on record by then.
        """
        try:
            write_file(path, text.encode(), PUBLIC, replace=False)
        except OSError as error:
            raise UsageError(
                "usage.bad-option",
                f"{path} cannot be written: {error.strerror}",
                hint=(
                    "The key is made, and its CSR is on record: `infuse journal show BOARD --events"
                    " --output json`."
                ),
            ) from error


def make(
    hand: Hand, sec_tag: int | None, files: Files, attributes: str | None, key_usage: str | None
) -> dict[str, Any]:
    """Make a key in the modem and vet its CSR; the raw text is on record and on disk before it is
    judged.

    Raises PolicyError identity.* as `vet` does, identity.slot-occupied for a sec_tag that holds a
    key.
    """
    hand.needs(Can.CSR)
    tag = _free_tag(hand) if sec_tag is None else _without_key(hand, sec_tag)
    identity = Identity() if hand.profile is None else hand.profile.identity
    with changing(hand) as notes:
        told = {"command": f"sec_tag {tag}", "secTag": tag, "type": int(CredentialType.CLIENT_KEY)}
        notes.note(NoteKind.KEY_MADE, **told, answer="begun")
        try:
            text = hand.link.run(
                hand.ops.keygen(
                    hand.uuid,
                    tag,
                    attributes=attributes or identity.attributes,
                    key_usage=key_usage or identity.key_usage,
                )
            )
        except BoardError as error:
            notes.note(NoteKind.KEY_MADE, **told, answer=error.code)
            raise
        entry = hand.entry(tag, CredentialType.CLIENT_KEY)
        notes.note(
            NoteKind.KEY_MADE,
            **told,
            sha256=None if entry is None else entry.sha256,
            keygen=text,
            answer="OK",
        )
        files.keep(files.raw, f"{text}\n")
        vetted = _vetted(hand, notes, text, tag, required=identity.attestation == "required")
    files.keep(files.pem, vetted.csr_pem)
    return {
        "secTag": tag,
        "keySha256": None if entry is None else entry.sha256,
        "publicKeySha256": vetted.spki_sha256,
        "subject": vetted.subject,
        "attestation": vetted.attestation,
        "out": str(files.pem.absolute()),
        "keygen": str(files.raw.absolute()),
    }


def _vetted(hand: Hand, notes: Notes, text: str, tag: int, *, required: bool) -> VettedCsr:
    """Every check of a CSR; that the key is new is the journal's to say
    (identity.key-reused).
    """
    try:
        vetted = vet(text, uuid=hand.uuid, sec_tag=tag, attestation_required=required)
        notes.note(
            NoteKind.CSR_VETTED,
            SeeKey(spki_sha256=vetted.spki_sha256, board=hand.uuid),
            command=f"sec_tag {tag}",
            answer="OK",
            publicKeySha256=vetted.spki_sha256,
        )
    except PolicyError as error:
        notes.note(NoteKind.CSR_VETTED, command=f"sec_tag {tag}", answer=error.code)
        raise
    return vetted


def _without_key(hand: Hand, tag: int) -> int:
    entry = hand.entry(tag, CredentialType.CLIENT_KEY)
    if entry is not None:
        raise PolicyError(
            "identity.slot-occupied",
            f"the modem holds the {described(entry)}; it is not overwritten",
            hint=(
                "Leave --sec-tag out to take a free one, or `infuse serial creds delete --sec-tag"
                f" {tag}` first."
            ),
        )
    return tag


def _free_tag(hand: Hand) -> int:
    """The first sec_tag from the profile's (4201 without one) upwards under which the modem holds
    nothing.
    """
    identity = Identity() if hand.profile is None else hand.profile.identity
    token = Token() if hand.profile is None or hand.profile.token is None else hand.profile.token
    taken = {row.sec_tag for row in serial_board.stored(hand.link, None)} | {token.sec_tag}
    return next(
        tag
        for tag in range(identity.sec_tag, identity.sec_tag + len(taken) + 1)
        if tag not in taken
    )
