r"""What real modems and shells were seen to say, fed to the host's parsers: any split, with and
without echo.

A file of `transcripts/` holds facts retyped from a public page, which it names; what tells
somebody's own board apart was changed. `> ` is a command, `< ` a line of the board, `<|…|` text
without a line end; `\x1b` stands for the escape byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from infuse_cli import dialect
from infuse_cli.dialect import cme, commands
from infuse_cli.dialect.base import CodecOptions
from infuse_cli.pki import attestation, vetting
from infuse_cli.types import Command, CredentialType, StoredCredential

FOLDER = Path(__file__).parent / "transcripts"
UUID = "50363154-3931-44f0-8022-121b6401627d"
CHALLENGE = "90115c20ac3f381b520b43c76bd5d99c"
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
REGISTRATION = commands.raw("AT+CEREG?", r"\+CEREG: \d,(\d)", 2.0)
TYPED = {
    one.text: one
    for one in (
        commands.cmee(),
        commands.read_functional_mode(),
        commands.set_functional_mode(4),
        commands.device_uuid(),
        commands.imei(),
        commands.revision(),
        commands.model(),
        commands.iccid(),
        commands.cmng_list(),
        commands.cmng_delete(16842753, 0),
        commands.keygen(17),
        commands.keygen(11),
        commands.attest_token(),
        commands.attest_token(CHALLENGE),
        REGISTRATION,
        commands.raw("AT%HWVERSION", r"%HWVERSION: (.+)", 2.0),
    )
}


@dataclass(frozen=True)
class Said:
    """What a reply comes to: its value as the host's own parser gives it, for a shell that refuses
    its sentence.
    """

    ok: bool = True
    value: object = None
    cme: int | None = None
    rebooted: bool = False


OK, ERROR, BOOTED = Said(), Said(ok=False), Said(rebooted=True)


def text_in_quotes(name):
    return (FOLDER / f"{name}.txt").read_text().rpartition(': "')[2].partition('"')[0]


KEYGEN, TOKEN = text_in_quotes("keygen-with-its-csr"), text_in_quotes("attestation-token")

EXPECTED = {
    "at-client-boot-and-digests": [
        BOOTED,
        OK,
        OK,
        Said(value=tuple(StoredCredential(64738, kind, f"0{kind}" * 32) for kind in (0, 1, 2))),
    ],
    "at-client-exists-519": [BOOTED, Said(ok=False, cme=519)],
    "at-client-first-release-boot": [BOOTED],
    "at-client-read-of-a-certificate": [OK],
    "application-log-without-an-imei": [
        Said(ok=False, rebooted=True),
        Said(value="50363953-3234-4a32-8048-1a2ab4bd2a37"),
        Said(value="mfw_nrf91x1_2.0.2"),
    ],
    "attestation-token": [Said(value=TOKEN)],
    "attestation-token-with-challenge": [Said(value="ksjdfEjAgfgdgfg.fghgehhgSyrlaskj")],
    "bad-certificate-527": [OK, ERROR, OK, Said(ok=False, cme=527), Said(ok=False, cme=520)],
    "credential-shell-add": [
        OK,
        OK,
        Said(ok=False, value="Please provide a credential to add."),
        OK,
        Said(ok=False, value="TLS credential with sectag 42 and type SERVER_CERT already exists."),
        Said(
            ok=False,
            value=(
                "Not enough room in credential buffer for provided data. Increase"
                " CONFIG_TLS_CREDENTIALS_SHELL_CRED_BUF_SIZE."
            ),
        ),
        OK,
    ],
    "credential-shell-list": [OK],
    "empty-line-before-each-answer": [OK, OK],
    "functional-mode-and-registration": [OK, Said(value="4")],
    "keygen-that-gives-no-text": [OK],
    "keygen-with-its-csr": [Said(value=KEYGEN)],
    "modem-shell-with-events": [Said(value="mfw_nrf91x1_2.0.1")],
    "modem-shell-without-imei": [Said(value="mfw-pti_nrf91x1_2.3.3"), ERROR],
    "power-off-warning-528": [Said(ok=False, cme=528)],
    "production-test-firmware": [Said(value="nRF9151 LACA A0A")],
    "serial-modem-debug-log-with-colours": [BOOTED],
    "serial-modem-log-on-the-same-port": [Said(value="350000000000017", rebooted=True)],
    "serial-modem-registration-while-asked": [
        Said(value="4"),
        Said(value="2"),
        Said(value="nRF9160-SICA"),
    ],
    "serial-modem-reset-answers-ready": [
        BOOTED,
        OK,
        BOOTED,
        ERROR,
        Said(value="nRF9160-SICA"),
        ERROR,
    ],
    "shell-that-has-no-at": [Said(ok=False, value="at: command not found", rebooted=True)],
    "sim-failure-13": [OK, Said(ok=False, cme=13), Said(ok=False, cme=13)],
    "tf-m-boot-text": [BOOTED],
}


@dataclass
class Transcript:
    """What the board said before the first command, then commands, each with what was said until
    the next.
    """

    dialect: str
    before: bytes
    exchanges: list[tuple[Command, bytes]]


def load(name: str) -> Transcript:
    lines = (FOLDER / f"{name}.txt").read_text(encoding="ascii").splitlines()
    head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    assert head["source"].startswith("https://")
    found = Transcript(head["dialect"], b"", [])
    for line in lines:
        if line.startswith("> "):
            found.exchanges.append((TYPED.get(line[2:], Command(line[2:])), b""))
        elif line.startswith("<"):
            data = (
                (line[2:].removesuffix("|") if line.startswith("<|") else line[2:] + "\r\n")
                .replace("\\x1b", "\x1b")
                .encode()
            )
            if found.exchanges:
                command, said = found.exchanges.pop()
                found.exchanges.append((command, said + data))
            else:
                found.before += data
    return found


def played(transcript: Transcript, *, step: int, echo: bool) -> list[Said]:
    codec = dialect.codec(transcript.dialect, CodecOptions())
    found = []

    def hear(data: bytes) -> None:
        for at in range(0, len(data), step):
            codec.receive(data[at : at + step])

    hear(transcript.before)
    for command, said in transcript.exchanges:
        sent = codec.encode(command)
        hear((sent + b"\n" if echo else b"") + said)
        reply = codec.next_reply()
        assert reply is not None, f"no answer to {command.text}"
        assert codec.next_reply() is None
        value = (
            commands.credentials(reply.info)
            if command == commands.cmng_list()
            else commands.value(command, reply)
        )
        refused = reply.info[0] if reply.info and not reply.ok else None
        found.append(Said(reply.ok, refused or value, reply.cme, reply.rebooted))
    return found


def test_every_transcript_is_expected_to_say_something():
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("echo", [False, True], ids=["as-seen", "with-echo"])
def test_a_real_board_is_understood_at_every_split(name, echo):
    transcript = load(name)
    for step in (10_000, 1, 7):
        assert played(transcript, step=step, echo=echo) == EXPECTED[name]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (13, "modem.error"),
        (519, "modem.exists"),
        (520, "modem.error"),
        (527, "modem.bad-certificate"),
        (528, "modem.power"),
    ],
)
def test_numbers_seen_in_the_field_have_a_code_and_a_meaning(number, code):
    error = cme.modem_error(number, "x")
    assert (error.code, str(number) in error.message) == (code, True)
    assert "without a published meaning" not in error.message


def test_a_real_csr_passes_the_vetting_of_its_own_board():
    vetted = vetting.vet(KEYGEN, uuid=UUID, sec_tag=17, attestation_required=True)
    assert vetted.attestation is not None


def test_a_real_attestation_token_names_its_board():
    assert str(attestation.decode_identity_token(TOKEN).uuid) == UUID


def test_the_list_of_a_credential_shell_knows_short_names_and_passes_by_what_it_does_not_know():
    [(command, said)] = load("credential-shell-list").exchanges
    conversation = dialect.operations("cred-shell").list_credentials()
    asked = next(conversation)
    assert asked.text == command.text
    codec = dialect.codec("cred-shell", CodecOptions())
    codec.encode(asked)
    codec.receive(said)
    with pytest.raises(StopIteration) as done:
        conversation.send(codec.next_reply())
    assert done.value.value == (
        StoredCredential(42, CredentialType.ROOT_CA, EMPTY_SHA256),
        StoredCredential(42, CredentialType.CLIENT_CERTIFICATE, EMPTY_SHA256),
        StoredCredential(-4, CredentialType.PSK, None),
    )
