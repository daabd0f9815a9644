"""The modules that a start imports, by name, for a job of one task, in the engine and in the launcher.

A module costs 0.1 to 0.5 ms of some 60, and each that the launcher has is copied by each fork. If
every job needs another module, add it here, with its cost (`python -X importtime`). A module that only
some jobs need is imported in the function that needs it. There is no `re`, so a start compiles no regular
expression: one takes up to a hundredth of it.
"""

import importlib.util
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mprun.__main__ import BOTH_NEED

# Runs the command as its script does; both processes write their modules to a file at the end.
SPY = """
import os, sys
before, engine, fork, leave = set(sys.modules), os.getpid(), os.fork, os._exit
import mprun.__main__

with open("python", "w") as file:
    print(*before, sep="\\n", file=file)

def tell(role):
    with open(role, "w") as file:
        for name, module in sys.modules.items():
            if name not in before and type(module).__name__ != "LazyModule":
                print(name, file=file)

def tell_and_fork():
    tell("before the fork" if os.getpid() == engine else "launcher")
    return fork()

def tell_and_leave(code):
    if os.getpid() == engine:
        tell("engine")
    leave(code)

os.fork, os._exit = tell_and_fork, tell_and_leave
sys.argv[1:] = ["one.yaml"]
mprun.__main__.main()
"""

OURS = {
    "engine": """
        mprun mprun.__main__ mprun.module_finder
        mprun.launcher mprun.launcher.channel mprun.failpoints mprun.linux
        mprun.lean_json
        mprun.linux.procfs mprun.linux.prctl mprun.lazy_import mprun.cli mprun.cli.lean_imports mprun.cli.main
        mprun.cli.command_line mprun.cli.option mprun.cli.options mprun.cli.job mprun.cli.execution
        mprun.frozen mprun.reporters.terminal
        mprun.outcomes mprun.diagnostics mprun.errors mprun.record mprun.record.events
        mprun.scheduling mprun.scheduling.instructions mprun.jobfile mprun.jobfile.model
        mprun.jobfile.units mprun.jobfile.text_file mprun.jobfile.syntax mprun.jobfile.syntax.scalars
        mprun.jobfile.syntax.composer mprun.jobfile.syntax.document mprun.jobfile.dependencies
        mprun.jobfile.names
        mprun.jobfile.schema mprun.jobfile.schema.fast_validator mprun.jobfile.schema.patterns
        mprun.jobfile.references
        mprun.jobfile.resolution mprun.jobfile.schema.job_schema mprun.jobfile.checked_files
        mprun.jobfile.task_checks mprun.jobfile.task_builder
        mprun.jobfile.job_checks mprun.jobfile.expansion mprun.jobfile.scope
        mprun.jobfile.loader
        mprun.scheduling.plan mprun.engine mprun.scheduling.retry
        mprun.scheduling.timers mprun.scheduling.task_run mprun.scheduling.task_runs
        mprun.scheduling.join_order
        mprun.scheduling.ready_queue mprun.scheduling.attempt_outcome mprun.scheduling.termination
        mprun.scheduling.dispatch mprun.scheduling.scheduler mprun.executors.subreaper
        mprun.record.pidfile mprun.record.results mprun.engine.signals mprun.record.run_state
        mprun.record.state_dir mprun.record.state_files mprun.record.line_format mprun.record.lock
        mprun.record.recorder mprun.record.packed_details mprun.record.task_state
        mprun.executors mprun.executors.base
        mprun.linux.cgroup
        mprun.executors.local mprun.engine.preflight mprun.reporters mprun.reporters.console
        mprun.engine.poller mprun.engine.run
        mprun.cli.messages mprun.reporters.table mprun.reporters.tail
        mprun.reporters.format mprun.reporters.door mprun.reporters.outlet mprun.engine.event_builder
        mprun.engine.fact_queue
        mprun.clock
        mprun.engine.attempt_result mprun.engine.resolver
        mprun.engine.attempt_monitor mprun.engine.control_requests mprun.engine.report_handler
        mprun.scheduling.verdict mprun.engine.task_table
        mprun.engine.publisher mprun.engine.engine mprun.api
        """,
    "launcher": """
        mprun mprun.__main__ mprun.module_finder
        mprun.launcher mprun.launcher.channel mprun.failpoints mprun.linux
        mprun.linux.procfs mprun.linux.prctl mprun.lazy_import mprun.launcher.main mprun.linux.wait4
        mprun.launcher.start_queue mprun.launcher.prefork mprun.launcher.preload
        mprun.launcher.environment mprun.launcher.fork mprun.launcher.start_backoff
        mprun.linux.pidfd_signals mprun.launcher.attempt_signals mprun.launcher.reaper
        mprun.launcher.task_trees mprun.launcher.worker mprun.launcher.attempt mprun.launcher.auxiliary
        mprun.launcher.parent_death mprun.launcher.targets mprun.linux.kill_loop
        mprun.linux.run_cgroup mprun.linux.run_tags mprun.launcher.launcher
        """,
}
# The most code that these modules may have together, in bytes as in their compiled files. To read it takes a
# fifth of a start, so what only some jobs need goes to a module of its own.
MAX_CODE_BYTES = {"engine": 1_188_000, "launcher": 316_000}
if sys.version_info >= (3, 14):
    # The same source takes an eighth more.
    MAX_CODE_BYTES = {"engine": 1_332_000, "launcher": 352_000}
