"""`infuse key`: every vector of the reference through the command, and what a wrong proof
is told.
"""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infuse_cli.cli import main
from infuse_cli.keys import derivation as kd

ROOT = bytes([0xFD]) + b"\xff" * 31
NETWORK = bytes(range(32))
PRIVATE = bytes(range(32))
PUBLIC = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
SHARED = bytes.fromhex("997ba1e07c1d873a54857f531e0f45cabcf45c2121dadc4c0e158c5eb7da2756")
BLOCK = "a0a1a2a3a4a5a6a7a8a9aaab27628a507208377b5f47dc7bc07d2630f517364c4cc91e42a9c32660c964d95319499cd2663374858ce4df19aff4a652d4cbc9a11e29aed9"
HEADER = kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, bytes.fromhex(PUBLIC), 0, 0).encode()
STATE = HEADER.hex() + BLOCK
CHALLENGE = bytes(range(16, 32)).hex()


@pytest.fixture
def infuse(tmp_path, monkeypatch, capsys):
    for name in ("OUTPUT", "PROFILE", "TOKEN", "BASE_URL"):
        monkeypatch.delenv(f"INFUSE_{name}", raising=False)
    monkeypatch.setenv("INFUSE_HOME", str(tmp_path / "home"))

    def run(*argv, code=0):
        got = main.run([*map(str, argv), "--output", "json"])
        told = capsys.readouterr()
        assert got == code, told
        return json.loads(told.out)

    return run


@pytest.fixture
def file(tmp_path):
    def make(name, content):
        path = tmp_path / name
        path.touch(0o600)
        path.write_bytes(content)
        return path

    return make


def written(path):
    return base64.b64decode(path.read_text()).hex()


@pytest.mark.parametrize(
    ("interface", "day", "expected"),
    [
        ("sign", None, "d0d3c232b72fda85e5f4af95d62e40dbd921d8ef46fb491c25967b92c0a4bc48"),
        ("coap", None, "39cc663a393b1ad53a70a7fc79726f1d0f461fe5d013a280c4e3abb782582724"),
        ("serial", 1, "68d948ce8cb7396b05e47f30ff5c4c33755ae460b7085df04245ccb62a03dcea"),
        ("udp", 1, "2b427a0179d8c57e57fe967e7666fe9f2af798b56ff31f1233b064e669348900"),
        ("bt_adv", 1, "53edb0790e6b067eac066f766632f1ccee9f68bba39b8ff3237eb690bc1cc34f"),
        ("bt_gatt", 1, "1a597461c61a88197d445a7fec451576c05e3ad4cd11c5080462dee51ba111f0"),
    ],
)
def test_keys_of_a_device_from_its_root(infuse, file, tmp_path, interface, day, expected):
    days = [] if day is None else ["--day", day]
    told = infuse(
        "key",
        "derive",
        "--local",
        "--root-key",
        file("root", ROOT),
        "--interface",
        interface,
        *days,
        "--out",
        tmp_path / "out",
    )
    assert written(tmp_path / "out") == expected
    assert (told["data"]["source"], told["data"]["dayIndex"], told["data"]["root"]) == (
        "local",
        day,
        "file",
    )
    assert expected not in json.dumps(told)


@pytest.mark.parametrize(
    ("interface", "day", "expected"),
    [
        ("serial", 1, "c417704a9ea812ed35dbdc59fff6dbc5d37f1a9dcdfab326335f2fbfe85ee8ff"),
        ("serial", 16203, "dc0ce5aa2f3b80f52c422cb1c3fbc19e7d2df12cfdd872c59cb289aa06b71751"),
        ("udp", 1, "c79905f31d272097a565434c738f6f72e44e551a138590cb4fd1c4e3e4bc607d"),
    ],
)
def test_keys_of_a_network(infuse, file, tmp_path, interface, day, expected):
    infuse(
        "key",
        "network",
        "--key-file",
        file("net", NETWORK.hex().encode()),
        "--interface",
        interface,
        "--day",
        day,
        "--out",
        tmp_path / "out",
    )
    assert written(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("interface", "expected"),
    [
        ("sign", "85acd7987788cdf4748671d95ec5662042c70fb5e761d3bd217c183309c67e6d"),
        ("coap", "835d0d00f8eab90aff9bd0287cffd10702865dc5930fc1a85ed57ffc22a65b13"),
    ],
)
def test_keys_from_both_sides_key_pairs(infuse, file, tmp_path, interface, expected):
    pem = X25519PrivateKey.from_private_bytes(PRIVATE).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    told = infuse(
        "key",
        "derive",
        "--private-key",
        file("device.pem", pem),
        "--cloud-public-key",
        "built-in",
        "--interface",
        interface,
        "--out",
        tmp_path / "out",
    )
    assert written(tmp_path / "out") == expected
    assert told["data"]["keyId"] == "7db2fe"


