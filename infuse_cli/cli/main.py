"""The console entry, and the one place where errors become words and exit codes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from infuse_cli._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infuse_cli.cli._argv import Globals
    from infuse_cli.errors import InfuseError

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
"""Exit code of a process that SIGPIPE ended, as shells show it."""

NEXT: Final = (
    ("infuse provision --sim 4", "four virtual boards, all the way: nothing to plug in"),
    ("infuse profile new NAME", "describe your product; it asks step by step"),
    ("infuse provision", "plug a board in and watch it turn green"),
)
"""What bare `infuse` tells a newcomer to type."""


def main() -> NoReturn:
    """Run `infuse` on sys.argv and exit."""
    _open_closed_streams()
    _hear(_interrupt)
    argv = sys.argv[1:]
    try:
        code = (
            _version()
            if argv[:1] in (["--version"], ["-V"])
            else run(argv)
            if "_INFUSE_COMPLETE" not in os.environ
            else _complete(argv)
        )
        _hear(
            _leave
        )  # all is said and done; what still ends is the interpreter, which would show a traceback
    except KeyboardInterrupt:
        _leave()
    sys.exit(code)


def _complete(argv: Sequence[str]) -> int:
    from infuse_cli.cli._complete import answer

    return answer(argv)


def _version() -> int:
    try:
        sys.stdout.write(f"infuse {__version__}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except OSError as error:
        return _output_lost(error)
    return 0


def _hear(handler: Callable[..., object]) -> None:
    """Have SIGINT, SIGTERM and SIGHUP handled from here on, but for those that whoever
    started us ignores.
    """
    import signal

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _leave(*_: object) -> NoReturn:
    os._exit(_INTERRUPTED)


def _open_closed_streams() -> None:
    """A stream that was closed before the start leads nowhere, instead of to the next file that is
    opened.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        if (null := os.open(os.devnull, os.O_RDWR)) != number:
            os.dup2(null, number)
            os.close(null)
        setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit code; nothing is raised."""
    from infuse_cli.cli import _argv
    from infuse_cli.cli._registry import VALUE_OPTIONS

    found, rest = _argv.split(argv, VALUE_OPTIONS)
    try:
        code = _run(found, rest)
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except KeyboardInterrupt:
        return _interrupted(found, rest)
    except OSError as error:
        return _output_lost(error) if _is_of_output(error) else _failed(found, rest, error)
    except Exception as error:  # noqa: BLE001 - the one place that may
        return _failed(found, rest, error)
    return code


def _run(found: Globals, rest: list[str]) -> int:
    from infuse_cli.cli import context
    from infuse_cli.cli._registry import BOARDLESS

    context.prepare(
        lambda: context.settings_of(
            os.environ,
            home=found.home,
            output=found.output,
            profile=found.profile,
            no_color=found.no_color,
            verbose=found.verbose,
            ca_bundle=found.ca_bundle,
        ),
        boards=not BOARDLESS & {" ".join(rest[:words]) for words in (1, 2)},
    )
    if found.problem:
        from infuse_cli.errors import UsageError

        raise UsageError("usage.bad-option", found.problem)
    if not all(_is_text(word) for word in rest):
        from infuse_cli.errors import UsageError

        raise UsageError("usage.bad-option", "an argument is not UTF-8 text")
    context.output_of(
        *(
            (found.output, "--output")
            if found.output
            else (os.environ.get("INFUSE_OUTPUT") or "human", "INFUSE_OUTPUT")
        )
    )
    if not rest:
        return _welcome()
    if rest[0] in {"--version", "-V"}:
        sys.stdout.write(f"infuse {__version__}\n")
        return 0
    from infuse_cli.cli import _lazy

    return _lazy.run(rest, no_color=found.no_color)


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _welcome() -> int:
    from infuse_cli.cli.result import OperationResult, show

    lines = "\n".join(f"  {command:26}{why}" for command, why in NEXT)
    data = {"next": [command for command, _ in NEXT]}
    show(
        OperationResult(
            "",
            data,
            human=(
                "infuse brings nRF9151 boards into the Infuse IoT cloud. Type"
                f" next:\n\n{lines}\n\nAll commands: infuse --help"
            ),
        )
    )
    return 0


def _failed(found: Globals, rest: list[str], error: Exception) -> int:
    from infuse_cli.errors import InfuseError

    known = error if isinstance(error, InfuseError) else _internal_error(error)
    if found.verbose > 1:
        _details(known, error)
    try:
        _report(found, rest, known)
    except BrokenPipeError:
        return _pipe_closed()
    except OSError as failure:
        _tell(known)
        return _output_lost(failure)
    return int(known.exit)


def _is_of_output(error: OSError) -> bool:
    """Files that a command opens have names in their errors; what has none is a stream that takes
    no more.
    """
    import errno

    return error.filename is None and error.errno in {
        errno.ENOSPC,
        errno.EFBIG,
        errno.EIO,
        errno.EBADF,
        getattr(errno, "EDQUOT", None),
    }


def _output_lost(error: OSError) -> int:
    """Standard output takes nothing (a full disk): a program must not take that for success."""
    from infuse_cli.errors import UsageError

    _silence()
    lost = UsageError("usage.output-lost", f"standard output cannot be written: {error.strerror}")
    _tell(lost)
    return int(lost.exit)


def _tell(error: InfuseError) -> None:
    from infuse_cli.cli.result import error_line, tell

    tell(error_line(error.as_json()))


def _internal_error(error: Exception) -> InfuseError:
    from infuse_cli.errors import InfuseError

    return InfuseError("internal.error", f"{type(error).__name__} where none was expected")


def _report(found: Globals, rest: list[str], error: InfuseError) -> None:
    from infuse_cli.cli.result import OperationResult, envelope, error_line, json_line, tell

    command = _command_words(rest)
    told = error.as_json()
    told["hint"] = told["hint"].replace(
        "infuse COMMAND", f"infuse {command}" if command else "infuse COMMAND"
    )
    if (found.output or os.environ.get("INFUSE_OUTPUT")) in {"json", "jsonl"}:
        result = OperationResult(command, {}, status="error", errors=[told])
        sys.stdout.write(json_line(envelope(result)) + "\n")
        sys.stdout.flush()
    else:
        tell(error_line(told))


def _command_words(rest: list[str]) -> str:
    """The command as far as it can be told from the words: "sim up", "provision"."""
    from itertools import takewhile

    from infuse_cli.cli._registry import ROWS

    words = list(
        takewhile(
            lambda word: (
                word.replace("-", "").isalpha() and word.islower() and not word.startswith("-")
            ),
            rest,
        )
    )
    row = next((row for row in ROWS if words and row.name == words[0]), None)
    return " ".join(words[: row.words if row is not None and row.attr == "app" else 1])


def _details(known: InfuseError, error: Exception) -> None:
    import traceback

    for key, value in known.details.items():
        sys.stderr.write(f"  {key}: {value}\n")
    sys.stderr.write("".join(traceback.format_exception(error)))


def _interrupted(found: Globals, rest: list[str]) -> int:
    from infuse_cli.errors import InfuseError

    # Only a run on real boards leaves something that `resume` goes on with.
    resumes = rest[:1] in (["provision"], ["resume"]) and not any(
        word.split("=")[0] == "--sim" for word in rest
    )
    _report(
        found,
        rest,
        InfuseError(
            "run.interrupted",
            "stopped by the operator",
            hint=None if resumes else "Run it again; what was done is on record.",
        ),
    )
    return _INTERRUPTED


def _pipe_closed() -> int:
    """Whoever read our output has gone; the interpreter must not complain about it at exit
    either.
    """
    _silence()
    return _PIPE_CLOSED


def _silence() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
