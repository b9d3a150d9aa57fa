"""Makes the reference pages from the program itself: `python -m infuse_cli.cli.reference
docs/reference [--check]`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infuse_cli.errors import CODES, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infuse_cli.cli.api_calls import ApiCall

MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "all done, all PASS; with `--until`, every board stopped where it was told to",
    Exit.TOOL: "a fault in the tool",
    Exit.USAGE: "usage: an option, an argument, or a terminal that is not there",
    Exit.PROFILE: "profile or configuration",
    Exit.CREDENTIAL: "credential",
    Exit.CLOUD_UNREACHABLE: "cloud out of reach",
    Exit.CLOUD_REFUSED: "the cloud refused it",
    Exit.BOARD: "board or serial",
    Exit.IDENTITY: "identity or policy refused (CSR, conflict, clone)",
    Exit.SIGNER: "signer or CA",
    Exit.JOURNAL: "journal",
    Exit.SOME_FAILED: "some boards or rows failed",
    Exit.INTERRUPTED: "interrupted",
}
"""What an exit code means."""

_MADE: Final = (
    "<!-- Made by `python -m infuse_cli.cli.reference docs/reference`; a test compares. -->\n"
)


def pages() -> dict[str, str]:
    """The pages by file name."""
    return {
        "cli.md": _cli(),
        "exit-codes.md": _exit_codes(),
        "error-codes.md": _error_codes(),
        "profile.md": _profile(),
        "journal-states.md": _journal_states(),
        "api-calls.md": _api_calls(),
    }


def pages_with_prose(folder: Path) -> dict[str, str]:
    """Pages of which only parts are made here, by file name relative to `folder`."""
    from infuse_cli.cli import reference_plans

    name = f"../explanation/{reference_plans.PAGE}"
    return {name: reference_plans.filled((folder / name).read_text(encoding="utf-8"))}


def _cli() -> str:
    from infuse_cli.cli._lazy import root, walk

    parts = [f"# Command line\n\n{_MADE}"]
    for one in walk(root()):
        if not one.hidden:
            title = " ".join(("infuse", *one.path))
            parts.append(f"## {title}\n\n```text\n{_trimmed(one.help_text())}\n```\n")
    return "\n".join(parts)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _exit_codes() -> str:
    rows = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return (
        f"# Exit codes\n\n{_MADE}\n| exit | means |\n|---|---|\n{rows}\nWith one board or row the"
        " exit code is its own; with several, any that is not PASS gives 11. Trouble before"
        " a\nboard was begun, or that stops all, gives its own code. When the reader of a pipe"
        " goes away the code is 141,\nas for any program.\n"
    )


def _error_codes() -> str:
    rows = "".join(
        f"| `{code}` | {int(info.exit)} | {info.outcome.value} |"
        f" {'yes' if info.board_safe else '**no**'} | {_cell(info.meaning)} |"
        f" {_cell(info.hint)} |\n"
        for code, info in sorted(CODES.items())
    )
    return (
        f"# Error codes\n\n{_MADE}\nFAIL: this board is bad. ERROR: the tool, the bench or the"
        " cloud is. ABORTED: a person stopped.\n\n| code | exit | board's result | safe to unplug"
        f" | means | what to do |\n|---|---|---|---|---|---|\n{rows}"
    )


def _profile() -> str:
    from infuse_cli.config.profile_template import full

    return (
        f"# Profile keys\n\n{_MADE}\nEvery key with its default and what it takes, as `infuse"
        " profile new --full` prints it. Only `name` is always\nrequired. Unknown keys are"
        " refused, and so is a secret. `infuse profile check` lists every mistake with its"
        f" line.\n\n```yaml\n{full('my-product')}```\n"
    )


# What a state means, in the words of a person who reads a record.
_STEP_STATES: Final = {
    "pending": "not begun, or found safe to repeat",
    "begun": "its intent is on disk; the effect may follow at any moment",
    "unknown": (
        "the process died, time ran out or an answer was lost after the effect may have happened:"
        " only a probe decides"
    ),
    "done": "the effect is there, and its facts are on record",
    "failed": (
        "refused for certain: the effect did not happen, or a later check refused what it gave"
    ),
    "conflict": "what was found cannot be decided by a program: a person has to look",
}
_ATTEMPT_STATES: Final = {
    "running": (
        "a run is at work on it, or was when its process died (then `journal list` says"
        " interrupted)"
    ),
    "parked": (
        "stopped by an ERROR or a person: `infuse resume` and `infuse provision` go on with it"
    ),
    "failed": "FAIL: `infuse provision` tries the board again, from the step that failed",
    "passed": "PASS",
    "closed": "ended for good by a person (`infuse journal close`)",
    "superseded": "a newer attempt took its place (`--again`, `--restart`)",
}
_TOKEN_STATES: Final = {
    "intended": "about to be minted; the intent is on disk",
    "minted": "the cloud gave it; its hash is on record and the secret is sealed",
    "handed-over": "sealed into a file for another bench, where it is used; here it is not",
    "delivered": "it has been on the wire, to this board or with its CSR",
    "consumed": "traded for an identity",
    "revoked": "taken back, or it never came to be",
    "expired": "its time ran out",
    "compromised": "it may have been consumed or reached another board: never used again",
}


_ROW_STATES: Final = {
    "begun": (
        "its intent is on disk, its POST may be under way; where the process died, the next run"
        " looks it up before anything is sent"
    ),
    "created": "a run made its device",
    "existed": "its device was there already",
    "differs": "its device is there with other values, and was not touched",
    "refused": "the cloud refused it; the record has its words",
    "unknown": "the cloud could not be asked for long enough: the next run looks it up",
    "parked": "the run was stopped before anything of it was sent",
}


def _journal_states() -> str:
    from infuse_cli.provisioning.state import MOVES
    from infuse_cli.records.rows import BEGUN, PARKED, RowOutcome
    from infuse_cli.types import AttemptState, StepState, TokenState

    moves = sorted(
        MOVES, key=lambda move: (list(StepState).index(move[0]), list(StepState).index(move[1]))
    )
    table = "".join(f"| {one.value} | {other.value} |\n" for one, other in moves)
    parts = [f"# States in the journal\n\n{_MADE}"]
    parts += [
        _states("Steps", [state.value for state in StepState], _STEP_STATES),
        f"No other moves than these exist:\n\n| from | to |\n|---|---|\n{table}",
    ]
    parts += [
        _states("Attempts", [state.value for state in AttemptState], _ATTEMPT_STATES),
        _states("Registration tokens", [state.value for state in TokenState], _TOKEN_STATES),
    ]
    parts += [
        _states(
            "Rows of a batch",
            [BEGUN, *(outcome.value for outcome in RowOutcome), PARKED],
            _ROW_STATES,
        )
    ]
    return "\n".join(parts)


def _states(title: str, names: list[str], meanings: dict[str, str]) -> str:
    rows = "".join(f"| {name} | {meanings[name]} |\n" for name in names)
    return f"## {title}\n\n| state | means |\n|---|---|\n{rows}"


def _api_calls() -> str:
    from infuse_cli.cli.api_calls import INFUSE, REGISTRY

    parts = [f"# Calls of the two APIs, and the commands that make them\n\n{_MADE}"]
    for title, calls in (
        ("Infuse IoT API", INFUSE),
        ("Device registry, below `/api/v1`", REGISTRY),
    ):
        rows = "".join(f"| `{call.call}` | {_commands_of(call)} |\n" for call in calls)
        parts.append(f"## {title}\n\n| call | command |\n|---|---|\n{rows}")
    return "\n".join(parts)


def _commands_of(call: ApiCall) -> str:
    commands = ", ".join(f"`infuse {command}`" for command in call.commands)
    return f"{commands}; {call.note}" if call.note else commands


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main(argv: Sequence[str]) -> int:
    """Write the pages into a folder, or with --check tell which differ (exit 1)."""
    folder = Path(next((word for word in argv if not word.startswith("-")), "docs/reference"))
    made = {**pages(), **pages_with_prose(folder)}
    if "--check" in argv:
        stale = [
            name
            for name, text in made.items()
            if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
        ]
        sys.stdout.writelines(f"{folder / name} is stale\n" for name in stale)
        return 1 if stale else 0
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
