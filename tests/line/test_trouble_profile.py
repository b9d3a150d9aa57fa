"""A profile that is not there or not right: refused before a board, the cloud or the journal is
touched.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.line.trouble import in_slot, one_line, passes, refused

MISTAKES = [
    ("no-such-profile", None, "profile.not-found", ["no-such-profile"]),
    (
        "bad-yaml",
        "name: sim\nboard: {soc: [nRF9151\n",
        "profile.bad-yaml",
        ["bad-yaml.yaml", "line "],
    ),
    (
        "unknown-key",
        "extends: ./profile.yaml\nname: sim\nidentity: {sec_tagg: 4201}\n",
        "profile.invalid",
        ["unknown-key.yaml:3", "sec_tagg", "'sec_tag'"],
    ),
    (
        "wrong-type",
        "extends: ./profile.yaml\nname: sim\nidentity: {sec_tag: high}\n",
        "profile.invalid",
        ["wrong-type.yaml:3", "sec_tag"],
    ),
    (
        "no-variable",
        "name: sim\ncloud: {base_url: 'https://${NO_SUCH_VARIABLE_HERE}'}\n",
        "profile.variable",
        ["NO_SUCH_VARIABLE_HERE"],
    ),
    ("not-a-mapping", "- name: sim\n", "profile.invalid", ["not-a-mapping.yaml"]),
    ("loop", "name: sim\nextends: ./loop.yaml\n", "profile.invalid", ["loop"]),
]


@pytest.fixture(scope="module")
def bench(make_bench):
    with make_bench(1) as bench:
        yield bench


@pytest.mark.parametrize(
    ("name", "text", "code", "named"), MISTAKES, ids=[row[0] for row in MISTAKES]
)
def test_a_wrong_profile_is_refused_before_anything_happens(bench, name, text, code, named):
    profile = name
    if text is not None:
        profile = str(bench.world.folder / f"{name}.yaml")
        Path(profile).write_text(text)
    words = ("provision", "--profile", profile, "--port", bench.world.port(1))
    error = refused(bench.infuse(*words, "--output", "json"), code, 3)
    line = one_line(bench.infuse(*words), code, 3)
    for word in named:
        assert word in error["message"] + error["hint"]
        assert word in line
    assert in_slot(bench, 1)["counts"]["keygen"] == 0
    assert not bench.home.exists()


def test_a_secret_in_a_profile_is_refused_and_not_repeated(bench):
    profile = yaml.safe_load(Path(bench.profile).read_text())
    profile["cloud"]["auth"]["token"] = bench.world.token
    path = bench.world.folder / "leaky.yaml"
    path.write_text(yaml.safe_dump(profile))
    words = ("provision", "--profile", str(path), "--port", bench.world.port(1))
    for ran in (bench.infuse(*words, "--output", "json"), bench.infuse(*words)):
        assert ran.code == 3
        assert "profile.secret" in ran.stdout + ran.stderr
        assert bench.world.token not in ran.stdout + ran.stderr


def test_the_unreadable_profile_is_named(bench):
    path = bench.world.folder / "closed.yaml"
    path.write_text(Path(bench.profile).read_text())
    path.chmod(0)
    words = ("provision", "--profile", str(path), "--port", bench.world.port(1))
    error = refused(
        bench.infuse(*words, "--output", "json", powerless=True), "profile.unreadable", 3
    )
    assert "closed.yaml" in error["message"]
    one_line(bench.infuse(*words, powerless=True), "profile.unreadable", 3)


def test_no_profile_at_all_says_how_to_name_one(bench):
    ran = bench.infuse(
        "provision", "--port", bench.world.port(1), "--output", "json", env={"INFUSE_PROFILE": ""}
    )
    assert "--profile" in refused(ran, "profile.not-found", 3)["hint"]


def test_with_the_right_profile_the_board_passes(bench):
    passes(bench, 1)
