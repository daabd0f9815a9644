"""Which code a task that is skipped depends on: also what only strings name, and docstrings that are read."""

import json
import shutil
import subprocess
import sys
import venv

import pytest
from support.compared import ran, replace, run, settle, why
from support.pythons import once, one_on_each
from support.runs import START_METHODS, environment, mprun, write

JOB = "tasks:\n  - {name: t, target: 'work:run', inputs: []}\n"
# A second task has imported what the first one names.
BESIDE = JOB + "  - {name: other, target: 'helper:run'}\n"
HELPER = "import logging\nimport unittest\n\n\ndef run():\n    pass\n\n\nclass Handler(logging.Handler):\n"
HELPER += "    x = 1\n\n\nclass T(unittest.TestCase):\n    def test_a(self):\n        pass\n"
BY_UNITTEST = """
    import unittest

    def run():
        return unittest.defaultTestLoader.loadTestsFromName("helper").countTestCases()
    """
BY_LOGGING = """
    import logging.config

    def run():
        handlers = {"h": {"class": "helper.Handler"}}
        logging.config.dictConfig({"version": 1, "handlers": handlers, "root": {"handlers": ["h"]}})
    """
BY_TEXT = """
    import cProfile

    def run():
        cProfile.run("import helper")
    """
BY_A_PACKAGE = """
    import acme

    def run():
        return acme.load("helper").Handler.x
    """
# A fresh process may import after the target has returned.
AT_EXIT = """
    import atexit
    import acme

    def run():
        atexit.register(acme.load, "helper")
    """
# Each imports what a string names.
ACME = "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n"
WAYS = {
    "unittest": BY_UNITTEST,
    "logging": BY_LOGGING,
    "text": BY_TEXT,
    "package": BY_A_PACKAGE,
    "exit": AT_EXIT,
}


def install_acme(path):
    """An installed distribution whose module imports by name."""
    site = path / "site-packages"
    (site / "acme-1.0.dist-info").mkdir(parents=True)
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Name: acme\nVersion: 1.0\n")
    (site / "acme-1.0.dist-info" / "top_level.txt").write_text("acme\n")
    (site / "acme.py").write_text(ACME)


@pytest.mark.parametrize(
    ("way", "method"),
    [
        *(once(way, "fork") for way in WAYS if way not in ("text", "exit")),
        *(("text", "fork"), *(("exit", method) for method in START_METHODS)),
    ],
)
def test_what_a_string_names_counts_once_the_task_has_imported_it(tmp_path, way, method):
    install_acme(tmp_path)
    job = f"pythonpath: [site-packages, .]\nstart_method: {method}\n{JOB}"
    write(tmp_path, work=WAYS[way], helper=HELPER, job=job)
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    (tmp_path / "helper.py").write_text(HELPER + "    def test_b(self):\n        pass\n")
    settle(tmp_path)
    assert ran(run(tmp_path))
    assert "module `helper` has changed since run" in why(tmp_path)
    assert not ran(run(tmp_path))


@pytest.mark.parametrize("way", one_on_each("logging", ["unittest", "logging", "text"]))
def test_what_a_string_names_counts_if_another_task_has_imported_it(tmp_path, way):
    write(tmp_path, work=WAYS[way], helper=HELPER, job=BESIDE)
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    (tmp_path / "helper.py").write_text(HELPER + "    def test_b(self):\n        pass\n")
    settle(tmp_path)
    assert ran(run(tmp_path))
    assert "module `helper` has changed since run" in why(tmp_path)


@pytest.mark.once
def test_what_the_task_made_and_imported_is_not_kept(tmp_path):
    lines = [
        "from pathlib import Path",
        'Path("helper.py").write_text("x = 1")',
        "import acme",
        'acme.load("helper")',
    ]
    text = "".join(f"    {line}\n" for line in lines)
    install_acme(tmp_path)
    write(tmp_path, work=f"import acme\n\ndef run():\n{text}", job=f"pythonpath: [site-packages, .]\n{JOB}")
    settle(tmp_path)
    assert "changed while it was imported, or after that" in run(tmp_path).stderr
    assert ran(run(tmp_path))


@pytest.mark.once
def test_a_process_that_does_not_say_what_it_imported_leaves_nothing_to_compare_with(tmp_path):
    job = "tasks:\n  - {name: t, target: 'work:run', inputs: [], expect: {exit_code: 3}}\n"
    write(tmp_path, work="import os\n\ndef run():\n    os._exit(3)\n", job=job)
    settle(tmp_path)
    for _ in range(2):
        result = run(tmp_path)
        assert result.code == 0
        assert ran(result)
        assert "its process has not said what it imported" in " ".join(result.stderr.split())


BASED = "import helper\n\nclass C(helper.Base):\n    if True:\n"


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('"""A."""\n\ndef run():\n    return __doc__\n', True),
        ('import helper\n\ndef run():\n    """A."""\n    return helper.text(run)\n', True),
        ('import helper\n\n@helper.keep\ndef run():\n    """A."""\n', True),
        ('import helper\n\ndef run():\n    """A."""\n    return getattr(run, "__doc__")\n', True),
        ('import helper\n\ndef run():\n    """A."""\n    help(run)\n', True),
        ('"""A."""\nimport inspect\n\ndef run():\n    """A."""\n', True),
        ('import helper\n\nclass C(helper.Base):\n    """A."""\n\ndef run():\n    pass\n', True),
        (BASED + '        def g(self):\n            """A."""\n\ndef run():\n    pass\n', True),
        ('import cmd\n\ndef run():\n    """A."""\n', True),
        ('"""A."""\n\ndef run():\n    """A."""\n', False),
    ],
)
def test_docstrings_count_where_code_may_read_them(tmp_path, text, counts):
    helper = "class Base:\n    pass\n\ndef keep(f):\n    return f\n" + (
        "\ndef text(f):\n    return f.__doc__\n" if "text(" in text else ""
    )
    write(tmp_path, job=JOB)
    (tmp_path / "helper.py").write_text(helper)
    (tmp_path / "work.py").write_text(text)
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    replace(tmp_path / "work.py", "A.", "B.")
    settle(tmp_path)
    assert ran(run(tmp_path)) == counts


