"""What the references of one job file can name: its params, its env file and the variables of its job."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic
from mprun.errors import JobFileError, UsageError
from mprun.frozen import Frozen
from mprun.jobfile.model import param_variable
from mprun.jobfile.references import (
    Closure,
    Reference,
    ReferenceProblem,
    Scope,
    Template,
    has_references,
    reference_diagnostic,
    references,
    refers,
)
from mprun.jobfile.resolution import Resolver, as_text, contains_secret, resolve
from mprun.jobfile.syntax.document import sha256, span_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mprun.jobfile.budget import Budget
    from mprun.jobfile.model import Origin
    from mprun.jobfile.param_inputs import ParamInput
    from mprun.jobfile.syntax.document import Document

# No one would read more.
MAX_DIAGNOSTICS = 100


class FileScope(Frozen):
    """The scope of one file: `env` has the variables of its job, `files` the env file's hash by path."""

    scope: Scope
    env: dict[str, Any]
    files: dict[str, str]


def resolve_scope(
    document: Document,
    inputs: Mapping[str, ParamInput],
    environment: Mapping[str, Any],
    *,
    closures: Mapping[str, Closure] | None = None,
    used_by: Origin | None = None,
    lenient: bool = False,
    errors: list[Diagnostic] | None = None,
    budget: Budget | None = None,
    restrict: Sequence[str] | None = None,
) -> FileScope:
    """The scope of a file, whose params get their values from `inputs`.

    `environment` is what `${env.NAME}` names. For a recipe, `used_by` is the task that uses
    it, and `closures` are the values of params that are resolved later. With `lenient`,
    required params may be missing. Raises JobFileError; with `errors`, those of params are added to
    this list, and these params are missing. `budget` counts what references cost.
    With `restrict`, the env file must be below one of these directories.
    """
    return _ScopeResolver(document, environment, errors, budget, restrict).resolve(
        inputs, closures or {}, used_by, lenient
    )


