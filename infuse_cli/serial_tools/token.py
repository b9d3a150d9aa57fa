"""`infuse serial token write`: a registration token put onto a board by hand, where the profile's
store says.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.capabilities import Can
from infuse_cli.cli import context
from infuse_cli.config.model import Token
from infuse_cli.dialect import token_places
from infuse_cli.dialect.token_places import TokenPlace
from infuse_cli.errors import BoardError, InfuseError, PolicyError, ProfileError, UsageError
from infuse_cli.records import MoveToken
from infuse_cli.records.notes import NoteKind
from infuse_cli.serial_tools import board as serial_board
from infuse_cli.serial_tools.content import token_items
from infuse_cli.serial_tools.credentials import Hand, changing, write
from infuse_cli.types import Secret, TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.records import TokenRecord, Write

_STORES: Final = {
    "psk": Can.TOKEN_PSK,
    "settings": Can.TOKEN_SETTINGS,
    "kv": Can.TOKEN_KV,
    "command": Can.TOKEN_COMMAND,
}
_LIVE: Final = frozenset({TokenState.INTENDED, TokenState.MINTED, TokenState.DELIVERED})


def write_token(
    hand: Hand, secret: Secret, given: tuple[int | None, str | None], *, replace: bool, yes: bool
) -> dict[str, Any]:
    """Put a registration token onto the board as the profile's store says.

    `given` is (sec_tag, registry device id).

    A token that this journal knows is marked as delivered before its first byte goes out, and refused
    where it was spent or belongs to another board. Raises PolicyError
    identity.token-spent, run.conflict, identity.slot-occupied, identity.not-read-back; ProfileError
    profile.unsupported where the dialect has no such store; as `serial_write.write`.
    """
    spec = Token() if hand.profile is None or hand.profile.token is None else hand.profile.token
    hand.needs(_STORES[spec.store])
    known = _known_token(secret)
    _refuse_spent(hand, known)
    _refuse_elsewhere(hand, secret)
    device_id = given[1] or (None if known is None else known.registry_device_id)
    delivered = (
        []
        if known is None or known.state is not TokenState.MINTED
        else [
            MoveToken(
                intent=known.intent,
                from_state=TokenState.MINTED,
                to_state=TokenState.DELIVERED,
                why=f"written by hand to board {hand.uuid}",
            )
        ]
    )
    told: dict[str, Any] = {
        "store": spec.store,
        "registryDeviceId": device_id,
        "tokenSha256": secret.sha256(),
        "onRecord": known is not None,
    }
    if spec.store != "psk":
        place = _place(spec, device_id)
        already, old = _found(hand, place, secret)
        if not already:
            _allow(hand, place, old, replace=replace, yes=yes)
        there = already or _put(hand, place, secret, delivered, old)
        return {
            **told,
            "secTag": None,
            "credentials": [],
            "name": spec.name,
            "already": already,
            "replaced": old,
            "readBack": there,
        }
    tag = spec.sec_tag if given[0] is None else given[0]
    about = {"tokenSha256": secret.sha256()}
    rows = write(
        hand,
        tag,
        token_items(secret, _wanted(device_id)),
        replace=replace,
        yes=yes,
        first=delivered,
        about=about,
    )
    replaced = next((row["replaced"] for row in rows if row["replaced"] is not None), None)
    return {
        **told,
        "secTag": tag,
        "credentials": rows,
        "name": None,
        "already": all(row["already"] for row in rows),
        "replaced": replaced,
        "readBack": True,
    }


def _found(hand: Hand, place: TokenPlace, secret: Secret) -> tuple[bool, str | None]:
    """Whether the token is there already, else the SHA-256 of what is there instead, as far as the
    board tells.

    A profile's own read-back may say nothing at all as long as there is no token: that stops
    nothing.
    """
    try:
        if hand.link.run(token_places.token_is_there(hand.ops, hand.uuid, place, secret.reveal())):
            return True, None
        return False, hand.link.run(
            token_places.another_there(hand.ops, hand.uuid, place, secret.reveal())
        )
    except BoardError as error:
        if place.store != "command" or error.code not in {"serial.timeout", "serial.garbled"}:
            raise
        return False, None


def _allow(hand: Hand, place: TokenPlace, old: str | None, *, replace: bool, yes: bool) -> None:
    """Another token is not overwritten unasked: `--replace`, and on a terminal a yes."""
    if old is None:
        return
    where = f"{place.store} {place.name}".strip()
    if not replace:
        raise PolicyError(
            "identity.slot-occupied",
            f"the board holds another value in {where} (SHA-256 {old}); nothing was written",
            hint="--replace writes over it, and puts its digest on record.",
        )
    if sys.stdin.isatty() and sys.stderr.isatty():
        context.current().settings.confirm(
            f"Board {hand.uuid}: overwrite what is in {where} (SHA-256 {old})?", yes=yes
        )


def _put(
    hand: Hand, place: TokenPlace, secret: Secret, delivered: Sequence[Write], old: str | None
) -> bool | None:
    """Write it outside the modem's credentials; whether it was read back, None where the board
    cannot show it.
    """
    told = {
        "command": f"registration token, store {place.store} {place.name}".strip(),
        "tokenSha256": secret.sha256(),
        "replaced": old,
    }
    with changing(hand) as notes:
        notes.note(NoteKind.CREDENTIAL_WRITTEN, *delivered, **told, answer="begun")
        try:
            hand.link.run(token_places.write_token(hand.ops, hand.uuid, place, secret.reveal()))
            there = hand.link.run(
                token_places.token_is_there(hand.ops, hand.uuid, place, secret.reveal())
            )
            if there is False:
                raise PolicyError(
                    "identity.not-read-back",
                    f"the board does not show the registration token in {place.store} {place.name}".rstrip(),
                )
        except InfuseError as error:
            notes.note(NoteKind.CREDENTIAL_WRITTEN, **told, answer=error.code)
            raise
        notes.note(NoteKind.CREDENTIAL_WRITTEN, **told, answer="OK")
    return there


def _place(spec: Token, device_id: str | None) -> TokenPlace:
    """Where the profile puts it; of what its command may name, only what is known by hand."""
    command = spec.command or ""
    if "{registryDeviceId}" in command:
        command = command.replace("{registryDeviceId}", _wanted(device_id))
    unknown = sorted(set(re.findall(r"\{\w+\}", command)) - {"{token}"})
    if unknown:
        raise ProfileError(
            "profile.unsupported",
            f"token.command names {unknown[0]}, which is not known by hand",
            hint="`infuse provision` knows it; by hand `infuse serial console` sends the command.",
        )
    if spec.store == "psk":
        raise ProfileError("profile.unsupported", "store psk is a credential of the modem")
    return TokenPlace(spec.store, spec.name or "", command, spec.success or "", spec.read_back)


def _wanted(device_id: str | None) -> str:
    if device_id is None:
        raise UsageError(
            "usage.bad-option",
            "the registry device id of this token is not known to this journal",
            hint="Give it with --device-id: it becomes the PSK identity.",
        )
    return device_id


def _known_token(secret: Secret) -> TokenRecord | None:
    with serial_board.record() as journal:
        rows = (
            []
            if journal is None
            else [row for row in journal.tokens() if row.sha256 == secret.sha256()]
        )
    return rows[-1] if rows else None


def _refuse_elsewhere(hand: Hand, secret: Secret) -> None:
    """A token whose writing was begun on another board may be used there, whatever came of it."""
    with serial_board.record() as journal:
        told = (
            []
            if journal is None
            else [
                facts
                for _, facts in journal.noted(NoteKind.CREDENTIAL_WRITTEN)
                if facts.get("tokenSha256") == secret.sha256()
            ]
        )
    others = [facts["board"] for facts in told if facts.get("board") != hand.uuid]
    if others:
        raise PolicyError(
            "run.conflict",
            f"this registration token was written to board {others[-1]} by hand, and"
            f" {hand.uuid or 'another'} is on the port; nothing was written",
            hint="A token goes to one board only: mint another for this one.",
        )


def _refuse_spent(hand: Hand, known: TokenRecord | None) -> None:
    if known is None:
        return
    if known.state not in _LIVE:
        raise PolicyError(
            "identity.token-spent",
            f"this registration token is on record as {known.state.value}; nothing was written",
            hint="Mint another with `infuse registry token create`.",
        )
    if known.board not in {None, hand.uuid}:
        raise PolicyError(
            "run.conflict",
            f"this registration token was minted for board {known.board}, and {hand.uuid} is on the"
            " port; nothing was written",
            hint="A token goes to one board only: mint another for this one.",
        )
