"""Sealing at rest: opens for the same key and row only, and the key file is what it has to be."""

import base64
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infuse_cli.errors import CredentialError, ProfileError
from infuse_cli.keys.seal import BenchKeys, FileSealer, bench_keys, load_sealer
from infuse_cli.types import Secret

SEALER = FileSealer(bytes(range(32)), "here")


@pytest.fixture
def bench(tmp_path):
    return BenchKeys(home=tmp_path / "home", key_file=tmp_path / "etc" / "sealing.key")


@given(st.text(), st.text())
def test_round_trip(text, context):
    sealed = SEALER.seal(Secret(text), context)
    assert SEALER.unseal(sealed, context) == Secret(text)
    assert sealed != SEALER.seal(Secret(text), context)


@given(st.text(min_size=4, max_size=40), st.data())
def test_nothing_changed_opens(text, data):
    sealed = bytearray(SEALER.seal(Secret(text), "token:1"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CredentialError) as caught:
        SEALER.unseal(bytes(sealed), "token:1")
    assert caught.value.code == "credential.sealing-key"


@given(st.binary(max_size=80))
def test_garbage_is_named(data):
    with pytest.raises(CredentialError):
        SEALER.unseal(data, "token:1")


def test_another_row_or_key_does_not_open():
    sealed = SEALER.seal(Secret("one-time-9"), "token:1")
    for sealer, context in ((SEALER, "token:2"), (FileSealer(bytes(32), "elsewhere"), "token:1")):
        with pytest.raises(CredentialError, match=f"'{context}'.*{sealer.where}") as caught:
            sealer.unseal(sealed, context)
        assert "one-time" not in str(caught.value)


def test_the_key_is_made_once_and_privately(bench):
    with pytest.raises(CredentialError, match="there is no sealing key file"):
        load_sealer(bench, create=False)
    sealed = load_sealer(bench, create=True).seal(Secret("x"), "c")
    assert stat.S_IMODE(bench.key_file.stat().st_mode) == 0o600
    assert len(base64.b64decode(bench.key_file.read_text())) == 32
    for create in (True, False):
        assert load_sealer(bench, create=create).unseal(sealed, "c") == Secret("x")
    assert [path.name for path in bench.key_file.parent.iterdir()] == ["sealing.key"]


def test_many_starting_at_once_get_one_key(bench):
    sealers = []
    threads = [
        threading.Thread(target=lambda: sealers.append(load_sealer(bench, create=True)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = sealers[0].seal(Secret("x"), "c")
    assert all(sealer.unseal(sealed, "c") == Secret("x") for sealer in sealers)
    assert len(sealers) == 8


def test_a_key_file_that_others_can_read_is_refused(bench):
    load_sealer(bench, create=True)
    bench.key_file.chmod(0o640)
    with pytest.raises(CredentialError, match="0640") as caught:
        load_sealer(bench, create=True)
    assert caught.value.code == "credential.unsafe-file"


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"short")])
def test_a_bad_key_file_is_never_replaced(bench, content):
    bench.key_file.parent.mkdir()
    bench.key_file.write_bytes(content)
    bench.key_file.chmod(0o600)
    with pytest.raises(CredentialError, match="32 bytes"):
        load_sealer(bench, create=True)
    assert bench.key_file.read_bytes() == content


def test_a_key_beside_what_it_seals_is_refused(tmp_path):
    with pytest.raises(CredentialError, match="inside") as caught:
        load_sealer(
            BenchKeys(home=tmp_path, key_file=tmp_path / "sub" / ".." / "sealing.key"), create=True
        )
    assert caught.value.code == "credential.sealing-key"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CredentialError, match="cannot be made"):
        load_sealer(
            BenchKeys(home=tmp_path / "home", key_file=tmp_path / "file" / "sealing.key"),
            create=True,
        )


def test_the_key_in_the_keyring(tmp_path, memory_ring):
    bench = bench_keys(tmp_path, {"keyring": True}, {})
    with pytest.raises(CredentialError, match="holds no sealing key"):
        load_sealer(bench, create=False)
    sealed = load_sealer(bench, create=True).seal(Secret("x"), "c")
    assert load_sealer(bench, create=False).unseal(sealed, "c") == Secret("x")


@pytest.mark.parametrize("mood", ["no_ring", "null_ring", "broken_ring"])
def test_no_keyring_for_the_key_is_an_error(request, tmp_path, mood):
    request.getfixturevalue(mood)
    with pytest.raises(CredentialError, match="keyring") as caught:
        load_sealer(bench_keys(tmp_path, {"keyring": True}, {}), create=True)
    assert caught.value.code == "credential.sealing-key"


def test_where_the_key_is(tmp_path):
    named = tmp_path / "a.key"
    assert bench_keys(tmp_path, {"key_file": str(named)}, {}).key_file == named
    assert bench_keys(
        tmp_path, {"keyring": True}, {"INFUSE_SEALING_KEY_FILE": str(named)}
    ) == BenchKeys(tmp_path, named)
    assert bench_keys(tmp_path, {}, {}).key_file.name == "sealing.key"
    for bad in ({"key_flie": "x"}, {"keyring": "yes"}, {"keyring": True, "key_file": "/x"}):
        with pytest.raises(ProfileError, match=r"bench\.yaml, sealing"):
            bench_keys(tmp_path, bad, {})
