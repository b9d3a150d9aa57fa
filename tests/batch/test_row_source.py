"""The reader of batch files: every bad input named with file and line, nothing unreadable a crash,
nothing changed unseen.
"""

import base64
import contextlib
import csv
import io
import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infuse_cli.api_types import MetadataField
from infuse_cli.batch.source import Rules, lines, open_rows, rules_of
from infuse_cli.config.model import (
    BoardSection,
    McuIdSource,
    MetadataFieldSpec,
    MetadataValue,
    Profile,
)
from infuse_cli.errors import InfuseError, Interrupted, UsageError
from infuse_cli.identities import IdentityKind, blank_reason
from infuse_cli.records.rows import Row
from tests.support import garbage

ID, OTHER, THIRD = "0011223344556677", "8899aabbccddeeff", "00000000000000aa"
KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "lot.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows_of(path, rules=None):
    with open_rows(path) as found:
        found.check(rules)
        return list(found.rows())


def troubles_of(path, rules=None):
    with open_rows(path) as found:
        summary = found.check(rules)
        troubles = [(bad.line, bad.field, bad.code, bad.why) for bad in found.troubles()]
        assert len({line for line, *_ in troubles}) == summary.bad
        assert len(list(found.rows())) == summary.good
    return troubles


def refused(path, rules=None):
    with pytest.raises(UsageError) as caught:
        rows_of(path, rules)
    assert str(path) in caught.value.message
    return caught.value.code, caught.value.message


def test_every_column_is_read(file):
    path = file(
        f"mcuId,deviceId,name,publicKey,tags,metadata.serialNumber,metadata.site\n{ID},{OTHER},pump"
        f" 1,{KEY},line-1|eu,SN-1,\n{OTHER},,,,,,\n"
    )
    with open_rows(path) as found:
        summary = found.check()
        rows = list(found.rows())
        assert list(found.rows()) == rows, "the file can be read again"
    assert rows == [
        Row(
            line=2,
            mcu_id=ID,
            device_id=OTHER,
            name="pump 1",
            public_key=KEY,
            tags=("line-1", "eu"),
            metadata={"serialNumber": "SN-1"},
        ),
        Row(line=3, mcu_id=OTHER),
    ]
    assert (summary.good, summary.bad, summary.named, summary.separator, summary.columns[0]) == (
        2,
        0,
        1,
        "comma",
        "mcuId",
    )
    assert len(summary.sha256) == 64


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeffmcuId,name\n{ID},n\n",
        f"mcuId,name\r\n{ID},n\r\n",
        f"mcuId,name\r{ID},n\r",
        f"mcuId;name\r\n{ID};n\r\n",
        f"mcuId\tname\n{ID}\tn\n",
        f"sep=;\r\nmcuId;name\r\n{ID};n\r\n",
        f"mcuId,name\n{ID},n",
        f"mcuId,name\n{ID},n\n\n \n,\n\r\n",
        f"\n\nmcuId,name\n{ID},n\n",
        f'"mcuId","name"\n"{ID}","n"\n',
        f"name, mcuId \n n , {ID} \n",
        f"mcuId;name\n{ID.upper()};n\n",
    ],
    ids=[
        "BOM",
        "CRLF",
        "CR",
        "semicolons",
        "tabs",
        "sep=",
        "no-last-newline",
        "blank-end",
        "blank-begin",
        "quoted",
        "spaces",
        "capitals",
    ],
)
def test_what_spreadsheets_write_is_taken(file, content):
    (row,) = rows_of(file(content))
    assert (row.mcu_id, row.name) == (ID, "n")


