from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from infuse_cli.errors import InfuseError, SignerError, UsageError
from infuse_cli.pki.key_file import encrypted_pem
from infuse_cli.pki.signers import open_key
from infuse_cli.pki.store import ca_folder, init_ca, load_ca, read_chain, root_key_here
from infuse_cli.types import Secret

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(code: str, call, *args, **kwargs) -> InfuseError:
    with pytest.raises(InfuseError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def test_root_goes_elsewhere_and_the_bench_keeps_the_intermediate(made_ca):
    assert sorted(path.name for path in made_ca.iterdir()) == [
        "intermediate.key.pem",
        "intermediate.pem",
        "root.pem",
    ]
    stick = made_ca.parent / "stick"
    assert sorted(path.name for path in stick.iterdir()) == ["root.key.pem", "root.pem"]
    assert not root_key_here(made_ca)


@posix
def test_modes_are_private(made_ca):
    assert mode(made_ca) == 0o700
    assert mode(made_ca / "intermediate.key.pem") == 0o600
    assert mode(made_ca.parent / "stick" / "root.key.pem") == 0o600


def test_without_root_out_the_root_key_is_here_and_is_seen(tmp_path, secret):
    init_ca(tmp_path / "home" / "ca" / "default", "default", secret)
    assert root_key_here(tmp_path / "home" / "ca" / "default")
    root = load_pem_private_key(
        (tmp_path / "home/ca/default/root.key.pem").read_bytes(), secret.reveal().encode()
    )
    assert root.public_key() == read_chain(tmp_path / "home/ca/default")[1].public_key()


def test_root_out_may_be_the_folder_itself_but_not_inside(tmp_path, secret):
    init_ca(tmp_path / "a", "a", secret, root_out=tmp_path / "a")
    assert root_key_here(tmp_path / "a")
    refused(
        "usage.bad-option", init_ca, tmp_path / "b", "b", secret, root_out=tmp_path / "b" / "root"
    )
    assert not (tmp_path / "b").exists()


def test_what_the_certificates_say(signer):
    intermediate, root = signer.chain
    assert root.subject.rfc4514_string() == "CN=Line 1 Root"
    assert intermediate.subject.rfc4514_string() == "CN=Line 1 Intermediate"
    for certificate, pathlen, years in ((root, 1, 20), (intermediate, 0, 15)):
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, pathlen)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert not usage.value.digital_signature
        assert certificate.not_valid_before_utc < datetime.now(UTC) - timedelta(hours=1)
        assert (
            years * 365
            <= (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
            <= years * 366
        )
        assert certificate.serial_number.bit_length() == 159
    assert (
        intermediate.extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier
        ).value.key_identifier
        == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )


def test_opens_by_uri_too_and_tells_nothing(made_ca, secret):
    key = open_key(f"file:{made_ca / 'intermediate.key.pem'}", secret)
    assert key.public_key() == read_chain(made_ca)[0].public_key()
    assert repr(load_ca(made_ca, secret)) == "UnlockedIssuer(CN=Line 1 Intermediate)"


@pytest.mark.parametrize("uri", ["nonsense", "http://example", ""])
def test_an_unknown_scheme_names_those_that_there_are(uri, secret):
    assert "file:" in refused("ca.not-found", open_key, uri, secret).message


def test_wrong_passphrase_is_named_and_not_shown(made_ca):
    error = refused("ca.bad-passphrase", load_ca, made_ca, Secret("hunter2"))
    assert "hunter2" not in f"{error} {error!r} {error.as_json()}"
    refused("ca.bad-passphrase", load_ca, made_ca, Secret(""))


