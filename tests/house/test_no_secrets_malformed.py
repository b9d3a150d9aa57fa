"""Secrets of a wrong form, in the wrong place, or in the hands of a fault of ours: what is said of
them never quotes them.
"""

from __future__ import annotations

import json

import pytest

from infuse_cli import errors
from infuse_cli.cli import main
from infuse_cli.keys import derivation
from infuse_cli.types import Secret
from tests.house import leaks
from tests.support.thin import thin

MARK = "marked-secret-3f9c"
PEM = f"-----BEGIN PRIVATE KEY-----\n{MARK}{MARK}\n-----END PRIVATE KEY-----\n"

# What is typed, and the secret's file: `{file}` is it, `{port}` a port that is not there.
MALFORMED = [
    ("key derive --root-key {file} --interface sign", MARK),
    ("key derive --root-key {file}", MARK.encode().hex() * 3),
    ("key derive --private-key {file}", PEM),
    ("key network --key-file {file}", MARK),
    ("key verify {file} --root-key {file}", MARK),
    ("network create N --network-id 7 --key-file {file}", MARK),
    ("auth login --token-file {file}", f"{MARK}\nmore"),
    ("auth login --token-file {file}", f"{MARK}\x00"),
    ("auth login --token-file {file}", f"{MARK}\u00e9"),
    ("auth exchange --token-file {file} --out {file}.out", MARK),
    ("auth exchange --token-file {file} --out {file}.out", f"ik_{MARK}"),
    ("serial creds write {port} --sec-tag 1 --type key --file {file}", PEM),
    ("serial creds write {port} --sec-tag 1 --type psk --file {file}", MARK),
    ("serial creds write {port} --sec-tag 1 --type psk-id --file {file}", f'{MARK}"'),
    ("serial token write {port} --file {file}", f"{MARK}\n{MARK}\n"),
    ("serial token write {port} --file {file}", f"{MARK}\u00e9"),
    ("serial at {port} --file {file}", f'AT%CMNG=0,1,3,"{MARK}\n'),
    ("serial at {port} --file {file}", MARK),
    ("ca init --passphrase-file {file} --key pkcs11:token=a;object=b?pin-value=" + MARK, MARK),
    (
        (
            "ca init --passphrase-file {file} --key pkcs11:token=a;object=b?module-path=/none.so"
            " --pin-file {file}"
        ),
        MARK,
    ),
    ("journal import {file} --passphrase-file {file}", f"infuse-hand-over 1\n{MARK}"),
    ("journal import {file} --passphrase-file {file}", f"infuse-journal-backup 1\n{MARK}"),
    ("journal import {file} --passphrase-file {file}", MARK),
    ("mqtt check --host 127.0.0.1 --port 9 --token-file {file}", f"{MARK}\n{MARK}"),
    ("mqtt check --host 127.0.0.1 --port 9 --token-file {file}", MARK),
    ("profile check {file}", f"name: x\ncloud: {{auth: {{token: {MARK}}}}}\n"),
    ("profile check {file}", f"name: x\ncloud: {{auth: {{token_file: [{MARK}]}}}}\n"),
    ("profile check {file}", f"name: x\ncloud: {{base_url: 'https://user:{MARK}@host'}}\n"),
    ("profile show {file}", f"name: x\ncloud: {{base_url: 'https://user:{MARK}@host'}}\n"),
    ("profile check {file}", f"name: x\nidentity: {{passphrase: {MARK}}}\n"),
    (
        "profile check {file}",
        f"name: x\nboard: {{serial: {{network_key_file: {{key: {MARK}}}}}}}\n",
    ),
]


@pytest.fixture
def infuse(tmp_path, monkeypatch, capsys):
    """A home of its own and no cloud."""
    for name in ("INFUSE_OUTPUT", "INFUSE_PROFILE", "INFUSE_TOKEN", "INFUSE_REGISTRY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (
        ("INFUSE_HOME", str(tmp_path / "home")),
        ("INFUSE_BASE_URL", "http://127.0.0.1:9"),
        ("INFUSE_SEALING_KEY_FILE", str(tmp_path / "sealing.key")),
    ):
        monkeypatch.setenv(name, value)

    def run(words: str, output: str = "human") -> tuple[int, str]:
        code = main.run(
            [
                *words.replace("{file}", str(tmp_path / "secret"))
                .replace("{port}", "/dev/no-such-port")
                .split(),
                "-vv",
                "--output",
                output,
            ]
        )
        told = capsys.readouterr()
        return code, told.out + told.err

    run.folder = tmp_path
    return run


