"""Recognises the lines of a large record by the thousand, as `line_format` writes them, without parsing them.

A line is recognised only if parsing would find this very event and nothing wrong with it: its keys in the
order of the event's fields, those that have a default perhaps missing, each with a value of its type. Any
other line is left to the parser, whatever it is: no view can tell which way a line was read.

Patterns are possessive, so that no line can make them go back more than once.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from mprun.lean_json import encode_compactly
from mprun.record import events
from mprun.record.found import END_TIME, ENDED, START

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.record.found import Found

# ---- values as the parser accepts them and mprun writes them

# Without escapes, so that it is its own value.
_PLAIN = r'"[^"\\\x00-\x1f]*+"'
_TEXT = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
# Below the largest number that a record may have.
_UNSIGNED = r"(?:0|[1-9][0-9]{0,17}+)"
_INT = r"(?:0|-?[1-9][0-9]{0,17}+)"
# Nearly all are; without alternatives, the lines of tasks that just succeed are found in 0.9 of the time.
_POSITIVE = "[1-9][0-9]{0,17}+"
_FLOAT = rf"{_INT}(?:\.[0-9]{{1,25}}+)?+(?:e-[0-9]{{1,3}}+)?+"
_BOOL = "(?:true|false)"

# What a task returned: nothing nested deeper than this is recognised.
_DEPTH = 2


def _any(depth: int = _DEPTH) -> str:
    values = f"null|{_BOOL}|{_FLOAT}|{_TEXT}"
    if depth:
        inner = _any(depth - 1)
        values += rf"|\[(?:{inner}(?:,{inner})*+)?+\]|\{{(?:{_TEXT}:{inner}(?:,{_TEXT}:{inner})*+)?+\}}"
    return f"(?>{values})"


_BY_TYPE = {
    "None": "null",
    "bool": _BOOL,
    "dict[str, str]": rf"\{{(?:{_TEXT}:{_TEXT}(?:,{_TEXT}:{_TEXT})*+)?+\}}",
    "float": _FLOAT,
    "int": _INT,
    "str": _TEXT,
    "tuple[int, ...]": rf"\[(?:{_INT}(?:,{_INT})*+)?+\]",
}
# Instead of the pattern of their type. These reasons had other words in format 1 (`format_1.py`).
_BY_FIELD = {
    "outcome": r'"(?!timed-out)[^"\\\x00-\x1f]*+"',
    "reason": rf'(?!"run_ends|"record_lost){_TEXT}',
}
# These are not among the facts of a line, but groups of their own.
_APART = ("time", "run", "task")
_KINDS: tuple[type[events.Event], ...] = (
    events.TaskStarted,
    events.TaskReady,
    events.TaskStopping,
    events.TaskExited,
    events.TaskRetrying,
    events.TaskFinished,
    events.TaskJoined,
)


def _value(kind: type[events.Event], field: str) -> str:
    if field in _BY_FIELD:
        return _BY_FIELD[field]
    annotation = events.annotation_of(kind, field)
    if annotation == "Any":
        return _any()
    # A type that is not here is one that no line is recognised with.
    values = [_BY_TYPE.get(one, "(?!)") for one in annotation.split(" | ")]
    return values[0] if len(values) == 1 else f"(?>{'|'.join(values)})"


def _facts(kind: type[events.Event], **instead: str) -> str:
    """The fields of an event after the task's name, each with a comma in front; some with other values."""
    parts = []
    for field in kind._fields:
        if field not in _APART:
            part = f',"{field}":{instead.get(field) or _value(kind, field)}'
            parts.append(f"(?:{part})?+" if field in kind._defaults else part)
    return "".join(parts)


def _head(kind: type[events.Event], run: str, time: str, task: str) -> str:
    # With an id that mprun has not given, a line might be taken for more than it says: none is recognised.
    run = re.escape(run) if re.fullmatch(r"[\w.-]*", run, re.ASCII) else "(?!)"
    return rf'\{{"event":"{kind.event}","time":"{time}","run":"{run}","task":"{task}"'


