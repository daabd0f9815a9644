"""Says why the module of a target could not be imported; the log of the main process gets the traceback."""

from __future__ import annotations

import os
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

# How many characters of an exception's text are shown.
_MAX_TEXT = 500
# Frames of mprun itself do not help to explain a failed import.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def import_failed(module: str, error: BaseException) -> str:
    """What to say of an exception at import; its traceback is printed, like a task's."""
    where = _place(error)
    if isinstance(error, SystemExit):
        return f"importing `{module}` called sys.exit({error.code!r}){where}"
    _print_traceback(error)
    return f"importing `{module}` failed: {_words(error)}{where}"


def lookup_failed(target: str, error: Exception) -> str:
    """The same of an exception when an attribute of a module is looked up."""
    _print_traceback(error)
    return f"looking up `{target}` failed: {_words(error)}"


def _place(error: BaseException) -> str:
    """The last line of the user's code in the traceback of an exception, in parentheses; may be empty."""
    frames = [frame for frame in traceback.extract_tb(_user_trace(error)) if not _is_standard(frame.filename)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _is_standard(file: str) -> bool:
    """Whether a file belongs to Python itself: what it raised was caused by the code that called it."""
    if file.startswith("<frozen "):
        return True
    rest = file.removeprefix(os.path.join(os.path.dirname(os.__file__), ""))
    return rest != file and not rest.startswith(("site-packages", "dist-packages"))


def _user_trace(error: BaseException) -> TracebackType | None:
    """The traceback of an exception from the first frame that is neither mprun's nor that of an import."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_ours(file: str) -> bool:
    return file.startswith((_PACKAGE, "<frozen importlib"))


def _print_traceback(error: BaseException) -> None:
    text = "".join(traceback.format_exception(type(error), error, _user_trace(error)))
    try:
        sys.stderr.write(text)
    except Exception:
        # A module has replaced `sys.stderr`.
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _words(error: BaseException) -> str:
    """The last line of a traceback, always on one line."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    text = " ".join(str(error).split())
    return f"{type(error).__qualname__}: {text[:_MAX_TEXT]}" if text else type(error).__qualname__
