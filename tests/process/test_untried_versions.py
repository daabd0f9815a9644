"""On a Python, click or PyYAML that no one has tried, mprun does the same by other means.

docs/architecture.md lists what relies on the insides of others. Each has a newest version that it was tried
with, and uses public interfaces with a newer one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys

import pytest
from support.runs import ROOT, START_METHODS, environment, mprun, survivors, write
from support.untried import with_newer, with_newer_python

from mprun.cli import lean_imports

every_start_method = pytest.mark.parametrize("method", START_METHODS)

# The modules that have a newest Python, in `TRIED_PYTHON`.
FENCED = (
    "mprun.__main__",
    "mprun.cli.lean_imports",
    "mprun.executors.dask.lean_distributed",
    "mprun.launcher.environment",
    "mprun.launcher.fork",
    "mprun.launcher.main",
    "mprun.launcher.worker",
    "mprun.lean_json",
    "mprun.linux.prctl",
    "mprun.linux.wait4",
    "mprun.module_finder",
)
BEYOND = (
    "{0} is newer than those that `{1}` was tried with (up to {2}). There mprun is slower, because it uses "
    "public interfaces alone. Raise the bound, run all tests with this version, and keep it if they pass."
)

# ---- canaries: the installed versions


@pytest.mark.parametrize("name", FENCED)
def test_this_python_is_not_newer_than_those_that_were_tried(name):
    newest = importlib.import_module(name).TRIED_PYTHON
    running = sys.version_info[:2]
    assert running <= newest, BEYOND.format(f"Python {running}", f"{name}.TRIED_PYTHON", newest)


@pytest.mark.parametrize(("distribution", "bound"), [("click", "TRIED_CLICK"), ("PyYAML", "TRIED_PYYAML")])
def test_the_installed_library_is_not_newer_than_those_that_were_tried(distribution, bound):
    newest = getattr(lean_imports, bound)
    version = importlib.metadata.version(distribution)
    installed = tuple(int(number) for number in re.findall(r"\d+", version))[: len(newest)]
    where = f"mprun.cli.lean_imports.{bound}"
    assert installed <= newest, BEYOND.format(f"{distribution} {version}", where, newest)


def test_every_bound_is_the_newest_python_of_the_metadata():
    classifiers = re.findall(r"Python :: 3\.(\d+)", (ROOT / "pyproject.toml").read_text())
    bounds = {importlib.import_module(name).TRIED_PYTHON for name in FENCED}
    assert bounds == {(3, max(map(int, classifiers)))}


def test_every_module_with_a_bound_is_known_here():
    house = ROOT / "mprun"
    found = [path for path in house.rglob("*.py") if re.search(r"^TRIED_PYTHON =", path.read_text(), re.M)]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found}
    assert names == set(FENCED)


@pytest.mark.parametrize(("package", "distribution"), [("click", "click"), ("yaml", "pyyaml")])
def test_the_version_beside_a_package_is_that_of_its_metadata(package, distribution):
    locations = importlib.import_module(package).__path__
    version = lean_imports.installed_version(distribution, locations)
    assert ".".join(map(str, version)) == importlib.metadata.version(distribution)


def test_a_version_that_cannot_be_found_counts_as_not_tried(tmp_path):
    assert lean_imports.installed_version("click", [str(tmp_path / "click")]) == ()
    assert lean_imports.installed_version("click", [str(tmp_path / "missing" / "click")]) == ()
    for name in ("click-8.1.0.dist-info", "click-9.0rc1.dist-info", "click_extra-99.0.dist-info"):
        (tmp_path / name).mkdir()
    assert lean_imports.installed_version("click", [str(tmp_path / "click")]) == (9,)


# ---- the fallbacks: a real job

WORK = """\
    import multiprocessing, os, signal, sys, threading, time

    def see():
        process, parent = multiprocessing.current_process(), multiprocessing.parent_process()
        child = multiprocessing.Process(target=print, args=("from the child",))
        child.start()
        child.join()
        return {
            "process": [type(process).__name__, process.name, process.daemon, parent.name],
            "child": [child.name, child.exitcode],
            "method": multiprocessing.get_start_method(),
            "tags": [os.environ["MPRUN_TASK"], os.environ["MPRUN_ATTEMPT"], os.environ["GIVEN"]],
            "session": os.getsid(0) == os.getpid(),
            "threads": threading.active_count(),
        }

    def means():
        launcher = os.getppid()
        if "forkserver" in open(f"/proc/{launcher}/cmdline").read():
            launcher = int(open(f"/proc/{launcher}/stat").read().rpartition(")")[2].split()[1])
        return {
            "process": type(multiprocessing.current_process()).__module__,
            "hook of threading": threading._after_fork.__code__.co_filename == threading.__file__,
            "launcher is a new Python": "mprun.launcher.main" in open(f"/proc/{launcher}/cmdline").read(),
            "run in the environment": "MPRUN_RUN_ID=" in open(f"/proc/{launcher}/environ").read(),
        }

    def add(left, right):
        return left + right

    def fail():
        raise ValueError("no")

    def leave():
        sys.exit(7)

    def close():
        sys.stdout.close()

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def limited():
        bytearray(1 << 40)

    def sleep():
        time.sleep(60)

    def abandon():
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
"""
JOB = """\
tasks:
  - {name: see, target: 'work:see', env: {GIVEN: 'given'}}
  - {name: means, target: 'work:means'}
  - {name: three, target: 'work:add', args: [1, 2]}
  - {name: four, target: 'work:add', args: ['${tasks.three.result}', 1]}
  - {name: command, command: 'echo from the command; exit 5'}
  - {name: fail, target: 'work:fail'}
  - {name: leave, target: 'work:leave', retry: 1}
  - {name: close, target: 'work:close'}
  - {name: die, target: 'work:die'}
  - {name: limited, target: 'work:limited', limits: {memory: 500MiB}}
  - {name: late, target: 'work:sleep', timeout: 0.5}
  - {name: abandon, target: 'work:abandon'}
  - {name: service, target: 'work:sleep', daemon: true, ready: {command: [echo, ready]}}
  - {name: captured, command: 'echo "[1]"; echo no >&2', capture: json, depends_on: service}