# ---- tasks that just succeed


@cache
def success_finder(run: str) -> Callable[[str], list[Found]]:
    """All lines in a text of whole lines, in order; those of a task of this run that just succeeds at once.

    Its first attempt ends with exit 0, and whatever else an event may say has its default: it was not reused,
    left no process running, lost no output. Most lines of most records are of such tasks.

    Of its start, START is the line, STARTED the name of the task. Its exit and its end, which are next to
    each other, are found at once, and together with a start that is right before them, be it of the same task
    or of another: END_TIME is their time, ENDED the name; FINISHED are the fields of the end if it has a
    result, or `allowed`, and JOIN those of its join if that follows. LATER is the line of a join that does
    not, and JOINED_NAME the task's name. OTHER is any other line. Lines are without their line feeds, and all
    that was not found is empty. The pattern takes some 15 ms to compile.
    """
    start, exit_, end, join = events.TaskStarted, events.TaskExited, events.TaskFinished, events.TaskJoined
    any_time, text = _PLAIN[1:-1], f"({_PLAIN[1:-1]})"
    seconds = rf"{_UNSIGNED}\.[0-9]{{1,25}}+(?:e-[0-9]{{1,3}}+)?+"
    number = f"({_POSITIVE})"
    started = _facts(
        start,
        **_defaults(start),
        **{"attempt": "1", "pid": number, "ppid": number, "daemon": "false"},
        **{"host": _PLAIN, "target": _PLAIN},
    )
    exited = _facts(
        exit_,
        **_defaults(exit_),
        **{"attempt": "1", "pid": number, "exit_code": "0", "signal": "null"},
        **{"duration": f"({seconds})", "cpu": f"({seconds}|null)", "max_rss": f"({_POSITIVE}|null)"},
        **{"threads": f"({_POSITIVE}|null)", "error": "null", "orphans": r"\[\]"},
    )
    ended = {"outcome": '"succeeded"', "attempts": "1", "reason": '""'}
    plainly = _facts(end, **_defaults(end), **ended)
    more = {"result_kind": '"(?:none|json)"', "reused": "false", "flaky": "false"}
    joined = _facts(join, position=_POSITIVE, of=_POSITIVE)
    time, name = rf"\{END_TIME + 1}", rf"\{ENDED + 1}"
    return re.compile(
        rf"(?:({_head(start, run, any_time, text)}{started}\}})\n)?+"
        rf"(?:{_head(exit_, run, text, text)}{exited}\}}\n"
        rf"{_head(end, run, time, name)}(?:{plainly}|({_facts(end, **ended, **more)}))\}}"
        rf"(?:\n{_head(join, run, time, name)}({joined})\}})?+\n)?+"
        # At least one of the two.
        rf"(?({START + 1})|(?({ENDED + 1})|(?!)))"
        rf"|({_head(join, run, any_time, text)}{joined}\}})\n"
        r"|([^\n]*+)\n"
    ).findall


def _defaults(kind: type[events.Event]) -> dict[str, str]:
    return {field: re.escape(encode_compactly(value)) for field, value in kind._defaults.items()}


# ---- any line about a task


@cache
def line_matcher(run: str) -> Callable[[str], re.Match[str] | None]:
    """Match a line about a task of this run, without its line feed, if parsing would find its event.

    The groups are the `time` and the name of the `task`. The pattern takes some 20 ms to compile.
    """
    # The empty groups say which kind it is.
    kinds = "|".join(f"{kind.event.removeprefix('task_')}()" for kind in _KINDS)
    facts = "(?!)"
    for group, kind in reversed(list(enumerate(_KINDS, start=1))):
        facts = f"(?({group}){_facts(kind)}|{facts})"
    time, task = f"(?P<time>{_PLAIN[1:-1]})", f"(?P<task>{_PLAIN[1:-1]})"
    head = _head(events.TaskJoined, run, time, task).replace("task_joined", f"task_(?:{kinds})", 1)
    return re.compile(rf"{head}{facts}\}}").fullmatch
