import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_modem import BOOT, KEYGEN_TEXT, OTHER_UUID, UUID, SilenceError, TinyModem, talk

from infuse_cli import dialect
from infuse_cli.capabilities import Capability
from infuse_cli.dialect import cme, commands
from infuse_cli.errors import CODES, BoardError, ProfileError
from infuse_cli.types import CredentialType, StoredCredential

AT = dialect.operations("at")
CERT = CredentialType.CLIENT_CERTIFICATE
PEM = "-----BEGIN CERTIFICATE-----\nMIIBabcd\n-----END CERTIFICATE-----\n"


def offline(**more):
    modem = TinyModem(**more)
    modem.cfun, modem.cmee = 4, True
    return modem


def refusal(conversation, modem):
    with pytest.raises(BoardError) as caught:
        talk(conversation, modem)
    return caught.value


def writes(modem):
    return [
        command
        for command in modem.seen
        if command.startswith(("AT%CMNG=0", "AT%CMNG=3", "AT%KEYGEN"))
    ]


# Identity


@pytest.mark.parametrize(
    "more", [{}, {"echo": True}, {"blank": True}, {"before_each": b"+CEREG: 2\r\n<inf> x: OK\r\n"}]
)
def test_identify(more):
    found = talk(AT.identify(), TinyModem(uuid=UUID.upper(), **more))
    assert (found.uuid, found.imei, found.model) == (UUID, "352656100000017", "nRF9151-LACA")
    assert (found.modem_firmware, found.iccid, found.functional_mode) == (
        "mfw_nrf91x1_2.0.2",
        "8901234567012345678F",
        1,
    )


def test_identify_switches_error_numbers_on_first():
    modem = TinyModem()
    talk(AT.identify(), modem)
    assert modem.seen[0] == "AT+CMEE=1"
    assert modem.cfun == 1


def test_a_fresh_module_without_imei_or_sim_is_identified():
    found = talk(AT.identify(), TinyModem(imei=None, sim=False))
    assert (found.imei, found.iccid) == (None, None)


def test_an_imei_in_the_form_with_a_prefix():
    modem = TinyModem(imei=None)
    for _ in range(2):  # it is read twice
        modem.once(r"AT\+CGSN=1", b'+CGSN: "352656100000025"\r\nOK\r\n')
    assert talk(AT.identify(), modem).imei == "352656100000025"


def test_an_id_that_the_line_changed_is_nobodys():
    for asked, said in (
        (r"AT%DEVICEUUID", b"%DEVICEUUID: 50363154-3931-44f0-8022-121b6401627c"),
        (r"AT\+CGSN", b"352656100000018"),
    ):
        modem = TinyModem()
        modem.once(asked, said + b"\r\nOK\r\n")
        with pytest.raises(BoardError) as caught:
            talk(AT.identify(), modem)
        assert caught.value.code == "serial.protocol"


def test_identify_survives_a_reboot_in_the_middle():
    modem = TinyModem()
    modem.once(r"AT\+CGMR", lambda m, _: m.reboot())
    assert talk(AT.identify(), modem).modem_firmware == "mfw_nrf91x1_2.0.2"


def test_another_board_is_named_with_the_expected_one():
    error = refusal(AT.same_board(UUID), TinyModem(uuid=OTHER_UUID))
    assert error.code == "board.changed"
    assert UUID in error.message
    assert OTHER_UUID in error.message


def test_offline_and_back():
    modem = TinyModem()
    talk(AT.go_offline(), modem)
    assert (modem.cfun, modem.cmee) == (4, True)
    talk(AT.restore(1), modem)
    assert modem.cfun == 1
    seen = len(modem.seen)
    talk(AT.restore(4), modem)
    talk(AT.restore(None), modem)
    assert len(modem.seen) == seen


# Credentials


def test_write_list_delete():
    modem = offline()
    talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    [row] = talk(AT.list_credentials(16), modem)
    assert row == StoredCredential(16, 1, commands.wire_digest(PEM))
    talk(AT.delete_credential(UUID, 16, CERT), modem)
    assert talk(AT.list_credentials(16), modem) == ()