def test_metadata_may_hold_separators_quotes_and_any_script(file):
    path = file(f'mcuId;metadata.site\n{ID};"Halle 3; Tor ""B"", Süd"\n{OTHER};東京 👩\u200d🔧\n')
    assert [row.metadata["site"] for row in rows_of(path)] == [
        'Halle 3; Tor "B", Süd',
        "東京 👩\u200d🔧",
    ]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (f"mcuId,name\n{ID},n\n".encode("utf-16"), "batch.encoding", "UTF-16"),
        (f"mcuId,name\n{ID},n\n".encode("utf-16-le"), "batch.encoding", "UTF-16"),
        (f"mcuId,name\n{ID},n\n".encode("utf-16-be"), "batch.encoding", "UTF-16"),
        (f"mcuId,name\n{ID},n\n".encode("utf-32"), "batch.encoding", "UTF-32"),
        (b"mcuId,metadata.stra\xdfe\n", "batch.encoding", "line 1: the header is not UTF-8"),
        (b"", "batch.empty", "is empty"),
        (b"\n\r\n,,\n", "batch.empty", "is empty"),
        (b"mcuId,name\n", "batch.empty", "no rows"),
        (b"mcuId,name\n\n,\n", "batch.empty", "no rows"),
        (f"{ID},n\n{OTHER},m\n".encode(), "batch.header", "line 1: '0011223344556677' is an mcuId"),
        (b"name,metadata.a\nx,y\n", "batch.header", "the column mcuId is missing"),
        (b"mcuId,name,name\n", "batch.header", "'name' is there twice, as number 2 and 3"),
        (b"mcuId,metadata.a,metadata.a\n", "batch.header", "is there twice"),
        (b"mcuID,name\n", "batch.header", "no column 'mcuID'; did you mean 'mcuId'?"),
        (b"mcuId,publickey\n", "batch.header", "did you mean 'publicKey'?"),
        (
            b"mcuId,serialNumber\n",
            "batch.header",
            "a metadata column is called 'metadata.serialNumber'",
        ),
        (b"mcuId,metadata.\n", "batch.header", "no column 'metadata.'"),
        (b"mcuId,name,\n", "batch.header", "column 3 has no name"),
        (b'mcuId,"name\n', "batch.header", "line 1: the header cannot be parsed"),
        (b"mcuId,metadata.\x00a\n", "batch.header", "cannot be seen"),
        (b"mcuId,name" + b"x" * 100_000 + b"\n", "batch.header", "too long"),
        (b"PK\x03\x04" + bytes(range(256)) * 40, "batch.header", "line 1"),
    ],
    ids=lambda value: (
        value[:18].decode("latin-1").encode("unicode_escape").decode()
        if isinstance(value, bytes)
        else None
    ),
)
def test_files_that_are_no_batch(file, content, code, words):
    found, message = refused(file(content))
    assert (found, words in message) == (code, True), message


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("", "it is empty"),
        ("3.5E+14", "turned it into the number 3.5E+14, and its digits are lost"),
        ("3,52656E+14", "turned it into the number"),
        (
            "352656100367872",
            (
                "15 digits where 16 are due: a leading zero was lost (spreadsheets drop it), or it"
                " is a bare IMEI"
            ),
        ),
        ("11223344556677", "14 digits where 16 are due: leading zeros were lost"),
        ("11223344556677.0", "turned it into the number 11223344556677.0"),
        ("ab1122334455667", "15 hex digits where 16 are due"),
        ("00112233445566778", "17 hex digits where 16 are due"),
        ("0x11223344556677", "begins with 0x"),
        ("00:11:22:33:44:55:66:77", "has separators"),
        ("001122334455667O", "has 'O', which is no hex digit"),
        ("'0011223344556677", "begins with an apostrophe"),
        ('="0011223344556677"', "a spreadsheet would take it for a formula"),
        ("\uff10" * 16, "no hex digit"),
    ],
)
def test_ids_that_a_spreadsheet_spoiled(file, cell, words):
    quoted = cell.replace('"', '""')
    troubles = troubles_of(file(f'mcuId;name\n{OTHER};a\n"{quoted}";b\n'))
    assert [(line, field) for line, field, *_ in troubles] == [(3, "mcuId")]
    assert words in troubles[0][3]


