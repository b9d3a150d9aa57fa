"""`infuse ca`: the local CA that signs the boards' certificates."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infuse_cli.ca.authority import CertificateAuthority

app = typer.Typer(
    help="The local CA that signs the boards' certificates.",
    no_args_is_help=True,
    add_completion=False,
)

Ca = Annotated[
    str | None,
    typer.Option(
        "--ca",
        metavar="NAME|FOLDER",
        help=(
            "The CA: a name under INFUSE_HOME/ca or an absolute folder. [default: the profile's,"
            " else 'default']"
        ),
        show_default=False,
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File (0600) that holds the CA passphrase.",
        show_default=False,
    ),
]
PassphraseFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="File descriptor to read the CA passphrase from.",
        show_default=False,
    ),
]
Certificate = Annotated[
    str | None,
    typer.Option(
        "--certificate",
        metavar="PROFILE",
        help="Certificate profile. [default: the profile's, else 'device']",
        show_default=False,
    ),
]
RootKey = Annotated[
    Path | None,
    typer.Option(
        "--root-key",
        metavar="FILE|DIR",
        help="The root's key, or the folder it is in. [default: the CA's folder]",
        show_default=False,
    ),
]
San = Annotated[
    list[str],
    typer.Option(
        "--san",
        metavar="KIND:NAME",
        help="Alternative name (dns:, ip:), where the certificate profile takes some.",
        show_default=False,
    ),
]
ExternalRoot = Annotated[
    bool,
    typer.Option(
        "--external-root", help="The intermediate is signed by a root that is not kept here."
    ),
]
CsrOut = Annotated[
    Path | None,
    typer.Option(
        "--csr-out",
        metavar="FILE",
        help="With --external-root: where the request goes.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="URI",
        help="Make the intermediate's key in a token: pkcs11:token=…;object=…?module-path=….so",
        show_default=False,
    ),
]
ExistingKey = Annotated[
    bool,
    typer.Option("--existing-key", help="Take the key of this name that the token has already."),
]
PinFile = Annotated[
    Path | None,
    typer.Option(
        "--pin-file",
        metavar="FILE",
        help="File (0600) that holds the token's PIN.",
        show_default=False,
    ),
]
PinFd = Annotated[
    int | None,
    typer.Option(
        "--pin-fd",
        metavar="N",
        help="File descriptor to read the token's PIN from.",
        show_default=False,
    ),
]


class Format(enum.StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command()
def init(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME|FOLDER",
            help=(
                "Name of the CA, or an absolute folder for it. [default: the profile's, else"
                " 'default']"
            ),
            show_default=False,
        ),
    ] = None,
    root_out: Annotated[
        Path | None,
        typer.Option(
            "--root-out",
            metavar="DIR",
            help="Where the root's key goes: a medium that leaves the bench.",
            show_default=False,
        ),
    ] = None,
    external_root: ExternalRoot = False,
    csr_out: CsrOut = None,
    key: Key = None,
    existing_key: ExistingKey = False,
    pin_file: PinFile = None,
    pin_fd: PinFd = None,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="Keep the passphrase in this machine's keyring.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Make a CA: a root (keep it away from the bench) and an intermediate that signs here.

    The passphrase encrypts the keys. It comes from the options, the profile, or a prompt that asks
    twice. With
    --external-root only the intermediate's key is made here, and a request for your own root to
      sign.
    """
    from infuse_cli.ca.lifecycle import InitRequest, NewKeyRequest, init
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    request = InitRequest(
        NewKeyRequest(key, existing_key, pin_file, pin_fd),
        root_out,
        keyring,
        external_root,
        csr_out,
    )
    authority = _authority(name, passphrase_file, passphrase_fd)
    finish(views.made(init(authority, request), authority.settings))


