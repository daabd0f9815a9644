"""Import path -> callable, and whether it takes the arguments that it is to be given."""

from __future__ import annotations

import os
import sys

from mprun.launcher.worker import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

# Flags of a code object, from inspect.CO_VARARGS and CO_VARKEYWORDS.
_VARARGS = 0x04
_VARKEYWORDS = 0x08

# Kinds of functions whose call runs nothing of them: CO_COROUTINE, CO_ASYNC_GENERATOR, CO_GENERATOR.
_MAKERS = (
    (0x80, "a coroutine function", "name a function that calls `asyncio.run`"),
    (0x200, "an async generator function", "name a function that calls `asyncio.run`"),
    (0x20, "a generator function", "name a function that returns a list of what it yields"),
)

# An exception's text is shown up to this many characters.
_WORDS_LIMIT = 500


class TargetError(Exception):
    """A target that cannot be called as asked.

    `where` is the path to what is wrong inside the task: `("target",)` or its halves
    `("target", "module")` and `("target", "callable")`, `("args", 2)`, `("kwargs", "age")`.
    `candidates` are names that may have been meant instead of `word`.
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


def find(target: str) -> Callable[..., Any]:
    """The callable at `package.module:callable`. Raises TargetError with what is wrong."""
    module, _, path = target.partition(":")
    find_module(module)
    try:
        found = resolve(target)
    except AttributeError:
        raise _no_attribute(module, path) from None
    except Exception as error:  # a module's own `__getattr__`, for one
        raise TargetError(f"finding `{target}` failed: {_words(error)}") from None
    if not callable(found):
        raise TargetError(f"`{target}` is not callable: it is of type {type(found).__qualname__}")
    _refuse_what_runs_nothing(target, found)
    return found  # type: ignore[no-any-return]


def _refuse_what_runs_nothing(target: str, found: Any) -> None:
    """Raise TargetError where a call only makes something that would have to be run."""
    code = getattr(getattr(found, "__func__", found), "__code__", None)
    flags = code.co_flags if code is not None else 0
    for flag, kind, remedy in _MAKERS:
        if flags & flag:
            raise TargetError(f"`{target}` is {kind}: a call of it runs nothing; {remedy}")


def find_module(module: str) -> None:
    """Import a module. Raises TargetError with what is wrong."""
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _import_failed(module, error) from None
        raise _no_module(module, error.name) from None
    except BaseException as error:
        raise _import_failed(module, error) from None


def _no_attribute(module: str, path: str) -> TargetError:
    found: Any = sys.modules[module]
    owner = f"module `{module}`"
    for name in path.split("."):
        if not hasattr(found, name):
            names = tuple(known for known in dir(found) if not known.startswith("_"))
            return TargetError(f"{owner} has no `{name}`", ("target", "callable"), name, names)
        found = getattr(found, name)
        owner = f"`{name}`"
    raise AssertionError("called only where the path leads nowhere")


def _no_module(module: str, missing: str) -> TargetError:
    parent, _, name = missing.rpartition(".")
    places = sys.path if not parent else getattr(sys.modules.get(parent), "__path__", None)
    if places is None:
        return TargetError(f"`{parent}` is a module, not a package: there is no `{missing}`")
    candidates = _modules_in(list(places)[:_OWN_PATHS] if not parent else list(places))
    looked = "" if parent else f" (looked in {', '.join(list(places)[:_OWN_PATHS])}; `pythonpath` adds to it)"
    return TargetError(f"there is no module `{missing}`{looked}", ("target", "module"), name, candidates)


# How many entries at the head of sys.path are the job's own; the launcher sets it.
_OWN_PATHS = 1


def set_import_path(paths: list[str]) -> None:
    """Put the job's own directories at the head of sys.path, in place of the script's."""
    global _OWN_PATHS
    _OWN_PATHS = len(paths)
    # For `-c` it is "", and the working directory is on the path only if somebody put it there.
    has_script = bool(sys.argv) and sys.argv[0] not in ("", "-c")
    script = os.path.dirname(os.path.abspath(sys.argv[0])) if has_script else ""
    rest = [path for path in sys.path if path not in ("", script, *paths)]
    sys.path[:] = [*paths, *rest]


def _modules_in(directories: list[str]) -> tuple[str, ...]:
    import pkgutil

    return tuple(module.name for module in pkgutil.iter_modules(directories))


# Where our own modules are, whose frames say nothing of an import that failed.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def _import_failed(module: str, error: BaseException) -> TargetError:
    """What the user's own module raised at import, and the line of it that did."""
    import traceback

    if isinstance(error, SystemExit):
        what = f"ended with sys.exit({error.code!r})"
    else:
        what = f"failed: {_words(error)}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not frame.filename.startswith(_PACKAGE)
    ]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return TargetError(f"importing `{module}` {what}{where}")


def _words(error: BaseException) -> str:
    """What a traceback ends with, on one line."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    text = " ".join(str(error).split())
    return f"{type(error).__qualname__}: {text[:_WORDS_LIMIT]}" if text else type(error).__qualname__


def check_arguments(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Whether `call(*args, **kwargs)` would bind. Raises TargetError where it would not.

    A callable without a signature, such as some written in C, is not checked.
    """
    if not _binds_plainly(call, len(args), kwargs):
        _bind(call, args, kwargs)


def _binds_plainly(call: Callable[..., Any], count: int, kwargs: dict[str, Any]) -> bool:
    """True only where a plain function surely takes these arguments.

    Nearly every target is one. `inspect`, which knows every other, takes longer to
    import than all that the launcher does for one task.
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
    import inspect

    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(call, "__name__", type(call).__name__)
        message = f"`{name}{signature}` cannot be called like this: {error}"
        raise _binding_error(message, signature, args, kwargs) from None


def _binding_error(
    message: str, signature: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TargetError:
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    kinds = {p.kind for p in parameters}
    if len(args) > len(positional) and parameters_lack(kinds, "VAR_POSITIONAL"):
        return TargetError(message, ("args", len(positional)))
    for name in kwargs:
        if name not in by_name and parameters_lack(kinds, "VAR_KEYWORD"):
            return TargetError(message, ("kwargs", name), word=name, candidates=by_name)
        if name in [p.name for p in positional[: len(args)]]:
            return TargetError(message, ("kwargs", name))
    return TargetError(message)


def parameters_lack(kinds: set[Any], kind: str) -> bool:
    """Whether no parameter is of this kind (`inspect.Parameter.kind`)."""
    return all(known.name != kind for known in kinds)