@posix
@pytest.mark.parametrize("loose", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(ca_copy, secret, loose):
    (ca_copy / "intermediate.key.pem").chmod(loose)
    refused("ca.unsafe-key", load_ca, ca_copy, secret)


def test_a_key_that_is_not_encrypted_is_refused(ca_copy, signer, secret):
    plain = signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (ca_copy / "intermediate.key.pem").write_bytes(plain)
    refused("ca.unsafe-key", load_ca, ca_copy, secret)


def test_another_key_is_refused(ca_copy, secret):
    (ca_copy / "intermediate.key.pem").write_bytes(
        encrypted_pem(ec.generate_private_key(ec.SECP256R1()), secret)
    )
    refused("ca.corrupt", load_ca, ca_copy, secret)


def test_a_key_of_another_kind_is_refused(ca_copy, secret):
    (ca_copy / "intermediate.key.pem").write_bytes(
        encrypted_pem(ec.generate_private_key(ec.SECP384R1()), secret)
    )
    assert "P-256" in refused("ca.corrupt", load_ca, ca_copy, secret).message


def test_another_root_of_the_same_name_breaks_the_chain(ca_copy, tmp_path, secret):
    init_ca(tmp_path / "other", "Line 1", secret)
    shutil.copy(tmp_path / "other" / "root.pem", ca_copy / "root.pem")
    assert "Line 1 Intermediate" in refused("ca.corrupt", load_ca, ca_copy, secret).message


@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem", "intermediate.key.pem"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half", "noise"])
def test_damage_is_said_and_never_taken_for_a_wrong_passphrase(ca_copy, secret, name, damage):
    path = ca_copy / name
    data = path.read_bytes()
    match damage:
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(data[: len(data) // 2])
        case _:
            path.write_bytes(bytes(range(256)) * 8)
    assert str(path) in refused("ca.corrupt", load_ca, ca_copy, secret).message


def test_no_ca_is_said(tmp_path, secret):
    refused("ca.not-found", load_ca, tmp_path / "none", secret)


@pytest.mark.parametrize("years", [-1, 16])
def test_out_of_its_time_nothing_is_signed(made_ca, secret, years):
    then = datetime.now(UTC) + timedelta(days=366 * years)
    assert "valid from" in refused("ca.issuer-expired", load_ca, made_ca, secret, now=then).message


def test_an_existing_ca_is_never_overwritten(made_ca, tmp_path, secret):
    before = {path: path.read_bytes() for path in made_ca.iterdir()}
    refused("ca.exists", init_ca, made_ca, "again", secret)
    refused(
        "ca.exists", init_ca, tmp_path / "new", "new", secret, root_out=made_ca.parent / "stick"
    )
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in made_ca.iterdir()} == before


def test_a_folder_with_other_things_is_left_alone(tmp_path, secret):
    (tmp_path / "notes.txt").write_text("mine")
    refused("ca.exists", init_ca, tmp_path, "line", secret)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_will_do(tmp_path, secret):
    (tmp_path / "empty").mkdir()
    init_ca(tmp_path / "empty", "line", secret)
    load_ca(tmp_path / "empty", secret)


def test_an_empty_passphrase_is_none(tmp_path):
    refused("ca.no-passphrase", init_ca, tmp_path / "a", "a", Secret(""))


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\nb", "a\x00"])
def test_unfit_names(tmp_path, secret, name):
    with pytest.raises(UsageError):
        init_ca(tmp_path / "a", name, secret)
    assert not (tmp_path / "a").exists()


def test_a_disk_that_refuses_is_said_and_leaves_nothing(tmp_path, secret):
    (tmp_path / "file").write_text("in the way")
    error = refused("ca.corrupt", init_ca, tmp_path / "file" / "ca", "line", secret)
    assert "nothing was made" in error.hint
    error = refused(
        "ca.corrupt", init_ca, tmp_path / "ca", "line", secret, root_out=tmp_path / "file" / "stick"
    )
    assert not (tmp_path / "ca").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_benches_at_once_have_one_winner(tmp_path, secret):
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def one() -> None:
        start.wait(10)
        try:
            init_ca(tmp_path / "ca", "line", secret, root_out=tmp_path / "stick")
        except SignerError as error:
            outcomes.append(error.code)
        else:
            outcomes.append("made")

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["ca.exists"] * 5 + ["made"]
    signer = load_ca(tmp_path / "ca", secret)
    root = load_pem_private_key(
        (tmp_path / "stick" / "root.key.pem").read_bytes(), secret.reveal().encode()
    )
    assert root.public_key() == signer.chain[-1].public_key()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca", "stick"]


WITHOUT_END = """
import sys
from pathlib import Path
from infuse_cli.pki.store import init_ca
from infuse_cli.types import Secret
base = Path(sys.argv[1])
print("ready", flush=True)
for n in range(10_000):
    init_ca(base / f"ca-{n}", "line", Secret("correct horse"), root_out=base / f"stick-{n}")
    print("made", flush=True)
"""


@posix
def test_a_killed_init_is_never_seen_half_done(tmp_path, secret):
    for n in range(2):
        base = tmp_path / str(n)
        base.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-c", WITHOUT_END, str(base)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(2 + n):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=10)
        folders = list(base.glob("ca-*"))
        assert folders
        for folder in folders:
            load_ca(folder, secret)
            assert (base / folder.name.replace("ca", "stick") / "root.key.pem").exists()


@pytest.mark.parametrize("ca", ["default", "line-1", "a.b_c"])
def test_a_name_is_a_folder_of_the_home(tmp_path, ca):
    assert ca_folder(tmp_path, ca) == tmp_path / "ca" / ca


def test_an_absolute_folder_is_itself(tmp_path):
    assert ca_folder(Path("elsewhere"), str(tmp_path)) == tmp_path


@pytest.mark.parametrize("ca", ["", "../x", "a/b", ".", "..", ".hidden", "a b", "-x", "x" * 41])
def test_other_names_are_refused(tmp_path, ca):
    with pytest.raises(UsageError):
        ca_folder(tmp_path, ca)


@pytest.fixture(scope="module")
def as_written(tmp_path_factory, secret):
    """A bench's key as the tool leaves it; those of other tests open faster."""
    folder = tmp_path_factory.mktemp("written") / "line"
    init_ca(folder, "Line 1", secret)
    return folder / "intermediate.key.pem"


def test_the_passphrase_costs_a_thief_memory(as_written):
    """The key file names scrypt: 2,048 rounds of PBKDF2 would be tried at a hundred thousand
    passphrases a second.
    """
    scrypt = bytes.fromhex("2b06010401da47040b")
    import base64

    lines = as_written.read_text().splitlines()[1:-1]
    assert scrypt in base64.b64decode("".join(lines))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_opens_the_key(as_written, tmp_path, secret):
    word = tmp_path / "word"
    word.write_text(secret.reveal())
    subprocess.run(
        ["openssl", "pkey", "-in", str(as_written), "-passin", f"file:{word}", "-noout"],
        check=True,
        timeout=30,
    )
