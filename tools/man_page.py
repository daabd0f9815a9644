"""Write docs/mprun.1, the manual page, from the commands and options that click knows.

tools/man_page.py          write it
tools/man_page.py --check  exit 1 if it is not what would be written
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from mprun.cli.commands import EXAMPLES, EXIT_CODES, group

PAGE = Path(__file__).parents[1] / "docs" / "mprun.1"

TITLE = """\
.\\" Written by `make man` from the command line's own help.
.TH MPRUN 1 "" "mprun" "User commands"
.SH NAME
mprun \\- run the tasks of a YAML file, each in a process of its own
"""
FILES = """\
.SH FILES
.TP
.I .mprun/
the records of the runs of jobs that were started here: events, logs and results
.SH ENVIRONMENT
.TP
.B MPRUN_PARAM_NAME
the value of the param NAME of a job
.TP
.B NO_COLOR
no colours; the same as \\-\\-color never
.PP
Where an option above names a variable, that has its value if the option is not given.
.SH SEE ALSO
.BR make (1),
.BR parallel (1),
.BR xargs (1)
"""


def escaped(text: str) -> str:
    """A text in which nothing is a request or an escape of roff, and a hyphen can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def verbatim(text: str) -> str:
    """Lines that stay as they are."""
    return f".nf\n{escaped(text.strip())}\n.fi\n"


def paragraphs(text: str) -> str:
    """A help text, whose parts with click's mark for that stay as they are."""
    parts = []
    for part in re.split(r"\n\s*\n", text):
        if part.startswith("\b\n"):
            parts.append(verbatim(part[2:]))
        else:
            parts.append(escaped(" ".join(part.split())) + "\n")
    return ".PP\n".join(parts)


def option(parameter: click.Option, context: click.Context) -> str:
    """One option: its names, its help, its variable."""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    names, text = record
    variable = f" [variable: {parameter.envvar}]" if parameter.envvar else ""
    return f".TP\n.B {escaped(names)}\n{escaped(' '.join(text.split()))}{variable}\n"


def options(command: click.Command, context: click.Context) -> str:
    """All options of a command; each has --help, which is listed once."""
    shown = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    return "".join(option(p, context) for p in shown if context.parent is None or "--help" not in p.opts)


def section(command: click.Command, root: click.Context) -> str:
    """One command."""
    context = click.Context(command, info_name=command.name, parent=root)
    usage = " ".join([f"mprun {command.name}", *command.collect_usage_pieces(context)])
    text = paragraphs((command.help or "").replace("\f", "").strip())
    return f".SS {escaped(usage)}\n{text}{options(command, context)}"


def manual() -> str:
    """The whole page."""
    root = click.Context(group, info_name="mprun", max_content_width=100)
    names = sorted(group.commands)
    parts = [
        TITLE,
        ".SH SYNOPSIS\n.B mprun\n[OPTIONS] JOB [TASK]...\n.br\n.B mprun\nCOMMAND [OPTIONS] [ARGUMENTS]...\n",
        ".SH DESCRIPTION\n",
        paragraphs(group.help or ""),
        ".SH OPTIONS\n",
        options(group, root),
        ".SH COMMANDS\n",
        *(section(group.commands[name], root) for name in names),
        ".SH EXIT STATUS\n",
        verbatim(EXIT_CODES.partition("\n")[2].partition("\n")[2]),
        ".SH EXAMPLES\n",
        verbatim(EXAMPLES.partition("\n")[2]),
        FILES,
    ]
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """Write or check the page; the exit code."""
    text = manual()
    if arguments == ["--check"]:
        return int(PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