def test_the_list_without_digests():
    modem = offline(digests=False)
    modem.store[16, 1] = "x"
    assert talk(AT.list_credentials(), modem) == (StoredCredential(16, 1, None),)


def test_the_list_of_a_tag_is_of_that_tag_even_when_the_board_lists_all():
    modem = offline()
    modem.store[16, 1] = modem.store[17, 1] = "x"
    modem.once("AT%CMNG=1,16", lambda m, _: m.list(None))
    assert [row.sec_tag for row in talk(AT.list_credentials(16), modem)] == [16]


def test_deleting_what_is_gone_is_fine():
    talk(AT.delete_credential(UUID, 16, CERT), offline())


def test_every_write_asks_who_is_there_first():
    modem = offline()
    talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    talk(AT.keygen(UUID, 17), modem)
    talk(AT.delete_credential(UUID, 16, CERT), modem)
    for at, command in enumerate(modem.seen):
        if command in writes(modem):
            assert modem.seen[at - 1] == "AT%DEVICEUUID"


@pytest.mark.parametrize(
    "conversation",
    [
        AT.write_credential(UUID, 16, CERT, PEM),
        AT.delete_credential(UUID, 16, CERT),
        AT.keygen(UUID, 16),
    ],
)
def test_nothing_is_written_to_another_board(conversation):
    modem = offline(uuid=OTHER_UUID)
    modem.store[16, 1] = "theirs"
    assert refusal(conversation, modem).code == "board.changed"
    assert writes(modem) == []
    assert modem.cfun == 4


@pytest.mark.parametrize("online", [True, False])
def test_a_modem_that_went_active_is_taken_offline_again_and_the_write_repeated(online):
    modem = TinyModem()
    modem.cmee = online
    talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    assert modem.store == {(16, 1): PEM}
    assert (modem.cfun, modem.cmee) == (4, True)
    assert len(writes(modem)) == 2


def test_the_write_is_repeated_once_only():
    modem = offline()
    for _ in range(3):
        modem.once("AT%CMNG=0", lambda m, _: m.refuse(518))
    assert refusal(AT.write_credential(UUID, 16, CERT, PEM), modem).code == "modem.active"
    assert len(writes(modem)) == 2


def test_a_board_swapped_between_refusal_and_repetition_is_not_written_to():
    def swap(modem, _command):
        modem.uuid = OTHER_UUID
        return modem.refuse(518)

    modem = offline()
    modem.once("AT%CMNG=0", swap)
    assert refusal(AT.write_credential(UUID, 16, CERT, PEM), modem).code == "board.changed"
    assert len(writes(modem)) == 1


def test_boot_text_before_a_write_brings_the_settings_first():
    modem = offline()
    modem.once("AT%DEVICEUUID", lambda m, c: m.reboot() + m.usual(c))
    talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    assert len(writes(modem)) == 1
    assert modem.store == {(16, 1): PEM}


def test_a_reboot_that_swallowed_the_answer_of_a_write_that_was_done():
    def done_then_reboot(modem, command):
        modem.usual(command)
        return modem.reboot()

    modem = offline()
    modem.once("AT%CMNG=0", done_then_reboot)
    talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    assert len(writes(modem)) == 1
    assert modem.cfun == 4


def test_a_reboot_before_the_write_was_done_repeats_it():
    modem = offline()
    modem.once("AT%CMNG=0", lambda m, _: m.reboot())
    talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    assert modem.store == {(16, 1): PEM}


def test_a_board_that_keeps_rebooting_is_given_up():
    modem = offline()
    for _ in range(20):
        modem.once("AT%DEVICEUUID", lambda m, c: BOOT + m.usual(c))
    assert refusal(AT.write_credential(UUID, 16, CERT, PEM), modem).code == "serial.timeout"
    assert writes(modem) == []


