"""Every command of the program, green and in trouble, as loud as it gets: no secret of it is
anywhere but where it was sent.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import tarfile

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from infuse_cli.cli import _lazy
from infuse_cli.keys import derivation as kd
from tests.house import leaks
from tests.house.secret_commands import NOT_DRIVEN, lines
from tests.house.test_no_secrets import derived_key, impatient
from tests.pki import hsm
from tests.support.nrfutil import Nrfutil
from tests.support.zygote import Ran

TLS_KEY = ec.generate_private_key(ec.SECP256R1())
MARKED = {
    "backup.pass": b"marked-backup-passphrase-9d1f",
    "ca.pass": b"marked-ca-passphrase-02bc",
    "wrong.pass": b"marked-wrong-passphrase-4c0a",
    "pin": hsm.PIN.encode(),
    "root.key": bytes(range(7, 39)).hex().encode(),
    "network.key": bytes(range(50, 82)).hex().encode(),
    "private.key": bytes(range(90, 122)).hex().encode(),
    "psk": b"a7c0ffee00112233445566778899aa01",
    "psk2": b"a7c0ffee00112233445566778899aa02",
    "token": b"marked-registration-token-0815",
    "token2": b"marked-registration-token-0816",
    "stored": b"marked-stored-credential-31d2",
    "iam": b"ik_markedmarked01.markedmarkedmarked02",
    "tls.key": TLS_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
}
"""By the file that it is in: secrets that a person brings."""

COMMANDS_FILE = b'AT+CFUN=4\nAT%%CMNG=0,91,3,"%s"\nAT+CPIN="%s"\nAT+CGMR\n' % (
    MARKED["psk"],
    b"marked-sim-pin-7788",
)
LEAVES = [
    one.path for one in _lazy.walk(_lazy.root()) if not getattr(one.command, "commands", None)
]


def command_of(words: str) -> tuple[str, ...]:
    found = [path for path in LEAVES if shlex.split(words)[: len(path)] == list(path)]
    return max(found, key=len, default=())


def test_every_command_is_driven_or_has_a_reason_why_not():
    driven = {command_of(words) for _, words in lines()}
    assert set(LEAVES) - driven == set(NOT_DRIVEN), "add it to tests/house/secret_commands.py"


@pytest.fixture
def bench(make_bench):
    with make_bench(8) as made:
        made.profile = impatient(made)
        yield made


class Drive:
    """All that a line of the table may name, and what the commands printed."""

    def __init__(self, bench, folder, monkeypatch) -> None:
        self.bench, self.away, self.out = bench, folder / "away", folder / "out"
        self.printed: dict[str, bytes] = {}
        self.wrong: list[str] = []
        for made in (self.away, self.out, folder / "temporary"):
            made.mkdir()
        for name, content in MARKED.items():
            self.private(name, content)
        self.private("commands", COMMANDS_FILE)
        self.private("refused", b'AT%%CMNG=0,92,9,"%s"\n' % MARKED["psk2"])
        self.private("state", self.proof())
        (self.away / "lot.csv").write_text(
            "mcuId,name,metadata.serialNumber\n00112233445566bb,gateway-1,SN-7\n"
        )
        self.tool = Nrfutil(folder / "tool")
        monkeypatch.setenv("SOFTHSM2_CONF", "")
        self.token = hsm.make_token(folder) if hsm.installed() else None
        self.env = {
            "INFUSE_PROFILE": bench.profile,
            "TMPDIR": str(folder / "temporary"),
            "INFUSE_TOKEN": bench.world.token,
            "PATH": self.tool.path,
            "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"],
        }
        self.temporary = folder / "temporary"
        self.other = folder / "other"

    def private(self, name: str, content: bytes) -> None:
        (self.away / name).touch(0o600)
        (self.away / name).write_bytes(content)

    def proof(self) -> bytes:
        private, root = (
            bytes.fromhex(MARKED[name].decode()) for name in ("private.key", "root.key")
        )
        header = kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, kd.public_key(private), 0)
        return header.encode() + kd.seal_security_block(
            root, header, kd.SecurityProof(bytes(16), bytes(8), 7), bytes(12)
        )

    def profile(self, name: str, keys: dict[str, object]) -> str:
        content = yaml.safe_load((self.bench.world.folder / "impatient.yaml").read_text())
        content["keys"] = {"interfaces": ["udp"], **keys}
        path = self.bench.world.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def places(self) -> dict[str, str]:
        """What the names in braces stand for."""
        world, bench = self.bench.world, self.bench
        board = bench.provision(world.port(1)).envelope["data"]["boards"][0]
        sent = bench.infuse(
            "rpc",
            "send",
            "application_info",
            "--device",
            board["deviceId"],
            "--output",
            "json",
            env=self.env,
        ).envelope
        hand = f"command:sh -c 'cat >/dev/null; env >{self.out}/env-of-sink'"
        return {
            "board": board["deviceId"],
            "mcu": board["board"]["mcuId"],
            "rpc": sent["data"]["rpc"]["id"],
            "away": str(self.away),
            "out": str(self.out),
            "ca": str(world.folder / "ca"),
            "word": str(world.folder / "passphrase"),
            "made": str(self.away / "made"),
            "other": str(self.other),
            "public": kd.public_key(bytes.fromhex(MARKED["private.key"].decode())).hex(),
            "hsm": self.token.uri("") if self.token else "pkcs11:token=none;object=",
            "sink": self.profile("sink", {"to": hand}),
            "sealed": self.profile("sealed", {"to": "sealed"}),
            "nosink": self.profile("nosink", {"to": "command:sh -c 'cat >&2; exit 3'"}),
            **{f"p{slot}": world.port(slot) for slot in range(1, 9)},
        }

    def all(self, places: dict[str, str]) -> None:
        """Every line of the table, each with the exit code that it names."""
        for (code, words), output in zip(
            lines(), itertools.cycle(("human", "json", "jsonl")), strict=False
        ):
            ran = self.one(words, output, places, self.env)
            if ran is not None and code not in {None, ran.code}:
                self.wrong.append(
                    f"{words}: {ran.code} instead of {code}: {ran.stdout[-400:]}"
                    f" {ran.stderr[-400:]}"
                )

    def some(self, places: dict[str, str], trouble: str) -> None:
        """A quarter of the commands that a trouble can reach, another quarter for each; any end is
        right.
        """
        number, (faults, env) = list(TROUBLES).index(trouble), TROUBLES[trouble]
        reached = [
            words
            for _, words in lines()
            if words.split()[0] in (ON_BOARDS if faults.startswith("*") else IN_THE_CLOUD)
        ]
        for words, output in zip(
            reached[number % 4 :: 4], itertools.cycle(("human", "json", "jsonl")), strict=False
        ):
            self.one(words, output, places, {**self.env, **env})

    def one(
        self, words: str, output: str, places: dict[str, str], env: dict[str, str]
    ) -> Ran | None:
        if "{hsm}" in words and self.token is None:
            return None
        filled = shlex.split(self.fill(words, places))
        at = filled.index("--") if "--" in filled else len(filled)
        ran = self.bench.infuse(*filled[:at], "-vv", "--output", output, *filled[at:], env=env)
        self.printed[f"what `{words}` ({output}) printed"] = (ran.stdout + ran.stderr).encode()
        return ran

    @staticmethod
    def fill(words: str, places: dict[str, str]) -> str:
        """The braces filled in; a key's name stands in the middle of its URI."""
        words = re.sub(
            r"\{hsm\}(\w+)",
            lambda found: shlex.quote(places["hsm"].replace("object=", f"object={found[1]}")),
            words,
        )
        for name, value in places.items():
            words = words.replace(f"{{{name}}}", value)
        return words

    def secrets(self) -> dict[str, bytes]:
        """All that may be nowhere but where it was sent, by name."""
        world, passphrase = (
            self.bench.world,
            (self.bench.world.folder / "passphrase").read_bytes().strip(),
        )
        found = {
            f"the content of {name}": content
            for name, content in MARKED.items()
            if name not in {"tls.key", "pin"}
        }
        found |= {
            "the credential": world.token.encode(),
            "the CA passphrase": passphrase,
            "a SIM's PIN": b"marked-sim-pin-7788",
            "the private key of tls.key": (
                TLS_KEY.private_numbers().private_value.to_bytes(32, "big")
            ),
            "the body of tls.key": MARKED["tls.key"].splitlines()[1],
        }
        found |= {
            f"the bytes of {name}": bytes.fromhex(MARKED[name].decode())
            for name in ("root.key", "network.key", "private.key")
        }
        found |= {
            f"a key of {name}": make
            for name, make in (
                ("sign", kd.sign_key(bytes.fromhex(MARKED["root.key"].decode()))),
                (
                    "the network",
                    kd.packet_key(bytes.fromhex(MARKED["network.key"].decode()), "serial", 16203),
                ),
            )
        }
        for path in (
            *self.bench.home.parent.glob("home.sealing*"),
            *(
                self.away / name
                for name in ("derived", "mqtt", "gw", "bearer", "root.out", "made.key")
            ),
        ):
            found |= (
                {f"the content of {path.name}": path.read_bytes().strip()} if path.is_file() else {}
            )
        for folder, word in ((world.folder / "ca", passphrase), (self.away, MARKED["ca.pass"])):
            for path in folder.rglob("*.key.pem"):
                found[f"the key of {path}"] = (
                    load_pem_private_key(path.read_bytes(), word)
                    .private_numbers()
                    .private_value.to_bytes(32, "big")
                )
        return found | {
            f"the derived key of {one['deviceId']}": derived_key(world, one["deviceId"])
            for one in world.state()["devices"]
        }

    def nothing_got_out(self, secrets: dict[str, bytes], words: leaks.Words) -> None:
        unpacked = {}
        for path in self.out.glob("*.tar.gz"):
            with tarfile.open(path) as bundle:
                unpacked |= {
                    f"{path.name}: {one.name}": bundle.extractfile(one).read()
                    for one in bundle.getmembers()
                    if one.isfile()
                }
        children = {
            path.name: path.read_bytes()
            for path in (
                *self.out.glob("env-of-*"),
                self.tool.folder / "env",
                self.tool.folder / "argv",
            )
            if path.exists()
        }
        assert leaks.found(secrets, self.printed) == []
        assert leaks.found(secrets, {"a command line": b"\n".join(words.seen)}) == []
        kept = leaks.files(self.bench.home, self.other, self.out)
        kept.pop(
            str(self.bench.home / "credentials.json"), None
        )  # without a keyring that is where a stored one belongs, 0600
        # The proxy is the user's own, and the programs that the user names are to find it.
        theirs = re.compile(r"HTTP_PROXY of the trouble is in (?:.*/)?env(?:-of-\w+)?")
        assert [
            one
            for one in leaks.found(secrets, unpacked | children | kept)
            if not theirs.fullmatch(one)
        ] == []
        assert [path for path in self.temporary.rglob("*") if path.is_file()] == []
        # Six digits are in every second serial number; where the PIN is a word of its own it is the
        # PIN.
        spoken = {
            name: text for name, text in self.printed.items() if "{hsm}" in name or "pin" in name
        }
        assert [name for name, text in spoken.items() if MARKED["pin"] in text] == []


