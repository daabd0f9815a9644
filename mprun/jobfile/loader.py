"""Reads a job file and its recipes and makes a Job of them: checked, resolved and expanded."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Comparisons
from mprun.errors import (
    JobFileError,
    OutOfBudget,
    TooManyTasks,
    UsageError,
    refuse_too_many,
)
from mprun.jobfile import job_checks, task_checks
from mprun.jobfile.dependencies import DependencyError, link, refuse_vain_waits
from mprun.jobfile.expansion import expand, too_many
from mprun.jobfile.interpolation import interpolate
from mprun.jobfile.model import STANDARD_INPUT_PATH, Job, JoinEntry, Origin, Task
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import Reference, SiblingReference, has_references
from mprun.jobfile.resolution import HIDDEN, Resolver
from mprun.jobfile.schema import job_schema
from mprun.jobfile.scope import resolve_scope
from mprun.jobfile.syntax.document import (
    STANDARD_INPUT,
    Mapping,
    load,
)
from mprun.jobfile.task_builder import FileContext, Inherited, absolute, listed, merged, optional_seconds
from mprun.jobfile.task_checks import task_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Mapping as AnyMapping

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.budget import Budget
    from mprun.jobfile.model import Instance, Needs
    from mprun.jobfile.packages import PackageFiles
    from mprun.jobfile.params import ParamInput
    from mprun.jobfile.references import Closure, Scope
    from mprun.jobfile.scope import FileScope
    from mprun.jobfile.syntax.document import Document


def load_job_file(
    path: str | dict[str, Any],
    params: AnyMapping[str, Any],
    options: Sequence[str],
    environment: AnyMapping[str, str],
    *,
    lenient: bool = False,
    restrict: str | None = None,
) -> Job:
    """Read, check and expand a job file and its recipes; the path `-` means standard input.

    In place of the path it takes the job itself, as a mapping.

    `params` are values by name, or UNRECORDED, `options` texts such as `n=3`. `environment` has params, too
    (`MPRUN_PARAM_N`), the variables that `${env.NAME}` names, and what tasks inherit. With
    `lenient`, required params may be missing; what depends on them is not checked. With `restrict`, the
    job file, its recipes and env files must be below this directory once their links are resolved.

    Raises JobFileError with every error of the first file that has any, and UsageError if a
    file cannot be read.
    """
    loader = JobLoader(environment, lenient, restrict)
    try:
        with Comparisons():
            return loader.job(path, params, options)
    except JobFileError as error:
        raise loader.with_others(error) from None
    except OutOfBudget as error:
        raise loader.with_others(JobFileError([error.diagnostic])) from None
    finally:
        loader.close_budget()
        # Few jobs have a pattern that may take long.
        if (matcher := sys.modules.get("mprun.jobfile.matcher")) is not None:
            matcher.end_load()


# Keys that decide which tasks there are, and what others may ask of them.
_STRUCTURE_KEYS = frozenset({"daemon", "foreach", "matrix", "ready", "resources", "uses"})

# Variables of a job that the budget counts, if tasks have others beside them.
MANY_VARIABLES = 100

# Tasks of a file, among fewer of which there are not too many aliases.
MANY_TASKS = 100_000

# Characters of a file, fewer of which cannot make defaults too large.
MANY_CHARACTERS = 1000

# Tasks of a file; for more, compiling a constructor saves time.
_MIN_TASKS_TO_COMPILE_INIT = 1000

# Where numbers may stand for texts.
_KEYS_WITH_NUMBERS = frozenset({"command", "env", "ready"})


class JobLoader:
    """Reads the files of one job, each once, and expands their tasks."""

    def __init__(self, environment: AnyMapping[str, str], lenient: bool, restrict: str | None = None) -> None:
        self._environment = environment
        self._lenient = lenient
        # The directories that all files must be below; None for any.
        self._restrict = None if restrict is None else [restrict]
        self._package_files: PackageFiles | None = None
        # What references and recipes may cost; None if the job has none.
        self.budget: Budget | None = None
        # The real path of each path, and the documents by it. Thousands of tasks may use one.
        self._real_paths: dict[str, str] = {}
        self._documents: dict[str, Document] = {}
        # Those that have errors, by the same path.
        self._refused: dict[str, JobFileError] = {}
        # The SHA-256 of every file that was read, by absolute path.
        self._files: dict[str, str] = {}
        self._pythonpath: list[str] = []
        self._places: dict[str, tuple[str, ...]] = {}
        self._preload: list[str] = []
        self._tokens: dict[str, int] = {}
        # The variables of each recipe that sets any, by its path.
        self._recipe_env: dict[str, dict[str, Any]] = {}
        self._task_count = 0
        self._warnings: list[Diagnostic] = []
        # Whether a file may refer to the result of a task.
        self._refers_to_results = False
        # The errors so far, as far as reading can go on, and how often a task had some.
        self._errors: list[Diagnostic] = []
        self._failures = 0
        # The names of tasks that could not be expanded.
        self._failed: list[str] = []
        # Whether one of them uses a recipe, which may have tokens of its own.
        self._lacks_recipe = False
        # The references to outputs that led nowhere: errors, if nothing else is wrong.
        self._unknown: list[Diagnostic] = []
        # The results that recipes and the job name as their outputs.
        self._outputs: list[Reference] = []
        # The names of tasks whose list is empty, so that they stand for no task.
        self._empty: list[str] = []
        # Whether missing params decide which tasks there are, or what other tasks may ask of them.
        self._structure_unknown = False

    def job(self, path: str | dict[str, Any], params: AnyMapping[str, Any], options: Sequence[str]) -> Job:
        """The job of a file; see `load_job_file`."""
        if isinstance(path, dict):
            # The command line has none.
            from mprun.jobfile.syntax.mapping_text import document_of

            document = document_of(path)
        elif path != STANDARD_INPUT_PATH:
            return self.job_of(self.checked_document(self.path_of(path)), params, options)
        else:
            # Most jobs are files.
            from mprun.jobfile.syntax.standard_input import load_standard_input

            document = load_standard_input()
        self._files[STANDARD_INPUT_PATH] = document.sha256
        self._check(document, is_job=True)
        self._warn(document)
        return self.job_of(document, params, options)

    def close_budget(self) -> None:
        """Count nothing more: the job is read."""
        if self.budget is not None:
            self.budget.close()

    def budget_for(self, document: Document) -> Budget:
        """The budget of the job, made when a first file needs it."""
        if self.budget is None:
            # Most jobs have none.
            from mprun.jobfile.budget import Budget

            self.budget = Budget(document.source)
        return self.budget

    def with_others(self, error: JobFileError) -> JobFileError:
        """An error together with those that were found before it, each once, by its position."""
        if not self._errors:
            return error
        found = {one.sort_key(): one for one in (*self._errors, *error.diagnostics)}
        return JobFileError([found[key] for key in sorted(found)][: job_schema.MAX_DIAGNOSTICS])

    def _note(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Add the errors of a task; raise JobFileError if there are so many that no one would read more."""
        self._errors += diagnostics
        self._failures += 1
        if max(len(self._errors), self._failures) >= job_schema.MAX_DIAGNOSTICS:
            raise JobFileError([])

    def job_of(self, document: Document, params: AnyMapping[str, Any], options: Sequence[str]) -> Job:
        """The job of a document that has passed the schema and the checks."""
        path = document.source.path
        inputs = self._param_inputs(document, params, options)
        scope, document = self.resolve_file(document, inputs, self._environment)
        root: Any = document.root
        if any("uses" in merged(root, number) for number in range(len(root["tasks"]))):
            from mprun.jobfile.recipe_counts import refuse_too_many_of

            refuse_too_many_of(document, self)
        chain = ((os.path.realpath(path), document),)
        tasks = tuple(self.expand_tasks(document, scope, Inherited(env={}, job_env={}), chain))
        raw = {key: node for key, node in root.items() if key != "tasks"}
        # Nothing may hold the tree when it is forgotten.
        del root
        self._forget_trees(tasks)
        names = NameIndex(tasks, (*self._empty, *self._failed))
        needs = self._link(tasks, names)
        if self._outputs and not self._structure_unknown:
            from mprun.jobfile.recipe_outputs import unknown_tasks

            self._errors += unknown_tasks(self._outputs, names, self._unknown_prefixes())
        if self._refers_to_results:
            from mprun.jobfile.null_results import null_results

            self._warnings += null_results(tasks, needs, names, len(self._warnings))
        job = self._build(document, raw, scope, tasks, needs)
        if not self._structure_unknown:
            if not self._failed:
                self._errors += job_checks.join_diagnostics(job, names)
            if not self._lacks_recipe:
                self._errors += job_checks.token_diagnostics(job)
            self._errors += () if self._errors else self._unknown
        if self._errors:
            raise JobFileError([])
        return job

    def _build(
        self,
        document: Document,
        raw: dict[str, Any],
        file_scope: FileScope,
        tasks: tuple[Instance, ...],
        needs: tuple[Needs, ...],
    ) -> Job:
        path, join, scope = document.source.path, raw.get("join"), file_scope.scope
        is_file = path != STANDARD_INPUT
        return Job(
            name=raw.get("name") or (os.path.splitext(os.path.basename(path))[0] if is_file else "stdin"),
            path=os.path.abspath(path) if is_file else STANDARD_INPUT_PATH,
            files=tuple(self._files.items()),
            packages=tuple(self._package_files.names(self._files)) if self._package_files else (),
            description=raw.get("description") or "",
            start_method=raw.get("start_method"),
            preload=tuple(dict.fromkeys(self._preload)),
            pythonpath=tuple(dict.fromkeys(self._pythonpath)),
            places=tuple(self._places.items()),
            max_parallel=raw.get("max_parallel"),
            fail_fast=bool(raw.get("fail_fast", False)),
            flaky=raw.get("flaky") or "pass",
            on_host_lost=raw.get("on_host_lost") or "fail",
            timeout=optional_seconds(raw.get("timeout")),
            resources=self._tokens,
            params={
                name: HIDDEN if name in scope.secrets and value is not None else value
                for name, value in scope.params.items()
            },
            env=file_scope.env,
            recipe_env=self._recipe_env,
            tasks=tasks,
            empty=tuple(self._empty),
            needs=needs,
            origin=Origin(document=document, path=()),
            warnings=tuple(self._warnings),
            join=None if join is None else tuple(map(_join_entry, join)),
        )

    def _link(self, tasks: tuple[Instance, ...], names: NameIndex) -> tuple[Needs, ...]:
        """The dependencies of each task; adds the errors."""
        if self._structure_unknown:
            return ((),) * len(tasks)
        errors: list[DependencyError] = []
        needs: tuple[Needs, ...] = ((),) * len(tasks)
        try:
            needs = link(tasks, names, errors)
            refuse_vain_waits(tasks, needs, names)
        except DependencyError as error:
            errors.append(error)
        for invalid in errors:
            if not invalid.known and invalid.need.startswith(self._unknown_prefixes()):
                # The task of which it would be an instance could not be expanded.
                continue
            from mprun.jobfile import locate

            found = locate.dependency_diagnostic(tasks[invalid.task], invalid, names)
            # Instances of one task have the same mistake at the same place.
            if all((found.source, found.span) != (error.source, error.span) for error in self._errors):
                self._errors.append(found)
        return needs

    def _unknown_prefixes(self) -> tuple[str, ...]:
        """How the names of instances and recipe tasks begin that could not be expanded."""
        return tuple(f"{name}{sign}" for name in self._failed for sign in "[/")

    def _forget_trees(self, tasks: Sequence[Instance]) -> None:
        """Release the trees of the files: those of 100,000 tasks take up to 80 MB.

        They are kept if tasks are expanded during the run. To locate an error, a tree is read again.
        """
        if not any(instance.task.foreach is not None for instance in tasks):
            for document in self._documents.values():
                document.tree.forget()

    def _check(self, document: Document, *, is_job: bool) -> None:
        """Raise JobFileError if a document violates the schema or the checks of one file, or OutOfBudget."""
        if isinstance(document.root, Mapping) and "requires" in document.root:
            # Few files say so, and what follows may not hold for other versions.
            from mprun.jobfile.requirement import refuse_other_version

            refuse_other_version(document)
        # First: each of the others goes through all tasks.
        self._count_aliases(document)
        holders = list(_holders_of_numbers(document.root))
        if holders:
            # Most jobs have none.
            from mprun.jobfile.plain_texts import take_texts

            take_texts(document, holders)
        self._spend_defaults(document)
        self._spend_patterns(document)
        if not isinstance(document.root, Mapping) or "tasks" not in document.root:
            from mprun.jobfile.not_a_job import refuse_other_file

            refuse_other_file(document)
        diagnostics = job_schema.check(document)
        if len(diagnostics) < job_schema.MAX_DIAGNOSTICS:
            diagnostics += task_checks.check(document)
        if diagnostics and is_job:
            # What can be found without the keys that are wrong.
            from mprun.jobfile.early_checks import declaration_diagnostics, unknown_tokens

            diagnostics += declaration_diagnostics(document, self._environment)
            diagnostics += unknown_tokens(document)
        if diagnostics:
            raise JobFileError(diagnostics)

    def _count_aliases(self, document: Document) -> None:
        """Raise OutOfBudget if too many tasks are aliases of others; takes any tree."""
        tasks = document.root.get("tasks") if isinstance(document.root, Mapping) else None
        if isinstance(tasks, list) and len(tasks) > MANY_TASKS:
            self.budget_for(document).count_aliases(tasks, document.source)

    def _spend_defaults(self, document: Document) -> None:
        """Raise OutOfBudget if the defaults are too large for so many tasks; takes any tree."""
        root: Any = document.root
        tasks = root.get("tasks") if isinstance(root, Mapping) else None
        is_small = len(document.source.lines.text) < MANY_CHARACTERS
        if isinstance(tasks, list) and not is_small and root.get("defaults"):
            mark = root.marks_of("defaults")[1]
            self.budget_for(document).spend_defaults(root["defaults"], len(tasks), document.source, mark)

    def _spend_patterns(self, document: Document) -> None:
        """Raise OutOfBudget if it takes too long to compile the patterns of a file; takes any tree."""
        if len(document.source.lines.text) >= MANY_CHARACTERS or self.budget is not None:
            self.budget_for(document).spend_patterns(document)

    def _warn(self, document: Document) -> None:
        """Add the warnings about a document that has passed the checks."""
        self._refers_to_results |= "${tasks." in document.source.lines.text
        if document.has_lossy_numbers:
            # Few files have one.
            from mprun.jobfile.plain_numbers import lossy_numbers

            self._warnings += lossy_numbers(document)
        if "process" in document.source.lines.text:
            # Few files have this word.
            from mprun.jobfile.shell_stops import shell_stops

            self._warnings += shell_stops(document)

    def path_of(self, name: str, users: Sequence[Document] = ()) -> str:
        """The path of a file in a package, `package:file`; any other name is a path, and stays.

        `users` are the files that use one another, from the job's to the one with this name.
        Raises PackageFileError.
        """
        if ":" not in name:
            return name
        # Few jobs use a package.
        from mprun.jobfile.packages import PackageFiles, folders_of, names_package

        if not names_package(name):
            return name
        self._package_files = self._package_files or PackageFiles()
        return self._package_files.path(name, folders_of(users), self._restrict)

    def checked_document(self, path: str) -> Document:
        """A file that conforms to the schema and has passed the checks of one file.

        Raises JobFileError, and UsageError if it cannot be read.
        """
        if path not in self._real_paths:
            self._real_paths[path] = os.path.realpath(path)
        key = self._real_paths[path]
        if key in self._refused:
            # A hundred tasks may use it.
            raise self._refused[key]
        if key not in self._documents:
            if self._restrict is not None:
                # Few commands read a job for someone else.
                from mprun.jobfile.restriction import refuse_outside

                refuse_outside(path, self._restrict)
            try:
                document = load(path)
                self._files[os.path.abspath(path)] = document.sha256
                self._check(document, is_job=not self._documents)
            except JobFileError as error:
                self._refused[key] = error
                raise
            except UsageError as error:
                from mprun.jobfile.packages import with_package

                raise with_package(error, path) from None
            self._documents[key] = document
            self._warn(document)
        return self._documents[key]

    def _param_inputs(
        self, document: Document, params: AnyMapping[str, Any], options: Sequence[str]
    ) -> dict[str, ParamInput]:
        declared = document.root.get("params") or {}  # type: ignore[attr-defined]
        if not declared and not params and not options:
            return {}
        from mprun.jobfile.params import UNRECORDED, ParamInput, from_options, lossy_inputs

        inputs = from_options(options, self._environment, declared)
        self._warnings += lossy_inputs(document, declared, inputs)
        for name, value in params.items():
            if value is UNRECORDED and (name in inputs or name not in declared):
                continue
            inputs[name] = ParamInput(value=value, where="`params`", is_text=False)
        return inputs

    def resolve_file(
        self,
        document: Document,
        inputs: AnyMapping[str, ParamInput],
        environment: AnyMapping[str, Any],
        *,
        closures: AnyMapping[str, Closure] | None = None,
        used_by: Origin | None = None,
    ) -> tuple[FileScope, Document]:
        """The scope of a file (see `resolve_scope`), and the file with its early references replaced."""
        file_scope = resolve_scope(
            document,
            inputs,
            environment,
            closures=closures,
            used_by=used_by,
            lenient=self._lenient,
            errors=self._errors,
            budget=self._budget_of(document),
            restrict=self._restrict,
        )
        self._files.update(file_scope.files)
        document = self._interpolated(document, file_scope.scope)
        self._collect_job_keys(document)
        return file_scope, document

    def _budget_of(self, document: Document) -> Budget | None:
        """The budget, if what the tasks of a file have in common may cost something."""
        root: Any = document.root
        may_cost = (
            has_references(document) or "env_file" in root or len(root.get("env") or ()) > MANY_VARIABLES
        )
        return self.budget_for(document) if may_cost else self.budget

    def _interpolated(self, document: Document, scope: Scope) -> Document:
        interpolated, unresolved_paths, diagnostics = interpolate(document, Resolver(scope))
        self._structure_unknown |= any(not _STRUCTURE_KEYS.isdisjoint(path) for path in unresolved_paths)
        self._errors += diagnostics
        diagnostics = []
        if interpolated is not document:
            self._spend_patterns(interpolated)
            diagnostics = job_schema.check(interpolated)
            # Without the values of missing params, the checks would report what is not wrong.
            if not unresolved_paths:
                diagnostics += task_checks.check(interpolated, interpolated=True)
        if diagnostics:
            raise JobFileError(diagnostics)
        return interpolated

    def _collect_job_keys(self, document: Document) -> None:
        """Add what a file gives to the whole job, also if it is a recipe."""
        root: Any = document.root
        path = os.path.abspath(document.source.path)
        folder = os.path.dirname(path)
        entries = [absolute(folder, entry) for entry in listed(root.get("pythonpath"))]
        self._pythonpath += entries
        self._places[path] = (*entries, folder)
        self._preload += listed(root.get("preload"))
        for token, number in (root.get("resources") or {}).items():
            # The file that uses a recipe decides how many there are.
            self._tokens.setdefault(token, number)

    # ---- tasks

    def expand_tasks(
        self,
        document: Document,
        file_scope: FileScope,
        inherited: Inherited,
        chain: tuple[tuple[str, Document], ...],
    ) -> list[Instance]:
        """The tasks of a resolved file, with its matrices, lists and recipes expanded.

        `chain` are the files that use one another, up to this one (see `FileContext`).
        """
        outputs = None
        if "outputs" in document.source.lines.text:
            # Few files have some, or refer to some.
            from mprun.jobfile.recipe_outputs import RecipeOutputs

            found = RecipeOutputs(chain, inherited.prefix, self, self._errors, self._unknown)
            self._outputs += found.declared()
            outputs = found.replaced
        context = FileContext(
            document=document,
            scope=file_scope.scope,
            inherited=inherited,
            env={**inherited.job_env, **file_scope.env, **inherited.env},
            has_references=has_references(document),
            unknown=self._structure_unknown,
            chain=chain,
            outputs=outputs,
        )
        if len(chain) > 1:
            # A recipe inside a recipe has the variables of both.
            env = {**self._recipe_env.get(chain[-2][1].source.path, {}), **file_scope.env}
            env = {name: text for name, text in env.items() if name not in inherited.env}
            self._recipe_env.setdefault(document.source.path, {}).update(env)
        root: Any = document.root
        if len(root["tasks"]) > _MIN_TASKS_TO_COMPILE_INIT:
            Task.compile_init()
            Reference.compile_init()
            SiblingReference.compile_init()
        tasks: list[Instance] = []
        for number in range(len(root["tasks"])):
            if self.budget is not None:
                self.budget.begin_task(document.source, root["tasks"].marks[number])
            try:
                try:
                    tasks += self._expand_task(context, number, merged(root, number))
                except JobFileError as error:
                    self._failed.append(context.inherited.prefix + task_name(root["tasks"][number], number))
                    self._lacks_recipe |= "uses" in merged(root, number)
                    self._note(error.diagnostics)
                refuse_too_many(self._task_count)
            except TooManyTasks as error:
                key = next((key for key in ("matrix", "foreach") if key in root["tasks"][number]), "")
                path = ("tasks", number, key) if key else ("tasks", number)
                raise JobFileError([too_many(path, document, error)]) from None
        return tasks

    def _expand_task(self, context: FileContext, number: int, keys: dict[str, Any]) -> list[Instance]:
        instances = expand(context, number, keys)
        if not instances:
            root: Any = context.document.root
            self._empty.append(context.inherited.prefix + task_name(root["tasks"][number], number))
        if "uses" not in keys:
            self._task_count += len(instances)
            return instances
        # Few jobs use a recipe.
        from mprun.jobfile.recipes import expand_recipe

        return [task for one in instances for task in expand_recipe(self, context, keys, one)]


def _holders_of_numbers(root: Any) -> Iterator[Mapping]:
    """The job, its defaults, its tasks and their probes, where a command or variables have no string."""
    if not isinstance(root, Mapping):
        return
    tasks = root.get("tasks")
    for holder in (root, root.get("defaults"), *(tasks if isinstance(tasks, list) else ())):
        if isinstance(holder, Mapping) and not _KEYS_WITH_NUMBERS.isdisjoint(holder):
            command, env = holder.get("command"), holder.get("env")
            if not (command is None or type(command) is str or _all_strings(command)) or not (
                env is None or _all_strings(env)
            ):
                yield holder
            probe = holder.get("ready")
            if isinstance(probe, Mapping) and "command" in probe and not _all_strings(probe["command"]):
                yield probe


def _all_strings(node: Any) -> bool:
    """Whether a list or the values of a mapping are strings."""
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else (node,)
    return all(type(value) is str for value in values)


def _join_entry(entry: Any) -> JoinEntry:
    if isinstance(entry, str):
        return JoinEntry(task=entry)
    return JoinEntry(task=entry["task"], timeout=optional_seconds(entry.get("timeout")))
