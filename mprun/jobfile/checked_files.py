"""Reads the files of a job, each once, and checks each of them by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.errors import JobFileError, UsageError
from mprun.jobfile import task_checks
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.references import has_references
from mprun.jobfile.schema import job_schema
from mprun.jobfile.syntax.document import Mapping, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Mapping as AnyMapping

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.budget import Budget
    from mprun.jobfile.packages import PackageFiles
    from mprun.jobfile.syntax.document import Document

# Variables of a job that the budget counts, if tasks have others beside them.
MANY_VARIABLES = 100

# Tasks of a file, among fewer of which there are not too many aliases.
MANY_TASKS = 100_000

# Characters of a file, fewer of which cannot make defaults too large.
MANY_CHARACTERS = 1000

# Where numbers may stand for texts.
_KEYS_WITH_NUMBERS = frozenset({"command", "env", "ready"})


class CheckedFiles:
    """The files of one job; `environment` is as for `load_job_file`.

    With `restrict`, all of them must be below this directory once their links are resolved.
    """

    def __init__(self, environment: AnyMapping[str, str], restrict: str | None = None) -> None:
        self._environment = environment
        # The directories that all files must be below; None for any.
        self.restrict = None if restrict is None else [restrict]
        # The SHA-256 of every file that was read, by absolute path.
        self.hashes: dict[str, str] = {}
        self.warnings: list[Diagnostic] = []
        # Whether a file may refer to the result of a task.
        self.refer_to_results = False
        # What references and recipes may cost; None if the job has none.
        self.budget: Budget | None = None
        self._packages: PackageFiles | None = None
        # The real path of each path, and the documents by it. Thousands of tasks may use one.
        self._real_paths: dict[str, str] = {}
        self._documents: dict[str, Document] = {}
        # Those that have errors, by the same path.
        self._refused: dict[str, JobFileError] = {}

    # ---- files

    def document_of_job(self, path: str | dict[str, Any]) -> Document:
        """The job file itself, or the job that is given in its place; see `load_job_file`."""
        if isinstance(path, dict):
            # The command line has none.
            from mprun.jobfile.syntax.mapping_text import document_of

            document = document_of(path)
        elif path != STANDARD_INPUT_PATH:
            return self.document(self.path_of(path))
        else:
            # Most jobs are files.
            from mprun.jobfile.syntax.standard_input import load_standard_input

            document = load_standard_input()
        self.hashes[STANDARD_INPUT_PATH] = document.sha256
        self._check(document, is_job=True)
        self._warn(document)
        return document

    def document(self, path: str) -> Document:
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
            if self.restrict is not None:
                # Few commands read a job for someone else.
                from mprun.jobfile.restriction import refuse_outside

                refuse_outside(path, self.restrict)
            try:
                document = load(path)
                self.hashes[os.path.abspath(path)] = document.sha256
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
        self._packages = self._packages or PackageFiles()
        return self._packages.path(name, folders_of(users), self.restrict)

    def packages(self) -> tuple[tuple[str, str], ...]:
        """The names of the files that are in packages; see `Job`."""
        return tuple(self._packages.names(self.hashes)) if self._packages else ()

    def forget_trees(self) -> None:
        """Release the trees of the files: those of 100,000 tasks take up to 80 MB.

        To locate an error, a tree is read again.
        """
        for document in self._documents.values():
            document.tree.forget()

    # ---- checks of one file

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
        self.spend_patterns(document)
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

    def _warn(self, document: Document) -> None:
        """Add the warnings about a document that has passed the checks."""
        self.refer_to_results |= "${tasks." in document.source.lines.text
        if document.has_lossy_numbers:
            # Few files have one.
            from mprun.jobfile.plain_numbers import lossy_numbers

            self.warnings += lossy_numbers(document)
        if "process" in document.source.lines.text:
            # Few files have this word.
            from mprun.jobfile.shell_stops import shell_stops

            self.warnings += shell_stops(document)

    # ---- what a file may cost

    def budget_for(self, document: Document) -> Budget:
        """The budget of the job, made when a first file needs it."""
        if self.budget is None:
            # Most jobs have none.
            from mprun.jobfile.budget import Budget

            self.budget = Budget(document.source)
        return self.budget

    def budget_of(self, document: Document) -> Budget | None:
        """The budget, if what the tasks of a file have in common may cost something."""
        root: Any = document.root
        may_cost = (
            has_references(document) or "env_file" in root or len(root.get("env") or ()) > MANY_VARIABLES
        )
        return self.budget_for(document) if may_cost else self.budget

    def close_budget(self) -> None:
        """Count nothing more: the job is read."""
        if self.budget is not None:
            self.budget.close()

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

    def spend_patterns(self, document: Document) -> None:
        """Raise OutOfBudget if it takes too long to compile the patterns of a file; takes any tree."""
        if len(document.source.lines.text) >= MANY_CHARACTERS or self.budget is not None:
            self.budget_for(document).spend_patterns(document)


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