@pytest.mark.storm
@pytest.mark.timeout(600)
def test_no_command_gives_a_secret_away(bench, tmp_path, monkeypatch):
    drive = Drive(bench, tmp_path, monkeypatch)
    places = drive.places()
    before = drive.secrets()
    with leaks.Words() as words:
        drive.all(places)
    assert not drive.wrong, "\n".join(drive.wrong)
    assert {path.name for path in drive.out.glob("env-of-*")} == {
        "env-of-mqtt",
        "env-of-sink",
    }, "children were seen"
    drive.nothing_got_out(before | drive.secrets(), words)


TROUBLES = {
    "a credential that the cloud refuses": ("", {"INFUSE_TOKEN": "marked-refused-credential-77f1"}),
    "a credential with a line end": ("", {"INFUSE_TOKEN": "marked-refused\ncredential-77f2"}),
    "a credential of other letters": ("", {"INFUSE_TOKEN": "marked-refus\u00e9d-credential-77f3"}),
    "an IAM key": ("", {"INFUSE_TOKEN": "ik_markedmarked03.markedmarkedmarked04"}),
    "a password in the URL": (
        "",
        {
            "INFUSE_BASE_URL": "http://user:marked-url-password@127.0.0.1:9",
            "INFUSE_REGISTRY_URL": "http://user:marked-url-password@127.0.0.1:9",
        },
    ),
    "a password in the proxy": (
        "",
        {
            "HTTP_PROXY": "http://user:marked-proxy-password@127.0.0.1:9",
            "NO_PROXY": "",
            "no_proxy": "",
        },
    ),
    "html": ("cloud:html=1", {}),
    "half answers": ("cloud:half-json=1", {}),
    "server errors": ("cloud:5xx-after=1", {}),
    "refusals": ("cloud:403=1", {}),
    "a board that says nothing": ("*:mute", {}),
    "a board that refuses": ("*:refuse=CME527@token,*:refuse=CME527@install", {}),
}


