"""No result of any command goes over a file of this bench or over an input of the same command."""

from __future__ import annotations

import base64
import json
import os

import pytest

from infuse_cli.cli import _lazy, main, result_files
from infuse_cli.effects.results import Content, Results, content_of
from infuse_cli.settings import Settings

PASSPHRASE = "six words that nobody would guess"
LEAVES = [found for found in _lazy.walk(_lazy.root()) if not hasattr(found.command, "commands")]
RESULTS = [
    pytest.param(found, parameter, id=f"{' '.join(found.path)} {parameter.opts[0]}")
    for found in LEAVES
    for parameter in found.command.params
    if parameter.name in result_files.RESULTS
]
# Parameters that name what is read; a new one takes its place here or among the results.
INPUTS = {
    "file", "metadata_from", "passphrase_file", "root", "ca", "name", "pin_file", "certificate",
    "root_key", "csr", "csrs", "batch", "head", "server_ca", "token_file", "key_file",
    "private_key", "state",
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A bench with a journal, a CA, a profile, bench.yaml, a sealing key and a passphrase file."""
    root = tmp_path_factory.mktemp("bench")
    home = root / "home"
    (home / "profiles").mkdir(parents=True)
    files = {
        "passphrase": (root / "passphrase", PASSPHRASE + "\n"),
        "sealing key": (root / "sealing.key", base64.b64encode(os.urandom(32)).decode() + "\n"),
        "bench.yaml": (home / "bench.yaml", "station: left\n"),
        "profile": (home / "profiles" / "mine.yaml", "name: mine\nextends: custom-board\n"),
        "credentials": (home / "credentials.json", '{"credentials": {}}\n'),
        "rows": (root / "rows.csv", "mcuId,soc,name\n0011223344556677,nrf9151,a\n"),
    }
    for path, text in files.values():
        path.write_text(text)
        path.chmod(0o600)
    found = {name: path for name, (path, _) in files.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFUSE_HOME", str(home))
        patch.setenv("INFUSE_SEALING_KEY_FILE", str(found["sealing key"]))
        given = ("--passphrase-file", str(found["passphrase"]))
        assert main.run(["ca", "init", *given, "--root-out", str(root / "safe")]) == 0
        out = ("--out", str(root / "a.pem"), "--key-out", str(root / "a.key"))
        assert main.run(["ca", "issue", "a", *out, *given]) == 0
    ca = home / "ca" / "default"
    wal = home / "journal.sqlite3-wal"
    wal.write_bytes(b"\x37\x7f\x06\x82" + bytes(60))
    return root, found | {
        "journal": home / "journal.sqlite3",
        "log": wal,
        "CA certificate": ca / "intermediate.pem",
        "CA key": ca / "intermediate.key.pem",
        "root key": next((root / "safe").glob("*key*")),
        "key": root / "a.key",
    }


@pytest.fixture
def run(bench, monkeypatch, capsys):
    root, _ = bench
    monkeypatch.setenv("INFUSE_HOME", str(root / "home"))
    monkeypatch.setenv("INFUSE_SEALING_KEY_FILE", str(root / "sealing.key"))
    monkeypatch.chdir(root)

    def run(*argv, code):
        got = main.run([*map(str, argv), "--output", "json"])
        answer = json.loads(capsys.readouterr().out)
        assert got == code, answer
        return answer

    return run


def arguments(found, result, value):
    """A command line with a value for the result and one for all else that is required."""
    words = list(found.path)
    for parameter in found.command.params:
        option = next((name for name in parameter.opts if name.startswith("--")), None)
        if parameter is result:
            words += [value] if option is None else [option, value]
        elif parameter.required:
            filler = "1" if "int" in type(parameter.type).__name__.lower() else "nothing"
            words += [filler] if option is None else [option, filler]
    return words


def test_every_parameter_that_names_a_file_is_known():
    unknown = [
        f"{' '.join(found.path)} {parameter.name}"
        for found in LEAVES
        for parameter in found.command.params
        if result_files.names_file(parameter)
        and parameter.name not in INPUTS | result_files.RESULTS | result_files.FOLDERS
    ]
    assert unknown == []


@pytest.mark.parametrize(("found", "parameter"), RESULTS)
def test_no_file_of_the_bench_is_replaced(found, parameter, bench, run, tmp_path):
    _, files = bench
    for number, (name, path) in enumerate(files.items()):
        if name == "rows" or (name == "profile" and found.path == ("profile", "new")):
            continue  # rows are an input, below; `profile new --force` replaces a profile
        before = path.read_bytes()
        ways = [path, tmp_path / f"link-{number}", tmp_path / f"same-{number}"]
        ways[1].symlink_to(path)
        os.link(path, ways[2])
        for way in ways:
            answer = run(*arguments(found, parameter, way), code=2)
            assert [error["code"] for error in answer["errors"]] == ["usage.bad-option"], name
            assert str(way) in answer["errors"][0]["message"]
            assert way.read_bytes() == path.read_bytes() == before


@pytest.mark.parametrize(("found", "parameter"), RESULTS)
def test_no_input_is_replaced(found, parameter, bench, run, tmp_path):
    inputs = [
        one for one in found.command.params if one.name in INPUTS and result_files.names_file(one)
    ]
    for number, given in enumerate(inputs):
        file = tmp_path / f"input-{number}.csv"
        file.write_text("line,mcuId,outcome\n1,2,3\n")  # as an older report, which may be replaced
        argv = arguments(found, parameter, str(file))
        if given.required:
            argv = [str(file) if word == "nothing" else word for word in argv]
        else:
            argv += [*(name for name in given.opts[:1] if name.startswith("--")), str(file)]
        answer = run(*argv, code=2)
        assert [error["code"] for error in answer["errors"]] == ["usage.bad-option"], given.name
        assert file.read_text() == "line,mcuId,outcome\n1,2,3\n"


def test_the_journal_is_kept_from_results_before_it_is_there(tmp_path, run, monkeypatch):
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path))
    for name in ("journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm", "bench.yaml"):
        run("journal", "export", "--out", tmp_path / name, code=2)
        assert not (tmp_path / name).exists()


def test_results_of_one_command_do_not_replace_each_other(bench, run, tmp_path):
    _, files = bench
    both = ("--out", tmp_path / "same", "--key-out", tmp_path / "same")
    run("ca", "issue", "b", *both, "--passphrase-file", files["passphrase"], code=2)
    assert not (tmp_path / "same").exists()


def test_an_older_result_is_replaced(bench, run, tmp_path):
    for _ in range(2):
        run("ca", "list", "--format", "csv", "--out", tmp_path / "list.csv", code=0)
        run("ca", "export", "--out", tmp_path / "root.pem", code=0)
        run("journal", "backup", tmp_path / "copy", code=0)
    run("ca", "export", "--out", tmp_path / "list.csv", code=2)
    assert (tmp_path / "list.csv").read_text().count(",") > 2


def test_a_batch_of_certificates_leaves_the_folder_of_a_ca_alone(bench, run, tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    _, files = bench
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    (tmp_path / "requests").mkdir()
    text = request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    (tmp_path / "requests" / "intermediate.csr").write_bytes(text)
    before = files["CA certificate"].read_bytes()
    batch = ("--batch", tmp_path / "requests", "--out", files["CA certificate"].parent)
    run("ca", "sign", *batch, "--passphrase-file", files["passphrase"], code=2)
    assert files["CA certificate"].read_bytes() == before


def test_a_library_caller_is_held_as_well(bench, tmp_path):
    from infuse_cli.errors import UsageError

    root, files = bench
    settings = Settings(root / "home", env={"INFUSE_SEALING_KEY_FILE": str(files["sealing key"])})
    for name in ("journal", "sealing key", "bench.yaml", "CA certificate"):
        before = files[name].read_bytes()
        with pytest.raises(UsageError):
            Results(settings).write(files[name], b"a,b,c\n")
        assert files[name].read_bytes() == before


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"", Content.NOTHING),
        (b"SQLite format 3\x00", Content.JOURNAL),
        (b"\x37\x7f\x06\x83" + bytes(9), Content.JOURNAL),
        (b"subject=CN = x\n-----BEGIN CERTIFICATE-----\nMII", Content.CERTIFICATE),
        (b"-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n", Content.KEY),
        (b"-----BEGIN X509 CRL-----\n", Content.REVOCATIONS),
        (b'name,type,"a,b","-----BEGIN CERTIFICATE-----\nMII"\n', Content.TABLE),
        (b"board,result,when\r\n", Content.TABLE),
        (b'[\n{"board": 1}\n]\n', Content.ROWS),
        (b'{"credentials": {"a": "b"}}', Content.KEY),
        (b"a passphrase, with a comma\n", Content.OTHER),
        (base64.b64encode(bytes(range(32))) + b"\n", Content.OTHER),
        (b"# mine\nname: a\n", Content.YAML),
    ],
)
def test_what_a_file_holds(data, content):
    assert content_of(data) is content
