"""`infuse serial token write`: a registration token put onto a board, where the profile's store
says.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infuse_cli.capabilities import TOKEN_STORES
from infuse_cli.config.model import Token
from infuse_cli.dialect import token_places
from infuse_cli.dialect.token_places import TokenPlace
from infuse_cli.errors import BoardError, PolicyError, ProfileError, UsageError
from infuse_cli.records import MoveToken
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools.board import existing_journal
from infuse_cli.serial_tools.content import token_credentials
from infuse_cli.serial_tools.credentials import WriteRequest, open_editor, stored_change
from infuse_cli.types import TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.records import TokenRecord, Write
    from infuse_cli.serial_tools.board import IdentifiedBoard
    from infuse_cli.serial_tools.credentials import (
        CredentialEditor,
        Uninterrupted,
        WrittenCredential,
    )
    from infuse_cli.serial_tools.ports import BoardPort
    from infuse_cli.settings import Settings
    from infuse_cli.types import Secret

_LIVE: Final = frozenset({TokenState.INTENDED, TokenState.MINTED, TokenState.DELIVERED})
_NO_READ_BACK: Final = frozenset({"serial.timeout", "serial.protocol"})


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token to be written; None takes the journal's registry device id, the profile's sec_tag."""

    token: Secret
    sec_tag: int | None = None
    device_id: str | None = None
    replace: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True)
class WrittenToken:
    """A token on a board.

    `known`: the journal knows the token. `name` is that of a store outside the modem, `sec_tag`
    and `credentials` are those of store `psk`. `replaced` is the SHA-256 of what was in its place.
    `read_back` is None where the board cannot show it.
    """

    board: IdentifiedBoard
    store: str
    token_sha256: str
    device_id: str | None
    known: bool
    already: bool
    replaced: str | None
    read_back: bool | None
    name: str | None = None
    sec_tag: int | None = None
    credentials: tuple[WrittenCredential, ...] = ()
    notes: tuple[str, ...] = ()


def write_token(
    settings: Settings,
    target: BoardPort,
    request: TokenRequest,
    uninterrupted: Uninterrupted = nullcontext,
) -> WrittenToken:
    """Put a registration token onto the board as the profile's store says.

    A token that this journal knows is marked as delivered before its first byte is sent, and
    refused where it was spent or belongs to another board. Raises PolicyError identity.token-spent,
    run.conflict, identity.slot-occupied, identity.not-read-back; ProfileError profile.unsupported
    where the dialect has no such store; as `write_credentials`.
    """
    profile = target.profile
    spec = Token() if profile is None or profile.token is None else profile.token
    with open_editor("serial token write", settings, target, uninterrupted) as editor:
        editor.require(TOKEN_STORES[spec.store])
        known = _known_token(settings, request.token)
        _refuse_spent(editor, known)
        _refuse_elsewhere(editor, request.token)
        writer = _TokenWriter(editor, request, spec, known)
        return writer.write_psk() if spec.store == "psk" else writer.write_outside()


