"""read-back: compare every digest in the modem with what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from infuse_cli.effects.credentials import kind_name
from infuse_cli.errors import BoardError, PolicyError
from infuse_cli.pki import chain as chains
from infuse_cli.pki import issuing
from infuse_cli.provisioning import slots
from infuse_cli.provisioning.step import QueryStep, Rollback, RollbackRequired, StepOutput
from infuse_cli.provisioning.steps import flash, token
from infuse_cli.types import CredentialType

if TYPE_CHECKING:
    from infuse_cli.provisioning.context import BoardContext
    from infuse_cli.provisioning.facts import CertificateFacts

Expected = list[
    tuple[int, int, list[str], str]
]  # sec_tag, type, digests that fit, step that wrote it


class ReadBack(QueryStep):
    """List once, compare every digest; a mismatch is written once more before the board is
    failed.
    """

    name: ClassVar[str] = "read-back"
    provides: ClassVar[frozenset[str]] = frozenset({"readBack"})
    rechecks: ClassVar[bool] = True
    summary: ClassVar[tuple[str, ...]] = ("readBack",)

    def run(self, ctx: BoardContext) -> StepOutput:
        """Refuse with identity.not-read-back, or serial.no-digest for a modem that lists none."""
        ctx.credentials.forget()
        rows: list[dict[str, Any]] = []
        for tag, kind, digests, step in expected(ctx):
            entry = ctx.credentials.entry(tag, CredentialType(kind))
            found = None if entry is None else entry.sha256
            if entry is not None and found is None and digests:
                raise BoardError(
                    "serial.no-digest",
                    f"the modem lists sec_tag {tag} type {kind} without a digest",
                )
            if entry is None or (digests and found not in digests):
                self._mismatch(tag, kind, found, step)
            rows.append({"secTag": tag, "type": kind, "sha256": found})
        self._token(ctx)
        certificate = ctx.facts.certificate
        if certificate is not None:
            # The CSR's key where it was vetted in this run, else the one on record with the
            # certificate.
            chains.check_certificate_fits(
                certificate.pem,
                ctx.facts.get("spki", certificate.spki),
                now=ctx.run.clock.now(),
            )
            self._not_revoked(ctx, certificate)
        return StepOutput({"readBack": rows})

    def _not_revoked(self, ctx: BoardContext, certificate: CertificateFacts) -> None:
        """A board that PASSed before must not PASS again with a certificate that was taken back
        since, or whose issuer was.
        """
        journal = ctx.run.journal
        rows = journal.certificates(board=ctx.uuid)
        row = next((row for row in rows if row.sha256 == certificate.sha256), None)
        if row is not None and row.state == "revoked":
            raise PolicyError(
                "identity.revoked",
                f"the board's certificate, serial {row.serial}, was revoked ({row.reason})",
            )
        above = chains.split_pem("".join(certificate.chain)) if certificate.chain else ()
        if row is not None and issuing.is_revoked(above, journal.is_revoked):
            raise PolicyError(
                "identity.revoked",
                f"{above[0].subject.rfc4514_string()}, which issued the board's certificate, was"
                " revoked",
            )

    def _token(self, ctx: BoardContext) -> None:
        """A token outside the modem: read once more, as far as the board lets it be; one that the
        board has used is nobody's to compare.
        """
        if ctx.facts.already or ctx.facts.stored_in == "psk" or token.was_used(ctx):
            return
        if flash.is_there(ctx) is False:
            error = PolicyError(
                "identity.not-read-back",
                f"the board does not hold the token that was written (store {ctx.facts.stored_in})",
            )
            raise RollbackRequired(
                Rollback({}, (), to="flash", why="the token did not read back"), error
            )

    def _mismatch(self, tag: int, kind: int, found: str | None, step: str) -> None:
        holds = "nothing" if found is None else f"SHA-256 {found}"
        error = PolicyError(
            "identity.not-read-back",
            f"sec_tag {tag} should hold the {kind_name(kind)} that was written; it holds {holds}",
        )
        if step == "keygen":
            raise error
        raise RollbackRequired(
            Rollback({}, (), to=step, why=f"{kind_name(kind)} did not read back"), error
        )


def expected(ctx: BoardContext) -> Expected:
    """Return every place of this attempt with the digests that the modem must show."""
    tag = ctx.profile.identity.sec_tag
    rows: Expected = []
    if digest := ctx.facts.server_ca_digest:
        rows.append((tag, int(CredentialType.ROOT_CA), slots.digests_of(digest), "server-ca"))
    if "keyDigest" in ctx.facts:
        digest = ctx.facts.key_digest
        rows.append((tag, int(CredentialType.CLIENT_KEY), [digest] if digest else [], "keygen"))
    rows += [
        (tag, int(kind), slots.digests_of(digest), "install")
        for kind, digest in ctx.facts.installed.items()
    ]
    if not ctx.facts.already and ctx.profile.identity.mode != "cloud-ca":
        token_tag = 0 if ctx.profile.token is None else ctx.profile.token.sec_tag
        rows += [
            (token_tag or _DEFAULT_TOKEN_TAG, int(kind), digests, "flash")
            for kind, digests in ctx.facts.token_digests.items()
        ]
    return rows


_DEFAULT_TOKEN_TAG = 4202
