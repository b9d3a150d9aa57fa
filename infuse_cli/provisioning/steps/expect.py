"""expect: the board is the profile's product, and the entries to be written are free or ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from infuse_cli.config.model import Token
from infuse_cli.effects.credentials import kind_name
from infuse_cli.errors import BoardError, PolicyError
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.step import QueryStep, StepOutput
from infuse_cli.provisioning.steps.write_id import WriteId, check_probe
from infuse_cli.records import NoteAttempt
from infuse_cli.types import CredentialType, StepState

if TYPE_CHECKING:
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.types import StoredCredential

_UNTOLD = "not told by this board"
_COMPARISONS = {
    ">=": lambda have, want: have >= want,
    "<=": lambda have, want: have <= want,
    "==": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
    ">": lambda have, want: have > want,
    "<": lambda have, want: have < want,
}


class Expect(QueryStep):
    """Model, modem firmware and slots."""

    name: ClassVar[str] = "expect"
    requires: ClassVar[frozenset[str]] = frozenset({"identity"})
    in_dry_run: ClassVar[bool] = True

    def run(self, ctx: BoardContext) -> StepOutput:
        """Refuse a wrong product (board.unexpected), one whose id cannot be written later
        (board.id-not-written), or a slot that is not ours (identity.slot-occupied).
        """
        wanted = ctx.profile.board.expect
        if wanted.model is not None and ctx.identity.model != wanted.model:
            raise BoardError(
                "board.unexpected",
                f"the model is {ctx.identity.model or _UNTOLD}, {wanted.model} is expected",
            )
        if wanted.modem_firmware is not None and not firmware_fits(
            ctx.identity.modem_firmware, wanted.modem_firmware
        ):
            raise BoardError(
                "board.unexpected",
                f"the modem firmware is {ctx.identity.modem_firmware or _UNTOLD},"
                f" {wanted.modem_firmware} is expected",
            )
        if WriteId.name in ctx.ahead and ctx.states.get(WriteId.name) is not StepState.DONE:
            check_probe(ctx)
        return self._slots(ctx)

    def _slots(self, ctx: BoardContext) -> StepOutput:
        foreign = [entry for entry in occupied(ctx) if not slots.is_ours(entry, ctx.history)]
        if not foreign:
            return StepOutput()
        if not (ctx.run.options.replace or ctx.profile.identity.existing == "replace"):
            first = foreign[0]
            raise PolicyError(
                "identity.slot-occupied",
                f"sec_tag {first.sec_tag} already holds a {kind_name(first.type)} "
                f"(SHA-256 {first.sha256 or 'not given'}) that is not ours",
            )
        rows = [slots.as_fact(entry) for entry in foreign]
        return StepOutput(
            {"replaced": rows}, (NoteAttempt(attempt=ctx.attempt, facts={"replaced": rows}),)
        )


def occupied(ctx: BoardContext) -> list[StoredCredential]:
    """List the entries in the places that this profile will write."""
    return [
        entry
        for tag, kind in places(ctx)
        if (entry := ctx.credentials.entry(tag, kind)) is not None and not _desired(ctx, entry)
    ]


def _desired(ctx: BoardContext, entry: StoredCredential) -> bool:
    """Whether the entry is the very server CA that would be written: nothing is in the way then."""
    server_ca = ctx.run.server_ca
    return (
        entry.type == CredentialType.ROOT_CA
        and server_ca is not None
        and entry.sha256 in ctx.ops.digests(CredentialType.ROOT_CA, server_ca)
    )


def places(ctx: BoardContext) -> list[tuple[int, CredentialType]]:
    """Name the (sec_tag, type) pairs that this profile's plan writes."""
    kinds = CredentialType
    found: list[tuple[int, CredentialType]] = []
    identity = ctx.profile.identity
    if identity.mode in {"local-ca", "cloud-ca"}:
        found += [(identity.sec_tag, kind) for kind in (kinds.CLIENT_CERTIFICATE, kinds.CLIENT_KEY)]
        if ctx.run.server_ca is not None or identity.mode == "cloud-ca":
            found.append((identity.sec_tag, kinds.ROOT_CA))
    token = ctx.profile.token or (Token() if identity.mode == "first-boot" else None)
    if identity.mode in {"local-ca", "first-boot"} and token is not None and token.store == "psk":
        found += [(token.sec_tag, kinds.PSK), (token.sec_tag, kinds.PSK_IDENTITY)]
    return found


def firmware_fits(have: str | None, wanted: str) -> bool:
    """Compare the version at the end of e.g. `mfw_nrf91x1_2.0.2` with e.g. `>=2.0.2`; a bare
    version means equal.
    """
    match = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)?\s*(\d+(?:\.\d+)*)\s*", wanted)
    version = re.search(r"(\d+(?:\.\d+)+)(?!.*\d\.\d)", have or "")
    if match is None or version is None:
        return have == wanted
    return bool(
        _COMPARISONS[match.group(1) or "=="](_numbers(version.group(1)), _numbers(match.group(2)))
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (4 - len(parts)))