@app.command(name="import")
def import_(
    certificate: Annotated[
        Path,
        typer.Argument(
            metavar="CERTIFICATE",
            help="What your root signed (PEM), certificates above it behind it.",
            show_default=False,
        ),
    ],
    *,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FILE",
            help="The root's certificate, if it is not in the same file.",
            show_default=False,
        ),
    ] = None,
    ca: Ca = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Take the intermediate's certificate that an external root signed; it must be for the key that
    waits here.
    """
    from infuse_cli.ca.lifecycle import import_signed
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    authority = _authority(ca, passphrase_file, passphrase_fd)
    finish(views.imported(import_signed(authority, certificate, root), authority.settings))


@app.command()
def renew(
    *,
    root_key: RootKey = None,
    external_root: ExternalRoot = False,
    csr_out: CsrOut = None,
    key: Key = None,
    existing_key: ExistingKey = False,
    pin_file: PinFile = None,
    pin_fd: PinFd = None,
    ca: Ca = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Make a new intermediate under the same root, or move its key into a token with --key.

    It signs from now on. Certificates of the one before stay good, and its lists can still be
    signed.
    """
    from infuse_cli.ca.lifecycle import NewKeyRequest, RenewRequest, renew
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    request = RenewRequest(
        NewKeyRequest(key, existing_key, pin_file, pin_fd), root_key, external_root, csr_out
    )
    authority = _authority(ca, passphrase_file, passphrase_fd)
    finish(views.renewed(renew(authority, request), authority.settings))


@app.command()
def show(ca: Ca = None) -> None:
    """Show the CA: its certificates, their dates and digests, and what is wrong with its files."""
    from infuse_cli.ca.inspection import describe
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    authority = _authority(ca)
    finish(views.shown(describe(authority.settings, authority.folder)))


@app.command()
def sign(
    csr: Annotated[
        list[Path],
        typer.Argument(
            metavar="[CSR]...", help="PKCS#10 requests, PEM or DER.", show_default=False
        ),
    ] = [],  # noqa: B006 - Typer's way
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE|DIR",
            help="Where the certificate goes (PEM); of several requests the folder.",
            show_default=False,
        ),
    ],
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch", metavar="DIR", help="Sign every request in this folder.", show_default=False
        ),
    ] = None,
    device_id: Annotated[
        str | None,
        typer.Option(
            "--device-id",
            metavar="ID",
            help=(
                "Cloud device id (16 hex digits): the certificate's common name. [default: the"
                " CSR's, if the certificate profile allows it]"
            ),
            show_default=False,
        ),
    ] = None,
    certificate: Certificate = None,
    san: San = [],  # noqa: B006 - Typer's way
    again: Annotated[
        bool,
        typer.Option(
            "--sign-again",
            help="Sign once more although a certificate for this key and name is on record.",
        ),
    ] = False,
    ca: Ca = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Sign requests.

    Of a request only the public key counts; the rest comes from the certificate profile.

    A certificate is on record before it is written. A second time the one on record is given out
    again, so a batch that was stopped is run again. What is refused is on record with its request:
    infuse ca list --state refused.
    """
    from infuse_cli.ca.signing import SignOptions, requests_in, sign_file, sign_files
    from infuse_cli.cli.progress import SigningBar
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views
    from infuse_cli.errors import UsageError
    from infuse_cli.files import is_folder

    if bool(csr) == (batch is not None):
        raise UsageError("usage.bad-option", "either CSR files or --batch DIR says what is signed")
    options = SignOptions(device_id, certificate, again, tuple(san))
    authority = _authority(ca, passphrase_file, passphrase_fd)
    if batch is None and len(csr) == 1 and not is_folder(out):
        finish(views.signed_file(sign_file(authority, csr[0], out, options)))
    csrs = csr if batch is None else requests_in(batch)
    with SigningBar() as bar:
        signed = sign_files(authority, csrs, out, options, bar.advance)
    finish(views.signed_folder(signed))


@app.command()
def issue(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Common name: of a person or bench, or a broker's host name.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the certificate and its intermediate go (PEM).",
            show_default=False,
        ),
    ],
    key_out: Annotated[
        Path,
        typer.Option(
            "--key-out",
            metavar="FILE",
            help="Where its new key goes (PEM, 0600, not encrypted).",
            show_default=False,
        ),
    ],
    certificate: Annotated[
        str,
        typer.Option(
            "--certificate",
            metavar="PROFILE",
            help="Certificate profile: bench, broker, or one of your own.",
        ),
    ] = "bench",
    san: San = [],  # noqa: B006 - Typer's way
    ca: Ca = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Make a key and a certificate for a person, a bench or a broker."""
    from infuse_cli.ca.signing import IssueRequest, issue_files
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    request = IssueRequest(name, out, key_out, certificate, tuple(san))
    authority = _authority(ca, passphrase_file, passphrase_fd)
    finish(views.issued_files(issue_files(authority, request)))


