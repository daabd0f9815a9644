"""What a job file says about itself: name, description and params; its tasks are not expanded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Comparisons, quote
from mprun.errors import JobFileError, OutOfBudget, UsageError
from mprun.frozen import Frozen
from mprun.jobfile.checked_files import CheckedFiles
from mprun.jobfile.param_types import Param, declare
from mprun.jobfile.syntax.document import MAX_BYTES, STANDARD_INPUT, Mapping, load
from mprun.jobfile.syntax.other_file import has_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping as AnyMapping

    from mprun.jobfile.syntax.document import Document


class NotAJobFile(JobFileError):
    """A file is YAML, but has no `tasks`, nor a key that may be a typo of it."""

    def __init__(self) -> None:
        super().__init__([])


class ParamSummary(Frozen):
    """A param of a job file, and its description, which is empty if there is none."""

    param: Param
    description: str = ""


class JobSummary(Frozen):
    """What a job file says about itself; `path` is absolute, texts are empty if they are not there.

    `outputs` are names, each with the reference to its result.
    """

    path: str
    name: str
    description: str = ""
    requires: str = ""
    params: tuple[ParamSummary, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()


def read_summary(name: str, environment: AnyMapping[str, str], *, max_bytes: int = MAX_BYTES) -> JobSummary:
    """The summary of a job file, by its path or as `package:file`, once the file alone was checked.

    Raises NotAJobFile, JobFileError, and UsageError if the file cannot be read, or has more bytes.
    """
    files = CheckedFiles(environment)
    try:
        path = files.path_of(name)
        if os.path.isfile(path) and os.path.getsize(path) > max_bytes:
            raise UsageError(f"{quote(path)} has more than {max_bytes:,} bytes")
        with Comparisons():
            return summary_of(files.document(path))
    except JobFileError:
        # Read again, for few files are none.
        root = load(path).root
        if not isinstance(root, Mapping) or not has_tasks(root):
            raise NotAJobFile from None
        raise
    except OutOfBudget as error:
        raise JobFileError([error.diagnostic]) from None
    finally:
        files.close_budget()


def summary_of(document: Document) -> JobSummary:
    """The summary of a document that has passed the schema."""
    root: Any = document.root
    path = document.source.path
    declared = root.get("params") or {}
    stem = os.path.splitext(os.path.basename(path))[0]
    return JobSummary(
        path=path if path == STANDARD_INPUT else os.path.abspath(path),
        name=root.get("name") or ("stdin" if path == STANDARD_INPUT else stem),
        description=root.get("description") or "",
        requires=root.get("requires") or "",
        params=tuple(
            ParamSummary(param=declare(name, raw), description=_description(raw))
            for name, raw in declared.items()
        ),
        outputs=tuple((root.get("outputs") or {}).items()),
    )


def _description(raw: object) -> str:
    return str(raw.get("description") or "") if isinstance(raw, dict) else ""
