from __future__ import annotations

import os
from pathlib import Path

import pytest

from infuse_cli.config.model import Passphrase
from infuse_cli.errors import InfuseError
from infuse_cli.keys import passphrases as secrets
from infuse_cli.types import Secret


def word_file(tmp_path, data: bytes = b"correct horse\n", mode: int = 0o600):
    path = tmp_path / "word"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def code_of(**given) -> str:
    with pytest.raises(InfuseError) as caught:
        secrets.passphrase(**given)
    return caught.value.code


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"a\n", "a"),
        (b"a", "a"),
        (b"a\r\n", "a"),
        (b"a b\n\n", "a b\n"),
        (" p\u00e4ss ".encode(), " p\u00e4ss "),
    ],
)
def test_one_newline_is_stripped_and_nothing_else(tmp_path, data, word):
    assert secrets.passphrase(file=word_file(tmp_path, data)).reveal() == word


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    assert code_of(file=word_file(tmp_path, mode=mode)) == "credential.unsafe-file"
    assert code_of(profile=Passphrase(file=str(tmp_path / "word"))) == "credential.unsafe-file"


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe", b"x" * 5000])
def test_a_file_without_a_passphrase(tmp_path, data):
    assert code_of(file=word_file(tmp_path, data)) == "ca.no-passphrase"


def test_no_such_file(tmp_path):
    assert code_of(file=tmp_path / "none") == "ca.no-passphrase"


@pytest.mark.parametrize("data", [b"correct horse\n", b"correct horse", b"correct horse\nmore\n"])
def test_a_descriptor_is_read_to_its_first_line(data):
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
        if not data.endswith(b"\n"):
            os.close(writing)
        assert secrets.passphrase(fd=reading).reveal() == "correct horse"
    finally:
        os.close(reading)
        if data.endswith(b"\n"):
            os.close(writing)


@pytest.mark.parametrize("fd", [-1, 987, 1 << 70])
def test_a_descriptor_that_is_not_open(fd):
    assert code_of(fd=fd) == "usage.bad-option"


def test_both_options_exclude_each_other(tmp_path):
    assert code_of(file=word_file(tmp_path), fd=0) == "usage.bad-option"


def test_an_option_beats_the_profile(tmp_path):
    other = tmp_path / "other"
    other.write_text("other")
    other.chmod(0o600)
    found = secrets.passphrase(file=word_file(tmp_path), profile=Passphrase(file=str(other)))
    assert found.reveal() == "correct horse"
    assert secrets.passphrase(profile=Passphrase(file=str(other))).reveal() == "other"


def test_the_keyring_is_asked_when_nothing_else_is_given(monkeypatch):
    import keyring
    from keyring.backend import KeyringBackend

    from infuse_cli.keys import ring

    monkeypatch.setattr(
        ring._Broken, "trouble", ""
    )  # one that hung in an earlier test is not asked again

    kept: dict[tuple[str, str], str] = {}

    class Held(KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            return kept.get((service, username))

        def set_password(self, service, username, password):
            kept[service, username] = password

    class Broken(Held):
        def get_password(self, service, username):
            raise RuntimeError("no bus")

        def set_password(self, service, username, password):
            raise RuntimeError("no bus")

    before = keyring.get_keyring()
    try:
        keyring.set_keyring(Held())
        assert secrets.keep_in_keyring("ca:default", Secret("from the keyring"))
        assert (
            secrets.passphrase(keyring_name=secrets.ca_keyring_name("default")).reveal()
            == "from the keyring"
        )
        assert code_of(keyring_name="ca:other") == "ca.no-passphrase"
        assert code_of(keyring_name="ca:default", confirm=True) == "ca.no-passphrase"
        keyring.set_keyring(Broken())
        assert not secrets.keep_in_keyring("ca:default", Secret("x"))
        assert code_of(keyring_name="ca:default") == "ca.no-passphrase"
    finally:
        keyring.set_keyring(before)


def test_without_a_terminal_nothing_is_asked():
    assert code_of() == "ca.no-passphrase"


@pytest.mark.posix
def test_a_pipe_in_the_place_of_the_file_is_read_as_one(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    monkeypatch.setattr(secrets, "_DESCRIPTOR_WAIT_S", 0.1)
    assert code_of(file=pipe) == "ca.no-passphrase", "nobody writes"
    both = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    os.write(both, b"correct horse\n")
    assert secrets.passphrase(file=pipe).reveal() == "correct horse"
    os.close(both)


@pytest.mark.posix
def test_a_device_is_no_passphrase_file():
    assert code_of(file=Path(os.devnull)) in {"ca.no-passphrase", "credential.unsafe-file"}


def test_a_keyring_that_hangs_is_left_alone_after_its_deadline(monkeypatch):
    import threading

    import keyring
    from keyring.backend import KeyringBackend

    from infuse_cli.keys import ring

    answer = threading.Event()

    class Locked(KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            answer.wait(30)

        def set_password(self, service, username, password):
            answer.wait(30)

    monkeypatch.setattr(ring, "DEADLINE_S", 0.1)
    monkeypatch.setattr(ring._Broken, "trouble", "")
    keyring.set_keyring(Locked())
    assert code_of(keyring_name="ca:default") == "ca.no-passphrase"
    assert not secrets.keep_in_keyring("ca:default", Secret("x"))
    answer.set()
