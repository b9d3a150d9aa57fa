"""`infuse completion`: the script that makes a shell complete `infuse`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer


class Shell(StrEnum):
    """Shells that a script exists for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


_BASH: Final = """\
_infuse_complete() {
    local line value
    COMPREPLY=()
    while IFS=$'\\t' read -r value line; do
        case "$value" in
            :file) compopt -o filenames; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2") ;;
            :dir) compopt -o filenames; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$2") ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <(_INFUSE_COMPLETE=1 "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _infuse_complete infuse infuse-cli
"""

_ZSH: Final = """\
#compdef infuse infuse-cli
_infuse_complete() {
    local value help
    local -a found
    while IFS=$'\\t' read -r value help; do
        case "$value" in
            :file) _files ;;
            :dir) _files -/ ;;
            *) found+=("${value//:/\\\\:}${help:+:$help}") ;;
        esac
    done < <(_INFUSE_COMPLETE=1 "$words[1]" "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe -V 'infuse' found
}
compdef _infuse_complete infuse infuse-cli
"""

_FISH: Final = """\
function __infuse_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (_INFUSE_COMPLETE=1 command $words[1] $words[2..-1] 2>/dev/null)
        switch $line
            case ':file*' ':dir*'
                __fish_complete_path (commandline -ct)
            case '*'
                printf '%s\\n' $line
        end
    end
end
complete -c infuse -f -a '(__infuse_complete)'
complete -c infuse-cli -f -a '(__infuse_complete)'
"""

_SCRIPTS: Final = {Shell.bash: _BASH, Shell.zsh: _ZSH, Shell.fish: _FISH}


def command(shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")]) -> None:
    """Print the completion script of a shell: bash, zsh or fish.

    For bash: `infuse completion bash > ~/.local/share/bash-completion/completions/infuse`.
    """
    from infuse_cli.cli.result import OperationResult, finish

    script = _SCRIPTS[shell]
    finish(OperationResult("completion", {"shell": shell.value, "script": script}, human=script))