@pytest.mark.parametrize(
    ("header", "line", "field", "code", "words"),
    [
        ("mcuId,name", f"{ID}", None, "batch.line", "1 cell, but the header has 2"),
        ("mcuId,name", f"{ID};n", None, "batch.line", "is the semicolon the separator here?"),
        ("mcuId,name", f"{ID},n,x", None, "batch.line", "3 cells, but the header has 2"),
        ("mcuId,name", "mcuId,name", None, "batch.line", "the header is here once more"),
        ("mcuId,name", f'{ID},"n', None, "batch.line", "a quotation mark is not closed"),
        ("mcuId,name", f'{ID},"n"x', None, "batch.line", "a quotation mark"),
        ("mcuId,name", f"{ID},{'n' * 1_000_000}", None, "batch.line", "longer than 64 KiB"),
        ("mcuId,name", f"{ID},{'n' * 300}", "name", "batch.value", "300 characters, of which 255"),
        (
            "mcuId,metadata.a",
            f"{ID},{'n' * 5000}",
            "metadata.a",
            "batch.value",
            "5000 characters, of which 4096",
        ),
        ("mcuId,name", f"{ID},=cmd()", "name", "batch.value", "formula"),
        ("mcuId,name", f"{ID},+1", "name", "batch.value", "formula"),
        ("mcuId,metadata.a", f"{ID},@SUM(1)", "metadata.a", "batch.value", "formula"),
        ("mcuId,name", f"{ID},a\0b", "name", "batch.value", "U+0000 (NUL)"),
        ("mcuId,name", f"{ID},a\x1bb", "name", "batch.value", "U+001B"),
        ("mcuId,name", f"{ID},a\u202eb", "name", "batch.value", "U+202E (right-to-left override)"),
        (
            "mcuId,name",
            f"{ID},pump-{{serialNumber}}",
            "name",
            "batch.value",
            "{serialNumber} is not filled in here",
        ),
        ("mcuId,deviceId", f"{ID},12345", "deviceId", "batch.value", "5 digits where 16 are due"),
        ("mcuId,publicKey", f"{ID},AAAA", "publicKey", "batch.value", "base64 of 3 bytes"),
        ("mcuId,publicKey", f"{ID},????", "publicKey", "batch.value", "not base64"),
        ("mcuId,publicKey", f"{ID},{KEY[:-2]}9=", "publicKey", "batch.value", "usual form"),
        ("mcuId,tags", f"{ID},a||b", "tags", "batch.value", "an empty tag"),
        ("mcuId,tags", f"{ID},a;b", "tags", "batch.value", "separated by |"),
    ],
)
def test_lines_that_cannot_be_taken(file, header, line, field, code, words):
    troubles = troubles_of(file(f"{header}\n{line}\n"))
    assert [trouble[:3] for trouble in troubles] == [(2, field, code)]
    assert words in troubles[0][3]


def test_a_public_key_may_begin_with_plus(file):
    key = base64.b64encode(b"\xfb" * 32).decode()
    assert key.startswith("+")
    assert rows_of(file(f"mcuId,publicKey\n{ID},{key}\n"))[0].public_key == key


def test_latin_1_is_named_with_line_and_column(file):
    troubles = troubles_of(
        file(f"mcuId,metadata.site\n{OTHER},x\n".encode() + f"{ID},Köln\n".encode("latin-1"))
    )
    assert [trouble[:3] for trouble in troubles] == [(3, "metadata.site", "batch.encoding")]
    assert "byte f6 is not UTF-8" in troubles[0][3]


def test_an_open_quote_costs_its_own_line_alone(file):
    path = file(f'mcuId,name\n{ID},"a\n{OTHER},b\n{THIRD},c\n')
    assert [trouble[0] for trouble in troubles_of(path)] == [2]
    assert [row.line for row in rows_of(path)] == [3, 4]


def test_a_blank_line_between_rows_is_named_once(file):
    troubles = troubles_of(file(f"mcuId\n{ID}\n\n\n{OTHER}\n\n"))
    assert [(line, code) for line, _, code, _ in troubles] == [(3, "batch.line")]


@pytest.mark.parametrize(
    ("header", "first", "second", "field"),
    [
        ("mcuId,name", f"{ID},a", f"{ID.upper()},b", "mcuId"),
        ("mcuId,deviceId", f"{ID},{THIRD}", f"{OTHER},{THIRD.upper()}", "deviceId"),
        ("mcuId,name", f"{ID},a", f"{OTHER},a", "name"),
        ("mcuId,publicKey", f"{ID},{KEY}", f"{OTHER},{KEY}", "publicKey"),
        ("mcuId,metadata.sn", f"{ID},1", f"{OTHER},1", "metadata.sn"),
    ],
)
def test_what_may_be_there_once_blames_both_lines(file, header, first, second, field):
    path = file(
        f"{header}\n{first}\n00000000000000ff,zz\n{second}\n".replace(
            "zz", {"name": "zz", "metadata.sn": "2"}.get(header.split(",")[1], "")
        )
    )
    troubles = troubles_of(path, Rules(unique=("sn",)))
    assert [trouble[:3] for trouble in troubles] == [
        (2, field, "batch.duplicate"),
        (4, field, "batch.duplicate"),
    ]
    assert "is in line 4 too" in troubles[0][3]
    assert "is in line 2 too" in troubles[1][3]


