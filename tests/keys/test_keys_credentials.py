"""Where the credential comes from, that it is never shown, and that a missing or bad keyring is
survived.
"""

import json
import os
import stat

import pytest

from infuse_cli.errors import CredentialError
from infuse_cli.keys import credentials as kc
from infuse_cli.types import Secret

HOST = "api.infuse-iot.com"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("from-file\n")
    path.chmod(0o600)
    return path


def find(home, *, env=None, token_file=None):
    return kc.find_credential(HOST, env=env or {}, token_file=token_file, home=home)


def test_precedence(home, token_file, memory_ring):
    kc.store_credential(HOST, Secret("from-ring"), home)
    assert find(home, env={"INFUSE_TOKEN": " from-env\n"}, token_file=token_file).secret == Secret(
        "from-env"
    )
    found = find(home, token_file=token_file)
    assert (found.secret, found.source) == (Secret("from-file"), kc.Source.TOKEN_FILE)
    assert str(token_file) in found.where
    assert find(home).secret == Secret("from-ring")
    assert find(home, env={"INFUSE_TOKEN": ""}).source is kc.Source.KEYRING


def test_the_environment_does_not_ask_the_keyring(home, hanging_ring):
    assert find(home, env={"INFUSE_TOKEN": "t"}).source is kc.Source.ENVIRONMENT
    assert hanging_ring.asked == 0


def test_survey_names_what_is_shadowed(home, token_file, memory_ring):
    kc.store_credential(HOST, Secret("from-ring"), home)
    survey = kc.survey_credentials(
        HOST, env={"INFUSE_TOKEN": "t"}, token_file=token_file, home=home
    )
    assert [one.source for one in survey.found] == [
        kc.Source.ENVIRONMENT,
        kc.Source.TOKEN_FILE,
        kc.Source.KEYRING,
    ]
    assert "from-" not in repr(survey)


def test_without_a_keyring_a_login_goes_to_a_private_file(home, no_ring):
    kept = kc.store_credential(HOST, Secret("s3cret"), home)
    assert kept.source is kc.Source.HOME_FILE
    assert kept.notes == ("this machine has no keyring",)
    path = home / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    found = find(home)
    assert (found.secret, found.notes) == (Secret("s3cret"), ("this machine has no keyring",))
    assert [path.name for path in home.iterdir()] == ["credentials.json"]


def test_hosts_are_kept_apart(home, no_ring):
    kc.store_credential(HOST, Secret("one"), home)
    kc.store_credential("localhost:8080", Secret("two"), home)
    assert find(home).secret == Secret("one")
    assert kc.find_credential(
        "localhost:8080", env={}, token_file=None, home=home
    ).secret == Secret("two")
    assert [kept.source for kept in kc.forget_credential(HOST, home)] == [kc.Source.HOME_FILE]
    with pytest.raises(CredentialError):
        find(home)
    assert json.loads((home / "credentials.json").read_text())["credentials"] == {
        "localhost:8080": "two"
    }


@pytest.mark.parametrize("mood", ["null_ring", "broken_ring", "hanging_ring"])
def test_a_keyring_that_keeps_nothing_is_survived(request, home, mood):
    request.getfixturevalue(mood)
    kept = kc.store_credential(HOST, Secret("s3cret"), home)
    assert kept.source is kc.Source.HOME_FILE
    assert len(kept.notes) == 1
    assert "s3cret" not in repr(kept)
    assert find(home).secret == Secret("s3cret")


def test_a_hanging_keyring_is_waited_for_once(home, hanging_ring):
    for _ in range(3):
        with pytest.raises(CredentialError, match="did not answer"):
            find(home)
    assert hanging_ring.asked == 1


def test_a_login_to_the_keyring_removes_the_older_file_copy(request, home, no_ring):
    kc.store_credential(HOST, Secret("old"), home)
    request.getfixturevalue("memory_ring")
    kc.store_credential(HOST, Secret("new"), home)
    assert find(home).secret == Secret("new")
    assert len(kc.forget_credential(HOST, home)) == 1
    with pytest.raises(CredentialError):
        find(home)


def test_nothing_found_names_every_place(home, no_ring):
    with pytest.raises(
        CredentialError,
        match=r"api\.infuse-iot\.com.*INFUSE_TOKEN.*keyring.*credentials\.json.*has no keyring",
    ) as caught:
        find(home)
    assert caught.value.code == "credential.missing"
    assert caught.value.exit == 4


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(home, token_file, no_ring, mode):
    token_file.chmod(mode)
    with pytest.raises(CredentialError, match=f"{mode:04o}") as caught:
        find(home, token_file=token_file)
    assert caught.value.code == "credential.unsafe-file"
    kc.store_credential(HOST, Secret("s3cret"), home)
    (home / "credentials.json").chmod(mode)
    with pytest.raises(CredentialError) as caught:
        find(home)
    assert caught.value.code == "credential.unsafe-file"


def test_a_named_token_file_has_to_hold_something(home, tmp_path, token_file, no_ring):
    for path, code in (
        (tmp_path / "absent", "credential.missing"),
        (tmp_path, "credential.malformed"),
    ):
        with pytest.raises(CredentialError) as caught:
            find(home, token_file=path)
        assert caught.value.code == code
    token_file.write_text(" \n")
    with pytest.raises(CredentialError, match="empty"):
        find(home, token_file=token_file)
    token_file.write_bytes(b"\xff\xfe")
    with pytest.raises(CredentialError, match="not text"):
        find(home, token_file=token_file)


def test_a_pipe_without_a_writer_does_not_hang(home, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(CredentialError):
        find(home, token_file=pipe)


def test_a_damaged_store_is_named(home, no_ring):
    home.mkdir()
    (home / "credentials.json").write_text("{")
    (home / "credentials.json").chmod(0o600)
    with pytest.raises(CredentialError, match="damaged"):
        find(home)


def test_passphrases_in_the_keyring(memory_ring):
    assert kc.keyring_secret("infuse-ca", "default") is None
    assert kc.store_keyring_secret("infuse-ca", "default", Secret("open sesame"))
    assert kc.keyring_secret("infuse-ca", "default") == Secret("open sesame")


def test_passphrases_without_a_keyring(no_ring):
    assert kc.keyring_secret("infuse-ca", "default") is None
    assert not kc.store_keyring_secret("infuse-ca", "default", Secret("x"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.infuse-iot.com", HOST),
        ("http://127.0.0.1:80/x", "127.0.0.1:80"),
        ("http://[::1]:9", "[::1]:9"),
    ],
)
def test_hosts_of_urls(url, host):
    assert kc.credential_host(url) == host


def test_the_registrys_own():
    assert kc.registry_credential({"INFUSE_REGISTRY_TOKEN": "r\n"}) == Secret("r")
    assert kc.registry_credential({}) is None
