"""Job file, params and recipes -> Job: every file is read, checked and spelled out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.errors import JobFileError, UsageError
from mprun.jobfile import job_checks, locate, recipes, task_builder, task_checks
from mprun.jobfile.dependencies import DependencyError, NameIndex, link, refuse_never_ready
from mprun.jobfile.expansion import MAX_TASKS, TooManyTasks, expand, least_count, too_many
from mprun.jobfile.interpolation import interpolate
from mprun.jobfile.model import Job, JoinEntry, Origin, Task
from mprun.jobfile.reference_checks import check_references, has_references, reference_diagnostic
from mprun.jobfile.references import (
    HIDDEN,
    Closure,
    Reference,
    ReferenceProblem,
    Resolver,
    Scope,
    as_text,
    compiled,
    references,
    resolve,
)
from mprun.jobfile.schema import job_schema
from mprun.jobfile.syntax.document import load, sha256, span_of
from mprun.jobfile.task_builder import FileContext, Inherited, absolute, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.jobfile.model import Instance
    from mprun.jobfile.params import ParamInput
    from mprun.jobfile.syntax.document import Document


def load_job_file(
    path: str,
    params: Mapping[str, Any],
    options: Sequence[str],
    environment: Mapping[str, str],
    *,
    lenient: bool = False,
) -> Job:
    """The job that a file declares: with params as values, or as texts in `options` (`n=3`).

    Params, `${env.NAME}` and what the tasks inherit come from `environment`, too. With
    `lenient` params that are required may be missing: what depends on them is not checked.
    Raises JobFileError with every problem of the first file that has any, and UsageError
    where a file cannot be read.
    """
    return JobLoader(environment, lenient).job(path, params, options)


# Keys that decide which tasks there are, and what others may ask of them.
_STRUCTURE_KEYS = frozenset({"daemon", "foreach", "matrix", "ready", "resources", "uses"})

# Of more tasks than this a faster constructor is worth its making.
_MIN_TASKS_TO_COMPILE_INIT = 1000


class JobLoader:
    """Reads the files of one job, each once."""

    def __init__(self, environment: Mapping[str, str], lenient: bool) -> None:
        self._environment = environment
        self._lenient = lenient
        self._documents: dict[str, Document] = {}
        # The recipes that we are in, outermost first: absolute paths, and names as given.
        self._recipe_stack: list[tuple[str, str]] = []
        self._files: dict[str, str] = {}
        self._pythonpath: list[str] = []
        self._preload: list[str] = []
        self._tokens: dict[str, int] = {}
        self._count = 0
        # The names of tasks that stand for none.
        self._empty: list[str] = []
        # Whether it is not known which tasks there are, or what others may ask of them.
        self._structure_unknown = False

    def job(self, path: str, params: Mapping[str, Any], options: Sequence[str]) -> Job:
        """The job of a file; see `load_job_file`."""
        return self.job_of(self._checked(path), params, options)

    def job_of(self, document: Document, params: Mapping[str, Any], options: Sequence[str]) -> Job:
        """The job of a document that has passed the schema and the checks."""
        path = document.source.path
        self._recipe_stack.append((os.path.realpath(path), path))
        given = self._param_inputs(document, params, options)
        scope, document, env = self._settled(document, given, self._environment)
        self._refuse_many(document)
        tasks = tuple(self._tasks(document, scope, Inherited(env={}, job_env={}), env))
        root: Any = document.root
        raw = {key: node for key, node in root.items() if key != "tasks"}
        del root
        self._forget_trees(tasks)
        names = NameIndex(tasks, self._empty)
        try:
            needs = ((),) * len(tasks) if self._structure_unknown else link(tasks, names)
            if not self._structure_unknown:
                refuse_never_ready(tasks, needs, names)
        except DependencyError as error:
            raise JobFileError([locate.dependency_diagnostic(tasks[error.task], error, names)]) from None
        join = raw.get("join")
        job = Job(
            name=raw.get("name") or os.path.splitext(os.path.basename(path))[0],
            path=os.path.abspath(path),
            files=tuple(self._files.items()),
            description=raw.get("description") or "",
            start_method=raw.get("start_method"),
            preload=tuple(dict.fromkeys(self._preload)),
            pythonpath=tuple(dict.fromkeys(self._pythonpath)),
            max_parallel=raw.get("max_parallel"),
            fail_fast=bool(raw.get("fail_fast", False)),
            timeout=task_builder.optional_seconds(raw.get("timeout")),
            resources=self._tokens,
            params={name: HIDDEN if name in scope.secrets else value for name, value in scope.params.items()},
            tasks=tasks,
            empty=tuple(self._empty),
            needs=needs,
            origin=Origin(document=document, path=()),
            join=None if join is None else tuple(_join_entry(entry) for entry in join),
        )
        diagnostics = (
            []
            if self._structure_unknown
            else [*job_checks.join_diagnostics(job, names), *job_checks.token_diagnostics(job)]
        )
        if diagnostics:
            raise JobFileError(diagnostics)
        return job

    def _forget_trees(self, tasks: Sequence[Instance]) -> None:
        """Of 100,000 tasks they are up to 80 MB, and of use to none.

        Unless tasks are to be made on the way; where something is found to be wrong, they are read again.
        """
        if not any(instance.task.foreach is not None for instance in tasks):
            for document in self._documents.values():
                document.tree.forget()

    def _refuse_many(self, document: Document) -> None:
        """Raise JobFileError for recipes that multiply, before their tasks take up time and memory."""
        known: dict[str, int] = {}

        def count(path: str, inside: Document) -> int:
            if path not in known:
                known[path] = 1
                known[path] = least_count(inside, lambda name: of_recipe(inside, name))
            return known[path]

        def of_recipe(user: Document, name: str) -> int:
            path = os.path.normpath(os.path.join(os.path.dirname(user.source.path), name))
            try:
                return count(path, self._checked(path))
            except UsageError:
                # Told, with who uses it, when it is used.
                return 1

        raw: Any = document.root
        if any("uses" in task_builder.merged(raw, number) for number in range(len(raw["tasks"]))):
            total = count(document.source.path, document)
            if total > MAX_TASKS:
                raise JobFileError([too_many(("tasks",), document, TooManyTasks(total))])

    # ---- one file

    def _checked(self, path: str) -> Document:
        """A file that obeys the schema, with names that are there. Raises JobFileError."""
        key = os.path.realpath(path)
        if key not in self._documents:
            document = load(path)
            self._files[os.path.abspath(path)] = document.sha256
            diagnostics = job_schema.check(document)
            if len(diagnostics) < job_schema.MAX_DIAGNOSTICS:
                # Of a file that is wrong everywhere nobody reads what else is wrong.
                diagnostics += task_checks.check(document)
            if diagnostics:
                raise JobFileError(diagnostics)
            self._documents[key] = document
        return self._documents[key]

    def _param_inputs(
        self, document: Document, params: Mapping[str, Any], options: Sequence[str]
    ) -> dict[str, ParamInput]:
        declared = document.root.get("params") or {}  # type: ignore[attr-defined]
        if not declared and not params and not options:
            return {}
        from mprun.jobfile.params import ParamInput, from_options

        texts = from_options(options, self._environment, declared)
        return {
            **texts,
            **{
                name: ParamInput(value=value, where="`params`", is_text=False)
                for name, value in params.items()
            },
        }

    def _settled(
        self,
        document: Document,
        given: Mapping[str, ParamInput],
        environment: Mapping[str, Any],
        closures: Mapping[str, Closure] | None = None,
        used_by: Origin | None = None,
    ) -> tuple[Scope, Document, dict[str, Any]]:
        """The scope of a file, the file with its early references replaced, and its job's variables."""
        raw: Any = document.root
        folder = os.path.dirname(os.path.abspath(document.source.path))
        outside = Scope(params={}, env=environment)
        params, secrets = self._params(document, raw, given, outside, used_by)
        scope = Scope(params={**params, **(closures or {})}, secrets=secrets, env=environment)
        env: dict[str, Any] = {}
        if "env_file" in raw:
            env.update(self._env_file(document, raw["env_file"], Resolver(scope)))
            scope = scope.replace(env={**environment, **env})
        env.update(self._variables(document, raw.get("env") or {}, scope))
        if env:
            scope = scope.replace(env={**environment, **env})
        interpolated, unresolved_paths, diagnostics = interpolate(document, Resolver(scope))
        self._structure_unknown |= not _STRUCTURE_KEYS.isdisjoint(
            step for path in unresolved_paths for step in path
        )
        if not diagnostics and interpolated is not document:
            # What depends on the params that are missing cannot be held against the rest.
            diagnostics = job_schema.check(interpolated) + (
                [] if unresolved_paths else task_checks.check(interpolated, filled=True)
            )
        if diagnostics:
            raise JobFileError(diagnostics)
        raw = interpolated.root
        self._pythonpath += [absolute(folder, entry) for entry in listed(raw.get("pythonpath"))]
        self._preload += listed(raw.get("preload"))
        for token, number in (raw.get("resources") or {}).items():
            # Who uses a recipe says how many there are.
            self._tokens.setdefault(token, number)
        return scope, interpolated, env

    def _params(
        self,
        document: Document,
        raw: Any,
        given: Mapping[str, ParamInput],
        outside: Scope,
        used_by: Origin | None,
    ) -> tuple[dict[str, Any], frozenset[str]]:
        declared = raw.get("params") or {}
        if not declared and not given:
            return {}, frozenset()
        # Most jobs have none.
        from mprun.jobfile.params import resolve_params

        if has_references(document):
            try:
                declared = resolve(compiled(declared, "", document.source), Resolver(outside))
            except ReferenceProblem as error:
                raise JobFileError([reference_diagnostic(document, ("params",), error)]) from None
        return resolve_params(document, declared, given, used_by=used_by, lenient=self._lenient)

    def _env_file(self, document: Document, text: str, early: Resolver) -> dict[str, str]:
        """The variables of a file; none where its name is not known, and need not be."""
        # Few jobs have one.
        from mprun.jobfile.dotenv import read_env_file

        try:
            mark = document.root.marks_of("env_file")[1]  # type: ignore[attr-defined]
            parsed = compiled(text, "", document.source, mark)
            name = resolve(parsed, early)
            left = next(references([name]), None)
            if left is not None and left.root == "params":
                return {}
            if left is not None:
                reason = f"its value `{left}` is only known while the run is in progress"
                raise ReferenceProblem(
                    f"`{text}` is not available here: {reason}", next(references([parsed]))
                )
            path = os.path.join(os.path.dirname(document.source.path), as_text(name))
            variables = read_env_file(path)
        except ReferenceProblem as error:
            raise JobFileError([reference_diagnostic(document, ("env_file",), error)]) from None
        except JobFileError:
            raise
        except UsageError as error:
            span = span_of(document, ("env_file",))
            raise JobFileError([Diagnostic(message=str(error), source=document.source, span=span)]) from None
        self._files[os.path.abspath(path)] = _sha256(path)
        return variables

    def _variables(self, document: Document, env: Any, scope: Scope) -> dict[str, Any]:
        """The job's own variables: texts, but where a secret is in one."""
        values: dict[str, Any] = {}
        for number, (name, text) in enumerate(env.items()):
            try:
                node = compiled(text, "", document.source, env.marks[2 * number + 1])
                closure = Closure(node=node, scope=scope)
                value = closure if recipes.hides(closure) else resolve(node, Resolver(scope))
            except ReferenceProblem as error:
                raise JobFileError([reference_diagnostic(document, ("env", name), error)]) from None
            values[str(name)] = value
        return values

    # ---- tasks

    def _tasks(
        self, document: Document, scope: Scope, inherited: Inherited, env: dict[str, Any]
    ) -> list[Instance]:
        context = FileContext(
            document=document,
            scope=scope,
            inherited=inherited,
            env={**inherited.job_env, **env, **inherited.env},
            has_references=has_references(document),
            unknown=self._structure_unknown,
        )
        raw: Any = document.root
        tasks: list[Instance] = []
        if len(raw["tasks"]) > _MIN_TASKS_TO_COMPILE_INIT:
            Task.compile_init()
            Reference.compile_init()
        for number in range(len(raw["tasks"])):
            keys = task_builder.merged(raw, number)
            try:
                instances = expand(context, number, keys)
                if not instances:
                    base = task_checks.task_name(raw["tasks"][number], number)
                    self._empty.append(context.inherited.prefix + base)
                if "uses" not in keys:
                    tasks += instances
                    self._count += len(instances)
                for instance in instances if "uses" in keys else ():
                    tasks += self._recipe(context, number, keys, instance)
                if self._count > MAX_TASKS:
                    raise TooManyTasks(self._count)
            except TooManyTasks as error:
                key = next((key for key in ("matrix", "foreach") if key in raw["tasks"][number]), "")
                path = ("tasks", number, key) if key else ("tasks", number)
                raise JobFileError([too_many(path, document, error)]) from None
        return tasks

    def _recipe(
        self, context: FileContext, number: int, keys: dict[str, Any], instance: Instance
    ) -> list[Instance]:
        """The tasks of another job file, in the place of one task (or of one of its instances)."""
        task = instance.task
        if task.foreach is not None:
            message = "`foreach` over a task result is not supported with `uses`"
            help = "move the `foreach` into the recipe"
            raise JobFileError([locate.task_diagnostic(task, ("foreach",), message, help)])
        name = keys["uses"]
        path = os.path.normpath(os.path.join(os.path.dirname(context.document.source.path), name))
        real = os.path.realpath(path)
        if any(real == other for other, _ in self._recipe_stack):
            chain = " -> ".join(quote(shown) for shown in [*(shown for _, shown in self._recipe_stack), path])
            message = f"dependency cycle: {chain}"
            raise JobFileError(
                [locate.task_diagnostic(task, ("uses",), message, "remove one of these dependencies")]
            )
        try:
            document = self._checked(path)
        except JobFileError:
            raise
        except UsageError as error:
            raise JobFileError([locate.task_diagnostic(task, ("uses",), str(error))]) from None
        values, closures = recipes.given(instance, keys)
        hidden = [name for name, given in values.items() if given.hidden]
        if hidden:
            raw: Any = document.root
            names = [task_checks.task_name(item, index) for index, item in enumerate(raw["tasks"])]
            diagnostics = list(check_references(document, names, hidden))
            if diagnostics:
                raise JobFileError(diagnostics)
        self._recipe_stack.append((real, path))
        scope, document, env = self._settled(document, values, context.scope.env, closures, task.origin)
        tasks = self._tasks(document, scope, recipes.inherited(context, instance, keys, document), env)
        self._recipe_stack.pop()
        return tasks


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return sha256(file.read()).hexdigest()  # type: ignore[no-any-return]


def _join_entry(entry: Any) -> JoinEntry:
    if isinstance(entry, str):
        return JoinEntry(task=entry)
    return JoinEntry(task=entry["task"], timeout=task_builder.optional_seconds(entry.get("timeout")))
