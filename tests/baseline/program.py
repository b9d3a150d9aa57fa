"""What the program says of itself: commands with their options, error codes, fail-points.

`make.py` stored what these functions gave at commit dadc716; the tests compare with what they give
now.
"""

from __future__ import annotations

import ast
import enum
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAIL_POINT = re.compile(
    r"(?:before|begun|ran|done|wire|sent|answered|retire|replace|replaces|rotate|rekey):"
    r"[A-Za-z][\w /.-]*(?:\{tokenId\})?(?:#\d+)?|signed|imported"
)
"""What a name of a fail-point looks like."""


def commands() -> dict[str, dict[str, Any]]:
    """The tree of commands: parameters by the words of their command ("" is the root)."""
    from infuse_cli.cli._lazy import root, walk

    return {" ".join(found.path): _command(found.command) for found in walk(root())}


def _command(command: Any) -> dict[str, Any]:
    return {
        "group": bool(getattr(command, "commands", None)),
        "hidden": bool(command.hidden),
        "parameters": [_parameter(parameter) for parameter in command.params],
    }


def _parameter(parameter: Any) -> dict[str, Any]:
    """A parameter, without what is empty. An argument is known by its place, not by a name."""
    named = parameter.param_type_name == "option"
    found = {
        "kind": parameter.param_type_name,
        "options": sorted(parameter.opts) if named else [],
        "off": sorted(parameter.secondary_opts) if named else [],
        "metavar": parameter.metavar,
        "default": _plain(parameter.default),
        "required": bool(parameter.required),
        "multiple": bool(parameter.multiple),
        "nargs": parameter.nargs if parameter.nargs != 1 else None,
        "flag": bool(getattr(parameter, "is_flag", False)),
        "count": bool(getattr(parameter, "count", False)),
        "hidden": bool(getattr(parameter, "hidden", False)),
        "environment": _plain(parameter.envvar),
        "choices": sorted(map(str, getattr(parameter.type, "choices", ()))),
        "least": _plain(getattr(parameter.type, "min", None)),
        "most": _plain(getattr(parameter.type, "max", None)),
    }
    return {name: value for name, value in found.items() if value not in (None, False, [], ())}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def codes() -> dict[str, dict[str, Any]]:
    """The error codes: exit, whose fault, whether the board may be unplugged, what to do."""
    from infuse_cli.errors import CODES

    return {
        code: {
            "exit": int(info.exit),
            "outcome": info.outcome.value,
            "boardSafe": info.board_safe,
            "meaning": info.meaning,
            "hint": info.hint,
        }
        for code, info in sorted(CODES.items())
    }


def exits() -> dict[str, int]:
    """The exit codes by name."""
    from infuse_cli.errors import Exit

    return {code.name: int(code) for code in Exit}


def states() -> dict[str, list[str]]:
    """States that people and programs see in the journal."""
    from infuse_cli.types import AttemptState, IdentityMode, Outcome, StepState, TokenState

    kinds: tuple[type[enum.Enum], ...] = (
        AttemptState,
        IdentityMode,
        Outcome,
        StepState,
        TokenState,
    )
    return {kind.__name__: sorted(state.value for state in kind) for kind in kinds}


def fail_points(package: Path) -> list[str]:
    """Names that the code passes to `failpoint.hit`; what is filled in is written {}."""
    found = set()
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if ".hit(" in text else ():
            if _is_hit(node):
                found |= set(_texts(node.args[0]))
    return sorted(found)


def _is_hit(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "hit"
        and bool(node.args)
    )


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )


def killed_at(tests: Path) -> list[str]:
    """Names of fail-points that the tests write out, but for those of this folder."""
    found = set()
    for path in tests.rglob("test_*.py"):
        if path.parent.name == "baseline":
            continue
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if FAIL_POINT.search(source) else ():
            if isinstance(node, ast.expr):
                found |= {text for text in _texts(node) if FAIL_POINT.fullmatch(text)}
    return sorted(found)


def kill_list() -> dict[str, list[str]]:
    """Where tests/line/test_kill_points.py kills, by mode."""
    from tests.line import test_kill_points as kills

    return {
        "local-ca": kills.LOCAL_CA,
        "cloud-ca": kills.CLOUD_CA,
        "first-boot": kills.FIRST_BOOT,
        "none": kills.NONE,
    }