@pytest.mark.once
@pytest.mark.parametrize("moves", [True, False])
def test_in_another_directory_the_task_runs(tmp_path, moves):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write(here, work="import os\n\ndef run():\n    return os.getcwd()\n", job=JOB)
    settle(here)
    assert [ran(run(here)) for _ in range(2)] == [True, False]
    (shutil.move if moves else shutil.copytree)(here, there)
    settle(there)
    result = run(there)
    assert result.result("t") == str(there)
    assert f"it ran in another directory, `{here}/.mprun`" in why(there)
    assert not ran(run(there))


NEW_FILES = {
    "a module that was missing": "fast.py",
    "a package in place of a module": "helper/__init__.py",
    "a module in place of an installed one": "acme.py",
}


@pytest.mark.parametrize(
    "name",
    one_on_each("helper/__init__.py", NEW_FILES.values()),
    ids=NEW_FILES,
)
def test_plan_sees_that_an_import_finds_something_else(tmp_path, name):
    install_acme(tmp_path)
    lines = ["import acme", "import helper", "try:", "    import fast", "except ImportError:", "    pass"]
    write(
        tmp_path,
        work="\n".join([*lines, "", "def run():", "    return helper.__name__", ""]),
        helper="",
        job="pythonpath: [., site-packages]\n" + JOB,
    )
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]

    def expected():
        (task,) = json.loads(mprun("plan", "job.yaml", "--json", cwd=tmp_path).stdout)["tasks"]
        return task["unchanged"]

    assert expected()["skipped"]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x = 1\n")
    settle(tmp_path)
    assert expected()["skipped"] is False, expected()
    assert ran(run(tmp_path))


@pytest.mark.once
def test_a_success_without_assertions_is_not_one_with_them(tmp_path):
    write(tmp_path, work="def run():\n    assert len([1]) == 2\n", job=JOB)
    settle(tmp_path)
    assert ran(run(tmp_path, env={"PYTHONOPTIMIZE": "1"}))
    assert not ran(run(tmp_path, env={"PYTHONOPTIMIZE": "1"}))
    failed = run(tmp_path)
    assert (ran(failed), failed.code) == (True, 1)
    assert "an option of Python has changed" in why(tmp_path)


@pytest.mark.once
def test_the_order_of_preload_counts(tmp_path):
    parts = {"first": "import os\nos.MODE = 1\n", "second": "import os\nos.MODE = 2\n"}
    write(
        tmp_path,
        work="import os\ndef run():\n    return os.MODE\n",
        **parts,
        job="preload: [first, second]\n" + JOB,
    )
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    replace(tmp_path / "job.yaml", "[first, second]", "[second, first]")
    assert run(tmp_path).result("t") == 1
    assert "`preload` has changed since run" in why(tmp_path)


@pytest.mark.once
def test_the_start_method_counts(tmp_path):
    write(tmp_path, work="import multiprocessing\ndef run():\n    pass\n", job=JOB)
    settle(tmp_path)
    assert [ran(run(tmp_path, "--start-method", "fork")) for _ in range(2)] == [True, False]
    assert ran(run(tmp_path, "--start-method", "spawn"))
    assert "`start_method` has changed since run" in why(tmp_path)


@pytest.mark.parametrize("name", one_on_each("PYTHONUTF8", ["PYTHONUTF8", "PYTHONINTMAXSTRDIGITS"]))
def test_options_that_are_variables_count(tmp_path, name):
    write(tmp_path, work="def run():\n    pass\n", job=JOB)
    settle(tmp_path)
    values = ("0", "1") if name == "PYTHONUTF8" else ("4300", "5000")
    assert [ran(run(tmp_path, env={name: value})) for value in (values[0], *values)] == [True, False, True]
    assert "an option of Python has changed" in why(tmp_path)


def test_another_virtual_environment_counts(tmp_path):
    project, other = tmp_path / "project", tmp_path / "other"
    project.mkdir()
    write(project, work="import sys\ndef run():\n    return sys.prefix\n", job=JOB)
    settle(project)
    assert [ran(run(project)) for _ in range(2)] == [True, False]
    venv.create(other)
    site = next(other.glob("lib/python*/site-packages"))
    (site / "all.pth").write_text("\n".join(path for path in sys.path if path))
    command = [other / "bin" / "python", "-m", "mprun", "job.yaml"]
    subprocess.run(command, cwd=project, env=environment(), check=True)
    assert "the directory of Python has changed" in why(project)


@pytest.mark.once
def test_warnings_that_are_errors_are_others(tmp_path):
    write(tmp_path, work="import warnings\ndef run():\n    warnings.warn('old')\n", job=JOB)
    settle(tmp_path)
    run(tmp_path)
    assert not ran(run(tmp_path))
    assert run(tmp_path, env={"PYTHONWARNINGS": "error"}).code == 1