@app.command()
def lint(
    file: Annotated[
        Path, typer.Argument(metavar="CERT", help="Certificate, PEM or DER.", show_default=False)
    ],
    *,
    certificate: Certificate = None,
) -> None:
    """Explain a certificate point by point beside its certificate profile."""
    from infuse_cli.ca import inspection
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    finish(views.linted(inspection.lint(current().settings, file, certificate)))


@app.command(name="list")
def list_(
    *,
    serial: Annotated[
        str | None,
        typer.Option(
            "--serial", metavar="HEX", help="Serial of a certificate.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="ID|NAME",
            help="Cloud device id or common name.",
            show_default=False,
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            metavar="BOARD",
            help="Whatever names a board: UUID, IMEI, mcuId, serial number.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help=(
                "issued, expired, revoked, superseded, issued-unseen; reserved and void are serials"
                " without a certificate, refused are CSRs."
            ),
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DATE", help="Signed on this day (UTC) or later.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="DATE",
            help="Signed on this day (UTC) or before.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Signed in this run.", show_default=False),
    ] = None,
    station: Annotated[
        str | None,
        typer.Option(
            "--station", metavar="NAME", help="Signed at this station.", show_default=False
        ),
    ] = None,
    issuer: Annotated[
        str | None,
        typer.Option(
            "--issuer",
            metavar="ISSUER",
            help="Signed by: current, or the beginning of an issuer's serial or SHA-256.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            "--certificate",
            metavar="PROFILE",
            help="Of this certificate profile.",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="How the rows are written.")
    ] = Format.table,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write CSV or JSON into this file.", show_default=False
        ),
    ] = None,
    ca: Ca = None,
) -> None:
    """List the certificates on record, or search among them."""
    from infuse_cli.ca.search import CertificateFilter, search
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca_list as views
    from infuse_cli.journal.certificates import Wanted

    wanted = Wanted(
        serial=serial,
        device=device,
        board=board,
        state=state,
        run=run,
        station=station,
        issuer=issuer,
        profile=certificate,
    )
    found = search(current().settings, CertificateFilter(wanted, since, until, ca))
    finish(views.listed(found, views.Layout(format_.value, out)))


@app.command()
def revoke(
    *,
    serial: Annotated[
        list[str],
        typer.Option(
            "--serial",
            metavar="HEX",
            help=(
                "Serial of a certificate, or of an intermediate of this CA; may be given several"
                " times."
            ),
            show_default=False,
        ),
    ] = [],  # noqa: B006 - Typer's way
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="A certificate of this CA, on record or not.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="ID|NAME",
            help="All certificates of this device id or common name.",
            show_default=False,
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board", metavar="BOARD", help="All certificates of this board.", show_default=False
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="All certificates of a run, or of a batch that was signed.",
            show_default=False,
        ),
    ] = None,
    station: Annotated[
        str | None,
        typer.Option(
            "--station",
            metavar="NAME",
            help="All that this station signed, and the intermediate that only it signed with.",
            show_default=False,
        ),
    ] = None,
    issuer: Annotated[
        str | None,
        typer.Option(
            "--issuer",
            metavar="ISSUER",
            help=(
                "With --serial: the issuer of a serial that is on no record (current, root, or its"
                " serial or SHA-256)."
            ),
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="REASON",
            help=(
                "unspecified, key-compromise, ca-compromise, affiliation-changed, superseded,"
                " cessation-of-operation or privilege-withdrawn."
            ),
        ),
    ] = "unspecified",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be revoked.")] = False,
    ca: Ca = None,
) -> None:
    """Revoke certificates for good: they go into the next list that `infuse ca crl` signs."""
    from infuse_cli.ca import revocation
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    request = revocation.RevokeRequest(
        tuple(serial), file, device, board, run, station, issuer, reason, dry_run
    )
    finish(views.revoked(revocation.revoke(current().settings, request, ca=ca)))