def private(folder, content: str, name: str = "secret") -> None:
    (folder / name).touch(0o600)
    (folder / name).write_text(content, encoding="utf-8")


def says_nothing(infuse, *texts: str) -> None:
    assert (
        leaks.found(
            {"the secret": MARK.encode()},
            {f"text {number}": text.encode() for number, text in enumerate(texts)},
        )
        == []
    )
    assert leaks.found({"the secret": MARK.encode()}, leaks.files(infuse.folder / "home")) == []


@pytest.mark.parametrize(("words", "content"), thin(MALFORMED, 6))
def test_a_secret_of_a_wrong_form_is_not_quoted(infuse, words, content):
    private(infuse.folder, content)
    if not words.startswith("profile"):
        (infuse.folder / "home").mkdir(mode=0o700)
    for output in ("human", "json", "jsonl"):
        if "pin-value" in words:
            # typed on the command line, and refused for it: the line is the person's own, its
            # answer is looked at below
            continue
        code, told = infuse(words, output)
        assert code != 0 or "profile show" in words, (words, told)
        says_nothing(infuse, told)


def test_a_pin_in_a_uri_is_refused_and_not_repeated(infuse):
    private(infuse.folder, "a passphrase")
    code, told = infuse(
        f"ca init --passphrase-file {{file}} --key pkcs11:token=a;object=b?pin-value={MARK}"
    )
    assert code
    says_nothing(infuse, told)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("home/credentials.json", f'{{"hosts": "{MARK}"}}', "auth status"),
        ("home/credentials.json", MARK, "org list"),
        ("sealing.key", MARK, "journal rekey"),
        ("home/bench.yaml", f"station: x\nsealing: {MARK}\n", "journal list"),
        ("home/bench.yaml", f"pin: {MARK}\n", "serial ports"),
    ],
)
def test_a_file_of_the_bench_that_is_spoilt_is_not_quoted(infuse, name, content, words):
    (infuse.folder / "home").mkdir(mode=0o700)
    private(infuse.folder, content, name)
    _, told = infuse(words)
    assert MARK not in told


@pytest.mark.parametrize("output", ["human", "json"])
def test_a_fault_of_ours_shows_where_it_was_and_no_value(infuse, monkeypatch, output):
    """A traceback names files and lines of code; what the variables held is nobody's business."""
    root = bytes(range(7, 39))

    def faulty(root: bytes, *_: bytes) -> bytes:
        text = Secret(root.hex())
        raise RuntimeError(f"{text} of {len(root)} bytes")

    monkeypatch.setattr(derivation, "_hkdf", faulty)
    private(infuse.folder, root.hex())
    code, told = infuse("key derive --root-key {file} --interface sign", output)
    assert (code, "Traceback" in told, "RuntimeError" in told) == (1, True, True)
    assert leaks.found({"a root": root}, {"what was printed": told.encode()}) == []


@pytest.mark.parametrize(
    "family",
    [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.InfuseError)
    ],
    ids=lambda one: one.__name__,
)
def test_no_error_of_any_family_shows_a_secret_that_it_was_given(monkeypatch, capsys, family):
    """Messages and details are words; a `Secret` that gets into one stays masked, with -vv and in
    JSON too.
    """
    from infuse_cli.cli import _lazy

    def raises(*_: object, **__: object) -> None:
        told = f"it was {Secret(MARK)}"
        raise (
            family(told)
            if family is errors.Interrupted
            else family("internal.error", told, details={"given": Secret(MARK)})
        )

    monkeypatch.setattr(_lazy, "run", raises)
    for words in (
        ["org", "list", "-vv"],
        ["org", "list", "-vv", "--output", "json"],
        ["org", "list", "-vv", "--output", "jsonl"],
    ):
        main.run(words)
        told = capsys.readouterr()
        assert MARK not in told.out + told.err
        assert (
            "human" in words
            or "--output" not in words
            or [json.loads(line) for line in told.out.splitlines()]
        )