class _ScopeResolver:
    def __init__(
        self,
        document: Document,
        environment: Mapping[str, Any],
        errors: list[Diagnostic] | None,
        budget: Budget | None,
        restrict: Sequence[str] | None,
    ) -> None:
        self._budget = budget
        self._restrict = restrict
        self._document = document
        self._errors = errors
        # The names of params that have an error.
        self._invalid: set[str] = set()
        self._environment = environment
        self._root: Any = document.root
        self._is_recipe = False

    def resolve(
        self,
        inputs: Mapping[str, ParamInput],
        closures: Mapping[str, Closure],
        used_by: Origin | None,
        lenient: bool,
    ) -> FileScope:
        self._is_recipe = used_by is not None
        params, secrets = self._params(inputs, used_by, lenient)
        if closures:
            # Only a recipe has some, which has imported the module.
            from mprun.jobfile.params import typed_closures

            valid = {name: closure for name, closure in closures.items() if name not in self._invalid}
            closures = typed_closures(valid, self._root.get("params") or {})
        if secrets:
            self._environment = {**self._environment, **dict(self._secret_variables(params, secrets))}
        scope = Scope(
            params={**params, **closures}, secrets=secrets, env=self._environment, budget=self._budget
        )
        files: dict[str, str] = {}
        env: dict[str, Any] = {}
        if "env_file" in self._root:
            path = self._env_file_path(Resolver(scope))
            if path is not None:
                env, data = self._read_env_file(path)
                if self._is_recipe and self._budget is not None:
                    self._budget.spend_env_file(len(env))
                files[os.path.abspath(path)] = sha256(data).hexdigest()
            scope = self._with_env(scope, env)
        env.update(self._variables(scope))
        return FileScope(scope=self._with_env(scope, env), env=env, files=files)

    def _secret_variables(
        self, params: dict[str, Any], secrets: Iterable[str]
    ) -> Iterator[tuple[str, Closure]]:
        """The variables that set secret params, as texts of these params, which are as secret."""
        scope = Scope(params=params, secrets=frozenset(secrets), env={})
        for name in secrets:
            if param_variable(name) in self._environment:
                reference = Reference(text=f"params.{name}", root="params", name=name)
                yield param_variable(name), Closure(node=Template(parts=(reference,)), scope=scope)

    def _with_env(self, scope: Scope, env: Mapping[str, Any]) -> Scope:
        return scope.replace(env={**self._environment, **env}) if env else scope

    def _params(
        self, inputs: Mapping[str, ParamInput], used_by: Origin | None, lenient: bool
    ) -> tuple[dict[str, Any], frozenset[str]]:
        """The values of the params, and the names of the secret ones."""
        declared = self._root.get("params") or {}
        if not declared and not inputs:
            return {}, frozenset()
        # Most jobs have none.
        from mprun.jobfile.params import missing, read_texts, resolve_params

        if has_references(self._document):
            nodes, declared = self._declarations(declared)
            read_texts(nodes, declared)
            inputs = {name: given for name, given in inputs.items() if name not in self._invalid}
        without = {name: missing(name) for name in self._invalid}
        values, secrets = resolve_params(
            self._document,
            declared,
            inputs,
            used_by=used_by,
            lenient=lenient,
            errors=self._errors,
            invalid=self._invalid,
        )
        return {**values, **without}, secrets

    def _declarations(self, declared: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The declarations with references and with their values, without those that have an error."""
        from mprun.jobfile.reference_syntax import compiled

        outside = Resolver(Scope(params={}, env=self._environment, budget=self._budget))
        nodes: dict[str, Any] = {}
        found: dict[str, Any] = {}
        diagnostics: list[Diagnostic] = []
        for number, (name, raw) in enumerate(declared.items()):
            try:
                nodes[name] = compiled(raw, "", self._document.source, declared.marks[2 * number + 1])
                value = resolve(nodes[name], outside)
                if not refers(value):
                    found[name] = value
                # Else another root than `env`, which the checks of references report.
            except ReferenceProblem as error:
                diagnostics.append(reference_diagnostic(self._document, ("params", name), error))
                if len(diagnostics) >= MAX_DIAGNOSTICS:
                    # No one would read more; the others count as invalid, too.
                    break
        if self._errors is not None:
            self._errors += diagnostics
        elif diagnostics:
            raise JobFileError(diagnostics)
        self._invalid |= declared.keys() - found.keys()
        return nodes, found

    def _env_file_path(self, resolver: Resolver) -> str | None:
        """The path of the env file; None if it depends on a param that may be missing."""
        from mprun.jobfile.reference_syntax import compiled

        text, mark = self._root["env_file"], self._root.marks_of("env_file")[1]
        try:
            parsed = compiled(text, "", self._document.source, mark)
            name = resolve(parsed, resolver)
            unresolved = next(references([name]), None)
            if unresolved is not None and unresolved.root == "params":
                return None
            if unresolved is not None:
                reason = f"its value `{unresolved}` is only known while the run is in progress"
                message = f"`{text}` is not available here: {reason}"
                raise ReferenceProblem(message, next(references([parsed])))
        except ReferenceProblem as error:
            raise self._error(error, "env_file") from None
        return os.path.join(os.path.dirname(self._document.source.path), as_text(name))

    def _read_env_file(self, path: str) -> tuple[dict[str, Any], bytes]:
        # Few jobs have one.
        from mprun.jobfile.dotenv import read_env_file

        try:
            if self._restrict is not None:
                from mprun.jobfile.restriction import refuse_outside

                refuse_outside(path, self._restrict, "env file")
            return read_env_file(path)
        except JobFileError:
            # Each recipe that reads it finds the errors again.
            if self._is_recipe and self._budget is not None:
                self._budget.spend_invalid_env_file(os.path.getsize(path))
            raise
        except UsageError as error:
            span = span_of(self._document, ("env_file",))
            diagnostic = Diagnostic(message=str(error), source=self._document.source, span=span)
            raise JobFileError([diagnostic]) from None

    def _variables(self, scope: Scope) -> dict[str, Any]:
        """The variables of the job: strings, and closures of what contains a secret."""
        env: Any = self._root.get("env") or {}
        if not has_references(self._document):
            return {str(name): text for name, text in env.items()}
        from mprun.jobfile.reference_syntax import compiled

        values: dict[str, Any] = {}
        diagnostics: list[Diagnostic] = []
        for number, (name, text) in enumerate(env.items()):
            try:
                node = compiled(text, "", self._document.source, env.marks[2 * number + 1])
                closure = Closure(node=node, scope=scope)
                value = closure if contains_secret(closure) else resolve(node, Resolver(scope))
            except ReferenceProblem as error:
                diagnostics.append(reference_diagnostic(self._document, ("env", name), error))
            else:
                values[str(name)] = value
        if diagnostics:
            raise JobFileError(diagnostics)
        return values

    def _error(self, error: ReferenceProblem, *path: str) -> JobFileError:
        return JobFileError([reference_diagnostic(self._document, path, error)])
