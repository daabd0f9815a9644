"""A checked document -> Job, with every default filled in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.checks import task_name
from mprun.durations import seconds
from mprun.job import Dependency, Expect, Job, JoinEntry, Origin, Retry, Stop, Task, signal_name
from mprun.loader import place_of, plain
from mprun.problems import Place, Problem, quote, suggest
from mprun.sizes import to_bytes

if TYPE_CHECKING:
    from mprun.loader import Document


def build(document: Document) -> Job:
    """The job that a document declares; it must have passed the schema and the checks."""
    raw: dict[str, Any] = document.root  # type: ignore[assignment]
    path = document.source.path
    folder = os.path.dirname(os.path.abspath(path))
    join = raw.get("join")
    return Job(
        name=raw.get("name") or os.path.splitext(os.path.basename(path))[0],
        path=os.path.abspath(path),
        sha256=document.sha256,
        description=raw.get("description") or "",
        start_method=raw.get("start_method"),
        preload=tuple(_listed(raw.get("preload"))),
        pythonpath=tuple(_absolute(folder, entry) for entry in _listed(raw.get("pythonpath"))),
        max_parallel=raw.get("max_parallel"),
        fail_fast=bool(raw.get("fail_fast", False)),
        timeout=_seconds(raw.get("timeout")),
        tasks=tuple(_task(document, folder, raw, number) for number in range(len(raw["tasks"]))),
        join=None if join is None else tuple(_join_entry(entry) for entry in join),
    )


# Values are frozen, so the many tasks that say nothing of these share them.
_NO_RETRY = Retry()
_DEFAULT_STOP = Stop()


def _task(document: Document, folder: str, job: dict[str, Any], number: int) -> Task:
    own = job["tasks"][number]
    keys = {**(job.get("defaults") or {}), **own}
    cwd = keys.get("cwd") or job.get("cwd")
    return Task(
        name=task_name(own, number),
        position=number + 1,
        target=keys["target"],
        args=tuple(plain(keys.get("args") or ())),
        kwargs=plain(keys.get("kwargs") or {}),
        daemon=bool(keys.get("daemon", False)),
        depends_on=_dependencies(keys.get("depends_on")),
        retry=_retry(keys.get("retry")),
        timeout=_seconds(keys.get("timeout")),
        stop=_stop(keys.get("stop") or {}),
        allow_failure=bool(keys.get("allow_failure", False)),
        expect=_expect(keys.get("expect")),
        start_method=keys.get("start_method"),
        env={**_env(job), **_env(job.get("defaults") or {}), **_env(own)},
        cwd=_absolute(folder, cwd) if cwd else None,
        tags=tuple(_listed(keys.get("tags"))),
        description=keys.get("description") or "",
        origin=Origin(document=document, path=("tasks", number)),
    )


def _env(holder: dict[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in (holder.get("env") or {}).items()}


def _dependencies(value: Any) -> tuple[Dependency, ...]:
    pairs = value.items() if isinstance(value, dict) else ((name, "succeeded") for name in _listed(value))
    return tuple(Dependency(task=name, condition=condition) for name, condition in dict(pairs).items())


def _retry(value: Any) -> Retry:
    if value is None:
        return _NO_RETRY
    if isinstance(value, int):
        return Retry(retries=value)
    longest = value.get("max_delay")
    return Retry(
        # Who says how to retry, and not how often, wants it once.
        retries=value.get("retries", 1),
        delay=seconds(value.get("delay", 0)),
        backoff=float(value.get("backoff", 1)),
        max_delay=None if longest is None else seconds(longest),
        jitter=float(value.get("jitter", 0)),
        exceptions=tuple(value.get("exceptions") or ()),
        exit_codes=tuple(value.get("exit_codes") or ()),
    )


def _stop(value: dict[str, Any]) -> Stop:
    default = _DEFAULT_STOP
    if not value:
        return default
    name, grace = value.get("signal"), value.get("grace")
    return Stop(
        signal=default.signal if name is None else signal_name(name),
        grace=default.grace if grace is None else seconds(grace),
    )


def _expect(value: dict[str, Any] | None) -> Expect | None:
    if value is None:
        return None
    codes = value.get("exit_code", ())
    most = value.get("max_rss")
    return Expect(
        result=plain(value.get("result")),
        has_result="result" in value,
        raises=value.get("raises"),
        exit_codes=(codes,) if isinstance(codes, int) else tuple(codes),
        output=value.get("output"),
        max_seconds=value.get("max_seconds"),
        max_rss=None if most is None else to_bytes(most),
    )


def _seconds(value: Any) -> float | None:
    return None if value is None else seconds(value)


def _listed(value: Any) -> list[str]:
    """One string or a list of them, as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _absolute(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


def _join_entry(entry: Any) -> JoinEntry:
    if isinstance(entry, str):
        return JoinEntry(task=entry)
    return JoinEntry(task=entry["task"], timeout=_seconds(entry.get("timeout")))


def target_problem(
    task: Task,
    message: str,
    where: tuple[str | int, ...] = ("target",),
    word: str = "",
    candidates: tuple[str, ...] = (),
) -> Problem:
    """What is wrong with a task's call, at its place: in the task, or in the `defaults`."""
    document, path = task.origin.document, task.origin.path
    own: Any = document.root
    for step in path:
        own = own[step]
    if where[0] not in own and where[0] in (document.root.get("defaults") or {}):  # type: ignore[attr-defined]
        path = ("defaults",)
        message = f"in task {quote(task.name)}, {message}"
    problem = _problem(document, (*path, *where), message, word, candidates)
    top = task.target.partition(":")[0].partition(".")[0]
    if not problem.hint and word == top and _is_beside(document, top):
        hint = f"`{top}` is beside the job file: add `pythonpath: .` to the job"
        return problem.replace(hint=hint)
    return problem


def _is_beside(document: Document, module: str) -> bool:
    """Whether a module of this name is in the job file's directory."""
    path = os.path.join(os.path.dirname(os.path.abspath(document.source.path)), module)
    return os.path.isfile(f"{path}.py") or os.path.isfile(os.path.join(path, "__init__.py"))


def preload_problem(
    job: Job, number: int, message: str, word: str = "", candidates: tuple[str, ...] = ()
) -> Problem:
    """What is wrong with an entry of the job's `preload`."""
    document = job.tasks[0].origin.document
    return _problem(document, ("preload", number), message, word, candidates)


def _problem(
    document: Document, path: tuple[str | int, ...], message: str, word: str, candidates: tuple[str, ...]
) -> Problem:
    # A keyword that is not wanted is wrong by its name, an argument by its value.
    place = place_of(document, path, key="kwargs" in path)
    if path[-2:-1] == ("target",):
        place = _half(document, place, str(path[-1]), word)
    return Problem(
        message=message,
        source=document.source,
        place=place,
        hint=suggest(word, candidates) if word else "",
    )


def _half(document: Document, place: Place, half: str, word: str) -> Place:
    """The place of a name in the `module` or the `callable` of a target; of all of it if it is not there."""
    start, end = place.column - 1, place.column - 1 + place.width
    line = document.source.lines[place.line - 1]
    colon = line.find(":", start, end)
    found = line.find(word, colon, end) if half == "callable" else line.find(word, start, colon)
    return place if found < 0 or colon < 0 else place.replace(column=found + 1, width=len(word))
