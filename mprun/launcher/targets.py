"""Imports the targets of a job, and checks that each can be called with its arguments."""

from __future__ import annotations

import contextlib
import os
import sys

from mprun.launcher.worker import import_module, is_never_needed, resolve, set_lazy_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType
    from typing import Any

    # A target, its positional arguments, None if they are not known, and its keyword arguments.
    Call = tuple[str, tuple[Any, ...] | None, dict[str, Any]]
    # The fields of `mprun.executors.base.BindError`, in their order.
    PackedBindError = tuple[int, str, tuple[str | int, ...], str, tuple[str, ...]]

# Flags of a code object, from inspect.CO_VARARGS and CO_VARKEYWORDS.
_VARARGS = 0x04
_VARKEYWORDS = 0x08

# Kinds of functions whose body does not run when they are called: CO_COROUTINE, CO_ASYNC_GENERATOR, and
# CO_GENERATOR.
_MAKERS = (
    (0x80, "a coroutine function", "name a function that calls `asyncio.run`"),
    (0x200, "an async generator function", "name a function that calls `asyncio.run`"),
    (0x20, "a generator function", "name a function that returns the values as a list"),
)


class TargetError(Exception):
    """A target that cannot be imported, or cannot be called with its arguments.

    `where` is the path to the fault inside the task: `("target",)` or its halves
    `("target", "module")` and `("target", "callable")`, `("args", 2)`, `("kwargs", "age")`.
    `word` is the faulty word, `candidates` are the known names.
    """

    def __init__(
        self,
        message: str,
        where: tuple[str | int, ...] = ("target",),
        word: str = "",
        candidates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.where = where
        self.word = word
        self.candidates = candidates


class Binder:
    """Imports modules and targets, each once, and binds the arguments of every call.

    `importing` is called with the number of a call before its module is imported; the modules of
    `preload` are numbered from -1 down. `functions`
    has the callables by target, `threads` the modules whose import started a thread.
    """

    def __init__(self, importing: Callable[[int], None]) -> None:
        self._importing = importing
        # By target, and by module: an import that has failed is not tried again.
        self._failed: dict[str, TargetError] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.threads: list[str] = []

    def bind_all(self, preload: list[str], calls: list[Call]) -> list[PackedBindError]:
        """Import and bind everything; all errors. The modules of `preload` are numbered from -1 down."""
        return [*self._preload(preload), *self._bind(calls)]

    def modules(self) -> list[str]:
        """The modules of all targets that were found."""
        return sorted({name.partition(":")[0] for name in self.functions})

    def _preload(self, modules: list[str]) -> list[PackedBindError]:
        errors = []
        for index, module in enumerate(modules):
            self._importing(-1 - index)
            try:
                find_module(module)
            except TargetError as error:
                self._failed[module] = error
                errors.append(_pack_error(-1 - index, error, ("preload", index)))
        return errors

    def _bind(self, calls: list[Call]) -> list[PackedBindError]:
        errors = []
        for number, (name, args, kwargs) in enumerate(calls):
            try:
                if failed := self._failed.get(name) or self._failed.get(name.partition(":")[0]):
                    raise failed
                if name not in self.functions:
                    self._find(number, name)
                if args is not None:
                    check_arguments(self.functions[name], args, kwargs)
            except TargetError as error:
                errors.append(_pack_error(number, error, error.where))
        return errors

    def _find(self, number: int, name: str) -> None:
        module = name.partition(":")[0]
        if module not in sys.modules:
            self._importing(number)
        try:
            self.functions[name] = find(name)
        except TargetError as error:
            self._failed[name] = error
            if module not in sys.modules:
                self._failed[module] = error
            raise
        finally:
            if not self.threads and _thread_count() > 1:
                self.threads.append(module)


def _pack_error(number: int, error: TargetError, where: tuple[str | int, ...]) -> PackedBindError:
    return number, str(error), where, error.word, error.candidates


def _thread_count() -> int:
    import threading

    return threading.active_count()


def find(target: str) -> Callable[..., Any]:
    """The callable at `package.module:callable`. Raises TargetError."""
    module, _, path = target.partition(":")
    find_module(module)
    try:
        found = resolve(target)
    except AttributeError:
        from mprun.launcher.missing_attribute import missing_attribute

        message, word, names = missing_attribute(module, path)
        raise TargetError(message, ("target", "callable"), word, names) from None
    except Exception as error:  # a module's own `__getattr__`, for one
        with without_job_path():
            from mprun.launcher.import_failure import lookup_failed
        raise TargetError(lookup_failed(target, error)) from None
    if not callable(found):
        raise TargetError(f"`{target}` is not callable (type {type(found).__qualname__})")
    _require_plain_function(target, found)
    return found  # type: ignore[no-any-return]


def _require_plain_function(target: str, found: Any) -> None:
    """Raise TargetError if a call would only create a coroutine or a generator."""
    code = getattr(getattr(found, "__func__", found), "__code__", None)
    flags = code.co_flags if code is not None else 0
    for flag, kind, remedy in _MAKERS:
        if flags & flag:
            raise TargetError(f"`{target}` is {kind}: calling it would not run its body; {remedy}")


def find_module(module: str) -> None:
    """Import a module. Raises TargetError."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _import_failed(module, error) from None
        job_paths = sys.path[:_JOB_PATHS]
        with without_job_path():
            from mprun.launcher.missing_module import missing_module

            message, where, word, candidates = missing_module(error.name, job_paths)
        raise TargetError(message, where, word, candidates) from None
    except BaseException as error:
        raise _import_failed(module, error) from None


# How many entries at the head of sys.path belong to the job; the launcher sets it.
_JOB_PATHS = 1
# These entries; none before there is a job.
_job_paths: tuple[str, ...] = ()


def set_import_path(paths: list[str]) -> None:
    """Put the directories of the job at the head of sys.path, instead of that of the script."""
    global _JOB_PATHS, _job_paths
    _JOB_PATHS, _job_paths = len(paths), tuple(paths)
    # With `-c`, sys.path begins with "", and has the working directory only if someone has added it.
    has_script = bool(sys.argv) and sys.argv[0] not in ("", "-c")
    script = os.path.dirname(os.path.abspath(sys.argv[0])) if has_script else ""
    rest = [path for path in sys.path if path not in ("", script, *paths)]
    sys.path[:] = [*paths, *rest]


@contextlib.contextmanager
def without_job_path() -> Iterator[None]:
    """Find nothing in the job's directories, for what mprun imports late: there may be a `re.py`.

    What the job imports itself is found there first, as under plain Python.
    """
    before, own = [*sys.path], {*_job_paths} - {_HOME}
    sys.path[:] = [path for path in before if path not in own]
    is_lazy = set_lazy_filter(is_never_needed)
    try:
        yield
    finally:
        sys.path[:] = before
        set_lazy_filter(is_lazy)


# Where mprun itself is found, which may be the working directory.
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def _import_failed(module: str, error: BaseException) -> TargetError:
    with without_job_path():
        from mprun.launcher.import_failure import import_failed
    return TargetError(import_failed(module, error))


def check_arguments(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check that `call(*args, **kwargs)` binds. Raises TargetError if it does not.

    A callable without a signature, as some functions in C are, is not checked.
    """
    if not _binds_plainly(call, len(args), kwargs):
        _bind(call, args, kwargs)


def _binds_plainly(call: Callable[..., Any], count: int, kwargs: dict[str, Any]) -> bool:
    """Whether this is a plain Python function that surely takes these arguments.

    Nearly every target is one. `inspect`, which handles all callables, takes longer to import than
    everything that the launcher does for one task.
    """
    code: CodeType | None = getattr(call, "__code__", None)
    if code is None or type(call).__name__ != "function" or call.__dict__:
        return False
    positional = code.co_varnames[code.co_posonlyargcount : code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    if count > code.co_argcount and not code.co_flags & _VARARGS:
        return False
    given = set(code.co_varnames[: min(count, code.co_argcount)])
    if given & kwargs.keys():
        return False
    if not code.co_flags & _VARKEYWORDS and not kwargs.keys() <= {*positional, *keyword_only}:
        return False
    defaults = len(call.__defaults__ or ())
    needed = {*code.co_varnames[: code.co_argcount - defaults]} - given
    needed |= set(keyword_only) - (call.__kwdefaults__ or {}).keys()
    return needed <= kwargs.keys() - set(code.co_varnames[: code.co_posonlyargcount])


def _bind(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with without_job_path():
        from mprun.launcher import binding
    if mismatch := binding.find_mismatch(call, args, kwargs):
        raise TargetError(*mismatch)
