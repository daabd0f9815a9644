"""Outputs of recipes: the result of a task that is meant by `${tasks.NAME.outputs.X}`.

A recipe's `outputs` give names to results of its tasks, so that who uses it need not know these. A reference
to an output is replaced by one to that result when its tree is compiled, before dependencies are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.errors import JobFileError, UsageError
from mprun.jobfile.budget import MAX_RECIPE_DEPTH
from mprun.jobfile.packages import names_package
from mprun.jobfile.recipes import recipe_path
from mprun.jobfile.reference_syntax import parse
from mprun.jobfile.references import Reference, ReferenceProblem, reference_diagnostic
from mprun.jobfile.resolution import resolve
from mprun.jobfile.syntax.document import span_of_mark
from mprun.jobfile.task_builder import listed, merged
from mprun.jobfile.task_checks import task_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mprun.jobfile.checked_files import CheckedFiles
    from mprun.jobfile.names import NameIndex
    from mprun.jobfile.syntax.document import Document

# No one would read more.
MAX_DIAGNOSTICS = 100


class RecipeOutputs:
    """Finds the outputs of the recipes that one file uses, and of those that these use.

    The file is the last of `chain` (see `FileContext`). `prefix` goes before the names of its tasks,
    `files` reads the recipes. What is wrong with a reference is added to `errors`, and the reference
    stays as it is; to `unknown`, if it follows from what is reported elsewhere, should that be so.
    """

    def __init__(
        self,
        chain: Sequence[tuple[str, Document]],
        prefix: str,
        files: CheckedFiles,
        errors: list[Diagnostic],
        unknown: list[Diagnostic],
    ) -> None:
        self._document = chain[-1][1]
        self._users = tuple(document for _, document in chain)
        self._prefix = prefix
        self._files = files
        self._errors = errors
        self._unknown = unknown
        # What each reference means; instances have the same ones.
        self._found: dict[Reference, Reference | None] = {}
        # The numbers of the tasks of a document by name, by its path.
        self._numbers: dict[str, dict[str, int]] = {}

    def replaced(self, tree: Any) -> Any:
        """A compiled tree with results in place of outputs."""
        # It is asked for nothing else than what each reference means.
        return resolve(tree, self)  # type: ignore[arg-type]

    def __call__(self, reference: Reference) -> Reference:
        if reference.root != "outputs":
            return reference
        if reference not in self._found:
            self._found[reference] = self._find(reference)
        found = self._found[reference]
        if found is None:
            return reference
        return reference.replace(root="tasks", name=found.name, path=found.path)

    def declared(self) -> Iterator[Reference]:
        """The results that are the outputs of this file itself."""
        root: Any = self._document.root
        outputs = root.get("outputs") or {}
        for name in outputs:
            found = self(_declared(self._document, outputs, name, self._prefix))
            if found.root == "tasks":
                yield found

    def _find(self, reference: Reference) -> Reference | None:
        """The result that an output is; None if there is none, which is an error here or elsewhere."""
        message = f"the recipe that `{reference}` leads to is not known"
        try:
            found = self._result(self._users, self._prefix, reference, 0)
        except ReferenceProblem as error:
            self._errors.append(reference_diagnostic(self._document, (), error))
            if len(self._errors) >= MAX_DIAGNOSTICS:
                raise JobFileError([]) from None
            return None
        except (JobFileError, UsageError) as error:
            # Reported at the task that uses the recipe, unless its list is empty.
            why = error.diagnostics[:1] if isinstance(error, JobFileError) else [error]
            message += "".join(f": {getattr(one, 'message', one)}" for one in why)
            found = None
        if found is None and len(self._unknown) < MAX_DIAGNOSTICS:
            self._unknown.append(
                reference_diagnostic(self._document, (), ReferenceProblem(message, reference))
            )
        return found

    def _result(
        self, users: tuple[Document, ...], prefix: str, reference: Reference, depth: int
    ) -> Reference | None:
        if depth > MAX_RECIPE_DEPTH:
            # A recipe that uses itself is reported where it is expanded.
            return None
        for step in reference.name[len(prefix) :].split("/"):
            recipe = self._recipe(users, step, reference)
            if recipe is None:
                return None
            users = (*users, recipe)
        recipe = users[-1]
        root: Any = recipe.root
        outputs = root.get("outputs") or {}
        output, *rest = reference.path
        if output not in outputs:
            raise _unknown_output(reference, recipe, outputs)
        found = _declared(recipe, outputs, output, f"{reference.name}/")
        if found.root == "outputs":
            found = found.replace(text=reference.text, source=reference.source, mark=reference.mark)
            inner = self._result(users, f"{reference.name}/", found, depth + 1)
            if inner is None:
                return None
            found = inner
        return found.replace(path=(*found.path, *rest))

    def _recipe(self, users: Sequence[Document], step: str, reference: Reference) -> Document | None:
        """The recipe that a task of the last of some files uses; None if it is not known without a param.

        `step` is the name of the task, or of an instance of it.
        """
        if {"*", "?"} & set(step):
            # What an output refers to may be a part of a result, which a list of results does not have.
            message = f"`{reference}`: a pattern has no outputs"
            raise ReferenceProblem(message, reference, help="name one task")
        document = users[-1]
        name, bracket, _ = step.partition("[")
        number = self._number(document, name)
        if number is None:
            known = tuple(self._numbers[document.source.path])
            message = f"unknown task {quote(name)}"
            raise ReferenceProblem(message, reference, kind="tasks", word=name, candidates=known)
        keys = merged(document.root, number)  # type: ignore[arg-type]
        if "uses" not in keys:
            if "target" not in keys and "command" not in keys:
                return None
            message = f"{quote(name)} has no outputs to refer to, because it does not use a recipe"
            help = f"write `${{tasks.{reference.name[len(self._prefix) :][:60]}.result}}`"
            raise ReferenceProblem(message, reference, help=help)
        kind = next((key for key in ("matrix", "foreach") if key in keys), "")
        if kind and not bracket:
            message = f"`{reference}`: {quote(name)} has a `{kind}`, so each of its instances has outputs"
            selected = "KEY=VALUE" if kind == "matrix" else "0"
            shown, output = name[:60], reference.path[0][:60]
            help = f"name one of them: `${{tasks.{shown}[{selected}].outputs.{output}}}`"
            raise ReferenceProblem(message, reference, help=help)
        if document is not self._document and self._needs_params(users, keys["uses"]):
            message = f"`{reference}` leads to the recipe `{keys['uses']}`, which is not known here"
            help = f"name the task in place of the output: `${{tasks.{reference.name[:60]}/TASK.result}}`"
            raise ReferenceProblem(message, reference, help=help)
        return self._files.document(recipe_path(self._files, users, keys["uses"]))

    def _needs_params(self, users: Sequence[Document], name: str) -> bool:
        """Whether the params of a file below this one decide which recipe a name in it means."""
        below: list[Any] = [document.root for document in users[len(self._users) :]]
        entries = [entry for root in below for entry in listed(root.get("pythonpath"))]
        return "${" in name or (names_package(name) and any("${" in entry for entry in entries))

    def _number(self, document: Document, name: str) -> int | None:
        numbers = self._numbers.get(document.source.path)
        if numbers is None:
            root: Any = document.root
            numbers = {task_name(item, number): number for number, item in enumerate(root["tasks"])}
            self._numbers[document.source.path] = numbers
        return numbers.get(name)


def _declared(document: Document, outputs: Any, name: str, prefix: str) -> Reference:
    """What a file declares as the output of this name."""
    mark = outputs.marks_of(name)[1]
    found: Reference = parse(outputs[name], prefix, document.source, mark)
    return found


def _unknown_output(reference: Reference, recipe: Document, outputs: Any) -> ReferenceProblem:
    name, shown = reference.path[0], quote(reference.name.rpartition("/")[2])
    message = f"unknown output {quote(name)} of {shown}"
    if outputs:
        return ReferenceProblem(message, reference, kind="outputs", word=name, candidates=tuple(outputs))
    help = f'declare it in {recipe.source.path}: `outputs: {{{name[:40]}: "${{tasks.NAME.result}}"}}`'
    return ReferenceProblem(message, reference, help=help)


def unknown_tasks(
    outputs: Iterable[Reference], names: NameIndex, prefixes: tuple[str, ...]
) -> list[Diagnostic]:
    """The diagnostics of outputs that are results of tasks that are not there.

    Names that begin with one of `prefixes` may belong to tasks that could not be expanded.
    """
    found: list[Diagnostic] = []
    for reference in outputs:
        name = reference.name
        if names.resolve(name) or name in names.groups or name.startswith(prefixes):
            continue
        if reference.source is not None and len(found) < MAX_DIAGNOSTICS:
            span = span_of_mark(reference.source, reference.mark)
            help = suggest(name, list(names.all()), "tasks")
            message = f"unknown task {quote(name)}"
            found.append(Diagnostic(message=message, source=reference.source, span=span, help=help))
    return found