def test_a_silent_board_is_not_written_to():
    modem = offline()
    modem.once("AT%DEVICEUUID", b"")
    with pytest.raises(SilenceError):
        talk(AT.write_credential(UUID, 16, CERT, PEM), modem)
    assert writes(modem) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (514, "modem.not-allowed"),
        (515, "modem.full"),
        (519, "modem.exists"),
        (527, "modem.bad-certificate"),
        (528, "modem.power"),
        (516, "modem.error"),
        (9999, "modem.error"),
    ],
)
def test_refused_writes_have_names(number, code):
    modem = offline()
    modem.once("AT%CMNG=0", lambda m, _: m.refuse(number))
    error = refusal(AT.write_credential(UUID, 16, CERT, PEM), modem)
    assert (error.code, error.cme) == (code, number)
    assert str(number) in error.message
    assert "sec_tag 16" in error.message


# Keys


@pytest.mark.parametrize(
    ("attributes", "key_usage", "sent"),
    [
        (None, None, "AT%KEYGEN=16,2,0"),
        ("CN=a,O=b", None, 'AT%KEYGEN=16,2,0,"CN=a,O=b"'),
        ("CN=a", "101010000", 'AT%KEYGEN=16,2,0,"CN=a","101010000"'),
        (None, "101010000", 'AT%KEYGEN=16,2,0,,"101010000"'),
    ],
)
def test_keygen(attributes, key_usage, sent):
    modem = offline()
    assert (
        talk(AT.keygen(UUID, 16, attributes=attributes, key_usage=key_usage), modem) == KEYGEN_TEXT
    )
    assert writes(modem) == [sent]


def test_a_key_whose_answer_a_reboot_swallowed_is_not_made_twice():
    def made_then_reboot(modem, command):
        modem.usual(command)
        return modem.reboot()

    modem = offline()
    modem.once("AT%KEYGEN", made_then_reboot)
    error = refusal(AT.keygen(UUID, 16), modem)
    assert error.unknown
    assert len(writes(modem)) == 1


def test_a_reboot_before_a_key_was_made_makes_one():
    modem = offline()
    modem.once("AT%KEYGEN", lambda m, _: m.reboot())
    assert talk(AT.keygen(UUID, 16), modem) == KEYGEN_TEXT
    assert len(modem.store) == 1


def test_an_occupied_slot():
    modem = offline()
    modem.store[16, 2] = "a key"
    assert refusal(AT.keygen(UUID, 16), modem).code == "modem.exists"


@pytest.mark.parametrize("bad", ['CN="x"', "CN=é", "CN=a\x00"])
def test_attributes_that_cannot_travel(bad):
    with pytest.raises(ProfileError):
        talk(AT.keygen(UUID, 16, attributes=bad), offline())


def test_attestation_token_and_jwt():
    modem = offline()
    modem.once(
        'AT%ATTESTTOKEN="0123456789abcdef0123456789abcdef"', b'%ATTESTTOKEN: "2dn3.0oRD"\r\nOK\r\n'
    )
    assert talk(AT.attestation_token("0123456789abcdef" * 2), modem) == "2dn3.0oRD"
    modem.once('AT%JWT=0,0,"sub","aud",16,2', b'%JWT: "e30.e30.c2ln"\r\nOK\r\n')
    assert talk(AT.jwt(16, "sub", "aud"), modem) == "e30.e30.c2ln"
    assert refusal(AT.jwt(16, "sub", "aud"), modem).code == "modem.error"
    with pytest.raises(ProfileError):
        talk(AT.attestation_token("xyz"), modem)


# Commands of the profile


def test_a_command_of_the_profile():
    modem = offline()
    modem.once("hwinfo", b"Device id: 0123456789abcdef\r\nOK\r\n")
    assert talk(AT.raw("hwinfo devid", "id: ([0-9a-f]{16})"), modem) == "0123456789abcdef"


