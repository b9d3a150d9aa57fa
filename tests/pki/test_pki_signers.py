"""One contract for every back end of a CA's key: the issuing code must not know which it has."""

from __future__ import annotations

import copy
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import hsm
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pki_board import Modem

from infuse_cli.errors import InfuseError, SignerError, UsageError
from infuse_cli.pki import issuing
from infuse_cli.pki.ca_certificates import make_ca
from infuse_cli.pki.certificate_profiles import certificate_profile
from infuse_cli.pki.crl import make_crl
from infuse_cli.pki.key_file import encrypted_pem
from infuse_cli.pki.signers import open_key
from infuse_cli.pki.signers.file import UnlockedIssuer
from infuse_cli.types import Secret


@dataclass
class Backend:
    uri: str
    secret: Secret
    wrong: str


@pytest.fixture(scope="module", params=["file", "pkcs11"])
def backend(request, tmp_path_factory) -> Backend:
    if request.param == "file":
        path = tmp_path_factory.mktemp("key") / "key.pem"
        path.write_bytes(
            encrypted_pem(ec.generate_private_key(ec.SECP256R1()), Secret("correct horse"))
        )
        path.chmod(0o600)
        return Backend(f"file:{path}", Secret("correct horse"), "passphrase")
    from infuse_cli.pki.signers.pkcs11 import make_key

    token = request.getfixturevalue("token")
    make_key(token.uri("contract"), Secret(hsm.PIN))
    return Backend(token.uri("contract"), Secret(hsm.PIN), "PIN")


@pytest.fixture(scope="module")
def key(backend):
    return open_key(backend.uri, backend.secret)


def test_it_is_a_key_that_signs_and_tells_nothing(backend, key):
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert (key.key_size, key.curve.name) == (256, "secp256r1")
    for data in (b"", b"x" * 100_000):
        key.public_key().verify(
            key.sign(data, ec.ECDSA(hashes.SHA256())), data, ec.ECDSA(hashes.SHA256())
        )
    assert copy.copy(key).public_key() == copy.deepcopy(key).public_key() == key.public_key()
    assert backend.secret.reveal() not in repr(key)


def test_certificates_and_lists_are_issued_with_it(key):
    made = make_ca("Line", datetime.now(UTC), key)
    signer = UnlockedIssuer(made.intermediate_key, (made.intermediate, made.root))
    issued = issuing.issue(
        signer,
        spki_der=Modem().spki,
        common_name="00112233aabbccdd",
        serial=issuing.new_serial(),
        profile=certificate_profile("device"),
        now=datetime.now(UTC),
        validity_days=30,
    )
    x509.load_pem_x509_certificate(issued.pem.encode()).verify_directly_issued_by(made.intermediate)
    assert make_crl(signer, [], number=1, now=datetime.now(UTC), life=timedelta(days=1)).number == 1


def test_many_threads_share_it(key):
    wrong = []

    def work() -> None:
        for number in range(20):
            data = bytes([number]) * 40
            try:
                key.public_key().verify(
                    key.sign(data, ec.ECDSA(hashes.SHA256())), data, ec.ECDSA(hashes.SHA256())
                )
            except Exception as error:  # noqa: BLE001 - told below
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_wrong_secret_is_told_as_such(backend):
    with pytest.raises(SignerError) as caught:
        open_key(backend.uri, Secret("135790"))
    assert caught.value.code == "ca.bad-passphrase"
    assert backend.wrong in caught.value.message
    assert "135790" not in str(caught.value.as_json())
    open_key(backend.uri, backend.secret)


def refused(code: str, call, *args, **kwargs) -> InfuseError:
    with pytest.raises(InfuseError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def test_a_session_that_died_is_opened_again(token):
    from infuse_cli.pki.signers.pkcs11 import make_key

    key = make_key(token.uri("session"), Secret(hsm.PIN))
    for died in ("close", "look again"):
        key.sign(b"before", ec.ECDSA(hashes.SHA256()))
        key._session.close() if died == "close" else token._look_again()
        key.public_key().verify(
            key.sign(b"after", ec.ECDSA(hashes.SHA256())), b"after", ec.ECDSA(hashes.SHA256())
        )


def test_a_token_pulled_out_is_one_clear_error_and_back_it_goes_on(token):
    from infuse_cli.pki.signers.pkcs11 import make_key

    key = make_key(token.uri("pulled"), Secret(hsm.PIN))
    token.pull_out()
    try:
        error = refused("ca.token", key.sign, b"x", ec.ECDSA(hashes.SHA256()))
        assert "token 'line'" in error.message
    finally:
        token.put_back()
    assert key.sign(b"x", ec.ECDSA(hashes.SHA256()))


def test_the_key_was_made_in_the_token_and_stays_there(token):
    from infuse_cli.pki.signers.pkcs11 import make_key

    key = make_key(token.uri("stays"), Secret(hsm.PIN))
    for leave in (lambda: key.private_bytes(None, None, None), key.private_numbers):
        with pytest.raises(NotImplementedError):
            leave()
    import pkcs11

    with key._lock:
        found = key._opened(writing=False).get_objects(
            {
                pkcs11.Attribute.LABEL: "stays",
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
            }
        )
        assert [
            (
                one[pkcs11.Attribute.SENSITIVE],
                one[pkcs11.Attribute.EXTRACTABLE],
                one[pkcs11.Attribute.LOCAL],
            )
            for one in found
        ] == [(True, False, True)]
    refused("ca.exists", make_key, token.uri("stays"), Secret(hsm.PIN))
    assert (
        make_key(token.uri("stays"), Secret(hsm.PIN), existing=True).public_key()
        == key.public_key()
    )
    refused("ca.token", open_key, token.uri("no such key"), Secret(hsm.PIN))


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=a",
        "pkcs11:object=b",
        "pkcs11:token=a;object=b;pin-value=1",
        "pkcs11:token=a;object=b?pin-source=x",
        "pkcs11:token=a;object=b;nonsense=c",
        "pkcs11:token=a;object=b;type=public?module-path=/x.so",
        "pkcs11:token=a;object=prüfplatz?module-path=/x.so",
        "pkcs11:token=a;object=b",
    ],
)
def test_uris_that_cannot_be_used(uri, monkeypatch):
    from infuse_cli.pki.signers.pkcs11 import parse

    monkeypatch.delenv("INFUSE_PKCS11_MODULE", raising=False)
    with pytest.raises(UsageError):
        parse(uri)


def test_a_uri_as_p11tool_prints_it_names_the_token_that_it_describes(token):
    from infuse_cli.pki.signers.pkcs11 import make_key

    key = make_key(token.uri("described"), Secret(hsm.PIN))
    path, query = token.uri("described").split("?")
    full = f"{path};model=SoftHSM%20v2;manufacturer=SoftHSM%20project;type=private?{query}"
    assert open_key(full, Secret(hsm.PIN)).public_key() == key.public_key()
    for wrong in ("model=other", "library-version=0.1", "slot-id=-1"):
        refused("ca.token", open_key, f"{path};{wrong}?{query}", Secret(hsm.PIN))


def test_a_library_that_is_none_and_an_extra_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "no.so").write_text("no library")
    uri = f"pkcs11:token=a;object=b?module-path={tmp_path / 'no.so'}"
    if hsm.installed():
        assert "no.so" in refused("ca.token", open_key, uri, Secret("1")).message
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    assert "pkcs11" in refused("usage.extra-missing", open_key, uri, Secret("1")).hint