@dataclass(frozen=True, slots=True)
class _TokenWriter:
    editor: CredentialEditor
    request: TokenRequest
    spec: Token
    known: TokenRecord | None

    @property
    def _device_id(self) -> str | None:
        known = None if self.known is None else self.known.registry_device_id
        return self.request.device_id or known

    @property
    def _delivery(self) -> tuple[Write, ...]:
        """What is stored before the first byte: the token may be on a board from then on."""
        if self.known is None or self.known.state is not TokenState.MINTED:
            return ()
        return (
            MoveToken(
                intent=self.known.intent,
                from_state=TokenState.MINTED,
                to_state=TokenState.DELIVERED,
                why=f"written by hand to board {self.editor.uuid}",
            ),
        )

    def write_psk(self) -> WrittenToken:
        """Write it as a pre-shared key of the modem."""
        tag = self.spec.sec_tag if self.request.sec_tag is None else self.request.sec_tag
        rows = self.editor.write(
            WriteRequest(
                token_credentials(tag, self.request.token, _required(self._device_id)),
                replace=self.request.replace,
                yes=self.request.yes,
            ),
            first=self._delivery,
            about={"tokenSha256": self.request.token.sha256()},
        )
        replaced = next((row.replaced for row in rows if row.replaced is not None), None)
        return self._written(
            already=all(row.already for row in rows),
            replaced=replaced,
            read_back=True,
            sec_tag=tag,
            credentials=rows,
        )

    def write_outside(self) -> WrittenToken:
        """Write it outside the modem's credentials."""
        place = self._place()
        already, old = self._look(place)
        read_back: bool | None = True
        if not already:
            self._allow(place, old)
            read_back = self._put(place, old)
        return self._written(already=already, replaced=old, read_back=read_back)

    def _written(
        self,
        *,
        already: bool,
        replaced: str | None,
        read_back: bool | None,
        sec_tag: int | None = None,
        credentials: tuple[WrittenCredential, ...] = (),
    ) -> WrittenToken:
        return WrittenToken(
            self.editor.board,
            self.spec.store,
            self.request.token.sha256(),
            self._device_id,
            known=self.known is not None,
            already=already,
            replaced=replaced,
            read_back=read_back,
            name=self.spec.name if sec_tag is None else None,
            sec_tag=sec_tag,
            credentials=credentials,
            notes=tuple(self.editor.notes),
        )

    def _look(self, place: TokenPlace) -> tuple[bool, str | None]:
        """Whether the token is there, else the SHA-256 of what is there instead, if that is known.

        A profile's own read-back may say nothing at all as long as there is no token.
        """
        editor, token = self.editor, self.request.token.reveal()
        try:
            if self._is_there(place):
                return True, None
            return False, editor.link.run(
                token_places.another_there(editor.ops, editor.uuid, place, token)
            )
        except BoardError as error:
            if place.store != "command" or error.code not in _NO_READ_BACK:
                raise
            return False, None

    def _is_there(self, place: TokenPlace) -> bool | None:
        editor, token = self.editor, self.request.token.reveal()
        return editor.link.run(token_places.token_is_there(editor.ops, editor.uuid, place, token))

    def _allow(self, place: TokenPlace, old: str | None) -> None:
        if old is None:
            return
        where = f"{place.store} {place.name}".strip()
        if not self.request.replace:
            raise PolicyError(
                "identity.slot-occupied",
                f"the board holds another value in {where} (SHA-256 {old}); nothing was written",
                hint="--replace writes over it, and stores its digest in the journal.",
            )
        self.editor.confirm_overwrite(f"what is in {where} (SHA-256 {old})", yes=self.request.yes)

    def _put(self, place: TokenPlace, old: str | None) -> bool | None:
        """Write it; whether it was read back, None where the board cannot show it."""
        editor, token = self.editor, self.request.token
        where = f"{place.store} {place.name}".strip()
        facts = {
            "command": f"registration token, store {where}",
            "tokenSha256": token.sha256(),
            "replaced": old,
        }
        with (
            editor.offline() as run,
            stored_change(run, NoteKind.CREDENTIAL_WRITTEN, facts, self._delivery),
        ):
            editor.link.run(
                token_places.write_token(editor.ops, editor.uuid, place, token.reveal())
            )
            there = self._is_there(place)
            if there is False:
                raise PolicyError(
                    "identity.not-read-back",
                    f"the board does not show the registration token in {where}",
                )
        return there

    def _place(self) -> TokenPlace:
        """Where the profile puts it; its command may name only what is known here."""
        spec, command = self.spec, self.spec.command or ""
        if "{registryDeviceId}" in command:
            command = command.replace("{registryDeviceId}", _required(self._device_id))
        unknown = sorted(set(re.findall(r"\{\w+\}", command)) - {"{token}"})
        if unknown:
            raise ProfileError(
                "profile.unsupported",
                f"token.command names {unknown[0]}, which is not known by hand",
                hint=(
                    "`infuse provision` knows it; by hand `infuse serial console` sends the"
                    " command."
                ),
            )
        if spec.store == "psk":
            raise ProfileError("profile.unsupported", "store psk is a credential of the modem")
        return TokenPlace(spec.store, spec.name or "", command, spec.success or "", spec.read_back)


def _required(device_id: str | None) -> str:
    if device_id is None:
        raise UsageError(
            "usage.bad-option",
            "the registry device id of this token is not known to this journal",
            hint="Give it with --device-id: it becomes the PSK identity.",
        )
    return device_id


def _known_token(settings: Settings, token: Secret) -> TokenRecord | None:
    digest = token.sha256()
    with existing_journal(settings.home) as journal:
        tokens: Sequence[TokenRecord] = () if journal is None else journal.tokens()
        return next((row for row in reversed(tokens) if row.sha256 == digest), None)


def _refuse_elsewhere(editor: CredentialEditor, token: Secret) -> None:
    """Refuse a token whose writing was begun on another board: it may be in use there."""
    digest = token.sha256()
    with existing_journal(editor.settings.home) as journal:
        notes = () if journal is None else journal.noted(NoteKind.CREDENTIAL_WRITTEN)
        boards = [facts["board"] for _, facts in notes if facts.get("tokenSha256") == digest]
    others = [board for board in boards if board != editor.uuid]
    if others:
        raise PolicyError(
            "run.conflict",
            f"this registration token was written to board {others[-1]} by hand, and"
            f" {editor.uuid or 'another'} is on the port; nothing was written",
            hint="A token goes to one board only: mint another for this one.",
        )


def _refuse_spent(editor: CredentialEditor, known: TokenRecord | None) -> None:
    if known is None:
        return
    if known.state not in _LIVE:
        raise PolicyError(
            "identity.token-spent",
            f"this registration token is on record as {known.state.value}; nothing was written",
            hint="Mint another with `infuse registry token create`.",
        )
    if known.board not in {None, editor.uuid}:
        raise PolicyError(
            "run.conflict",
            f"this registration token was minted for board {known.board}, and {editor.uuid} is on"
            " the port; nothing was written",
            hint="A token goes to one board only: mint another for this one.",
        )
