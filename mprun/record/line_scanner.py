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

if TYPE_CHECKING:
    from collections.abc import Callable

# ---- values as the parser accepts them and mprun writes them

# Without escapes, so that it is its own value.
_PLAIN = r'"[^"\\\x00-\x1f]*+"'
_TEXT = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
# Below the largest number that a record may have.
_INT = r"(?:0|-?[1-9][0-9]{0,17}+)"
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
    return "(?>" + "|".join(_BY_TYPE.get(one, "(?!)") for one in annotation.split(" | ")) + ")"


def _facts(kind: type[events.Event], **instead: str) -> str:
    """The fields of an event after the task's name, each with a comma in front; some with other values."""
    parts = []
    for field in kind._fields:
        if field not in _APART:
            part = f',"{field}":{instead.get(field) or _value(kind, field)}'
            parts.append(f"(?:{part})?+" if field in kind._defaults else part)
    return "".join(parts)


# What `line_finder` finds of a line: see there.
Found = tuple[str, ...]
# The places in it.
KIND, TIME, TASK, FACTS, END, JOINED, OTHER = 0, -6, -5, -4, -3, -2, -1


@cache
def line_finder(run: str) -> Callable[[str], list[Found]]:
    """All lines in a text of whole lines, in order; those about tasks are recognised if they are of this run.

    Of a line that is recognised: the kind of event without its `task_`, its time, the name of its task, and
    its other fields as they are written, with a comma in front. After the exit of a task mostly follows its
    end, and its join, of the same time: they are found with it, END has the fields of the former, and JOINED
    is not empty if there is the latter. Of any other line: nothing but the line, without its line feed. The
    pattern takes some 25 ms to compile.
    """
    # The empty groups say which kind it was, after the name.
    kinds = "|".join(f"{kind.event.removeprefix('task_')}()" for kind in _KINDS)
    facts = "(?!)"
    for group, one in reversed(list(enumerate(_KINDS, start=2))):
        facts = f"(?({group}){_facts(one)}|{facts})"
    time, task = len(_KINDS) + 2, len(_KINDS) + 3
    # With an id that mprun has not given, a line might be taken for more than it says: none is recognised.
    plain, run = _PLAIN[1:-1], re.escape(run) if re.fullmatch(r"[\w.-]*", run, re.ASCII) else "(?!)"
    head = rf'\{{{{"event":"task_{{}}","time":"\{time}","run":"{run}","task":"\{task}"'
    finished = rf"\n{head.format('finished')}({_facts(events.TaskFinished)})\}}"
    joined = rf"(\n){head.format('joined')}{_facts(events.TaskJoined)}\}}"
    return re.compile(
        rf'\{{"event":"task_({kinds})","time":"({plain})","run":"{run}","task":"({plain})"({facts})\}}'
        rf"(?({_KINDS.index(events.TaskExited) + 2})(?:{finished}(?:{joined})?+)?+)\n"
        r"|([^\n]*+)\n"
    ).findall


@cache
def success_matcher() -> Callable[[str], re.Match[str] | None]:
    """Match the lines of a task, as `TaskState` keeps them, that have nothing to say but that it succeeded.

    Its only attempt ended with exit 0, and whatever else an event may say has its default: it was not reused,
    left no process running, lost no output. The groups have the names of the fields that views show, and
    their values as they are written.
    """
    started = _facts(
        events.TaskStarted,
        **_defaults(events.TaskStarted),
        attempt=r"(?P<attempt>[0-9]++)",
        **_groups(events.TaskStarted, "pid", "ppid", "daemon"),
    )
    exited = _facts(
        events.TaskExited,
        **_defaults(events.TaskExited),
        attempt="(?P=attempt)",
        exit_code="0",
        signal="null",
        error="null",
        orphans=r"\[\]",
        **_groups(events.TaskExited, "duration", "cpu", "max_rss", "threads"),
    )
    kind = events.TaskFinished
    own = kind._fields[kind._fields.index("result") + 1 :]
    ways = _defaults(kind) | {"result_kind": '"[a-z]*+"', "allowed": _BOOL}
    # The line was recognised before, so of the result only its end must be found.
    result = rf'(?>null|(?:(?!,"(?:{"|".join(own)})":)[^\n])++)'
    ended = rf',"outcome":"succeeded","attempts":[0-9]++,"reason":""(?:,"result":{result})?+'
    ended += "".join([f'(?:,"{field}":{ways[field]})?+' for field in own])
    time = r"\n[^\n]*+\n"
    return re.compile(f"started{time}{started}\nexited{time}{exited}\nfinished{time}{ended}\n").fullmatch


def _defaults(kind: type[events.Event]) -> dict[str, str]:
    return {field: re.escape(encode_compactly(value)) for field, value in kind._defaults.items()}


def _groups(kind: type[events.Event], *fields: str) -> dict[str, str]:
    return {field: f"(?P<{field}>{_value(kind, field)})" for field in fields}
