"""What a command line asks for: which command, and all of a plain one that runs a job, without click.

Click's import and the options that it makes take a tenth of the time of a start. What is not plain here, or
wrong, click reads: an option in another form, such as `-j4` or `--output=none`, or from the environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.cli.options import only_of_run, planning, running

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from mprun.cli.option import Option


# Each command, and the module of this package that defines a function of its name.
MODULES = {
    "compare": "compare",
    "describe": "describe",
    "export": "export",
    "flaky": "flaky",
    "help": "help",
    "init": "init",
    "list": "catalog",
    "logs": "show",
    "merge": "merge",
    "pack": "pack",
    "plan": "plan",
    "report": "report",
    "result": "result",
    "resume": "resume",
    "run": "run",
    "runs": "runs",
    "schema": "init",
    "show": "show",
    "stop": "stop",
    "tree": "show",
    "validate": "plan",
    "why": "why",
}


def read_plain(words: list[str]) -> dict[str, Any] | None:
    """The arguments of `cli.execution.run_job_file`; None if click has to read these words."""
    if words[0] == "run":
        words = words[1:]
    elif words[0] in MODULES or not may_be_job(words[0]):
        return None
    plans, runs, others = planning(), running(), only_of_run()
    found = _values((*plans, *runs, *others), words)
    if found is None:
        return None
    values, (job, *tasks) = found
    return {
        "job": job,
        "tasks": tuple(tasks),
        "planning": {option.name: values[option.name] for option in plans},
        "running": {option.name: values[option.name] for option in runs},
        **{option.name: values[option.name] for option in others},
    }


def may_be_job(word: str) -> bool:
    """Whether the first word names a job file, or is an option of its run; if not, it may be a typo."""
    return word.startswith("-") or "." in word or "/" in word or os.path.lexists(word)


def _values(options: Iterable[Option], words: list[str]) -> tuple[dict[str, Any], list[str]] | None:
    """The value of each option by its name, and the other words, at least one; None if click is needed."""
    values, by_word = {}, {}
    for option in options:
        if option.attributes.get("envvar", "") in os.environ:
            return None
        values[option.name] = option.default()
        by_word.update(dict.fromkeys(option.names, option))
    others = []
    remaining = iter(words)
    for word in remaining:
        if word[:1] != "-" or word == "-":
            others.append(word)
            continue
        found = by_word.get(word)
        if found is None or "callback" in found.attributes:
            return None
        value: Any = True
        if found.attributes.get("count"):
            value = values[found.name] + 1
        elif "is_flag" not in found.attributes:
            text = next(remaining, None)
            value = None if text is None else found.read(text)
            if value is None:
                return None
            if "multiple" in found.attributes:
                value = (*values[found.name], value)
        values[found.name] = value
    return (values, others) if others else None
