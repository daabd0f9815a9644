"""Collects job files as the tests of pytest, each of which runs in a process of mprun."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mprun.diagnostic_text import render
from mprun.diagnostics import redact, visible
from mprun.engine.signals import signal_name
from mprun.errors import JobFileError, UsageError
from mprun.jobfile.loader import load_job_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.model import Job

SUFFIXES = (".yaml", ".yml")

# A key at the beginning of a line: what makes a file a job file if it is not named on the command line. A
# Taskfile has `tasks`, too, and must have a `version`, which no job has.
_TASKS = re.compile(rb"^(?:\xef\xbb\xbf)?([\"']?)tasks\1[ \t]*:(?:\s|\Z)", re.MULTILINE)
_VERSION = re.compile(rb"^(?:\xef\xbb\xbf)?([\"']?)version\1[ \t]*:", re.MULTILINE)

# Of what mprun prints the end is shown, in bytes: the run's record has all of it.
MAX_SHOWN = 256 * 1024

# Variables that would have every run write the same file, or print something else than a report.
_DROPPED = frozenset(
    f"MPRUN_{name}" for name in ("EVENTS", "REPORT", "JUNIT", "TRACE", "OTLP", "QUIET", "VERBOSE")
)

# The line that says how a run has ended.
_VERDICT = re.compile(r"^(?:error: .*|(?:failed|interrupted|stopped|timed out)\b.* in .*)$", re.MULTILINE)


class JobFiles:
    """The hooks of the plugin, and where the records of its runs are."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._state_dir: str | None = config.getoption("mprun_state_dir")

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> JobFile | None:
        """A job file, if it is one."""
        if file_path.suffix not in SUFFIXES:
            return None
        if not parent.session.isinitpath(file_path) and not has_tasks(file_path):
            return None
        job_file: JobFile = JobFile.from_parent(parent, path=file_path, plugin=self)
        return job_file

    def state_dir(self) -> str:
        """The directory for the records."""
        if self._state_dir is None:
            # What the fixture `tmp_path_factory` returns; an item has no fixtures.
            factory = getattr(self._config, "_tmp_path_factory", None)
            self._state_dir = str(factory.mktemp("mprun")) if factory else tempfile.mkdtemp(prefix="mprun-")
        return str(Path(self._config.invocation_params.dir, self._state_dir))


def has_tasks(path: Path) -> bool:
    """Whether a file has the key `tasks`, as a job file has it."""
    try:
        text = path.read_bytes()
    except OSError:
        return False
    return bool(_TASKS.search(text)) and not _VERSION.search(text)


class JobFile(pytest.File):
    """A job file, which has one test: its job."""

    def __init__(self, *, plugin: JobFiles, **options: Any) -> None:
        super().__init__(**options)
        self.plugin = plugin

    def collect(self) -> Iterator[JobItem]:
        """Check the job file; its errors are those of `mprun validate`."""
        missing = ""
        try:
            try:
                job = self._load()
            except JobFileError as error:
                # If all is well but for required params, it is probably a recipe.
                job = self._load(lenient=True)
                missing = "; ".join(visible(diagnostic.message) for diagnostic in error.diagnostics)
        except JobFileError as error:
            raise self.CollectError(redact(render(error.diagnostics))) from None
        except UsageError as error:
            raise self.CollectError(redact(visible(str(error)))) from None
        item: JobItem = JobItem.from_parent(self, name=visible(job.name))
        item.add_marker("mprun")
        item.extra_keyword_matches.update(tag for instance in job.tasks for tag in instance.task.tags)
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"{redact(missing)} (MPRUN_PARAM_NAME sets one)"))
        yield item

    def _load(self, *, lenient: bool = False) -> Job:
        return load_job_file(os.path.relpath(self.path), {}, (), os.environ, lenient=lenient)


class JobItem(pytest.Item):
    """A job: it passes if its run succeeds."""

    parent: JobFile

    def runtest(self) -> None:
        """Run the job; what mprun prints is the report."""
        with tempfile.TemporaryFile() as output:
            try:
                code = self._run(output.fileno())
            except pytest.fail.Exception as error:
                # From pytest-timeout, whose stack is that of pytest while it waited.
                raise JobFailed(_end_of(output), str(error.msg)) from None
            except BaseException:
                self.add_report_section("call", "mprun", _end_of(output))
                raise
            text = _end_of(output)
        if code < 0:
            raise JobFailed(text, f"mprun was killed by {signal_name(-code)}")
        if code:
            verdicts = _VERDICT.findall(text)
            raise JobFailed(text, verdicts[-1] if verdicts else f"exit code {code} of mprun")
        self.add_report_section("call", "mprun", text)

    def _run(self, output: int) -> int:
        """The exit code of the run, whose output goes to a descriptor. What ends the test, ends the run."""
        directory = self.config.invocation_params.dir
        options = (
            "--output=failed",
            "--progress=none",
            "--ci=none",
            "--state-dir",
            self.parent.plugin.state_dir(),
        )
        arguments = ("run", *options, "--", os.path.relpath(self.path, directory))
        mprun = subprocess.Popen(
            [sys.executable, "-m", "mprun.pytest_plugin.command", str(os.getpid()), *arguments],
            cwd=directory,
            env={name: value for name, value in os.environ.items() if name not in _DROPPED},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for pytest, which passes it on: a run that gets two of them kills its tasks.
            process_group=0,
        )
        try:
            return mprun.wait()
        except BaseException as error:
            number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            while mprun.poll() is None:
                mprun.send_signal(number)
                try:
                    mprun.wait()
                except KeyboardInterrupt:
                    number = signal.SIGINT
            raise

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **options: Any) -> Any:
        if isinstance(excinfo.value, JobFailed):
            return excinfo.value.report
        return super().repr_failure(excinfo, *args, **options)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class JobFailed(Exception):
    """The run of a job has not succeeded: what mprun has printed, and why in one line."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(text)
        self.report = Report(text if why in text else f"{text}\n{why}".lstrip(), why)


class Report:
    """What pytest shows of a failure: all that mprun has printed; `message` is for one line."""

    def __init__(self, text: str, message: str) -> None:
        self._text = text
        self.message = message
        # Where pytest looks for the message of its summary and of JUnit.
        self.reprcrash = self

    def __str__(self) -> str:
        return self._text

    def toterminal(self, tw: Any) -> None:
        """Write it to a terminal of pytest."""
        tw.line(self._text)


def _end_of(file: Any) -> str:
    """The end of what was written to a file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_SHOWN))
    # To a file, mprun writes what tasks print as it is.
    text = visible(file.read().decode("utf-8", "replace").rstrip(), multiline=True)
    return text if size <= MAX_SHOWN else f"[{size - MAX_SHOWN:,} bytes before are not shown]\n{text}"
