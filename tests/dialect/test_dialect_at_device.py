from hypothesis import given
from hypothesis import strategies as st

from infuse_cli.dialect.at_device import AtDevice


def test_a_command_ends_at_cr_lf_or_crlf():
    assert AtDevice().receive(b"AT\rAT+CFUN?\nAT%DEVICEUUID\r\nATI\r\r\n") == [
        "AT",
        "AT+CFUN?",
        "AT%DEVICEUUID",
        "ATI",
    ]


def test_line_ends_inside_quotes_are_content():
    assert AtDevice().receive(b'AT%CMNG=0,1,0,"a\r\nb\n"\r') == ['AT%CMNG=0,1,0,"a\r\nb\n"']


def test_a_line_without_printable_characters_is_dropped():
    assert AtDevice().receive(b"\r\n \x00\x01\r\xff\rAT\r") == ["AT"]


def test_rubout_takes_a_character_back_and_a_quote_too():
    assert AtDevice().receive(b'ATX\x7f\r"\x08AT\r') == ["AT", "AT"]


@given(st.lists(st.integers(0, 40)))
def test_any_split_gives_the_same_commands(cuts):
    data = b'AT%CMNG=0,16,1,"-----BEGIN\nMII\r\n"\r\nAT+CGSN\rAT\n'
    device, heard, rest = AtDevice(), [], data
    for cut in cuts:
        heard += device.receive(rest[:cut])
        rest = rest[cut:]
    assert heard + device.receive(rest) == AtDevice().receive(data)


def test_a_command_longer_than_the_buffer_loses_its_end():
    assert AtDevice(line_limit=4).receive(b"ATABCDEF\rAT\r") == ["ATAB", "AT"]


def test_overflow_inside_quotes_leaves_the_port_dead_until_reset():
    device = AtDevice(line_limit=8)
    assert device.receive(b'AT="0123456789"\rAT\rAT\r') == []
    device.reset()
    assert device.receive(b"AT\r") == ["AT"]


def test_echo_only_when_it_is_on():
    assert AtDevice().echo_of(b"AT\r") == b""
    assert AtDevice(echo=True).echo_of(b"AT\r") == b"AT\r"


def test_answers():
    device = AtDevice()
    assert device.answer() == b"OK\r\n"
    assert device.answer(ok=False) == b"ERROR\r\n"
    assert device.answer(cme=513) == b"+CME ERROR: 513\r\n"
    assert device.answer(info=["+CFUN: 4"]) == b"+CFUN: 4\r\nOK\r\n"
    assert AtDevice(blank_before_answer=True).answer(info=["x"]) == b"\r\nx\r\nOK\r\n"
    assert device.unsolicited("%MDMEV: 1") == b"%MDMEV: 1\r\n"
