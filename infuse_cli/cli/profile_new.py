"""`infuse profile new`: a few questions, a file, and what is still missing in it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from infuse_cli.cli.context import current
from infuse_cli.cli.result import OperationResult, finish
from infuse_cli.config import profile_template
from infuse_cli.config import source as profile_source
from infuse_cli.errors import UsageError
from infuse_cli.files import private_folder, write_file

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODES: Final = {
    "local-ca": "the local CA of this bench signs",
    "cloud-ca": "the registry's CA signs at the bench",
    "first-boot": "a token is flashed, and the board gets its certificate by itself",
    "none": "registered only, no certificate",
}


_MCU_IDS: Final = {
    "nrfutil": "read from the chip, through a debug probe",
    "imei": "made from the modem's IMEI",
    "scan": "scanned from the label",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of the new product; None is not yet answered, "" is answered with nothing."""

    name: str | None = None
    base: str | None = None
    mcu_id: str | None = None
    organisation: str | None = None
    board: str | None = None
    create_board: bool | None = None
    mode: str | None = None
    registry_url: str | None = None
    server_ca: str | None = None
    scan: str | None = None


def make(given: Answers, *, out: str | None, full: bool, force: bool) -> NoReturn:
    """Make the profile and say where it is and what to type next."""
    if full:
        text = profile_template.full(given.name or "my-product")
        if out is None:
            finish(OperationResult("profile new", {"path": None, "text": text}, human=text))
        path = Path(out).absolute()
        _write(path, text, force=force)
        finish(
            OperationResult(
                "profile new", {"path": path, "findings": []}, human=f"Every key is in {path}"
            )
        )
    answers = _complete(given)
    path = Path(out).absolute() if out else current().home / "profiles" / f"{answers.name}.yaml"
    _write(path, profile_template.short(_values(answers)), force=force)
    _finish(str(answers.name), path, named=out is None)


def _complete(given: Answers) -> Answers:
    asking = sys.stdin.isatty() and sys.stderr.isatty() and current().output == "human"
    answers = _asked(given) if asking else _defaults(given)
    if not _NAME.fullmatch(answers.name or ""):
        raise UsageError(
            "usage.bad-option",
            f"{answers.name!r} is not a name for a profile: letters, digits, '.', '_' and '-'",
        )
    if answers.mcu_id not in {*_MCU_IDS, "", None}:
        raise UsageError(
            "usage.bad-option",
            f"--mcu-id is {answers.mcu_id!r}, but must be one of {', '.join(_MCU_IDS)}",
        )
    if answers.mode not in _MODES:
        raise UsageError(
            "usage.bad-option",
            f"--mode is {answers.mode!r}, but must be one of {', '.join(_MODES)}",
        )
    return answers


def _defaults(given: Answers) -> Answers:
    missing = [
        option
        for option, value in (
            ("NAME", given.name),
            ("--organisation", given.organisation),
            ("--board", given.board),
        )
        if value is None
    ]
    if missing:
        raise UsageError(
            "usage.no-terminal",
            f"there is no terminal to ask on, and {', '.join(missing)} is not given",
            hint="Give them, or `infuse profile new --full` for every key.",
        )
    return replace(
        given,
        base=given.base or "nrf9151-dk",
        mode=given.mode or "local-ca",
        create_board=bool(given.create_board),
    )


def _asked(given: Answers) -> Answers:
    """Ask for what was not given, in the order in which a person thinks of it."""
    asked = given
    for field, question in _QUESTIONS:
        if getattr(asked, field) is None:
            asked = replace(asked, **{field: question(asked)})
    return asked


def _ask(
    question: str,
    *,
    default: str | None = None,
    choices: list[str] | None = None,
    wrong: Callable[[str], str | None] | None = None,
) -> str:
    """Ask until the answer fits; `wrong` says in words why one does not."""
    while True:
        answer = _ask_once(question, default=default, choices=choices)
        problem = wrong(answer) if wrong is not None else None
        if problem is None:
            return answer
        sys.stderr.write(f"  {problem}\n")


def _ask_once(question: str, *, default: str | None, choices: list[str] | None) -> str:
    from rich.console import Console
    from rich.prompt import Prompt

    console = Console(file=sys.stderr, no_color=current().no_color or None)
    try:
        answer = (
            Prompt.ask(
                question,
                console=console,
                choices=choices,
                default=default,
                show_default=bool(default),
            )
            if default is not None
            else Prompt.ask(question, console=console, choices=choices)
        )
    except EOFError as error:
        raise UsageError("usage.no-terminal", f"no answer to: {question}") from error
    return answer.strip()


def _bad_name(text: str) -> str | None:
    return (
        None
        if _NAME.fullmatch(text)
        else "A name has letters, digits, '.', '_' and '-', and no spaces."
    )


def _nothing(text: str) -> str | None:
    return None if text else "This is needed."


