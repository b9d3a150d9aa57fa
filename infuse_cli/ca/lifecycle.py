"""`infuse ca init`, `renew` and `import`: how a CA begins and how its issuers follow one
another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infuse_cli.ca import common as ca_common
from infuse_cli.ca import files as local_ca
from infuse_cli.cli import context
from infuse_cli.cli.result import OperationResult
from infuse_cli.effects.results import REQUEST_FILES
from infuse_cli.errors import SignerError, UsageError
from infuse_cli.keys import passphrases as secrets
from infuse_cli.pki import chain, renewal, store
from infuse_cli.pki.ca_certificates import check_name, intermediate_name
from infuse_cli.pki.issuers import load_root, read_chain, read_key_uri, root_key_path
from infuse_cli.pki.reading import read_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from infuse_cli.ca.common import PassphraseOptions
    from infuse_cli.pki.renewal import NewKey
    from infuse_cli.types import Secret


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Where the key of a new issuer is made: in a file, or in a token by its URI, whose PIN comes
    by file or descriptor.
    """

    uri: str | None = None
    existing: bool = False
    pin_file: Path | None = None
    pin_fd: int | None = None


@dataclass(frozen=True, slots=True)
class InitOptions:
    """Options of `ca init`: `external` asks another root for the intermediate's certificate,
    through `csr_out`.
    """

    name: str | None = None
    root_out: Path | None = None
    keyring: bool = False
    external: bool = False
    csr_out: Path | None = None


def init(options: InitOptions, key: KeyOptions, passphrase: PassphraseOptions) -> OperationResult:
    """Make a CA, or the request for one."""
    name = options.name or ca_common.identity().ca
    folder = store.ca_folder(context.current().home, name)
    if folder.exists() and (
        not folder.is_dir() or any(folder.iterdir())
    ):  # before a passphrase is asked for
        raise SignerError("ca.exists", f"{folder} exists and is not empty")
    check_name(folder.name)
    if options.external:
        if options.root_out is not None:
            raise UsageError(
                "usage.bad-option",
                "--root-out is for a root that is made here, --external-root for one that is not",
            )
        return _asked(
            folder,
            intermediate_name(folder.name),
            options.csr_out,
            key,
            passphrase,
            command="ca init",
        )
    if options.csr_out is not None:
        raise UsageError("usage.bad-option", "--csr-out goes with --external-root")
    secret = ca_common.passphrase(name, passphrase, confirm=True)
    store.init_ca(folder, folder.name, secret, root_out=options.root_out, key=_key(key, secret))
    described = local_ca.described_ca(folder)
    if options.keyring and not secrets.keep_in_keyring(secrets.ca_keyring_name(name), secret):
        described["warnings"].append(
            "There is no keyring on this machine that takes the passphrase: give it by file,"
            " descriptor or prompt."
        )
    root_out = options.root_out
    if root_out is not None and root_out.stat().st_dev == folder.stat().st_dev:
        described["warnings"].append(
            f"{root_out} is on the same disk as the bench's own files: is the medium for the root's"
            " key mounted?"
        )
    where = (
        ""
        if described["rootKeyOnBench"]
        else f"\nThe root's key is in {root_out}: take it away from the bench, and keep a copy."
    )
    return OperationResult(
        "ca init",
        described,
        human=(
            f"{local_ca.human(described)}{where}\nNext: infuse ca export{ca_common.naming(folder)}"
            " --out root.pem"
        ),
    )


