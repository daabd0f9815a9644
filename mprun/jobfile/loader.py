"""Makes a Job of a job file and its recipes: reads, resolves and expands them, and links their tasks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Comparisons
from mprun.errors import JobFileError, OutOfBudget, TooManyTasks, refuse_too_many
from mprun.frozen import MIN_TO_COMPILE
from mprun.jobfile import job_checks, task_checks
from mprun.jobfile.checked_files import CheckedFiles
from mprun.jobfile.dependencies import DependencyError, link, refuse_vain_waits
from mprun.jobfile.expansion import expand, too_many
from mprun.jobfile.model import STANDARD_INPUT_PATH, Instance, Job, JoinEntry, Origin, Task
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import Reference, SiblingReference, has_references
from mprun.jobfile.resolution import HIDDEN, Resolver
from mprun.jobfile.schema import job_schema
from mprun.jobfile.scope import resolve_scope
from mprun.jobfile.syntax.document import STANDARD_INPUT
from mprun.jobfile.task_builder import FileContext, Inherited, absolute, listed, merged
from mprun.jobfile.task_checks import task_name
from mprun.jobfile.units import optional_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping as AnyMapping
    from collections.abc import Sequence

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.model import Needs
    from mprun.jobfile.param_inputs import ParamInput
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
        loader.files.close_budget()
        # Few jobs have a pattern that may take long.
        if (matcher := sys.modules.get("mprun.jobfile.matcher")) is not None:
            matcher.end_load()


# Keys that decide which tasks there are, and what others may ask of them.
_STRUCTURE_KEYS = frozenset({"daemon", "foreach", "matrix", "ready", "resources", "uses"})


class JobLoader:
    """Makes one job; see `load_job_file`."""

    def __init__(self, environment: AnyMapping[str, str], lenient: bool, restrict: str | None = None) -> None:
        self._environment = environment
        self._lenient = lenient
        self.files = CheckedFiles(environment, restrict)
        self._pythonpath: list[str] = []
        self._places: dict[str, tuple[str, ...]] = {}
        self._preload: list[str] = []
        self._tokens: dict[str, int] = {}
        # The variables of each recipe that sets any, by its path.
        self._recipe_env: dict[str, dict[str, Any]] = {}
        self._task_count = 0
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
        return self.job_of(self.files.document_of_job(path), params, options)

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

            refuse_too_many_of(document, self.files)
        chain = ((os.path.realpath(path), document),)
        tasks = tuple(self.expand_tasks(document, scope, Inherited(env={}, job_env={}), chain))
        raw = {key: node for key, node in root.items() if key != "tasks"}
        # Nothing may hold the tree when it is forgotten.
        del root
        if not any(instance.task.foreach is not None for instance in tasks):
            # Else tasks are expanded during the run, from their trees.
            self.files.forget_trees()
        names = NameIndex(tasks, (*self._empty, *self._failed))
        needs = self._link(tasks, names)
        if self._outputs and not self._structure_unknown:
            from mprun.jobfile.recipe_outputs import unknown_tasks

            self._errors += unknown_tasks(self._outputs, names, self._unknown_prefixes())
        if self.files.refer_to_results:
            from mprun.jobfile.null_results import null_results

            self.files.warnings += null_results(tasks, needs, names, len(self.files.warnings))
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
            files=tuple(self.files.hashes.items()),
            packages=self.files.packages(),
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
            warnings=tuple(self.files.warnings),
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
            if not errors and len(self.files.hashes) > 1 and any(one.task.whole is not None for one in tasks):
                # Few recipes are taken as one.
                from mprun.jobfile.whole_recipes import waits_for_itself

                self._errors += waits_for_itself(tasks, needs)
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

    def _param_inputs(
        self, document: Document, params: AnyMapping[str, Any], options: Sequence[str]
    ) -> dict[str, ParamInput]:
        declared = document.root.get("params") or {}  # type: ignore[attr-defined]
        if not declared and not params and not options:
            return {}
        # Most jobs have none.
        from mprun.jobfile.param_inputs import inputs_of_job

        return inputs_of_job(document, params, options, self._environment, self.files.warnings)

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
            budget=self.files.budget_of(document),
            restrict=self.files.restrict,
        )
        self.files.hashes.update(file_scope.files)
        document = self._interpolated(document, file_scope.scope)
        self._collect_job_keys(document)
        return file_scope, document

    def _interpolated(self, document: Document, scope: Scope) -> Document:
        if not has_references(document):
            return document
        # Many jobs have none.
        from mprun.jobfile.interpolation import interpolate

        interpolated, unresolved_paths, diagnostics = interpolate(document, Resolver(scope))
        self._structure_unknown |= any(not _STRUCTURE_KEYS.isdisjoint(path) for path in unresolved_paths)
        self._errors += diagnostics
        diagnostics = []
        if interpolated is not document:
            self.files.spend_patterns(interpolated)
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

            found = RecipeOutputs(chain, inherited.prefix, self.files, self._errors, self._unknown)
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
        if len(root["tasks"]) >= MIN_TO_COMPILE:
            Instance.compile_init()
            Task.compile_init()
            Reference.compile_init()
            SiblingReference.compile_init()
        tasks: list[Instance] = []
        for number in range(len(root["tasks"])):
            if self.files.budget is not None:
                self.files.budget.begin_task(document.source, root["tasks"].marks[number])
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


def _join_entry(entry: Any) -> JoinEntry:
    if isinstance(entry, str):
        return JoinEntry(task=entry)
    return JoinEntry(task=entry["task"], timeout=optional_seconds(entry.get("timeout")))
