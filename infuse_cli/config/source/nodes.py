"""YAML with its places: text in, a tree of tables, lists and scalars out, each knowing its line.

Anchors, aliases and explicit tags are refused: `extends` is for sharing, and a profile stays
readable by line. Variables are filled in after the YAML was read, so a value from the environment
can never add keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from infuse_cli.config.source.finding import Finding, Mark, Source, at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Value = str | int | float | bool | None

_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}")
_TYPED: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null"))
_PLAIN_TAGS: Final = frozenset(
    {
        *_TYPED,
        *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "timestamp", "value", "map", "seq")),
    }
)
_DEEPEST: Final = 12

TWICE: Final = "is given twice"
"""In the finding of a repeated key; its first value is checked all the same."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value; `text` as written, after variables.

    Where a variable took part, quotes say nothing: `text` holds for keys that take text, `value`
    for all others.
    """

    mark: Mark
    value: Value
    text: str
    from_variable: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its place, and what it holds."""

    mark: Mark
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the order written; `repeated` are keys that were given again, which count for
    nothing.
    """

    mark: Mark
    items: dict[str, Entry]
    repeated: tuple[tuple[str, Entry], ...] = ()


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A value that a finding was already made of."""

    mark: Mark


Node = Scalar | Table | Sequence | Broken


def read(text: str, source: Source, env: Mapping[str, str]) -> tuple[Table, list[Finding]]:
    """Read one file. What cannot be read becomes findings; the table holds the rest."""
    import yaml

    empty = Table(Mark(source), {})
    try:
        events = list(_bounded(yaml.parse(text, Loader=yaml.SafeLoader)))
        refused = _refused(events, source)
        root = None if refused else _composed(events)
    except yaml.MarkedYAMLError as error:
        return empty, [_bad_yaml(error, source)]
    except (yaml.YAMLError, RecursionError) as error:
        return empty, [
            at(Mark(source), "", f"not valid YAML: {_first_line(error)}", code="profile.bad-yaml")
        ]
    if refused:
        return empty, refused
    builder = _Builder(source, env)
    tree = builder.node(root, "") if root is not None else empty
    if isinstance(tree, Table):
        return tree, builder.findings
    return empty, [
        *builder.findings,
        at(
            tree.mark,
            "",
            "this has no keys",
            expected="keys and values, such as `name: my-product`",
        ),
    ]


def merged(base: Table, over: Table) -> Table:
    """`over` laid on `base`: tables deeply, lists and scalars replaced."""
    items = dict(base.items)
    for key, entry in over.items.items():
        below = items.get(key)
        if below is not None and isinstance(below.node, Table) and isinstance(entry.node, Table):
            items[key] = Entry(entry.mark, merged(below.node, entry.node))
        else:
            items[key] = entry
    return Table(over.mark, items)


def find(tree: Table, key: str) -> Node | None:
    """The node under a dotted key, None where there is none."""
    node: Node = tree
    for word in key.split("."):
        if not isinstance(node, Table) or word not in node.items:
            return None
        node = node.items[word].node
    return node


def place(tree: Table, key: str) -> Mark:
    """The place of a dotted key, or of the nearest table around it."""
    node: Node = tree
    mark = tree.mark
    for word in key.split(".") if key else ():
        if not isinstance(node, Table) or word not in node.items:
            break
        mark, node = node.items[word].mark, node.items[word].node
    return mark


def put(tree: Table, key: str, value: Node) -> Table:
    """The tree with `value` under a dotted key."""
    word, _, rest = key.partition(".")
    if not rest:
        return replace(tree, items={**tree.items, word: Entry(value.mark, value)})
    below = tree.items.get(word)
    inner = (
        below.node if below is not None and isinstance(below.node, Table) else Table(value.mark, {})
    )
    entry = Entry(below.mark if below is not None else value.mark, put(inner, rest, value))
    return replace(tree, items={**tree.items, word: entry})


def plain(node: Node) -> Any:
    """The tree as plain values."""
    match node:
        case Scalar():
            return node.value
        case Table():
            return {key: plain(entry.node) for key, entry in node.items.items()}
        case Sequence():
            return [plain(item) for item in node.items]
        case Broken():
            return None


