"""What is told of a person's AT command by its text: whether it only reads, and whether it carries
a secret.
"""

from __future__ import annotations

import pytest

from infuse_cli.dialect import at_text
from infuse_cli.errors import UsageError

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "text",
    [
        "AT",
        "at",
        "AT+CFUN?",
        "AT+CFUN=?",
        "at%xsystemmode?",
        "AT+CGMM",
        "AT+CGSN",
        "AT+CGSN=1",
        "AT%DEVICEUUID",
        "AT%CMNG=1",
        "AT%CMNG=1,16",
        "AT%CMNG=2,16,0",
    ],
)
def test_a_plain_read(text):
    assert at_text.only_reads(text)


@pytest.mark.parametrize(
    "text",
    [
        "ATZ",
        "AT&F",
        "ATE0",
        "AT+CFUN=4",
        "AT+CMEE=1",
        "AT%CMNG=3,16,1",
        'AT%CMNG=0,16,0,"x?"',
        "AT%KEYGEN=16,2,0",
        "AT%XFACTORYRESET=0",
        "AT%NEW",
        'AT+COPS=1,2,"50501?"',
        "AT+CGMM;+CFUN=0",
        "AT+CGSN=1;+CFUN=0",
    ],
)
def test_what_may_change_something(text):
    assert not at_text.only_reads(text)


@pytest.mark.parametrize(
    "text",
    [
        'AT%CMNG=0,16,3,"00112233"',
        'AT%CMNG=0, 16, 2,"-----BEGIN"',
        "at%cmng=0,16,3,00112233",
        'AT+CPIN="1234"',
        'AT+CPWD="SC","1234","4321"',
        'AT+CLCK="SC",1,"1234"',
        'AT+CGAUTH=0,1,"user","00112233"',
        'AT%CMNG=0,16,10,"00112233"',
    ],
)
def test_a_secret_is_neither_shown_nor_recorded(text):
    assert at_text.carries_secret(text)
    for told in (at_text.shown(text), at_text.for_record(text)):
        assert not {"1234", "00112233", "-----BEGIN", "4321"} & set(told.replace('"', " ").split())
        assert "00112233" not in told


@pytest.mark.parametrize(
    "text",
    [
        "AT+CFUN=4",
        f'AT%CMNG=0,16,0,"{PEM}"',
        f'AT%CMNG=0,16,1,"{PEM}"',
        "AT%CMNG=1,3",
        "AT%CMNG=3,16,3",
        "AT+CPIN?",
    ],
)
def test_what_is_no_secret_is_shown(text):
    assert at_text.shown(text) == text


def test_the_record_has_nothing_that_stands_in_quotes():
    assert at_text.for_record(f'AT%CMNG=0,16,0,"{PEM}"') == 'AT%CMNG=0,16,0,"***"'


def test_a_script_has_comments_and_quotes_over_several_lines():
    lines = [
        "# make ready",
        "",
        "  AT+CFUN=4  ",
        'AT%CMNG=0,16,0,"-----BEGIN CERTIFICATE-----',
        "MIIB",
        '-----END CERTIFICATE-----"',
        "AT+CFUN=1",
    ]
    assert at_text.script(lines) == (
        "AT+CFUN=4",
        'AT%CMNG=0,16,0,"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"',
        "AT+CFUN=1",
    )


@pytest.mark.parametrize(
    ("lines", "where"), [(["AT", "rm -rf"], "line 2"), (["AT", 'AT+X="never', "closed"], "line 2")]
)
def test_a_script_that_is_none_names_the_line(lines, where):
    with pytest.raises(UsageError) as caught:
        at_text.script(lines)
    assert where in caught.value.message
