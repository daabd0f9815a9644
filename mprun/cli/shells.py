"""Completion in bash, zsh and fish beyond what click has: words with `:` and `=`, and quoting.

Items are names and values of a job file, which may be anyone's: none may be more to the shell than a word.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# The line goes to mprun up to the cursor: bash's own words are divided at COMP_WORDBREAKS.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]} files= type value

    while read -r value; do
        type=${value%%%%,*} value=${value#*,}
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            files=yes
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
        fi
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_CURRENT="$current" \\
        COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")

    # bash looks for files only if nothing else was found. compgen knows no quotes.
    if [[ $files && $current && $current != *[\\\\\\'\\"]* && ${#COMPREPLY[@]} -gt 0 ]]; then
        while read -r value; do
            [[ -d $value ]] && value+=/
            printf -v value %%q "$value"
            # This one was typed.
            [[ $current == '~'* ]] && value=${value#\\\\}
            COMPREPLY+=("$value")
        done < <(compgen -f -- "$current")
    fi
    # More of the same word follows.
    if [[ ${#COMPREPLY[@]} -eq 1 && $COMPREPLY == *[=:/] ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


# What bash takes as it is, everywhere in a word.
_PLAIN = re.compile(r"[\w%+,./:=@-]", re.ASCII)
# What begins more than a word: an item would become part of it.
_BEGINNINGS = frozenset("'\"`$(<>;&|")
# What is not itself between quotes.
_SPECIAL = {"'": frozenset("'"), '"': frozenset('"$`\\!')}


class _WholeWords(ShellComplete):
    """After `--param=`, items are what the shell puts in place of the whole word.

    Those that a line cannot show are left out: a line break would end an item, and begin another one.
    """

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        found = [item for item in super().get_completions(args, incomplete) if item.value.isprintable()]
        for item in found:
            if item.help and not item.help.isprintable():
                item.help = "".join(sign if sign.isprintable() else " " for sign in item.help)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("-"):
            for item in found:
                item.value = f"{option}={item.value}"
        return found


class Zsh(_WholeWords, ZshComplete):
    """Zsh, with click's script."""


class Fish(_WholeWords, FishComplete):
    """Fish, with click's script, but for items with commas, which it cuts off there."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


class Bash(_WholeWords, BashComplete):
    """Bash: items are what follows the last place at which it divides the word, quoted."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        if "COMP_LINE" not in os.environ:
            # A script that an earlier mprun has written.
            return super().get_completion_args()
        # With a character at the end there is a last word, also after a space.
        words = split_arg_string(os.environ["COMP_LINE"] + "_")
        return words[1:-1], words[-1][:-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        found = super().get_completions(args, incomplete)
        current = os.environ.get("COMP_CURRENT", "")
        if (quote := current[:1]) in _SPECIAL and quote not in current[1:]:
            # Inside of quotes, bash divides nothing.
            kept, special = len(incomplete) - len(split_arg_string(current)[0]), _SPECIAL[quote]
            return [item for item in found if item.type != "plain" or _keep(item, kept, special)]
        if _begins_more(os.environ.get("COMP_LINE", current)):
            return [item for item in found if item.type != "plain"]
        breaks = set(os.environ.get("COMP_WORDBREAKS", "")) & {":", "="}
        kept = max((incomplete.rfind(sign) + 1 for sign in breaks), default=0)
        for item in found:
            if item.type == "plain":
                item.value = _escaped(item.value[kept:])
        return found


def _keep(item: CompletionItem[Any], kept: int, special: frozenset[str]) -> bool:
    """Cut off what bash keeps of an item; False if the rest cannot stand between the quotes."""
    item.value = item.value[kept:]
    return special.isdisjoint(item.value)


def _begins_more(line: str) -> bool:
    """Whether the last word of a line has quotes, or begins something else than a word."""
    return not _BEGINNINGS.isdisjoint(re.sub(r"\\.", "_", line).rpartition(" ")[2])


def _escaped(value: str) -> str:
    return "".join(sign if _PLAIN.match(sign) else f"\\{sign}" for sign in value)


def register() -> None:
    """Have click use these for its completion of a shell."""
    for shell in (Bash, Zsh, Fish):
        add_completion_class(shell)
