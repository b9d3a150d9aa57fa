"""`infuse ca`: the local CA that signs the boards' certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The local CA that signs the boards' certificates.", no_args_is_help=True, add_completion=False)

Ca = Annotated[str | None, typer.Option("--ca", metavar="NAME|FOLDER", help="The CA: a name under INFUSE_HOME/ca or an absolute folder. [default: the profile's, else 'default']", show_default=False)]
PassphraseFile = Annotated[Path | None, typer.Option("--passphrase-file", metavar="FILE", help="File (0600) that holds the CA passphrase.", show_default=False)]
PassphraseFd = Annotated[int | None, typer.Option("--passphrase-fd", metavar="N", help="File descriptor to read the CA passphrase from.", show_default=False)]
Certificate = Annotated[str | None, typer.Option("--certificate", metavar="PROFILE", help="Certificate profile. [default: the profile's, else 'device']", show_default=False)]


@app.command()
def init(
    *,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME|FOLDER", help="Name of the CA, or an absolute folder for it. [default: the profile's, else 'default']", show_default=False)] = None,
    root_out: Annotated[Path | None, typer.Option("--root-out", metavar="DIR", help="Where the root's key goes: a medium that leaves the bench.", show_default=False)] = None,
    keyring: Annotated[bool, typer.Option("--keyring", help="Keep the passphrase in this machine's keyring.")] = False,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Make a CA: a root (keep it away from the bench) and an intermediate that signs here.

    The passphrase encrypts both keys. It comes from the options, the profile, or a prompt that asks twice.
    """
    from infuse_cli.cli import local_ca
    from infuse_cli.cli.result import finish

    finish(local_ca.init(name, root_out, local_ca.PassphraseOptions(passphrase_file, passphrase_fd), keep=keyring))


@app.command()
def show(ca: Ca = None) -> None:
    """Show the CA: its certificates, their dates and digests, and what is wrong with its files."""
    from infuse_cli.cli import local_ca
    from infuse_cli.cli.result import finish

    finish(local_ca.show(ca))


@app.command()
def sign(
    csr: Annotated[Path, typer.Argument(metavar="CSR", help="PKCS#10 request in PEM.", show_default=False)],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the certificate goes (PEM).", show_default=False)],
    device_id: Annotated[str | None, typer.Option("--device-id", metavar="ID", help="Cloud device id (16 hex digits): the certificate's common name. [default: the CSR's, if the certificate profile allows it]", show_default=False)] = None,
    certificate: Certificate = None,
    again: Annotated[bool, typer.Option("--sign-again", help="Sign once more although a certificate for this key and name is on record.")] = False,
    ca: Ca = None,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Sign a CSR. Of the request only the public key counts; the rest comes from the certificate profile.

    The certificate is on record before it is written. A second time the one on record is given out again.
    """
    from infuse_cli.cli import local_ca
    from infuse_cli.cli.result import finish

    finish(local_ca.sign(csr, out, local_ca.SignOptions(device_id, certificate, ca, again), local_ca.PassphraseOptions(passphrase_file, passphrase_fd)))


@app.command()
def export(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where it goes.", show_default=False)],
    chain: Annotated[bool, typer.Option("--chain", help="Intermediate then root, instead of the root alone.")] = False,
    der: Annotated[bool, typer.Option("--der", help="Binary DER instead of PEM (one certificate only).")] = False,
    ca: Ca = None,
) -> None:
    """Write the root certificate, which a broker or cloud has to trust; with --chain intermediate and root."""
    from infuse_cli.cli import local_ca
    from infuse_cli.cli.result import finish

    finish(local_ca.export(out, ca, chain=chain, der=der))


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Certificate in PEM, intermediates behind it if there are any.", show_default=False)],
    *,
    certificate: Certificate = None,
    root: Annotated[Path | None, typer.Option("--root", metavar="FILE", help="Trust this root (PEM) instead of the local CA's.", show_default=False)] = None,
    ca: Ca = None,
) -> None:
    """Check a certificate: chain, dates, and that it is what its certificate profile says."""
    from infuse_cli.cli import local_ca
    from infuse_cli.cli.result import finish

    finish(local_ca.verify(file, certificate, root, ca))
