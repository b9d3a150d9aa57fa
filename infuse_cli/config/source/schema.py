"""The profile's schema, walked beside the tree: every mistake becomes a finding, the rest a
profile.

The schema is `infuse_cli.config.model`, read through msgspec, so a key that is added there is
checked here at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import inspect as kinds

from infuse_cli.config.model import Profile
from infuse_cli.config.source.finding import Finding, at, nearest
from infuse_cli.config.source.nodes import Broken, Node, Scalar, Sequence, Table

if TYPE_CHECKING:
    from infuse_cli.config.source.finding import Mark

_DROP: Final = object()
ROOT: Final = kinds.type_info(Profile)


def shaped(tree: Table) -> tuple[Profile, list[Finding]]:
    """The profile that the tree describes, and all mistakes; what is wrong takes its default."""
    walk = _Walk()
    values = walk.struct(tree, ROOT, "")
    values.setdefault("name", tree.mark.source.name or "unnamed")
    return msgspec.convert(values, Profile), walk.findings


def describe(kind: kinds.Type) -> str:
    """What a type expects, in words."""
    match kind:
        case kinds.UnionType():
            return " or ".join(
                describe(one) for one in kind.types if not isinstance(one, kinds.NoneType)
            )
        case kinds.LiteralType():
            return "one of " + ", ".join(str(value) for value in kind.values)
        case kinds.StructType():
            return "a section with " + ", ".join(field.encode_name for field in kind.fields)
        case kinds.DictType():
            return "names with values"
        case kinds.VarTupleType():
            return "a list"
        case _:
            return _WORDS[type(kind)]


_WORDS: Final[dict[type[kinds.Type], str]] = {
    kinds.StrType: "text",
    kinds.IntType: "a whole number",
    kinds.FloatType: "a number",
    kinds.BoolType: "true or false",
    kinds.NoneType: "nothing",
}


class _Walk:
    """One pass over tree and schema."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def value(self, node: Node, kind: kinds.Type, key: str) -> Any:  # noqa: PLR0911 - one a form
        if isinstance(node, Broken):
            return _DROP
        match kind:
            case kinds.UnionType():
                return self._union(node, kind, key)
            case kinds.StructType() if isinstance(node, Table) or _is_empty(node):
                return self._section(node, kind, key)
            case kinds.DictType() if isinstance(node, Table) or _is_empty(node):
                return self._names(node, kind, key)
            case kinds.VarTupleType() if isinstance(node, Sequence) or _is_empty(node):
                return self._list(node, kind, key)
            case _ if isinstance(node, Scalar) and _fits(_meant(node, kind), kind):
                return _meant(node, kind)
            case _:
                return self._wrong(node, kind, key)

    def struct(self, node: Table, kind: Any, key: str) -> dict[str, Any]:
        """The values of a section, without those that are wrong."""
        fields = {field.encode_name: field for field in kind.fields}
        values: dict[str, Any] = {}
        meant: set[str | None] = set()
        for name, entry in node.items.items():
            path = f"{key}.{name}" if key else name
            if name not in fields:
                meant.add(self._unknown(entry.mark, path, name, set(fields), set(node.items)))
            elif (value := self.value(entry.node, fields[name].type, path)) is not _DROP:
                values[name] = value
        for name, field in fields.items():
            if field.required and name not in node.items and name not in meant:
                where = f"{key!r}" if key else "the profile"
                self.findings.append(
                    at(
                        node.mark,
                        f"{key}.{name}" if key else name,
                        f"{where} needs the key {name!r}",
                        expected=describe(field.type),
                    )
                )
        return values

    def _section(self, node: Node, kind: kinds.StructType, key: str) -> Any:
        table = node if isinstance(node, Table) else Table(node.mark, {})
        values = self.struct(table, kind, key)
        complete = all(not field.required or field.encode_name in values for field in kind.fields)
        return values if complete else _DROP

    def _names(self, node: Node, kind: kinds.DictType, key: str) -> dict[str, Any]:
        items = node.items if isinstance(node, Table) else {}
        values = {
            name: self.value(entry.node, kind.value_type, f"{key}.{name}")
            for name, entry in items.items()
        }
        return {name: value for name, value in values.items() if value is not _DROP}

    def _list(self, node: Node, kind: kinds.VarTupleType, key: str) -> list[Any]:
        items = node.items if isinstance(node, Sequence) else ()
        values = [self.value(item, kind.item_type, f"{key}[{n}]") for n, item in enumerate(items)]
        return [value for value in values if value is not _DROP]

    def _union(self, node: Node, kind: kinds.UnionType, key: str) -> Any:
        if _is_empty(node) and any(isinstance(one, kinds.NoneType) for one in kind.types):
            return None
        for one in kind.types:
            if _same_form(node, one):
                return self.value(node, one, key)
        return self._wrong(node, kind, key)

    def _unknown(
        self, mark: Mark, path: str, name: str, names: set[str], given: set[str]
    ) -> str | None:
        meant = nearest(name, names - given) or nearest(name, names)
        self.findings.append(
            at(
                mark,
                path,
                f"unknown key {path!r}",
                expected="" if meant else _one_of(names - given),
                nearest=meant,
            )
        )
        return meant

    def _wrong(self, node: Node, kind: kinds.Type, key: str) -> Any:
        meant = None
        if isinstance(kind, kinds.LiteralType) and isinstance(node, Scalar):
            meant = nearest(node.text, (str(value) for value in kind.values))
        self.findings.append(
            at(
                node.mark,
                key,
                f"{key!r} is {_found(node)}",
                expected=describe(kind) + _quotes(node, kind),
                nearest=meant,
            )
        )
        return _DROP


def _meant(node: Scalar, kind: kinds.Type) -> object:
    """A scalar's value for a key of this type: what comes from a variable is text wherever text is
    taken.
    """
    return (
        node.text
        if node.from_variable and isinstance(kind, kinds.StrType | kinds.LiteralType)
        else node.value
    )


def _fits(value: object, kind: kinds.Type) -> bool:
    match kind:
        case kinds.StrType():
            return isinstance(value, str)
        case kinds.BoolType():
            return isinstance(value, bool)
        case kinds.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case kinds.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case kinds.LiteralType():
            return value in kind.values
        case _:
            return False


def _same_form(node: Node, kind: kinds.Type) -> bool:
    match node:
        case Table():
            return isinstance(kind, kinds.StructType | kinds.DictType)
        case Sequence():
            return isinstance(kind, kinds.VarTupleType)
        case _:
            return isinstance(
                kind,
                kinds.StrType
                | kinds.IntType
                | kinds.FloatType
                | kinds.BoolType
                | kinds.LiteralType,
            )


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _found(node: Node) -> str:
    match node:
        case Table():
            return "a section"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "empty"
        case Scalar():
            return repr(node.text)
        case Broken():
            return "broken"


def _quotes(node: Node, kind: kinds.Type) -> str:
    if not isinstance(node, Scalar) or node.value is None:
        return ""
    wants_text = "text" in describe(kind).split()
    if wants_text and not isinstance(node.value, str):
        return " (put it in quotes)"
    if (
        isinstance(kind, kinds.IntType | kinds.FloatType)
        and isinstance(node.value, str)
        and node.text.strip().isdigit()
    ):
        return " (take the quotes off)"
    return ""


def _one_of(names: set[str]) -> str:
    return "one of " + ", ".join(sorted(names)) if names else "no further key"