def renew(
    ca: str | None,
    root_key: Path | None,
    request: InitOptions,
    key: KeyOptions,
    passphrase: PassphraseOptions,
) -> OperationResult:
    """A new intermediate that signs from now on; the chain of the one before stays good."""
    folder = ca_common.folder_of(ca)
    before = read_chain(folder)[0]
    if request.external or request.csr_out is not None:
        return _asked(
            folder, renewal.next_name(folder), request.csr_out, key, passphrase, command="ca renew"
        )
    root_key_path(folder, root_key)  # before a passphrase is asked for
    secret = ca_common.passphrase(ca, passphrase, what="CA passphrase (of the root's key)")
    root = load_root(folder, root_key, secret, now=datetime.now(UTC))
    renewal.renew(folder, root, _key(key, secret))
    described = local_ca.described_ca(folder)
    data = {**described, "replaced": ca_common.certificate_data(before)}
    revoked = any(
        one["revoked"] and one["serial"] == data["replaced"]["serial"] for one in described["older"]
    )
    stays = (
        "was revoked: give boards with certificates of it new ones (infuse key rotate BOARD)"
        if revoked
        else "stays good for the boards that it signed for"
    )
    text = (
        f"{local_ca.human(described)}\n{before.subject.rfc4514_string()} {stays}. Keep its key for"
        " its revocation lists."
    )
    return OperationResult(
        "ca renew",
        data,
        human=(
            f"{text}\nNext: give brokers that hold intermediates the new one: infuse ca"
            f" export{ca_common.naming(folder)} --chain --out chain.pem"
        ),
    )


def _asked(
    folder: Path,
    name: str,
    csr_out: Path | None,
    key: KeyOptions,
    passphrase: PassphraseOptions,
    *,
    command: str,
) -> OperationResult:
    """Make the key here and write the request that the external root is to sign."""
    if csr_out is None:
        raise UsageError("usage.bad-option", "--external-root needs --csr-out FILE for the request")
    ca_common.check_writable(csr_out, replaces=REQUEST_FILES)
    secret = (
        None if key.uri is not None else ca_common.passphrase(str(folder), passphrase, confirm=True)
    )
    pem = renewal.request(folder, name, _key(key, secret))
    ca_common.write(csr_out, pem)
    data = {
        "ca": folder.name,
        "folder": str(folder),
        "subject": f"CN={name}",
        "out": str(csr_out.absolute()),
        "key": key.uri or "file",
    }
    return OperationResult(
        command,
        data,
        human=(
            f"Request for CN={name} in {csr_out}.\nNext: have it signed (CA, path length 0,"
            f" keyCertSign and cRLSign), then: infuse ca import{ca_common.naming(folder)}"
            " CERTIFICATE --root ROOT"
        ),
    )


def import_(
    file: Path, root: Path | None, ca: str | None, passphrase: PassphraseOptions
) -> OperationResult:
    """Take what the external root signed."""
    folder = ca_common.folder_of(ca)
    pending = folder / renewal.PENDING
    if not pending.exists():
        raise SignerError(
            "ca.not-found",
            f"no request waits in {folder}",
            hint="`infuse ca init --external-root` or `infuse ca renew --external-root` makes one.",
        )
    given = [
        *read_certificates(file, bundles=True),
        *(read_certificates(root, bundles=True) if root is not None else ()),
    ]
    if root is None and not any(chain.is_self_issued(one) for one in given):
        given += _known_roots(folder)
    what = "CA passphrase" if read_key_uri(pending) is None else "PIN of the CA's token"
    made = renewal.import_signed(folder, given, ca_common.passphrase(ca, passphrase, what=what))
    described = local_ca.described_ca(folder)
    data = {**described, "imported": ca_common.certificate_data(made)}
    return OperationResult(
        "ca import",
        data,
        human=(
            f"{local_ca.human(described)}\nNext: infuse ca export{ca_common.naming(folder)} --out"
            " root.pem"
        ),
    )


def _known_roots(folder: Path) -> list:  # type: ignore[type-arg]
    try:
        return list(read_chain(folder)[1:])
    except SignerError:
        return []


def _key(options: KeyOptions, secret: Secret | None) -> NewKey:
    """The new issuer's key: made in the token, or in memory to be written under the passphrase."""
    if options.uri is None:
        if secret is None:
            raise SignerError("ca.no-passphrase", "no CA passphrase was given")
        return renewal.new_key(secret)
    if not options.uri.startswith("pkcs11:"):
        raise UsageError("usage.bad-option", f"--key is a pkcs11: URI, not {options.uri!r}")
    from infuse_cli.pki.signers.pkcs11 import make_key, parse

    parse(options.uri)  # before a PIN is asked for
    pin = secrets.passphrase(
        file=options.pin_file,
        fd=options.pin_fd,
        what="PIN of the token",
        prompt=context.current().settings.prompt,
    )
    return replace(
        renewal.NewKey(make_key(options.uri, pin, existing=options.existing)), uri=options.uri
    )
