"""Asks for required params that were not given, if a person is at the terminal."""

from __future__ import annotations

import getpass
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mprun.cli.messages import write
from mprun.cli.views.job_params import in_words
from mprun.diagnostics import quote, remember_secret, visible
from mprun.errors import JobFileError
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.model import STANDARD_INPUT_PATH, param_variable
from mprun.jobfile.param_types import ParamError, parse, require_valid
from mprun.jobfile.patterns import MatchError
from mprun.jobfile.restriction import in_ci
from mprun.jobfile.summary import ParamSummary, summary_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from mprun.jobfile.model import Job


class _Ended(BaseException):
    """A signal came that ends the command; the terminal gets its echo back before it takes effect."""


def job_with_answers(error: JobFileError, path: str, options: Sequence[str]) -> Job:
    """The job of a file, with the required params that it lacks as the user answers.

    `error` is what reading it without them has raised: it is raised again if no one can be asked, if
    something else is wrong with the file, and if there is no answer (Ctrl-D).
    """
    if path == STANDARD_INPUT_PATH or not _at_terminal():
        raise error
    try:
        lenient = load_job_file(path, {}, options, os.environ, lenient=True)
    except JobFileError:
        raise error from None
    given = {option.partition("=")[0] for option in options}
    missing = [
        one
        for one in summary_of(lenient.origin.document).params
        if one.param.required
        and one.param.name not in given
        and param_variable(one.param.name) not in os.environ
    ]
    if not missing:
        raise error
    answers: dict[str, Any] = {}
    try:
        with _echo_restored():
            for one in missing:
                answers[one.param.name] = _ask(one)
    except EOFError:
        write("")
        raise error from None
    return load_job_file(path, answers, options, os.environ)


def _at_terminal() -> bool:
    """Whether a person sees a question and can answer it."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return not in_ci(os.environ) and all(stream is not None and stream.isatty() for stream in streams)


@contextmanager
def _echo_restored() -> Iterator[None]:
    """Have a signal that ends the command do so once the block has restored the echo of the terminal."""
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise _Ended

    # nohup(1) ignores SIGHUP on purpose.
    ending = [
        one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if callable(signal.getsignal(one))
    ]
    before: dict[int, Any] = {number: signal.signal(number, end) for number in ending}
    try:
        yield
    except _Ended:
        write("")
        before[came[0]](came[0], None)
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask(one: ParamSummary) -> Any:
    """The value of a param, asked until it is valid. Raises EOFError."""
    param = one.param
    about = f" ({in_words(param.replace(required=False), None)})"
    if one.description:
        write(f"{visible(param.name)}: {visible(one.description.strip().splitlines()[0])}")
    while True:
        text = _line(f"{visible(param.name)}{about}: ", secret=param.secret)
        if not text:
            write(f"a value for param {quote(param.name)} is required; Ctrl-C ends")
            continue
        try:
            value = parse(param.kind, text)
            if param.secret:
                remember_secret(value)
            require_valid(param.kind, value, param.enum, param.pattern)
        except ParamError as error:
            write(f"param {quote(param.name)} {visible(error.must)}")
        except MatchError as error:
            write(f"the `pattern` of param {quote(param.name)} cannot be matched: {visible(str(error))}")
        else:
            return value


def _line(question: str, *, secret: bool) -> str:
    """A line of the terminal, without its end, and without echo if it is secret. Raises EOFError."""
    if secret:
        return getpass.getpass(question, sys.stderr)
    write(question, end="")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
