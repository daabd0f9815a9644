"""Refuses a YAML file that has no `tasks`, which is probably not a job file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.errors import JobFileError
from mprun.jobfile.schema import job_schema
from mprun.jobfile.syntax.document import STANDARD_INPUT, Mapping
from mprun.jobfile.syntax.other_file import has_tasks, refuse_by_name, without_values

if TYPE_CHECKING:
    from mprun.jobfile.syntax.document import Document


def refuse_other_file(document: Document) -> None:
    """Raise what is wrong with the keys of a document, unless one is a typo of `tasks`; no value is shown."""
    if not isinstance(document.root, Mapping) or not has_tasks(document.root):
        if document.source.path != STANDARD_INPUT:
            refuse_by_name(document.source.path, document.source.lines.text)
        raise JobFileError(without_values(job_schema.check(document, of_keys=True)))