def test_a_command_of_the_profile_without_the_line_that_means_success():
    modem = offline()
    modem.once("prov", b"not today\r\nOK\r\n")
    error = refusal(AT.raw("prov token s3cret", "stored", effect=True, secret=True), modem)
    assert (error.code, error.unknown) == ("serial.protocol", True)
    assert "s3cret" not in error.message


def test_a_pattern_that_is_none():
    with pytest.raises(ProfileError):
        talk(AT.raw("x", "("), offline())


# Texts and tables


def test_canonical_pem():
    messy = (
        "subject=x\r\n-----BEGIN A-----\r\n  MIIB \r\n\r\nabcd\r\n-----END A-----\r\n\r\n#"
        ' "two"\n-----BEGIN A-----\nX\n-----END A-----'
    )
    assert (
        commands.canonical_pem(messy)
        == "-----BEGIN A-----\nMIIB\nabcd\n-----END A-----\n-----BEGIN A-----\nX\n-----END A-----\n"
    )


@pytest.mark.parametrize("text", ["", "MIIB", "-----BEGIN A-----\nMIIB\n"])
def test_what_is_no_pem(text):
    with pytest.raises(ProfileError):
        commands.canonical_pem(text)


@given(
    st.lists(st.text("ABCabc+/=", min_size=1, max_size=64), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
def test_line_ends_do_not_change_the_digest(lines, end):
    blocks = ["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]
    assert commands.wire_digest(end.join(blocks)) == commands.wire_digest("\n".join(blocks))
    assert commands.canonical_pem(commands.canonical_pem(end.join(blocks))) == "\n".join(blocks)


LOCKED = [
    (commands.cmee(), "AT+CMEE=1", 2),
    (commands.read_functional_mode(), "AT+CFUN?", 2),
    (commands.set_functional_mode(4), "AT+CFUN=4", 10),
    (commands.device_uuid(), "AT%DEVICEUUID", 2),
    (commands.imei(), "AT+CGSN", 2),
    (commands.imei_named(), "AT+CGSN=1", 2),
    (commands.revision(), "AT+CGMR", 2),
    (commands.model(), "AT+CGMM", 2),
    (commands.iccid(), "AT%XICCID", 2),
    (commands.cmng_list(), "AT%CMNG=1", 2),
    (commands.cmng_list(4201), "AT%CMNG=1,4201", 2),
    (commands.cmng_write(4201, 1, PEM), f'AT%CMNG=0,4201,1,"{PEM}"', 15),
    (commands.cmng_delete(4201, 2), "AT%CMNG=3,4201,2", 15),
    (commands.keygen(4201), "AT%KEYGEN=4201,2,0", 30),
    (commands.attest_token(), "AT%ATTESTTOKEN", 5),
    (commands.jwt(4201, "s", "a"), 'AT%JWT=0,0,"s","a",4201,2', 5),
]


@pytest.mark.parametrize(("command", "text", "timeout_s"), LOCKED)
def test_commands_on_the_wire_are_locked(command, text, timeout_s):
    assert (command.text, command.timeout_s) == (text, timeout_s)
    assert command.effect == text.startswith(("AT%CMNG=0", "AT%CMNG=3", "AT%KEYGEN"))


def test_every_modem_error_has_a_row_and_every_row_a_code():
    assert {50, 51, *range(513, 530)} <= set(cme.MODEM_ERRORS)
    assert {info.code for info in cme.MODEM_ERRORS.values()} <= set(CODES)


def test_capabilities_are_known_by_name():
    with pytest.raises(ProfileError, match="epacket"):
        dialect.capabilities("klingon")
    assert dialect.capabilities("epacket") == {
        Capability.IDENTIFY,
        Capability.OFFLINE,
        Capability.TOKEN_KV,
        Capability.SECURITY_STATE,
        Capability.PUBLIC_KEY,
    }
    assert Capability.POSSESSION in dialect.capabilities("at")
    assert Capability.TOKEN_KV not in dialect.capabilities("at-shell")