def test_rules_of_board_and_profile(file):
    profile = Profile(
        name="p",
        metadata={
            "site": "Brisbane",
            "serialNumber": MetadataValue(source="scan", pattern=r"SN-\d"),
            "chip": MetadataValue(source="mcuId"),
        },
    )
    rules = rules_of(
        profile,
        (
            MetadataField(name="lot", required=True),
            MetadataField(name="serialNumber", required=True, unique=True),
        ),
    )
    path = file(
        f"mcuId,metadata.serialNumber,metadata.lot,metadata.site\n{ID},SN-1,7,\n{OTHER},SN-2,7,Oslo\n{THIRD},X,,\n00000000000000ff,,7,\n"
    )
    assert [trouble[:3] for trouble in troubles_of(path, rules)] == [
        (4, "metadata.lot", "batch.metadata"),
        (4, "metadata.serialNumber", "batch.metadata"),
        (5, "metadata.serialNumber", "batch.metadata"),
    ]
    assert [row.metadata for row in rows_of(path, rules)] == [
        {"site": "Brisbane", "chip": ID, "serialNumber": "SN-1", "lot": "7"},
        {"site": "Oslo", "chip": OTHER, "serialNumber": "SN-2", "lot": "7"},
    ]


def test_metadata_from_the_imei_is_drawn_from_the_mcu_id(file):
    profile = Profile(
        name="p",
        board=BoardSection(mcu_id=McuIdSource(source="imei")),
        metadata={"sn": MetadataValue(source="imei"), "iccid": MetadataValue(source="iccid")},
    )
    rules = rules_of(profile, (MetadataField(name="sn", required=True),))
    path = file(f"mcuId,metadata.sn\n0352656100367872,\n{ID},own\n{OTHER},\n")
    assert [trouble[:3] for trouble in troubles_of(path, rules)] == [
        (4, "metadata.sn", "batch.metadata")
    ]
    assert [row.metadata for row in rows_of(path, rules)] == [
        {"sn": "352656100367872"},
        {"sn": "own"},
    ]


def test_a_file_with_bad_lines_is_refused_unless_they_may_be_skipped(file):
    with open_rows(file(f"mcuId\n{ID}\n" + "x\n" * 7)) as found:
        summary = found.check()
        with pytest.raises(UsageError) as caught:
            found.must_be_clean(summary)
        assert caught.value.code == "batch.bad-rows"
        assert (
            "7 of 8 lines cannot be taken: line 3, mcuId: 'x' has 'x', which is no hex digit;"
            " line 4" in caught.value.message
        )
        found.must_be_clean(summary, skip_bad=True)
    with open_rows(file("mcuId\nx\n")) as found, pytest.raises(UsageError) as caught:
        found.must_be_clean(found.check(), skip_bad=True)
    assert "Not a single line" in caught.value.hint


def test_a_field_that_the_profile_calls_unique_counts_before_the_board_is_there():
    profile = Profile(name="p")
    board = profile.cloud.board.__class__(
        name="b", metadata_fields=(MetadataFieldSpec(name="sn", required=True, unique=True),)
    )
    profile = Profile(name="p", cloud=profile.cloud.__class__(board=board))
    assert rules_of(profile, (MetadataField(name="sn", required=True),)) == Rules(
        required=("sn",), unique=("sn",)
    )


def test_what_is_not_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "none.csv", "does not exist"),
        (pipe, "is a pipe"),
        (Path("/dev/null"), "is not a file"),
        (Path("-"), "standard input"),
        (Path("a\0b"), "cannot be opened"),
    ):
        with pytest.raises(UsageError) as caught:
            rows_of(path)
        assert (caught.value.code, words in caught.value.message) == (
            "batch.unreadable",
            True,
        ), caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("n399,", "m399,"),
        lambda text: text + f"{THIRD},more,\n",
        lambda text: text[:-20],
        lambda text: text.replace("mcuId,name", "mcuId,tags"),
    ],
    ids=["a cell", "longer", "shorter", "the header"],
)
def test_a_file_that_changes_gives_no_changed_row(file, change, monkeypatch):
    monkeypatch.setattr(lines, "CHUNK", 4096)
    text = "mcuId,name,metadata.a\n" + "".join(f"{i:016x},n{i},\n" for i in range(1, 400))
    path = file(text)
    with open_rows(path) as found:
        found.check()
        path.write_text(change(text))
        given_out = []
        with pytest.raises(UsageError) as caught:
            given_out.extend(found.rows())
        assert caught.value.code == "batch.file-changed"
    before = open_rows(file(text))
    before.check()
    untouched = {row.mcu_id: row for row in before.rows()}
    assert all(untouched.get(row.mcu_id) == row for row in given_out)