"""


def what_came_of_it(run):
    """The record of each task, without the values that differ from run to run."""
    exits = [
        (e["task"], e["attempt"], e["exit_code"], e["signal"], e["error"]) for e in run.of("task_exited")
    ]
    ends = [
        (e["task"], e["outcome"], e["reason"], e["result_kind"], e["result"])
        for e in run.of("task_finished")
        if e["task"] != "means"
    ]
    printed = [run.printed(name) for name in ("see", "command", "fail")]
    return sorted(map(repr, exits)), sorted(map(repr, ends)), printed


@every_start_method
def test_a_newer_python_does_the_same_by_other_means(tmp_path, method):
    write(tmp_path, work=WORK)
    (tmp_path / "job.yaml").write_text(JOB)
    newer = tmp_path / "newer"
    newer.mkdir()
    command = ("-j", 3, "--start-method", method, "job.yaml")
    tried = mprun(*command, cwd=tmp_path)
    untried = mprun(*command, cwd=tmp_path, env=with_newer_python(newer))
    assert (untried.code, tried.code) == (1, 1)
    assert what_came_of_it(untried) == what_came_of_it(tried)
    assert not survivors(untried.events)
    assert untried.result("means") == {
        "process": "mprun.launcher.portable_process",
        "hook of threading": True,
        "launcher is a new Python": True,
        "run in the environment": True,
    }
    assert all(e["cpu"] is not None and e["max_rss"] is not None for e in untried.of("task_exited", "see"))


@every_start_method
def test_a_newer_python_says_what_a_compared_task_has_imported(tmp_path, method):
    write(tmp_path, work="def noop():\n    return 1\n")
    (tmp_path / "job.yaml").write_text("tasks: [{name: noop, target: 'work:noop', inputs: []}]\n")
    newer = tmp_path / "newer"
    newer.mkdir()
    variables = with_newer_python(newer)
    command = ("--start-method", method, "job.yaml")
    runs = [mprun(*command, cwd=tmp_path, env=variables) for _ in range(2)]
    assert [bool(run.of("task_started", "noop")) for run in runs] == [True, False]


@pytest.mark.parametrize(("package", "distribution"), [("click", "click"), ("yaml", "PyYAML")])
@every_start_method
def test_a_newer_library_is_imported_in_the_ordinary_way(tmp_path, method, package, distribution):
    write(tmp_path, work="def noop():\n    return 1\n")
    (tmp_path / "job.yaml").write_text("tasks: [{name: noop, target: 'work:noop'}]\n")
    newer = tmp_path / "newer"
    newer.mkdir()
    variables = with_newer(package, distribution, newer)
    run = mprun("--start-method", method, "job.yaml", cwd=tmp_path, env=variables)
    assert (run.code, run.result("noop")) == (0, 1)
    script = (
        "import sys; from mprun.cli.lean_imports import import_click, import_yaml_parser;"
        "import_click(); import_yaml_parser(); import click, yaml;"
        "print(*[n for n, m in sys.modules.items() if type(m).__name__ == 'LazyModule'])"
    )
    code = [sys.executable, "-c", script]
    done = subprocess.run(code, env=environment(**variables), capture_output=True, text=True, check=True)
    lazy = done.stdout.split()
    ours = {"click": {"inspect", "uuid", "gettext"}, "yaml": {"yaml", "yaml.reader"}}
    assert not ours.pop(package) & set(lazy)
    assert set(*ours.values()) <= set(lazy)
