"""bench.yaml: what is local to a bench, with every mistake named by its line."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from infuse_cli.config.bench import Bench, Scanner, Sealing, load_bench
from infuse_cli.errors import ProfileError
from infuse_cli.journal.store import open_journal

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_file_the_station_is_the_host(tmp_path: Path) -> None:
    assert load_bench(tmp_path / "nowhere") == Bench(station=platform.node())
    (tmp_path / "bench.yaml").write_text("# nothing yet\n")
    assert load_bench(tmp_path).station == platform.node()


def test_all_keys(tmp_path: Path) -> None:
    (tmp_path / "bench.yaml").write_text(
        "station: left\nslots: {1-1.2: 1, '1-1.3': 2}\nsealing: {key_file: /k}\noperator: day\nlot:"
        " L-1\nscanner: {port: /dev/s}\nprobes: {/dev/ttyUSB0: 000683298616, 1-1.3: '7'}\n"
    )
    assert load_bench(tmp_path) == Bench(
        "left",
        {"1-1.2": 1, "1-1.3": 2},
        Sealing(key_file="/k"),
        "day",
        "L-1",
        Scanner(port="/dev/s"),
        {"/dev/ttyUSB0": "000683298616", "1-1.3": "7"},
    )
    with open_journal(tmp_path) as journal:
        assert journal.station == "left"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("station: a\nstaton: b\n", 2, "staton"),
        ("station: a\nstation: b\n", 2, "twice"),
        ("station: [a]\n", 1, "text"),
        ("station:\n", 1, "text"),
        ("slots: {a: 0}\n", 1, "number"),
        ("slots: {a: x}\n", 1, "number"),
        ("slots:\n  a: 1\n  b: 1\n", 3, "twice"),
        ("slots: [1]\n", 1, "keys"),
        ("sealing: {key: x}\n", 1, "key_file"),
        ("sealing: {keyring: maybe}\n", 1, "true or false"),
        ("sealing: {keyring: true, key_file: k}\n", 1, "not both"),
        ("probes: {a: [b]}\n", 1, "text"),
        ("- a\n", 1, "keys"),
    ],
)
def test_mistakes_have_a_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "bench.yaml").write_text(text)
    with pytest.raises(ProfileError) as caught:
        load_bench(tmp_path)
    assert caught.value.code == "profile.invalid"
    assert f"bench.yaml:{line}:" in caught.value.message
    assert words in caught.value.message


def test_bad_yaml_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "bench.yaml").write_text("station: a\n\tslots: b\n")
    with pytest.raises(ProfileError) as caught:
        load_bench(tmp_path)
    assert caught.value.code == "profile.bad-yaml"
    assert "bench.yaml:2:" in caught.value.message
    for text in ("? [a]\n: b\n", "station: &a b\nlot: *a\n", "slots: " + "[" * 100_000):
        (tmp_path / "bench.yaml").write_text(text)
        with pytest.raises(ProfileError) as caught:
            load_bench(tmp_path)
        assert caught.value.code == "profile.bad-yaml"
        assert "bench.yaml:" in caught.value.message
    (tmp_path / "bench.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError) as caught:
        load_bench(tmp_path)
    assert caught.value.code == "profile.unreadable"