def test_a_file_that_changes_under_the_reader(file, monkeypatch):
    monkeypatch.setattr(lines, "CHUNK", 4096)
    text = "mcuId,name\n" + "".join(f"{i:016x},n{i}\n" for i in range(1, 2000))
    path = file(text)
    with open_rows(path) as found:
        found.check()
        rows = found.rows()
        first = [next(rows) for _ in range(10)]
        path.write_text(text.replace("n1999", "nXXXX"))
        with pytest.raises(UsageError) as caught:
            first.extend(rows)
        assert caught.value.code == "batch.file-changed"


def test_the_reading_can_be_stopped(file):
    with open_rows(file(f"mcuId\n{ID}\n")) as found, pytest.raises(Interrupted):
        found.check(stopped=lambda: True)


def test_memory_stays_flat(file):
    path = file(
        "mcuId,name,metadata.sn\n" + "".join(f"{i:016x},n{i},sn-{i}\n" for i in range(1, 3_001))
    )
    tracemalloc.start()
    try:
        with open_rows(path) as found:
            summary = found.check(Rules(unique=("sn",)))
            assert sum(1 for _ in found.rows()) == summary.good == 3_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(
    st.binary(max_size=2000)
    | st.lists(
        st.sampled_from(
            [
                b"mcuId",
                b",",
                b";",
                b"\t",
                b"\n",
                b"\r",
                b'"',
                b"\0",
                b"\xff",
                b"\xfe",
                ID.encode(),
                b"name",
                b"=",
                b"metadata.a",
            ]
        ),
        max_size=40,
    ).map(b"".join)
)
@settings(max_examples=80)
def test_any_bytes_give_rows_or_named_errors(content):
    with tempfile.TemporaryDirectory() as folder:
        gives_rows_or_named_errors(Path(folder) / "any.csv", content)


def gives_rows_or_named_errors(path, content):
    path.write_bytes(content)
    with contextlib.suppress(InfuseError), open_rows(path) as found:
        summary = found.check(Rules(required=("a",), unique=("a",)))
        assert len(list(found.rows())) == summary.good
        for bad in found.troubles():
            bad.why.encode()


CELLS = (
    b"mcuId,metadata.a\n",
    b"mcuId;name\r\n",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b'"',
    b'""',
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    ID.encode(),
    ID.upper().encode(),
    b"0x",
    b"name",
    b"=",
    b"metadata.",
    b"metadata.a",
    b"deviceId",
    b"tags",
    b"|",
    b"x" * 200,
)


@pytest.mark.storm
@pytest.mark.timeout(3600)
@garbage.many
def test_any_bytes_give_rows_or_named_errors_in_a_long_run(data):
    head = (CELLS[0], CELLS[1], b"")[data[0] % 3]
    with tempfile.TemporaryDirectory() as folder:
        gives_rows_or_named_errors(Path(folder) / "any.csv", head + garbage.text(data[1:], CELLS))


TEXT = (
    st.text(
        st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=20
    )
    .map(str.strip)
    .filter(lambda text: text and not text.startswith(("=", "+", "@")))
)
IDS = (
    st.integers(0, 2**64 - 1)
    .map(lambda number: f"{number:016x}")
    .filter(lambda text: blank_reason(IdentityKind.MCU_ID, text) is None)
)


@given(
    st.lists(
        st.tuples(IDS, TEXT.filter(lambda text: "{" not in text), TEXT),
        min_size=1,
        max_size=8,
        unique_by=(lambda row: row[0], lambda row: row[1]),
    ),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=40)
def test_what_is_written_is_read(rows, separator, ending):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=ending)
    writer.writerows([("mcuId", "name", "metadata.a"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_bytes(text.getvalue().encode())
        found = rows_of(path)
    assert [(row.mcu_id, row.name, row.metadata["a"]) for row in found] == rows
    assert [row.line for row in found] == list(range(2, len(rows) + 2))
