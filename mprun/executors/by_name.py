"""The executors that `--executor` can name, and how the class of one is found.

Those of mprun have short names. Any other one is named by its import path, `package.module:Class`, and is
imported by mprun itself: it must be installed where mprun is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from mprun.errors import UsageError
from mprun.executors.base import EXECUTORS, Executor

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a job can ask for and an executor may lack, by its place in a task.
FEATURES = ("ready.tcp", "ready.http", "ready.file", "artifacts", "host", "inputs")


class NamedExecutor(Executor, Protocol):
    """An executor that is made for one run, before it is known which tasks there are.

    It is made with the options of the run that concern executors, by their names (those of
    `CLUSTER_OPTIONS` and `max_parallel`, None if not given, `host_timeout` in seconds, and `say`, a function
    for what the user must know that it waits for): it raises UsageError if it cannot be made with them, and
    does not block. A class of mprun's may have a static method `begin`, which starts what takes long before
    the job is read. The option `begun` is what it has returned, whose `end_unused` is called at the end of
    the command, else None.

    `unsupported` are the `FEATURES` that it lacks: a job that asks for one is refused. `slots` is how many
    attempts it runs at once, once `wait` has returned; None if the job says it alone. An executor whose
    workers have resources for `host` may have `resources` then: the name of each worker, with how much it has
    of each.
    """

    slots: int | None

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def wait(self) -> None:
        """Wait until attempts can be started. Raises UsageError if they cannot be, and is closed then."""


def load(name: str) -> type[NamedExecutor]:
    """The class of the executor with this name. Raises UsageError, with the reason, if there is none."""
    module, _, attribute = EXECUTORS.get(name, name).partition(":")
    if not module or not attribute:
        raise UsageError(f"`--executor {name}` is not the import path of a class: `package.module:Class`")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"`--executor {name}`: cannot import `{module}`: {error}") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"`--executor {name}`: the import of `{module}` has failed: {reason}") from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise UsageError(f"`--executor {name}`: `{module}` has no class `{attribute}`")
    needed = [
        *(method for method in vars(Executor) if not method.startswith("_")),
        "wait",
        "unsupported",
        "probe_kinds",
    ]
    missing = [method for method in needed if not hasattr(found, method)]
    if missing:
        listed = ", ".join(f"`{method}`" for method in missing)
        raise UsageError(f"`--executor {name}`: the class lacks {listed}: see mprun.executors.base.Executor")
    return found
