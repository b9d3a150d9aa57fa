"""`infuse serial csr`: a key made in the modem, and its CSR written to a file."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.capabilities import Capability
from infuse_cli.config.model import Identity, Token
from infuse_cli.effects.credentials import described
from infuse_cli.errors import PolicyError, UsageError
from infuse_cli.files import PUBLIC, write_file
from infuse_cli.records import SeeKey
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.board import list_entries, writable
from infuse_cli.serial_tools.credentials import open_editor, stored_change
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.effects.journal_run import CommandRun
    from infuse_cli.pki.vetting import VettedCsr
    from infuse_cli.serial_tools.board import IdentifiedBoard
    from infuse_cli.serial_tools.credentials import CredentialEditor, Uninterrupted
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings

RAW: Final = ".keygen"
"""Ends the name of the file beside a CSR that holds the modem's text, whole."""


@dataclass(frozen=True, slots=True)
class CsrRequest:
    """A key to be made; None takes the profile's value, for `sec_tag` the first free one.

    `out` is where the CSR goes in PEM; the modem's text goes to `raw`. Neither may be there yet.
    """

    out: Path
    sec_tag: int | None = None
    attributes: str | None = None
    key_usage: str | None = None

    @property
    def raw(self) -> Path:
        """The file for the modem's text."""
        return self.out.with_name(self.out.name + RAW)

    def check(self) -> None:
        """Raise UsageError for a place that cannot take both files, before a key is made."""
        for path in (self.out, self.raw):
            if path.exists():
                raise UsageError(
                    "usage.bad-option",
                    f"{path} exists and is not overwritten",
                    hint="Name another file with --out.",
                )
        folder = self.out.absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UsageError(
                "usage.bad-option",
                f"{self.out} cannot be written: its folder does not exist or may not be written to",
            )


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key in the modem; `key_sha256` is the digest that the modem lists for it."""

    board: IdentifiedBoard
    request: CsrRequest
    sec_tag: int
    key_sha256: str | None
    csr: VettedCsr
    notes: tuple[str, ...]


def make_csr(
    settings: Settings,
    target: BoardPort,
    request: CsrRequest,
    uninterrupted: Uninterrupted = nullcontext,
) -> MadeKey:
    """Make a key in the modem and vet its CSR; the modem's text is stored before it is judged.

    No key is overwritten. Raises PolicyError identity.* as `vet` does, identity.slot-occupied for
    a sec_tag that holds a key, BoardError, UsageError for the files.
    """
    request.check()
    with open_editor("serial csr", settings, target, uninterrupted) as editor:
        editor.require(frozenset({Capability.CSR}))
        tag = _free_tag(editor) if request.sec_tag is None else request.sec_tag
        _refuse_key(editor, tag)
        identity = Identity() if target.profile is None else target.profile.identity
        with editor.offline() as run:
            facts = {
                "command": f"sec_tag {tag}",
                "secTag": tag,
                "type": int(CredentialType.CLIENT_KEY),
            }
            with stored_change(run, NoteKind.KEY_MADE, facts) as found:
                text = editor.link.run(
                    editor.ops.keygen(
                        editor.uuid,
                        tag,
                        attributes=request.attributes or identity.attributes,
                        key_usage=request.key_usage or identity.key_usage,
                    )
                )
                editor.credentials.forget(tag)
                entry = editor.credentials.entry(tag, CredentialType.CLIENT_KEY)
                digest = None if entry is None else entry.sha256
                found.update(sha256=digest, keygen=text)
            _write(request.raw, f"{text}\n")
            csr = _vetted(editor, run, text, tag, required=identity.attestation == "required")
        _write(request.out, csr.csr_pem)
        return MadeKey(editor.board, request, tag, digest, csr, tuple(editor.notes))


def _vetted(
    editor: CredentialEditor, run: CommandRun, text: str, tag: int, *, required: bool
) -> VettedCsr:
    """Check a CSR; the journal refuses a key that is not new (identity.key-reused)."""
    from infuse_cli.pki.vetting import vet

    name = f"sec_tag {tag}"
    try:
        csr = vet(text, uuid=editor.uuid, sec_tag=tag, attestation_required=required)
        run.note(
            NoteKind.CSR_VETTED,
            SeeKey(spki_sha256=csr.spki_sha256, board=editor.uuid),
            command=name,
            answer="OK",
            publicKeySha256=csr.spki_sha256,
        )
    except PolicyError as error:
        run.note(NoteKind.CSR_VETTED, command=name, answer=error.code)
        raise
    return csr


def _write(path: Path, text: str) -> None:
    """Write a file whole, never over another; its text is in the journal by then."""
    try:
        write_file(path, text.encode(), PUBLIC, replace=False)
    except OSError as error:
        raise UsageError(
            "usage.bad-option",
            f"{path} cannot be written: {error.strerror}",
            hint=(
                "The key is made, and its CSR is stored: `infuse journal show BOARD --events"
                " --output json`."
            ),
        ) from error


def _refuse_key(editor: CredentialEditor, tag: int) -> None:
    entry = editor.credentials.entry(tag, CredentialType.CLIENT_KEY)
    if entry is not None:
        raise PolicyError(
            "identity.slot-occupied",
            f"the modem holds the {described(entry)}; it is not overwritten",
            hint=(
                "Leave --sec-tag out to take a free one, or `infuse serial creds delete --sec-tag"
                f" {tag}` first."
            ),
        )


def _free_tag(editor: CredentialEditor) -> int:
    """The first free sec_tag from the profile's upwards (4201 without one)."""
    profile = editor.target.profile
    identity = Identity() if profile is None else profile.identity
    token = Token() if profile is None or profile.token is None else profile.token
    taken = {entry.sec_tag for entry in writable(list_entries(editor.link, None))}
    taken.add(token.sec_tag)
    tags = range(identity.sec_tag, identity.sec_tag + len(taken) + 1)
    return next(tag for tag in tags if tag not in taken)