@pytest.mark.parametrize("public", [PUBLIC, base64.b64encode(bytes.fromhex(PUBLIC)).decode()])
def test_the_id_of_a_key(infuse, public):
    assert (
        infuse("key", "id", public, "--cloud-public-key", "built-in")["data"]["keyId"] == "7db2fe"
    )


class TestVerify:
    @pytest.mark.parametrize(
        "content",
        [bytes.fromhex(STATE), STATE.encode() + b"\n", base64.b64encode(bytes.fromhex(STATE))],
    )
    def test_a_proof_opens_with_the_shared_secret(self, infuse, file, content):
        data = infuse(
            "key",
            "verify",
            file("state", content),
            "--root-key",
            file("root", SHARED),
            "--challenge",
            CHALLENGE,
            "--device-id",
            "D291D4D66BF0A955",
            "--hardware-id",
            "0011223344556677",
        )["data"]
        assert (data["verified"], data["deviceId"], data["keyId"]) == (
            True,
            "d291d4d66bf0a955",
            "7db2fe",
        )
        assert data["compared"] == ["challenge", "deviceId", "hardwareId"]

    def test_a_proof_opens_with_a_secondary_roots_private_key(self, infuse, file):
        secondary, device = bytes(range(64, 96)), PRIVATE
        header = kd.SecurityHeader(kd.public_key(secondary), kd.public_key(device), 0x123456)
        root = kd.shared_secret(device, kd.public_key(secondary))
        block = kd.seal_security_block(
            root, header, kd.SecurityProof(bytes(16), bytes(8), 7), bytes(12)
        )
        data = infuse(
            "key",
            "verify",
            file("state", header.encode() + block),
            "--private-key",
            file("secondary", secondary),
        )["data"]
        assert (data["cloudKeyIsOurs"], data["networkId"], data["deviceId"]) == (
            True,
            "123456",
            "0000000000000007",
        )

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (["--challenge", "00" * 16], "challenge is"),
            (["--device-id", "0" * 16], "deviceId is"),
            (["--hardware-id", "ff"], "hardwareId is"),
        ],
    )
    def test_a_proof_of_something_else_is_refused(self, infuse, file, more, told):
        (error,) = infuse(
            "key",
            "verify",
            file("state", STATE.encode()),
            "--root-key",
            file("root", SHARED),
            *more,
            code=8,
        )["errors"]
        assert (error["code"], told in error["message"]) == ("identity.security-state", True)

    def test_another_root_a_changed_answer_and_no_proof_are_refused(self, infuse, file):
        for content, root in (
            (STATE, ROOT),
            (STATE[:-2] + "00", SHARED),
            ("01" + STATE[2:], SHARED),
            (HEADER.hex(), SHARED),
        ):
            (error,) = infuse(
                "key",
                "verify",
                file("state", content.encode()),
                "--root-key",
                file("root", root),
                code=8,
            )["errors"]
            assert error["code"] == "identity.security-state"

    @pytest.mark.parametrize("content", [b"", b"zz", b"00" * 100, bytes(1000)])
    def test_what_is_no_answer_is_usage(self, infuse, file, content):
        infuse("key", "verify", file("state", content), "--root-key", file("root", SHARED), code=2)


@pytest.mark.parametrize(
    "argv",
    [
        ["derive"],
        ["derive", "--cloud", "--root-key", "x"],
        ["derive", "--root-key", "x", "--public-key", PUBLIC],
        ["derive", "--cloud", "--device", "d", "--interface", "sign"],
        ["derive", "--device", "d", "--cloud", "--day", "1"],
        ["derive", "--root-key", "none", "--day", "-1"],
        ["derive", "--root-key", "none"],
        ["id", "c2hvcnQ="],
        ["network", "--key-file", "none"],
        ["verify", "none", "--root-key", "x"],
        ["verify", "none"],
    ],
)
def test_what_does_not_fit_is_usage(infuse, argv):
    infuse("key", *argv, code=2)


def test_a_key_file_that_others_can_read_is_refused(infuse, file):
    path = file("root", ROOT)
    path.chmod(0o644)
    for option in ("--root-key", "--private-key"):
        (error,) = infuse("key", "derive", option, path, "--cloud-public-key", "built-in", code=4)[
            "errors"
        ]
        assert error["code"] == "credential.unsafe-file"


def test_an_encrypted_or_foreign_pem_is_named(infuse, file):
    for content in (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",):
        infuse(
            "key",
            "derive",
            "--private-key",
            file("key", content),
            "--cloud-public-key",
            "built-in",
            code=2,
        )
