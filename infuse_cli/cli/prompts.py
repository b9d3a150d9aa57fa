"""Questions to the person at the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from infuse_cli.types import Secret

if TYPE_CHECKING:
    from infuse_cli.ports import Prompt


class TerminalPrompt:
    """`ports.Prompt` on the terminal; questions go to stderr."""

    def secret(self, question: str, *, twice: bool = False) -> Secret:
        """Ask without echo; Ctrl-C and the end of input end the program (typer.Abort)."""
        import typer

        text: str = typer.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
        return Secret(text)

    def confirm(self, question: str) -> bool:
        """Ask for y or n; Ctrl-C and the end of input end the program (typer.Abort)."""
        import typer

        return bool(typer.confirm(question, err=True))


def terminal_prompt() -> Prompt | None:
    """The person at the terminal; None where stdin or stderr is not one."""
    return TerminalPrompt() if sys.stdin.isatty() and sys.stderr.isatty() else None