# Other packages, each with its submodules; some versions of Python need fewer of them.
OTHERS = {
    "engine": """
        __future__ _collections _ctypes _functools _heapq _json _operator _sha2 _sha256 _socket
        _weakrefset collections contextlib cython_runtime encodings enum errno fcntl functools gc
        heapq itertools keyword math operator reprlib select signal threading types warnings weakref
        yaml
        """,
    "launcher": """
        __future__ __mp_main__ _collections _ctypes _functools _operator _socket _weakrefset atexit
        collections contextlib enum errno faulthandler functools gc itertools keyword multiprocessing
        operator reprlib  select signal threading types warnings weakref
        """,
}
# Newer versions of Python import these for the packages above.
if sys.version_info >= (3, 14):
    OTHERS["engine"] += "_contextvars _py_warnings _types io"
    OTHERS["launcher"] += "_contextvars _py_warnings _types"
if sys.version_info >= (3, 15):
    OTHERS["engine"] += " _math_integer"
# From these packages, only these submodules are imported.
PARTS = {
    "multiprocessing": ("context", "popen_fork", "process", "util"),
    "yaml": ("_yaml", "error", "events", "nodes"),
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """By process, the modules that a start imports; as `python`, those that it finds imported."""
    return modules_of(tmp_path_factory.mktemp("start"), "tasks:\n  - target: noop:noop\n")


def modules_of(folder, job):
    """The same for a job with this text."""
    (folder / "noop.py").write_text("def noop(number=None):\n    pass\n")
    (folder / "one.yaml").write_text(job)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MPRUN")}
    done = subprocess.run(
        [sys.executable, "-c", SPY], cwd=folder, env=variables, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        role: set((folder / role).read_text().splitlines()) - {"noop"}
        for role in ("python", "before the fork", "engine", "launcher")
    }


@pytest.mark.parametrize("role", ["engine", "launcher"])
def test_a_start_imports_exactly_these_modules_of_mprun(imported, role):
    ours = {name for name in imported[role] if name.partition(".")[0] == "mprun"}
    assert ours == set(OURS[role].split()), __doc__


@pytest.mark.parametrize("role", ["engine", "launcher"])
def test_the_code_that_a_start_reads_is_bounded(imported, role):
    ours = [name for name in imported[role] if name.partition(".")[0] == "mprun"]
    sources = {name: Path(importlib.util.find_spec(name).origin).read_text() for name in ours}
    sizes = {name: len(marshal.dumps(compile(text, name, "exec"))) for name, text in sources.items()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    assert sum(sizes.values()) <= MAX_CODE_BYTES[role], largest


@pytest.mark.parametrize("role", ["engine", "launcher"])
def test_a_start_imports_no_other_library(imported, role):
    known = set(OTHERS[role].split())
    found = []
    for name in imported[role]:
        package, _, part = name.partition(".")
        # PyYAML's extension adds modules named for the version of Cython that compiled it.
        if package == "mprun" or package.startswith("_cython"):
            continue
        if package not in known or (part and part not in PARTS.get(package, {part})):
            found.append(name)
    assert not found, __doc__


def test_exactly_the_modules_of_both_processes_are_imported_before_the_fork(imported):
    both = imported["engine"] & imported["launcher"]
    assert imported["before the fork"] == both
    assert set(BOTH_NEED) <= both | imported["python"]


def test_params_and_whole_references_need_no_regular_expression(tmp_path):
    job = """
        params: {n: {type: integer, default: 1}}
        tasks:
          - {target: noop:noop, args: ['${params.n}'], env: {N: '${params.n}'}}
        """
    found = modules_of(tmp_path, job)
    assert "mprun.jobfile.reference_syntax" in found["engine"]
    assert not {"json", "re"} & (found["engine"] | found["launcher"])
