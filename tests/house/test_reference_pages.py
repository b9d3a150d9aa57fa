"""Guarantees, interfaces and glossary say what the code does; links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from infuse_cli.cli import reference_plans
from infuse_cli.cli.api_calls import INFUSE, REGISTRY
from infuse_cli.config.model import Profile, Token
from infuse_cli.dialect import DIALECTS
from infuse_cli.dialect.cme import MODEM_ERRORS
from infuse_cli.dialect.epacket import RPCS
from infuse_cli.dialect.frames import LARGEST
from infuse_cli.errors import CODES
from infuse_cli.keys import derivation as kd
from infuse_cli.link.discover import KNOWN
from infuse_cli.records.rows import BEGUN, PARKED, RowOutcome
from infuse_cli.sim.cloud_table import CALLS
from infuse_cli.types import AttemptState, IdentityMode, Outcome, StepState, TokenState
from tests.house.test_house_rules import tracked

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"
INTERFACES = REFERENCE / "interfaces"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MARKDOWN = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
LINK = re.compile(r"\]\((?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
NAMED = re.compile(r"docs/(?P<path>[\w/.-]+?\.md)(?:#(?P<anchor>[\w-]+))?")
CODE_SPAN = re.compile(r"`([^`]+)`")
FAMILIES = {code.partition(".")[0] for code in CODES}
FILES = re.compile(r".+\.(md|py|yaml|pem|csv|json|sqlite3)")


def text_of(page: str) -> str:
    """A page below `docs/reference/`."""
    return (REFERENCE / page).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def anchors(path: Path) -> set[str]:
    """The anchors that the headings of a page have on common hosts of markdown."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in MARKDOWN:
        for found in LINK.finditer(page.read_text(encoding="utf-8")):
            if "://" in found["path"] or found["path"].startswith("mailto:"):
                continue
            target = (page.parent / found["path"]).resolve() if found["path"] else page
            if not target.exists() or (found["anchor"] and found["anchor"] not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {found[0]}")
    assert broken == []


def test_pages_that_code_and_tests_name_exist():
    broken = []
    for folder in ("infuse_cli", "tests", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in NAMED.finditer(path.read_text(encoding="utf-8")):
                page = ROOT / "docs" / found["path"]
                exists = page.is_file()
                if not exists or (found["anchor"] and found["anchor"] not in anchors(page)):
                    broken.append(f"{path.relative_to(ROOT)}: {found[0]}")
    assert broken == []


@pytest.mark.parametrize(
    ("page", "calls", "prefix"),
    [("infuse-iot-api.md", INFUSE, ""), ("device-registry-api.md", REGISTRY, "/api/v1")],
)
def test_every_call_is_on_its_page_with_its_statuses_and_members(page, calls, prefix):
    served = {call.name.replace(prefix, "", 1) if prefix else call.name: call for call in CALLS}
    table = {
        row[0].strip("`"): row for row in rows((INTERFACES / page).read_text(encoding="utf-8"))
    }
    named = {name for name in table if re.match(r"(GET|POST|PUT|DELETE) /", name)}
    assert named == {call.call for call in calls}
    for name in sorted(named):
        call = served[name]
        _, request, success, refusals = table[name]
        special = set(call.refusals)
        expected = set(call.statuses) - {call.ok, 429} - ({401, 403} - special)
        assert {int(number) for number in re.findall(r"\b4\d\d\b", refusals)} == expected, name
        assert success.startswith(str(call.ok)), name
        members = msgspec.structs.fields(call.request) if call.request else ()
        paging = {"limit", "offset", "orderBy", "orderDir"}
        queried = {field.encode_name for field in msgspec.structs.fields(call.query)} - paging
        for member in {field.encode_name for field in members} | queried:
            assert re.search(rf"\b{member}\b", request), (name, member)


def members_of(kind: object) -> set[str]:
    """Names on the wire of an object's members."""
    item = (getattr(kind, "__args__", None) or (kind,))[0]
    is_struct = isinstance(item, type) and issubclass(item, msgspec.Struct)
    return {field.encode_name for field in msgspec.structs.fields(item)} if is_struct else set()


@pytest.mark.parametrize("page", ["infuse-iot-api.md", "device-registry-api.md"])
def test_every_member_of_an_answer_is_on_its_page(page):
    text = (INTERFACES / page).read_text(encoding="utf-8")
    answers = [call.answer for call in CALLS if call.is_registry == page.startswith("device")]
    wanted = set().union(*map(members_of, answers))
    assert [name for name in sorted(wanted) if not re.search(rf"\b{name}\b", text)] == []


def test_the_serial_page_has_the_dialects_stores_rpcs_errors_and_boards():
    text = text_of("interfaces/board-serial.md")
    first = {row[0].strip("`"): row for row in rows(text)}
    assert set(DIALECTS) <= set(first)
    assert {name: int(first[name][1]) for name in RPCS} == RPCS
    stores = msgspec.inspect.type_info(Token).fields
    assert set(next(f.type.values for f in stores if f.name == "store")) <= set(first)
    numbers = {number: info.code for number, info in MODEM_ERRORS.items()}
    listed = {int(name): row[1].strip("`") for name, row in first.items() if name.isdigit()}
    listed = {number: code for number, code in listed.items() if number > 500}
    assert listed == {
        number: code for number, code in numbers.items() if number > 500 and code != "modem.error"
    }
    assert f"1 to {LARGEST}" in text
    for usb in KNOWN:
        assert f"{usb.vid}:{usb.pid}" in first[usb.board][1], usb


def test_the_serial_page_has_every_at_command():
    source = (ROOT / "infuse_cli/dialect/commands.py").read_text(encoding="utf-8")
    sent = set(re.findall(r'"(AT[+%][A-Z]+)', source)) | set(re.findall(r"'(AT[+%][A-Z]+)", source))
    text = text_of("interfaces/board-serial.md")
    assert len(sent) > 8
    assert [name for name in sorted(sent) if f"`{name}" not in text] == []


def vectors() -> dict[str, str]:
    """The page's own vectors, computed."""
    a, n = b"\xfd" + b"\xff" * 31, bytes(range(32))
    shared = kd.shared_secret(n, kd.CLOUD_PUBLIC_KEY)
    public = kd.public_key(n)
    packet = {
        f"`{interface}` packet key of `{name}`, day {day}": kd.packet_key(
            root, interface, day
        ).hex()
        for name, root, interface, day in (
            ("A", a, "serial", 1),
            ("A", a, "udp", 1),
            ("A", a, "bt_adv", 1),
            ("A", a, "bt_gatt", 1),
            ("N", n, "serial", 1),
            ("N", n, "serial", 16203),
            ("N", n, "udp", 1),
        )
    }
    return {
        "`C`": kd.CLOUD_PUBLIC_KEY.hex(),
        "public key of `P`": public.hex(),
        "`S`": shared.hex(),
        "key id of `P`": f"{kd.device_key_id(kd.CLOUD_PUBLIC_KEY, public):06x}",
        "sign key of `A`": kd.sign_key(a).hex(),
        "CoAP PSK of `A`": kd.coap_psk(a).hex(),
        **packet,
        "sign key of `S`": kd.sign_key(shared).hex(),
        "CoAP PSK of `S`": kd.coap_psk(shared).hex(),
    }


def test_the_vectors_of_key_derivation_are_right():
    text = text_of("interfaces/key-derivation.md")
    section = text.partition("## Vectors")[2]
    listed = {row[0]: row[1].strip("`") for row in rows(section)[2:]}
    assert listed == vectors()
    block = bytes.fromhex(re.search(r"```text\n([0-9a-f\n]+)```", section)[1])
    public = kd.public_key(bytes(range(32)))
    header = kd.SecurityHeader(kd.CLOUD_PUBLIC_KEY, public, 0, 0)
    root = kd.shared_secret(bytes(range(32)), kd.CLOUD_PUBLIC_KEY)
    proof = kd.open_security_block(root, header, block)
    assert proof.challenge == bytes(range(0x10, 0x20))
    assert proof.hardware_id == bytes.fromhex("0011223344556677").ljust(16, b"\0")
    assert proof.device_id_hex == "d291d4d66bf0a955"


@pytest.mark.parametrize(
    ("title", "states"),
    [
        ("step", [state.value for state in StepState]),
        ("attempt", [state.value for state in AttemptState]),
        ("registration token", [state.value for state in TokenState]),
        ("batch row", [BEGUN, *(outcome.value for outcome in RowOutcome), PARKED]),
    ],
)
def test_the_glossary_lists_the_states_that_exist(title, states):
    line = re.search(rf"^States of an? {title}: (.+)$", text_of("glossary.md"), re.MULTILINE)
    assert set(CODE_SPAN.findall(line[1])) == set(states)


def test_the_glossary_has_modes_results_and_dialects():
    text = text_of("glossary.md")
    modes = {mode.value for mode in IdentityMode}
    identity = next(row for row in rows(text) if row[0] == "identity mode")
    assert set(CODE_SPAN.findall(identity[1])) == modes
    dialect = next(row for row in rows(text) if row[0] == "dialect")
    assert set(CODE_SPAN.findall(dialect[1])) == {*DIALECTS, "auto"}
    assert {outcome.value for outcome in Outcome} <= {row[0] for row in rows(text)}
    table = text_of("guarantees.md").partition("### Where a token goes")[2].partition("###")[0]
    assert {row[0].strip("`") for row in rows(table)[2:]} == modes


def test_a_word_has_one_meaning():
    words = [row[0] for row in rows(text_of("glossary.md"))]
    words = [word for word in words if word not in {"word", "---"}]
    assert len(words) == len(set(words))


def profile_keys() -> set[str]:
    """Keys of a product profile as pages write them, such as `registry.auth`."""
    sections = {field.name: field.type for field in msgspec.inspect.type_info(Profile).fields}
    found = set()
    for name, kind in sections.items():
        for part in getattr(kind, "types", (kind,)):
            found |= {f"{name}.{field.encode_name}" for field in getattr(part, "fields", ())}
    return found


def test_error_codes_that_pages_mention_exist():
    mentioned = {
        (word, page.relative_to(ROOT).as_posix())
        for page in MARKDOWN
        for word in CODE_SPAN.findall(page.read_text(encoding="utf-8"))
        if re.fullmatch(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*", word)
        and word.partition(".")[0] in FAMILIES
    }
    known = {*CODES, *profile_keys()}
    assert {
        (word, page) for word, page in mentioned if word not in known and not FILES.fullmatch(word)
    } == set()


def test_the_order_of_a_board_is_that_of_the_plans():
    page = ROOT / "docs/explanation" / reference_plans.PAGE
    text = page.read_text(encoding="utf-8")
    assert reference_plans.filled(text) == text, "python -m infuse_cli.cli.reference docs/reference"
    assert text.count("<!-- generated:") == text.count("<!-- /generated -->") == 2


NUMBERED = r"\b[Rr]ules?\s+(?:no\.\s*)?\d"
NUMBERED_SECTION = r"\bseeds?\s+0\d\d\b|\breference`?\s+§"
IN_BRACKETS = (
    r"\((?:contracts?|design)(?::\s|, [a-z]|\)|$)|\(seeds?:\s|\((?:rules?|contracts?:|seed)$"
)
AS_SOURCE = r"[Ss]ources?: contract\b|\bby the contracts?\b|from the contract alone|shared/[a-z]+"
PAPERS = re.compile(f"{NUMBERED}|{NUMBERED_SECTION}|{IN_BRACKETS}|{AS_SOURCE}")
LICENCES = re.compile(r"LICENSE|requirements/.*|.*\.(png|svg|lock)")


def test_nothing_points_at_a_paper_that_is_not_here():
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path == Path(__file__) or LICENCES.fullmatch(name):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if PAPERS.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert found == [], "say it in words, or link a page of docs/reference/"
