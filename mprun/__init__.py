"""mprun: a declarative job runner; every task is a process, every run leaves a record."""

# No `from __future__ import annotations`: the module `__future__` would be imported from the working
# directory, which `python -m mprun` has not taken off the import path yet.

# Not imported from `typing`: every task's process would pay for the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mprun.api import RunResult, TaskResult, load_job, plan_job, run_job
    from mprun.errors import JobFileError, MprunError, RunFailed, UnknownTask, UsageError
    from mprun.jobfile.model import Job
    from mprun.record.error_details import ErrorDetails
    from mprun.scheduling.plan import Plan

__version__ = "0.1.0"

__all__ = [
    "ErrorDetails",
    "Job",
    "JobFileError",
    "MprunError",
    "Plan",
    "RunFailed",
    "RunResult",
    "TaskResult",
    "UnknownTask",
    "UsageError",
    "load_job",
    "plan_job",
    "run_job",
]

_MODULES = {
    "JobFileError": "errors",
    "MprunError": "errors",
    "RunFailed": "errors",
    "UnknownTask": "errors",
    "UsageError": "errors",
    "Job": "jobfile.model",
    "Plan": "scheduling.plan",
    "ErrorDetails": "record.error_details",
}


def __getattr__(name: str) -> "Any":
    """Import a public name on its first use, so that a task's process does not pay for all of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mprun.{_MODULES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
