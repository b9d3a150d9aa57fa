"""How fast the CA is: `python benchmarks/ca.py [--quick] [FOLDER]`.

Prints certificates a second of `infuse ca sign --batch` (policy and durable journal included), of
the library alone and of one `openssl x509 -req` process a certificate, the batch again with a
SoftHSM key, and the time of a revocation list of 100,000 entries. The journal is made beside this
file unless a folder is named, because a temporary folder may lie in memory, where an fsync costs
nothing.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infuse_cli.ca.authority import CertificateAuthority
from infuse_cli.ca.common import PassphraseOptions
from infuse_cli.ca.signing import SignOptions, requests_in, sign_files
from infuse_cli.pki.ca_certificates import authority_key_id, key_usage
from infuse_cli.pki.crl import Entry, make_crl
from infuse_cli.pki.renewal import NewKey
from infuse_cli.pki.store import init_ca, load_ca
from infuse_cli.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = Secret("benchmark")
PIN = Secret("246813")
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu(work: Callable[[], object]) -> float:
    """Seconds of processor that this process and the helpers that it waited for took: what others
    on the machine do is not in it.
    """
    began = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - began


def requests(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        name = x509.Name(
            [
                x509.NameAttribute(
                    x509.NameOID.COMMON_NAME, f"{secrets.randbits(48):012x}{number:04x}"
                )
            ]
        )
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(name)
            .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        )
        (folder / f"{number:06}.csr").write_bytes(csr.public_bytes(Encoding.PEM))
    return folder


def bench(folder: Path, key: NewKey | None = None) -> Path:
    """A home whose CA has its key in a file, or in a token."""
    init_ca(folder / "ca" / "default", "benchmark", WORD, root_out=folder / "root", key=key)
    word = folder / "word"
    word.write_text((PIN if key else WORD).reveal())
    word.chmod(0o600)
    return folder


def batch(home: Path, csrs: Path) -> float:
    out = home / f"out-{secrets.token_hex(4)}"

    def work() -> None:
        ca = CertificateAuthority.open(home, "default", PassphraseOptions(file=home / "word"))
        sign_files(ca, requests_in(csrs), out, SignOptions())

    return timed(work)


def library(home: Path, csrs: Path, out: Path | None = None) -> float:
    """Parse, check, build with the same extensions, sign, PEM: no policy, no record, and a file
    each only where `out` is a folder.
    """
    signer = load_ca(home / "ca" / "default", WORD)
    issuer, now = signer.chain[0], datetime.now(UTC)
    texts = [path.read_bytes() for path in sorted(csrs.iterdir())]

    def work() -> None:
        for number, text in enumerate(texts):
            csr = x509.load_pem_x509_csr(text)
            assert csr.is_signature_valid
            key = csr.public_key()
            made = (
                x509.CertificateBuilder()
                .subject_name(csr.subject)
                .issuer_name(issuer.subject)
                .public_key(key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now)
                .not_valid_after(now + timedelta(days=3650))
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(key_usage(), critical=True)
                .add_extension(
                    x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
                )
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
                .add_extension(authority_key_id(issuer), critical=False)
                .sign(signer.private_key, hashes.SHA256())
                .public_bytes(Encoding.PEM)
            )
            if out is not None:
                (out / f"{number:06}.pem").write_bytes(made)

    return timed(work)


def openssl(home: Path, csrs: Path, count: int) -> float:
    signer = load_ca(home / "ca" / "default", WORD)
    key, ca = home / "plain.key", home / "plain.pem"
    key.write_bytes(
        signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    ca.write_bytes(signer.chain[0].public_bytes(Encoding.PEM))
    words = [
        "openssl",
        "x509",
        "-req",
        "-CA",
        str(ca),
        "-CAkey",
        str(key),
        "-days",
        "3650",
        "-out",
        str(home / "one.pem"),
        "-in",
    ]

    def work() -> None:
        for path in sorted(csrs.iterdir())[:count]:
            subprocess.run([*words, str(path)], check=True, capture_output=True)

    return timed(work)


def token(folder: Path) -> NewKey | None:
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        return None
    from infuse_cli.pki.signers.pkcs11 import make_key

    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level ="
        " ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(conf)
    subprocess.run(
        [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "line",
            "--pin",
            PIN.reveal(),
            "--so-pin",
            "0000",
        ],
        check=True,
        capture_output=True,
    )
    uri = f"pkcs11:token=line;object=ca?module-path={module}"
    return NewKey(make_key(uri, PIN), uri=uri)


def revocation_list(home: Path, count: int, rounds: int) -> float:
    signer, now = load_ca(home / "ca" / "default", WORD), datetime.now(UTC)
    entries = [
        Entry(
            f"{1 << 158 | secrets.randbits(158):x}",
            now - timedelta(seconds=number),
            "keyCompromise",
        )
        for number in range(count)
    ]
    return statistics.median(
        timed(lambda: make_crl(signer, entries, number=1, now=now, life=timedelta(days=30)))
        for _ in range(rounds)
    )


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--quick"]
    quick = "--quick" in sys.argv
    count, rounds = (1000, 1) if quick else (10_000, 3)
    beside = Path(words[0]) if words else Path(__file__).parent
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()},"
        f" cryptography {cryptography.__version__}"
    )
    with tempfile.TemporaryDirectory(dir=beside) as name:
        folder = Path(name)
        csrs = requests(folder / "csrs", count)
        alone, written, ours, in_token, took = [], [], [], [], []
        hsm = token(folder)
        for number in range(rounds):
            home = bench(folder / f"home{number}")
            alone.append(count / library(home, csrs))
            (home / "files").mkdir()
            written.append(count / library(home, csrs, home / "files"))
            took.append(cpu(lambda home=home: ours.append(count / batch(home, csrs))) / count)  # type: ignore[misc]
            if hsm is not None:
                in_token.append(count / batch(bench(folder / f"token{number}", hsm), csrs))
        processes = 20 / openssl(folder / "home0", csrs, 20)
        entries = 10_000 if quick else 100_000
        crl = revocation_list(folder / "home0", entries, rounds)
    rate, limit = statistics.median(ours), statistics.median(alone)
    print(f"ca sign --batch of {count:,}      {rate:7,.0f} certificates/s   bound 2,500")
    print(f"  the library alone            {limit:7,.0f} certificates/s   {rate / limit:.0%} of it")
    print(
        f"  that, and a file each        {statistics.median(written):7,.0f} certificates/s  "
        f" {rate / statistics.median(written):.0%} of it"
    )
    print(
        f"  processor time               {statistics.median(took) * 1000:7.2f} ms a certificate,"
        " helpers included"
    )
    print(f"  openssl, a process each      {processes:7,.0f} certificates/s")
    if in_token:
        print(
            f"  with a SoftHSM key           {statistics.median(in_token):7,.0f} certificates/s  "
            f" {statistics.median(in_token) / rate:.0%} of the file's, bound 60 %"
        )
    else:
        print("  with a SoftHSM key           not measured: softhsm2 is not installed")
    print(f"list of {entries:,} entries       {crl:7.2f} s               bound 1 s for 100,000")


if __name__ == "__main__":
    main()