IN_THE_CLOUD = {
    "org",
    "board",
    "network",
    "device",
    "key",
    "mqtt",
    "rpc",
    "registry",
    "auth",
    "batch",
    "provision",
    "doctor",
    "journal",
}
ON_BOARDS = {"serial", "provision", "key"}


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_command_in_trouble_gives_a_secret_away(bench, tmp_path, monkeypatch, trouble):
    faults, env = TROUBLES[trouble]
    drive = Drive(bench, tmp_path, monkeypatch)
    places, secrets = drive.places(), drive.secrets()
    secrets |= {
        f"{name} of the trouble": found[0].encode()
        for name, value in env.items()
        if (found := re.findall(r"[\w-]*(?:password|77f\d)|ik_.*", value))
    }
    bench.world.set_faults(faults)
    with leaks.Words() as words:
        drive.some(places, trouble)
    bench.world.set_faults("")
    drive.nothing_got_out(secrets | drive.secrets(), words)


@pytest.mark.storm
def test_a_run_that_is_killed_leaves_none_in_the_journals_log(bench, tmp_path, monkeypatch):
    """What is committed lies in the write-ahead log first, and stays there when the process
    dies.
    """
    drive = Drive(bench, tmp_path, monkeypatch)
    places = drive.places()
    for slot, place in enumerate(
        (
            "answered:POST /devices/registration/tokens",
            "wire:flash",
            "signed",
            "before:derive",
            "before:verify",
        ),
        2,
    ):
        ran = bench.provision(
            bench.world.port(slot), more=("-vv", "--profile", places["sealed"]), failpoint=place
        )
        assert ran.code == -9, place
        log = bench.home / "journal.sqlite3-wal"
        assert log.stat().st_size > 0, place
        secrets = drive.secrets()
        assert (
            leaks.found(
                secrets,
                {
                    f"the log after {place}": log.read_bytes(),
                    f"what was printed until {place}": (ran.stdout + ran.stderr).encode(),
                },
            )
            == []
        )
        assert leaks.found(secrets, leaks.files(bench.home)) == []
