"""Profiles from YAML: `extends`, `${VAR}`, built-in names, and every mistake at once with its line.

`load` is for a run and raises at the first sight of a mistake; `check` is for people and lists all
of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.config.model import Names, path_keys
from infuse_cli.config.source import certificates, find, nodes, rules, schema, secrets
from infuse_cli.config.source.find import available, is_path
from infuse_cli.config.source.finding import Finding, Mark, Source, at
from infuse_cli.config.source.subject import Subject
from infuse_cli.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from infuse_cli.config.model import Profile

__all__ = [
    "Finding",
    "Loaded",
    "Reading",
    "Source",
    "available",
    "check",
    "is_path",
    "load",
    "read",
    "read_source",
]

_EXTENDS: Final = "extends"
_OF_THE_LEAF: Final = (_EXTENDS, "name", "description")
_DEEPEST_CHAIN: Final = 8
_ENVIRONMENT: Final = (
    ("INFUSE_BASE_URL", "cloud.base_url"),
    ("INFUSE_REGISTRY_URL", "registry.base_url"),
    ("INFUSE_CA_BUNDLE", "cloud.ca_bundle"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A profile ready for a run: paths absolute, variables and overrides applied.

    `path` is the file it was read from; `chain` the names from this profile to the last it extends;
    `overridden` says what the environment or the command line changed, e.g.
    `cloud.base_url (INFUSE_BASE_URL)`.
    """

    profile: Profile
    path: Path | None
    chain: tuple[str, ...]
    overridden: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A profile as far as it can be understood, with everything that was found, and the merged tree
    it came from.
    """

    profile: Profile
    source: Source
    tree: nodes.Table
    chain: tuple[Source, ...]
    overridden: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> list[Finding]:
        """The findings that keep a run from starting."""
        return [finding for finding in self.findings if finding.severity == "error"]


def load_profile(name: str | None, env: Mapping[str, str] | None = None) -> Loaded:
    """Load the profile of a run. Raises ProfileError profile.not-found when none was named."""
    if name is None:
        raise ProfileError(
            "profile.not-found",
            "no profile was named",
            hint=(
                "--profile NAME or INFUSE_PROFILE names one; `infuse profile list` shows them;"
                " `infuse provision --sim 4` needs none."
            ),
        )
    return load(name, env or {})


def load(
    name_or_path: str, env: Mapping[str, str], *, overrides: Iterable[tuple[str, Any]] = ()
) -> Loaded:
    """Read, resolve and check a profile.

    `overrides` are (dotted key, value) pairs that beat file and environment. Raises ProfileError:
    profile.not-found, .unreadable, .bad-yaml, .secret, .variable, .cannot, or .invalid where
    several mistakes were made.
    """
    reading = read(name_or_path, env, overrides=overrides)
    errors = reading.errors
    if reading.source.built_in:
        errors += [
            replace(finding, severity="error")
            for finding in reading.findings
            if finding.expected and finding.severity == "warning"
        ]
    if errors:
        raise _as_error(errors, secrets.masked(name_or_path))
    warnings = tuple(finding for finding in reading.findings if finding.severity == "warning")
    chain = tuple(source.name for source in reading.chain)
    return Loaded(reading.profile, reading.source.path, chain, reading.overridden, warnings)


def check(name_or_path: str, env: Mapping[str, str]) -> list[Finding]:
    """All mistakes and doubts of a profile, by file and line.

    Raises ProfileError only where there is no such profile.
    """
    return list(read(name_or_path, env).findings)


def read(
    name_or_path: str, env: Mapping[str, str], *, overrides: Iterable[tuple[str, Any]] = ()
) -> Reading:
    """Read a profile as far as it can be understood. Raises ProfileError where there is none."""
    return read_source(find.locate(name_or_path, env, Path.cwd()), env, overrides=overrides)


def read_source(
    source: Source, env: Mapping[str, str], *, overrides: Iterable[tuple[str, Any]] = ()
) -> Reading:
    """Read a profile that was found already, as `read` does."""
    chain, tree, findings = _chained(source, env)
    tree, overridden, more = _overridden(tree, env, overrides)
    tree = _absolute(tree)
    profile, mistakes = schema.shaped(tree)
    if any(finding.code == "profile.bad-yaml" for finding in findings):
        mistakes = [finding for finding in mistakes if finding.key != "name"]
    found = _without_secrets([*findings, *more, *mistakes], secrets.in_tree(tree))
    simulated = any(link.name == "simulator" for link in chain)
    half_read = any(finding.key == _EXTENDS for finding in findings)
    subject = Subject(profile, tree, base=source.built_in or half_read, simulated=simulated)
    sense = [finding for finding in rules.all_of(subject) if not _follows(finding, found)]
    found += [finding for finding in sense if not (half_read and finding.severity == "warning")]
    return Reading(profile, source, tree, chain, overridden, tuple(_sorted(found)))


def _chained(
    source: Source, env: Mapping[str, str]
) -> tuple[tuple[Source, ...], nodes.Table, list[Finding]]:
    """The profile and those it extends, leaf first; their trees merged, without what belongs to
    each file alone.
    """
    chain: list[tuple[Source, nodes.Table]] = []
    findings: list[Finding] = []
    following: Source | None = source
    while following is not None:
        text = (
            find.read_text(following)
            if following is source
            else _text(following, chain[-1], findings)
        )
        tree, more = nodes.read(text, following, env)
        keyed = secrets.in_tree(tree)
        told = {finding.line for finding in keyed}
        findings += [
            *more,
            *keyed,
            *(finding for finding in secrets.in_text(text, following) if finding.line not in told),
        ]
        chain.append((following, tree))
        following = _extended(tree, [link.path for link, _ in chain], env, findings)
    merged = nodes.Table(chain[0][1].mark, {})
    for number, (_, tree) in reversed(list(enumerate(chain))):
        own = _OF_THE_LEAF if number else (_EXTENDS,)
        merged = nodes.merged(
            merged,
            nodes.Table(
                tree.mark, {key: entry for key, entry in tree.items.items() if key not in own}
            ),
        )
    return tuple(link for link, _ in chain), merged, findings


def _text(source: Source, child: tuple[Source, nodes.Table], findings: list[Finding]) -> str:
    try:
        return find.read_text(source)
    except ProfileError as error:
        findings.append(
            at(nodes.place(child[1], _EXTENDS), _EXTENDS, error.message, code=error.code)
        )
        return ""


def _extended(
    tree: nodes.Table, seen: list[Path | None], env: Mapping[str, str], findings: list[Finding]
) -> Source | None:
    entry = tree.items.get(_EXTENDS)
    if entry is None or isinstance(entry.node, nodes.Broken):
        return None
    if not isinstance(entry.node, nodes.Scalar) or not isinstance(entry.node.value, str):
        findings.append(
            at(
                entry.mark,
                _EXTENDS,
                "'extends' is not text",
                expected="the name or path of one profile",
            )
        )
        return None
    text = entry.node.value
    try:
        source = find.locate(text, env, entry.mark.source.folder, not_these=seen)
    except ProfileError as error:
        again = any(path is not None and path.stem == text for path in seen)
        message = f"'extends: {text}' leads back to itself" if again else error.message
        findings.append(
            at(entry.mark, _EXTENDS, message, code="profile.invalid" if again else error.code)
        )
        return None
    if any(
        path is not None and source.path is not None and path.resolve() == source.path.resolve()
        for path in seen
    ):
        findings.append(at(entry.mark, _EXTENDS, f"'extends: {text}' leads back to itself"))
        return None
    if len(seen) > _DEEPEST_CHAIN:
        findings.append(
            at(entry.mark, _EXTENDS, f"more than {_DEEPEST_CHAIN} profiles extend each other")
        )
        return None
    return source


def _overridden(
    tree: nodes.Table, env: Mapping[str, str], overrides: Iterable[tuple[str, Any]]
) -> tuple[nodes.Table, tuple[str, ...], list[Finding]]:
    named: list[str] = []
    findings: list[Finding] = []
    for variable, key in _ENVIRONMENT:
        value = env.get(variable)
        if not value:
            continue
        if key.startswith("registry.") and not isinstance(
            nodes.find(tree, "registry"), nodes.Table
        ):
            findings.append(
                at(
                    tree.mark,
                    "registry",
                    f"{variable} is set, but the profile has no registry",
                    severity="warning",
                )
            )
            continue
        tree = _put(tree, key, value, variable)
        named.append(f"{key} ({variable})")
    for key, value in overrides:
        tree = _put(tree, key, value, "command line")
        named.append(f"{key} (command line)")
    return tree, tuple(named), findings


def _put(tree: nodes.Table, key: str, value: Any, label: str) -> nodes.Table:
    mark = Mark(Source(label, Path.cwd()))
    return nodes.put(tree, key, nodes.Scalar(mark, value, str(value), from_variable=True))


def _absolute(tree: nodes.Table) -> nodes.Table:
    """Paths start from the file that names them, and are absolute from here on."""
    for key, names in path_keys().items():
        node = nodes.find(tree, key)
        if not isinstance(node, nodes.Scalar) or not isinstance(node.value, str) or not node.value:
            continue
        if names is Names.NAME_OR_FILE and not any(sign in node.value for sign in "/\\~"):
            beside = (
                certificates.find(node.value, node.mark.source.folder, None)
                if key == "identity.certificate"
                else None
            )
            if beside is not None:
                tree = nodes.put(
                    tree,
                    key,
                    nodes.Scalar(node.mark, str(beside.absolute()), str(beside.absolute())),
                )
            continue
        path = str((node.mark.source.folder / Path(node.value).expanduser()).absolute())
        tree = nodes.put(tree, key, nodes.Scalar(node.mark, path, path))
    return tree


def files_named(reading: Reading) -> list[Path]:
    """The files and folders that a profile names."""
    nodes_named = (nodes.find(reading.tree, key) for key in path_keys())
    texts = (node.value for node in nodes_named if isinstance(node, nodes.Scalar))
    return [Path(text) for text in texts if isinstance(text, str) and Path(text).is_absolute()]


def _without_secrets(findings: list[Finding], more: list[Finding]) -> list[Finding]:
    """All findings, without those that would quote the value of a key that holds a secret."""
    everything = [*findings, *more]
    keys = {
        finding.key for finding in everything if finding.code == "profile.secret" and finding.key
    }
    return [
        finding
        for finding in everything
        if finding.code == "profile.secret"
        or finding.key not in keys
        or finding.message.startswith("unknown key")
    ]


def _follows(finding: Finding, earlier: list[Finding]) -> bool:
    """Whether a finding is only the consequence of an earlier mistake at, above or below the same
    key.
    """
    for before in earlier:
        keys = (
            {before.key, f"{before.key.rpartition('.')[0]}.{before.nearest}".lstrip(".")}
            if before.key
            else set()
        )
        if (
            before.severity == "error"
            and nodes.TWICE not in before.message
            and any(_related(finding.key, key) for key in keys)
        ):
            return True
        if before.code == "profile.bad-yaml":
            return True
    return False


def _related(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith((f"{one}.", f"{one}["))


def _sorted(findings: list[Finding]) -> list[Finding]:
    unique = dict.fromkeys(
        replace(finding, message=secrets.masked(finding.message)) for finding in findings
    )
    return sorted(
        unique,
        key=lambda finding: (
            finding.severity != "error",
            finding.file,
            finding.line,
            finding.column,
        ),
    )


_GRAVEST: Final = (
    "profile.secret",
    "profile.bad-yaml",
    "profile.not-found",
    "profile.unreadable",
    "profile.variable",
    "profile.unsupported",
    "profile.invalid",
)


def _as_error(errors: list[Finding], name: str) -> ProfileError:
    gravest = min(errors, key=lambda finding: _GRAVEST.index(finding.code))
    details = {"findings": [str(finding) for finding in errors]}
    if len(errors) == 1 or gravest.code != "profile.invalid":
        others = f" ({len(errors)} mistakes in all)" if len(errors) > 1 else ""
        return ProfileError(gravest.code, f"{gravest}{others}", details=details)
    hint = f"`infuse profile check {name}` lists them all."
    return ProfileError(
        "profile.invalid",
        f"the profile has {len(errors)} mistakes; first: {gravest}",
        hint=hint,
        details=details,
    )