@app.command()
def crl(
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the list goes. [default: crl/ in the CA's folder only]",
            show_default=False,
        ),
    ] = None,
    issuer: Annotated[
        str,
        typer.Option(
            "--issuer",
            metavar="ISSUER",
            help=(
                "Whose list: current, root, or the beginning of an older issuer's serial or"
                " SHA-256."
            ),
        ),
    ] = "current",
    days: Annotated[
        int,
        typer.Option("--days", metavar="N", help="Days until the next one is due (nextUpdate)."),
    ] = 30,
    der: Annotated[bool, typer.Option("--der", help="Binary DER instead of PEM.")] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Sign a new one although nothing changed.")
    ] = False,
    root_key: RootKey = None,
    ca: Ca = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Sign the list of revoked certificates (CRL) of an issuer.

    While nothing was revoked since and the last one is not half through its life, that one is given
    out again.
    """
    from infuse_cli.ca.crl import CrlRequest, sign_crl
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    request = CrlRequest(out, issuer, days, der, new, root_key)
    finish(views.signed_crl(sign_crl(_authority(ca, passphrase_file, passphrase_fd), request)))


@app.command()
def export(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where it goes.", show_default=False)
    ],
    chain: Annotated[
        bool, typer.Option("--chain", help="The intermediate, then all above it to the root.")
    ] = False,
    der: Annotated[
        bool, typer.Option("--der", help="Binary DER instead of PEM (one certificate only).")
    ] = False,
    issuer: Annotated[
        str | None,
        typer.Option(
            "--issuer",
            metavar="ISSUER",
            help=(
                "Which: root, current, or the beginning of an older issuer's serial or SHA-256"
                " (`infuse ca show`). [default: root; with --chain current]"
            ),
            show_default=False,
        ),
    ] = None,
    ca: Ca = None,
) -> None:
    """Write a certificate of the CA: the root, which a broker or cloud has to trust.

    With --issuer it is an intermediate, also one that was replaced; with --chain the intermediate
    and all above it.
    """
    from infuse_cli.ca import inspection
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    request = inspection.ExportRequest(out, issuer, chain, der)
    certificates = inspection.export(current().settings, request, ca=ca)
    finish(views.exported(certificates, request))


@app.command()
def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Certificate in PEM, intermediates behind it if there are any.",
            show_default=False,
        ),
    ],
    *,
    certificate: Certificate = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FILE",
            help="Trust this root (PEM) instead of the local CA's.",
            show_default=False,
        ),
    ] = None,
    ca: Ca = None,
) -> None:
    """Check a certificate: chain, dates, and that it is what its certificate profile says."""
    from infuse_cli.ca import inspection
    from infuse_cli.cli.context import current
    from infuse_cli.cli.result import finish
    from infuse_cli.cli.views import ca as views

    found = inspection.verify(current().settings, file, certificate=certificate, root=root, ca=ca)
    finish(views.verified(found))


def _authority(
    ca: str | None, passphrase_file: Path | None = None, passphrase_fd: int | None = None
) -> CertificateAuthority:
    from infuse_cli.ca.authority import CertificateAuthority
    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.cli.context import current

    options = PassphraseOptions(passphrase_file, passphrase_fd)
    return CertificateAuthority(current().settings, ca, options)