def _bad_pattern(text: str) -> str | None:
    try:
        re.compile(text)
    except re.error as error:
        return f"This is not a regular expression: {error}."
    return None


def _bad_url(text: str) -> str | None:
    return (
        None
        if re.match(r"https?://[^/\s]", text)
        else "A URL begins with https:// (http:// only for this machine)."
    )


def _ask_mode(_: Answers) -> str:
    for mode, meaning in _MODES.items():
        sys.stderr.write(f"  {mode:12}{meaning}\n")
    return _ask("Who makes the board's certificate?", default="local-ca", choices=list(_MODES))


def _ask_registry(answers: Answers) -> str:
    needed = answers.mode in {"cloud-ca", "first-boot"}
    if answers.mode == "none":
        return ""
    return _ask(
        (
            "Base URL of the device registry"
            if needed
            else "Base URL of the device registry (empty: none)"
        ),
        default=None if needed else "",
        wrong=lambda text: _bad_url(text) if text or needed else None,
    )


def _ask_base(_: Answers) -> str:
    names = [source.name for source in profile_source.available(current().env)]
    return _ask("Which hardware?", default="nrf9151-dk", choices=names)


def _ask_mcu_id(answers: Answers) -> str:
    usual = profile_source.read(answers.base or "", current().env).profile.board.mcu_id
    for name, meaning in _MCU_IDS.items():
        sys.stderr.write(f"  {name:12}{meaning}\n")
    sys.stderr.write(
        "  It names the device in the cloud for good: every bench of a product uses the\n  same"
        " source.\n"
    )
    return _ask(
        "Where does mcuId come from?",
        default=usual.source if usual is not None and usual.source in _MCU_IDS else "nrfutil",
        choices=list(_MCU_IDS),
    )


def _ask_create(answers: Answers) -> bool:
    return (
        _ask(
            f"Create {answers.board!r} in the cloud where it is missing?",
            default="n",
            choices=["y", "n"],
        )
        == "y"
    )


_QUESTIONS: Final[tuple[tuple[str, Callable[[Answers], Any]], ...]] = (
    ("name", lambda _: _ask("Name of the product (e.g. field-sensor)", wrong=_bad_name)),
    ("base", _ask_base),
    ("mcu_id", _ask_mcu_id),
    ("organisation", lambda _: _ask("Organisation in the cloud", wrong=_nothing)),
    (
        "board",
        lambda _: _ask(
            "The cloud's board (product profile) that each device is an instance of", wrong=_nothing
        ),
    ),
    ("create_board", _ask_create),
    ("mode", _ask_mode),
    ("registry_url", _ask_registry),
    (
        "server_ca",
        lambda answers: (
            _ask("PEM file of the broker's CA (empty: later)", default="")
            if answers.mode != "none"
            else ""
        ),
    ),
    (
        "scan",
        lambda _: _ask(
            "Pattern of the serial number on the label, e.g. SN-\\d{5} (empty: none is given)",
            default="",
            wrong=_bad_pattern,
        ),
    ),
)


def _values(answers: Answers) -> dict[str, Any]:
    board: dict[str, Any] = {"name": answers.board}
    if answers.create_board:
        board["create"] = True
    identity: dict[str, Any] = {"mode": answers.mode}
    if answers.server_ca:
        identity["server_ca"] = str(Path(answers.server_ca).expanduser().absolute())
    values: dict[str, Any] = {
        "name": answers.name,
        "extends": answers.base,
        "cloud": {"organisation": {"name": answers.organisation}, "board": board},
    }
    if answers.mcu_id:
        values["board"] = {"mcu_id": {"from": answers.mcu_id}}
    if answers.registry_url:
        values["registry"] = {"base_url": answers.registry_url}
    values["identity"] = identity
    if answers.scan:
        values["metadata"] = {"serialNumber": {"from": "scan", "pattern": answers.scan}}
    return values


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        private_folder(path.parent)
        write_file(path, text.encode(), replace=force)
    except FileExistsError as error:
        raise UsageError(
            "usage.bad-option",
            f"{path} exists already",
            hint="Choose another name, or --force to replace it.",
        ) from error
    except OSError as error:
        raise UsageError(
            "usage.bad-option",
            f"{path} cannot be written: {error.strerror or error}",
            hint="Give another file with --out.",
        ) from error


def _finish(name: str, path: Path, *, named: bool) -> NoReturn:
    reading = profile_source.read(str(path), current().env)
    called = name if named else str(path)
    lines = [f"{one.severity}: {one}" for one in reading.findings]
    text = [
        f"Wrote {path}",
        *lines,
        "",
        "Next:",
        f"  infuse profile check {called}",
        f"  infuse provision --profile {called} --dry-run",
    ]
    data = {"path": path, "name": name, "findings": [str(one) for one in reading.findings]}
    finish(OperationResult("profile new", data, human="\n".join(text)))
