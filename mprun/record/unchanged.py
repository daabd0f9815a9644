"""Decides whether a task would do again what it did last, and keeps what it has done for the next run."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record import results
from mprun.record.file_hashes import TICK_NS, Unusable, digests, hash_matches, look
from mprun.record.fingerprint import Fingerprint
from mprun.record.last_results import LastResult, LastResults, Unknown
from mprun.record.state_dir import file_name
from mprun.record.state_files import CREATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.record.code_files import Code, ImportedCode
    from mprun.record.file_hashes import HashedFile
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import StateFile

# What `platform.python_version` says, whose module takes 2 ms to import.
_PYTHON = sys.version.partition(" ")[0]
# No more is read of what a process has imported.
_MAX_MODULES_BYTES = 16 << 20
# How the name of the file ends that says why a task runs or not.
WHY = ".why.json"


class Question(Frozen):
    """What a task is asked about: whether it is unchanged.

    `settings` are canonical texts by their labels, in the order in which differences are looked for.
    `targets` are the target and the modules that are imported for every task; none of a command. Patterns in
    `inputs` and `outputs` start at `folder`. It runs in any case if an option, `forced`, says so, and
    so does a task that has `artifacts`. A process that `is_fresh` has only the task's own imports.
    `shown` has what may be said of settings, by label. With `fails_if_flaky`, a success after a retry fails
    the run.
    """

    task: str
    settings: dict[str, str]
    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    folder: str
    forced: str = ""
    artifacts: bool = False
    is_fresh: bool = False
    fails_if_flaky: bool = False
    shown: dict[str, str] = {}  # noqa: RUF012  values are frozen


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
    also: dict[str, str] = {}  # noqa: RUF012  values are frozen


class UnchangedTasks:
    """The tasks of one run that say `inputs` or `outputs`; `imported` is the code of the job.

    The imports began at `began`, in nanoseconds since the epoch: code that has changed since then may not
    be what was imported. `files` has what was seen of the file of each module right after that, as
    `module_files.signatures` does.
    """

    def __init__(
        self,
        directory: RunDirectory,
        last: LastResults,
        imported: ImportedCode,
        began: int,
        files: Mapping[str, list[int]],
    ) -> None:
        self._files = files
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
            return Answer(why=f"{quote(question.forced)} was given")
        if isinstance(last, Unknown):
            return Answer(why=last.why)
        if why := flaky_failure(self._last, last, question):
            return Answer(why=why)
        outputs, problem = _outputs(question)
        now = now.replace(outputs=outputs)
        if last.also:
            try:
                now = self._with_code(now, self._code(question, last.also))
            except Unusable as error:
                return Answer(why=str(error))
        if why := last.fingerprint.difference(now, partial(_is_there, question)):
            return Answer(why=f"{why} since run {self._last.named_run(last)}")
        if problem:
            return Answer(why=problem)
        return self._reuse(question.task, last)

    def _reuse(self, task: str, last: LastResult) -> Answer:
        holder, since = self._last.result(task, last), self._last.named_run(last)
        if holder is None:
            return Answer(
                why=f"the record of run {last.holder}, which has its result, was removed or has changed"
            )
        results.adopt(holder, self._directory, {task: last.attempts})
        if self._last.result_digests(self._directory, task, last.attempts) != last.files:
            return Answer(why=f"its result in run {last.holder} changed while it was read")
        with self._last.locked():
            if self._last.read(task) != last:
                return Answer(why="another run has started it meanwhile")
            self._last.write(task, last.replace(holder=self._directory.run_id))
        return Answer(since=since, attempts=last.attempts)

    def finish(self, task: str, attempt: int) -> str:
        """An attempt has ended: hash what it made. Why nothing can be kept of it; empty if it can."""
        try:
            return self._finish(task, attempt)
        finally:
            file = self._modules(task, attempt)
            with contextlib.suppress(OSError):
                file.folder.unlink(file.name)

    def _modules(self, task: str, attempt: int) -> StateFile:
        return self._directory.result_files(task, attempt).with_suffix(results.MODULES)

    def _finish(self, task: str, attempt: int) -> str:
        before = self._before.pop(task, None)
        if before is None:
            return ""
        question = before.question
        try:
            if path := before.code.changed_file():
                raise Unusable(f"{quote(path)} changed while the task ran")
            if changed := before.code.difference(
                self._imported.of(question.targets, is_fresh=question.is_fresh)
            ):
                raise Unusable(f"{changed} while the task ran")
            if before.inputs != hash_matches(question.inputs, question.folder, "inputs"):
                raise Unusable("one of its `inputs` changed while the task ran")
            outputs = digests(hash_matches(question.outputs, question.folder, "outputs"))
            also, files = self._imported_by(question, attempt) if question.targets else ({}, {})
            known = before.fingerprint.replace(outputs=outputs)
            code = self._code(question, also, files) if also else before.code
            # Most tasks import nothing that the text of their code does not say.
            if (code.paths, code.distributions) == (before.code.paths, before.code.distributions):
                also = {}
            else:
                known = self._with_code(known, code)
        except Unusable as problem:
            self._begin(task, f"left nothing to compare with: {problem}")
            return str(problem)
        self._before[task] = before.replace(fingerprint=known, attempt=attempt, also=also)
        return ""

    def keep(self, task: str, attempts: int, flaky: bool) -> None:
        """A task has succeeded, after `finish` of its last attempt. Raises OSError."""
        found = self._before.pop(task, None)
        if found is None or found.attempt != attempts:
            return
        run = self._directory.run_id
        files = self._last.result_digests(self._directory, task, attempts)
        kept = LastResult(
            run=run,
            holder=run,
            attempts=attempts,
            fingerprint=found.fingerprint,
            files=files,
            also=found.also,
            flaky=flaky,
        )
        with self._last.locked():
            # If another run has started it meanwhile, that may have made what is there now.
            if self._last.is_running(task, run):
                self._last.write(task, kept)

    def _imported_by(self, question: Question, attempt: int) -> tuple[dict[str, str], dict[str, list[int]]]:
        """The modules that an attempt had imported for its task, with their files, and what these were.

        Raises Unusable.
        """
        try:
            found = json.loads(self._modules(question.task, attempt).read(_MAX_MODULES_BYTES) or b"")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unusable("its process has not said what it imported")
        of_task = self._imported.of_task(found["modules"], is_fresh=question.is_fresh)
        return {name: path or "" for name, path in of_task.items()}, found["files"]

    def _code(
        self, question: Question, also: Mapping[str, str], files: Mapping[str, list[int]] | None = None
    ) -> Code:
        """The code of a task, with other modules. Raises Unusable, also if it is newer than the imports."""
        others = {name: path or None for name, path in also.items()}
        code = self._imported.of(question.targets, others, is_fresh=question.is_fresh)
        for name, found in code.signatures.items():
            # A directory in the place of another one may have older files.
            is_other = any(
                known.get(name, [*found[:-1]]) != [*found[:-1]] for known in (self._files, files or {})
            )
            if is_other or found[-1] > self._began - TICK_NS:
                raise Unusable(f"{quote(code.paths[name])} changed while it was imported, or after that")
        for name, changed in code.installed.items():
            if changed > self._began - TICK_NS:
                raise Unusable(f"distribution {quote(name)} has changed since the imports of this run began")
        return code

    def _with_code(self, known: Fingerprint, code: Code) -> Fingerprint:
        files = _placed(code, self._directory.state.path)
        return known.replace(code=files, distributions=code.distributions)

    def _look(self, question: Question) -> _Before:
        """What a task depends on now, without its outputs. Raises Unusable."""
        code = self._code(question, {})
        inputs = hash_matches(question.inputs, question.folder, "inputs")
        now = Fingerprint(
            settings={label: self._last.digest(text) for label, text in question.settings.items()},
            inputs=digests(inputs),
            outputs={},
            python=_PYTHON,
            code={},
            distributions={},
            shown=question.shown,
        )
        return _Before(question=question, fingerprint=self._with_code(now, code), inputs=inputs, code=code)


def explain(directory: RunDirectory, task: str, answer: Answer) -> None:
    """Write for `mprun why` what was found. Raises OSError."""
    text = json.dumps({"unchanged_since": answer.since or None, "why": answer.why})
    file = directory.results.file(f"{file_name(task)}{WHY}")
    with open(file.open(CREATE), "wb") as stream:
        stream.write(text.encode("utf-8", "surrogatepass"))


def recorded_difference(
    results: LastResults, last: LastResult, question: Question, path: Sequence[str]
) -> str:
    """The first difference from what a task did last; empty if there is none.

    Modules and distributions are looked for on `path`, and nothing is imported. Raises Unusable if its inputs
    or its code cannot be compared.
    """
    then = last.fingerprint
    outputs, problem = _outputs(question)
    now = Fingerprint(
        settings={label: results.digest(text) for label, text in question.settings.items()},
        inputs=digests(hash_matches(question.inputs, question.folder, "inputs")),
        outputs=outputs,
        python=_PYTHON,
        code={},
        distributions={},
        shown=question.shown,
    )
    known = then.replace(code={}, distributions={})
    why = known.difference(now, partial(_is_there, question)) or problem
    if why or not question.targets:
        return why
    from mprun.record.code_files import CUSTOM, ImportedCode, custom_modules

    folder = results.state.path
    files = {
        name: os.path.normpath(os.path.join(folder, file))
        for name, (file, _) in then.code.items()
        if name not in CUSTOM
    }
    also = {name: file or None for name, file in last.also.items()}
    imported = ImportedCode({**files, **custom_modules()}, path)
    code = imported.of(question.targets, also, is_fresh=question.is_fresh)
    found = _placed(code, folder)
    # Only a run knows which ones the job has imported besides.
    versions = {**imported.versions(then.distributions), **code.distributions}
    return then.difference(now.replace(code=found, distributions=versions))


def _placed(code: Code, folder: str) -> dict[str, list[str]]:
    """The path of each module from a directory, and its digest."""
    return {name: [os.path.relpath(path, folder), code.digests[name]] for name, path in code.paths.items()}


def flaky_failure(results: LastResults, last: LastResult, question: Question) -> str:
    """Why a task runs although it succeeded: it was flaky, and that fails the run; empty if it is not so."""
    if not (last.flaky and question.fails_if_flaky):
        return ""
    return f"it was flaky in run {results.named_run(last)}, and `flaky: fail` is in effect"


def _is_there(question: Question, path: str) -> bool:
    return look(os.path.join(question.folder, path)) is not None


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
