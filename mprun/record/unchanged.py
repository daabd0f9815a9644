"""Decides whether a task would do again what it did last, and keeps what it has done for the next run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record.distributions import installed_versions
from mprun.record.file_hashes import Unusable, digests, hash_matches
from mprun.record.fingerprint import Fingerprint
from mprun.record.last_results import LastResult, LastResults, Unknown
from mprun.record.resume import adopt_results
from mprun.record.source_code import read_code
from mprun.record.state_dir import file_name
from mprun.record.state_files import CREATE
from mprun.scheduling.plan import Reused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.code_files import Code, ImportedCode
    from mprun.record.file_hashes import HashedFile
    from mprun.record.state_dir import RunDirectory

# The file systems' clocks are up to this far behind the one of programs, in nanoseconds.
_CLOCK_NS = 20_000_000
# How the name of the file ends that says why a task runs or not.
WHY = ".why.json"


class Question(Frozen):
    """What a task is asked about: whether it is unchanged.

    `settings` are canonical texts by their labels, in the order in which differences are looked for.
    `targets` are the target and the modules that are imported for every task; none of a command. Patterns in
    `inputs` and `outputs` start at `folder`. With `forced` it runs in any case, and so does a task that has
    `artifacts`.
    """

    task: str
    settings: dict[str, str]
    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    folder: str
    forced: bool = False
    artifacts: bool = False


class Answer(Frozen):
    """Whether a task runs: it is unchanged `since` a run, which took `attempts`, or else `why` says why not.

    `warning` is what the user should know, "" if there is nothing.
    """

    since: str = ""
    attempts: int = 0
    why: str = ""
    warning: str = ""


class _Before(Frozen):
    """What a task depended on before its start; `attempt` is the one whose files were hashed at its end."""

    question: Question
    fingerprint: Fingerprint
    inputs: dict[str, HashedFile]
    code: Code
    attempt: int = 0


class UnchangedTasks:
    """The tasks of one run that say `inputs` or `outputs`; `imported` is the code of the job.

    The imports began at `began`, in nanoseconds since the epoch: code that has changed since then may not
    be what was imported.
    """

    def __init__(
        self, directory: RunDirectory, last: LastResults, imported: ImportedCode, began: int
    ) -> None:
        self._directory = directory
        self._last = last
        self._imported = imported
        self._began = began
        # What each task that runs depended on before its start.
        self._before: dict[str, _Before] = {}

    def check(self, question: Question) -> Answer:
        """Whether a task is unchanged; if it is not, it must run now. Raises OSError."""
        try:
            answer = self._answer(question)
        except Unusable as error:
            answer = Answer(why=str(error), warning=str(error))
        except Exception:
            # The task runs: what it did before says nothing any more.
            self._begin(question.task, "could not be compared")
            raise
        if not answer.since:
            self._begin(
                question.task, f"left nothing to compare with: {answer.warning}" if answer.warning else ""
            )
        explain(self._directory, question.task, answer)
        return answer

    def _begin(self, task: str, why: str) -> None:
        with self._last.locked():
            self._last.begin(task, self._directory.run_id, why)

    def _answer(self, question: Question) -> Answer:
        last = self._last.read(question.task)
        if question.artifacts:
            raise Unusable("`artifacts` cannot be compared")
        before = self._look(question)
        self._before[question.task] = before
        now = before.fingerprint
        if question.forced:
            return Answer(why="`--force` was given")
        if isinstance(last, Unknown):
            return Answer(why=last.why)
        outputs, problem = _outputs(question)
        if why := last.fingerprint.difference(now.replace(outputs=outputs)):
            return Answer(why=f"{why} since run {last.run}")
        if problem:
            return Answer(why=problem)
        return self._reuse(question.task, last)

    def _reuse(self, task: str, last: LastResult) -> Answer:
        holder = self._last.result(task, last)
        if holder is None:
            return Answer(
                why=f"the record of run {last.holder}, which has its result, was removed or has changed"
            )
        adopt_results(holder, self._directory, {task: Reused(outcome="succeeded", attempts=last.attempts)})
        if self._last.result_digests(self._directory, task, last.attempts) != last.files:
            return Answer(why=f"its result in run {last.holder} changed while it was read")
        with self._last.locked():
            if self._last.read(task) != last:
                return Answer(why="another run has started it meanwhile")
            self._last.write(task, last.replace(holder=self._directory.run_id))
        return Answer(since=last.run, attempts=last.attempts)

    def finish(self, task: str, attempt: int) -> str:
        """An attempt has ended: hash what it made. Why nothing can be kept of it; empty if it can."""
        before = self._before.pop(task, None)
        if before is None:
            return ""
        question = before.question
        try:
            if path := before.code.changed_file():
                raise Unusable(f"{quote(path)} changed while the task ran")
            if changed := before.code.difference(self._imported.of(question.targets)):
                raise Unusable(f"{changed} while the task ran")
            if before.inputs != hash_matches(question.inputs, question.folder, "inputs"):
                raise Unusable("one of its `inputs` changed while the task ran")
            outputs = digests(hash_matches(question.outputs, question.folder, "outputs"))
        except Unusable as problem:
            self._begin(task, f"left nothing to compare with: {problem}")
            return str(problem)
        known = before.fingerprint.replace(outputs=outputs)
        self._before[task] = before.replace(fingerprint=known, attempt=attempt)
        return ""

    def keep(self, task: str, attempts: int) -> None:
        """A task has succeeded, after `finish` of its last attempt. Raises OSError."""
        found = self._before.pop(task, None)
        if found is None or found.attempt != attempts:
            return
        run = self._directory.run_id
        files = self._last.result_digests(self._directory, task, attempts)
        kept = LastResult(run=run, holder=run, attempts=attempts, fingerprint=found.fingerprint, files=files)
        with self._last.locked():
            # If another run has started it meanwhile, that may have made what is there now.
            if self._last.is_running(task, run):
                self._last.write(task, kept)

    def _look(self, question: Question) -> _Before:
        """What a task depends on now, without its outputs. Raises Unusable."""
        code = self._imported.of(question.targets)
        for name, found in code.signatures.items():
            if found[-1] > self._began - _CLOCK_NS:
                raise Unusable(f"{quote(code.paths[name])} changed while it was imported, or after that")
        for name, changed in code.installed.items():
            if changed > self._began - _CLOCK_NS:
                raise Unusable(f"distribution {quote(name)} has changed since the imports of this run began")
        inputs = hash_matches(question.inputs, question.folder, "inputs")
        now = Fingerprint(
            settings={label: self._last.digest(text) for label, text in question.settings.items()},
            inputs=digests(inputs),
            outputs={},
            python=platform.python_version(),
            code={
                name: [os.path.relpath(path, self._directory.state.path), code.digests[name]]
                for name, path in code.paths.items()
            },
            distributions=code.distributions,
        )
        return _Before(question=question, fingerprint=now, inputs=inputs, code=code)


def explain(directory: RunDirectory, task: str, answer: Answer) -> None:
    """Write for `mprun why` what was found. Raises OSError."""
    text = json.dumps({"unchanged_since": answer.since or None, "why": answer.why})
    file = directory.results.file(f"{file_name(task)}{WHY}")
    with open(file.open(CREATE), "wb") as stream:
        stream.write(text.encode("utf-8", "surrogatepass"))


def recorded_difference(
    results: LastResults, last: LastResult, question: Question, path: Sequence[str]
) -> str:
    """The first difference from what a task did last, by the code that it had then; empty if there is none.

    Distributions are looked for on `path`. Raises Unusable if its inputs cannot be compared.
    """
    then = last.fingerprint
    outputs, problem = _outputs(question)
    now = Fingerprint(
        settings={label: results.digest(text) for label, text in question.settings.items()},
        inputs=digests(hash_matches(question.inputs, question.folder, "inputs")),
        outputs=outputs,
        python=platform.python_version(),
        code=dict(_code_now(then, results.state.path)),
        distributions=installed_versions(then.distributions, path),
    )
    return then.difference(now) or problem


def _code_now(then: Fingerprint, state_dir: str) -> Iterator[tuple[str, list[str]]]:
    for name, (path, _) in then.code.items():
        # What is gone, or cannot be read, is left out.
        with contextlib.suppress(Unusable):
            yield name, [path, read_code(os.path.normpath(os.path.join(state_dir, path))).digest]


def _outputs(question: Question) -> tuple[dict[str, str], str]:
    """The outputs that are there, and what is wrong with others."""
    found: dict[str, str] = {}
    problem = ""
    for pattern in question.outputs:
        try:
            found |= digests(hash_matches([pattern], question.folder, "outputs"))
        except Unusable as error:
            # If it was there after the last run, the difference names it.
            problem = problem or str(error)
    return dict(sorted(found.items())), problem


def relative_job(path: str, state_dir: str) -> str:
    """How a state directory names a job file: another place of both changes nothing."""
    return os.path.relpath(path, state_dir)


def to_question(found: dict[str, Any]) -> Question:
    """The question that has travelled as JSON."""
    lists = {name: tuple(found[name]) for name in ("targets", "inputs", "outputs")}
    return Question(**{**found, **lists})


def read_why(directory: RunDirectory, task: str) -> dict[str, Any]:
    """What a run has found of a task; empty if it had no reason to look, or its file is damaged."""
    data = directory.results.file(f"{file_name(task)}{WHY}").read(1 << 16)
    try:
        found = json.loads(data or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
