"""What the launcher imports before the first start, and what of it cannot be called."""

from __future__ import annotations

import sys

from mprun.launcher import targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # A target, its positional arguments, None where they are not known, its keyword arguments.
    Call = tuple[str, tuple[Any, ...] | None, dict[str, Any]]
    # A call's number, what is wrong, where inside the task, the word there, what may be meant.
    Diagnostic = tuple[int, str, tuple[str | int, ...], str, tuple[str, ...]]


class Resolution:
    """Imports modules and targets, each once, and binds every call.

    `importing` is told the number of a call before its module is imported. `found` has
    the callables by target, `threads` the modules whose import started a thread.
    """

    def __init__(self, importing: Callable[[int], None]) -> None:
        self._importing = importing
        self._failed: dict[str, targets.TargetError] = {}
        self.found: dict[str, Callable[..., Any]] = {}
        self.threads: list[str] = []

    def run(self, preload: list[str], calls: list[Call]) -> list[Diagnostic]:
        """Every problem; those of `preload` are numbered from -1 down."""
        return [*self._preload(preload), *self._bind(calls)]

    def modules(self) -> list[str]:
        """The modules of all targets that were found."""
        return sorted({name.partition(":")[0] for name in self.found})

    def _preload(self, modules: list[str]) -> list[Diagnostic]:
        problems = []
        for place, module in enumerate(modules):
            try:
                targets.find_module(module)
            except targets.TargetError as error:
                problems.append(_problem(-1 - place, error, ("preload", place)))
        return problems

    def _bind(self, calls: list[Call]) -> list[Diagnostic]:
        problems = []
        for number, (name, args, kwargs) in enumerate(calls):
            try:
                if name in self._failed:
                    raise self._failed[name]
                if name not in self.found:
                    self._find(number, name)
                if args is not None:
                    targets.check_arguments(self.found[name], args, kwargs)
            except targets.TargetError as error:
                problems.append(_problem(number, error, error.where))
        return problems

    def _find(self, number: int, name: str) -> None:
        module = name.partition(":")[0]
        if module not in sys.modules:
            self._importing(number)
        try:
            self.found[name] = targets.find(name)
        except targets.TargetError as error:
            self._failed[name] = error
            raise
        finally:
            if not self.threads and _thread_count() > 1:
                self.threads.append(module)


def _problem(number: int, error: targets.TargetError, where: tuple[str | int, ...]) -> Diagnostic:
    return number, str(error), where, error.word, error.candidates


def _thread_count() -> int:
    import threading

    return threading.active_count()