class _Builder:
    """Turns YAML nodes into ours, collecting findings."""

    def __init__(self, source: Source, env: Mapping[str, str]) -> None:
        import yaml

        self._source, self._env = source, env
        self._loader: Any = yaml.SafeLoader("")
        self.findings: list[Finding] = []

    def node(self, node: Any, key: str) -> Node:
        import yaml

        mark = self._mark(node)
        if node.tag not in _PLAIN_TAGS:
            return self._broken(mark, key, f"the tag {node.tag!r} is not taken", "profile.bad-yaml")
        match node:
            case yaml.MappingNode():
                return self._table(node, mark, key)
            case yaml.SequenceNode():
                return Sequence(
                    mark, tuple(self.node(item, f"{key}[{n}]") for n, item in enumerate(node.value))
                )
            case _:
                return self._scalar(node, mark, key)

    def _table(self, node: Any, mark: Mark, key: str) -> Table:
        items: dict[str, Entry] = {}
        repeated: list[tuple[str, Entry]] = []
        for key_node, value_node in node.value:
            place_of_key, name = self._mark(key_node), str(key_node.value)
            path = f"{key}.{name}" if key else name
            if not isinstance(key_node.value, str) or name == "" or not _is_text(name):
                self.findings.append(
                    at(place_of_key, key, "a key must be a name", code="profile.bad-yaml")
                )
                continue
            if name in items:
                first = items[name].mark.line
                self.findings.append(
                    at(place_of_key, path, f"{path!r} {TWICE}, first in line {first}")
                )
                repeated.append((name, Entry(place_of_key, self.node(value_node, path))))
                continue
            items[name] = Entry(place_of_key, self.node(value_node, path))
        return Table(mark, items, tuple(repeated))

    def _scalar(self, node: Any, mark: Mark, key: str) -> Node:
        import yaml

        text: str = node.value
        tag: str = node.tag
        filled = text
        if "${" in text:
            missing = [
                m["name"]
                for m in _VARIABLE.finditer(text)
                if m["default"] is None and m["name"] not in self._env
            ]
            if missing:
                names = ", ".join(missing)
                return self._broken(
                    mark, key, f"the environment variable {names} is not set", "profile.variable"
                )
            filled = _VARIABLE.sub(
                lambda m: self._env.get(m["name"]) or (m["default"] or "")[2:], text
            )
            if filled != text:
                tag = self._loader.resolve(yaml.ScalarNode, filled, (True, False))
        if not _is_text(filled):
            return self._broken(
                mark, key, "this holds half of a character (a lone surrogate)", "profile.bad-yaml"
            )
        try:
            value = (
                self._loader.construct_object(yaml.ScalarNode(tag, filled))
                if tag in _TYPED
                else filled
            )
        except ValueError:  # Python bounds the digits of a number
            return self._broken(
                mark,
                key,
                f"this is no number that can be used: it has {len(filled)} characters",
                "profile.invalid",
            )
        return Scalar(mark, value, filled, from_variable=filled != text)

    def _broken(self, mark: Mark, key: str, message: str, code: str) -> Broken:
        self.findings.append(at(mark, key, message, code=code))
        return Broken(mark)

    def _mark(self, node: Any) -> Mark:
        return Mark(self._source, node.start_mark.line + 1, node.start_mark.column + 1)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bounded(events: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Each event with the depth it leads to, up to the first that is too deep: what follows is not
    even parsed.
    """
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        yield depth, event
        if depth > _DEEPEST:
            return


def _refused(events: list[tuple[int, Any]], source: Source) -> list[Finding]:
    """Findings for what could grow or nest without bound; nothing else is read when there
    are any.
    """
    import yaml

    found: list[Finding] = []
    for depth, event in events:
        mark = Mark(source, event.start_mark.line + 1, event.start_mark.column + 1)
        if depth > _DEEPEST:
            found.append(at(mark, "", "this is nested too deeply", code="profile.bad-yaml"))
        elif isinstance(event, yaml.AliasEvent):
            found.append(
                at(
                    mark,
                    "",
                    f"the alias *{event.anchor} is not taken",
                    expected="the value itself, or `extends`",
                    code="profile.bad-yaml",
                )
            )
    return found


def _composed(events: list[tuple[int, Any]]) -> Any:
    """The nodes of these events, None where there are none: they are composed without being parsed
    again.
    """
    import yaml

    loader: Any = yaml.SafeLoader("")
    waiting = [event for _, event in reversed(events)]

    def is_next(*kinds: type) -> bool:
        return not kinds or isinstance(waiting[-1], kinds)

    loader.check_event, loader.peek_event, loader.get_event = (
        is_next,
        lambda: waiting[-1],
        waiting.pop,
    )
    return loader.get_single_node()


def _bad_yaml(error: Any, source: Source) -> Finding:
    where = error.problem_mark or error.context_mark
    mark = Mark(source, where.line + 1, where.column + 1) if where is not None else Mark(source)
    problem = " ".join(str(error.problem or error.context or "it cannot be read").split())
    if "'\\t'" in problem:
        return at(
            mark, "", "a tab is used for indentation", expected="spaces", code="profile.bad-yaml"
        )
    expected = (
        "quotes around ${…} inside { }"
        if "'{'" in problem and "flow mapping" in str(error.context)
        else ""
    )
    return at(mark, "", f"not valid YAML: {problem}", expected=expected, code="profile.bad-yaml")


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__
