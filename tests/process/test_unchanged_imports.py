"""Which imports of a job count for a task that is skipped: what the text of its code does not say."""

import hmac
import json
import os
import py_compile
import subprocess
import sys
import time

import pytest
from support.compared import ran, run, settle, why
from support.pythons import forked_on_each, one_on_each, spawned_on_each
from support.runs import environment, mprun, write

LOADER = """
import importlib

def load(name):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
"""


def install(path, name, text, version="1.0"):
    info = path / "site-packages" / f"{name}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{name}\n")
    package = path / "site-packages" / name
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(text)


def job(method, *tasks):
    return "\n".join([f"start_method: {method}", "pythonpath: [site-packages, .]", "tasks:", *tasks, ""])


def expected(path, task="t"):
    tasks = json.loads(mprun("plan", "job.yaml", "--json", cwd=path).stdout)["tasks"]
    return next(one["unchanged"] for one in tasks if one["name"] == task)


@forked_on_each
def test_what_an_installed_package_finds_by_name_counts_if_another_task_has_imported_it(tmp_path, method):
    install(tmp_path, "loader", LOADER)
    tasks = ("  - {name: t, target: 'work:run', inputs: []}", "  - {name: other, target: 'plug:other'}")
    work = 'import loader\n\ndef run():\n    return loader.load("plug:value")\n'
    write(tmp_path, job=job(method, *tasks), work=work, plug="value = 1\n\ndef other():\n    pass\n")
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    assert expected(tmp_path)["skipped"], expected(tmp_path)
    write(tmp_path, plug="value = 2\n\ndef other():\n    pass\n")
    settle(tmp_path)
    assert expected(tmp_path)["skipped"] is False
    assert ran(run(tmp_path))
    assert "module `plug` has changed since run" in why(tmp_path)
    assert not ran(run(tmp_path))


@forked_on_each
def test_an_optional_distribution_counts_if_another_task_has_imported_it(tmp_path, method):
    install(tmp_path, "loader", LOADER + 'def read():\n    return load("engine:VALUE")\n')
    install(tmp_path, "engine", "VALUE = 1\n")
    tasks = ("  - {name: t, target: 'work:run', inputs: []}", "  - {name: other, target: 'plug:other'}")
    plug = "import engine\n\ndef other():\n    pass\n"
    write(
        tmp_path, job=job(method, *tasks), work="import loader\n\ndef run():\n    loader.read()\n", plug=plug
    )
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    assert expected(tmp_path)["skipped"], expected(tmp_path)
    install(tmp_path, "engine", "VALUE = 2\n", version="2.0")
    settle(tmp_path)
    assert expected(tmp_path)["skipped"] is False
    assert ran(run(tmp_path))
    assert "distribution `engine` has changed from 1.0 to 2.0" in why(tmp_path)
    assert not ran(run(tmp_path))


def test_a_new_process_of_its_own_has_only_what_its_task_imports(tmp_path):
    install(tmp_path, "loader", LOADER)
    tasks = ("  - {name: t, target: 'work:run', inputs: []}", "  - {name: other, target: 'plug:other'}")
    work, plug = "import loader\n\ndef run():\n    pass\n", "def other():\n    return {}\n"
    write(tmp_path, job=job("spawn", *tasks), work=work, plug=plug.format(1))
    settle(tmp_path)
    assert ran(run(tmp_path))
    write(tmp_path, plug=plug.format(2))
    settle(tmp_path)
    assert not ran(run(tmp_path))


EXTENDED = "from pkgutil import extend_path\n\n__path__ = extend_path(__path__, __name__)\n"


@pytest.mark.parametrize("target", one_on_each("late:run", ["ns.mine:run", "work:run", "late:run"]))
def test_a_module_of_the_project_below_an_installed_package_counts(tmp_path, target):
    install(tmp_path, "ns", EXTENDED)
    (tmp_path / "ns").mkdir()
    mine = tmp_path / "ns" / "mine.py"
    mine.write_text("def run():\n    return 1\n")
    work, late = "from ns.mine import run\n", "def run():\n    from ns.mine import run\n\n    return run()\n"
    task = f"  - {{name: t, target: '{target}', inputs: []}}"
    write(tmp_path, job=job("fork", task), work=work, late=late)
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    assert expected(tmp_path)["skipped"], expected(tmp_path)
    mine.write_text("def run():\n    return 2\n")
    settle(tmp_path)
    assert expected(tmp_path)["skipped"] is False
    assert ran(run(tmp_path))
    assert "module `ns.mine` has changed since run" in why(tmp_path)
    assert not ran(run(tmp_path))


@pytest.mark.once
def test_a_directory_that_was_put_in_the_place_of_another_one_after_the_imports(tmp_path):
    for number in (1, 2):
        (tmp_path / f"rel{number}").mkdir()
        (tmp_path / f"rel{number}" / "work.py").write_text(f"def run():\n    return {number}\n")
    current = tmp_path / "current"
    current.symlink_to("rel1")
    task = "  - {name: t, target: 'work:run', inputs: [], depends_on: swap}"
    swap = "  - {name: swap, command: 'test ! -e swaps || ln -sfn rel2 current'}"
    write(tmp_path, job="\n".join(["pythonpath: [current]", "tasks:", swap, task, ""]))
    (tmp_path / "swaps").touch()
    settle(tmp_path)
    result = run(tmp_path)
    assert result.result("t") == 1
    assert "changed while it was imported, or after that" in " ".join(result.stderr.split())
    result = run(tmp_path)
    assert result.result("t") == 2
    assert ran(result)
    assert not ran(run(tmp_path))


LAZY = """
import importlib.util
import sys

def run():
    spec = importlib.util.find_spec("heavy")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules["heavy"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["object"] = Object()

class Object:
    @property
    def __class__(self):
        raise SystemExit(5)

    def __getattr__(self, name):
        raise SystemExit(6)
"""


@spawned_on_each
def test_no_code_of_the_task_runs_when_its_imports_are_listed(tmp_path, method):
    heavy = 'from pathlib import Path\n\nPath("loaded").touch()\n'
    task = "  - {name: t, target: 'work:run', inputs: []}"
    write(tmp_path, job=job(method, task), work="import lazy\n\ndef run():\n    lazy.run()\n", heavy=heavy)
    install(tmp_path, "lazy", LAZY)
    settle(tmp_path)
    results = [run(tmp_path) for _ in range(2)]
    assert [one.code for one in results] == [0, 0]
    assert [ran(one) for one in results] == [True, False]
    assert not (tmp_path / "loaded").exists()


@pytest.mark.once
def test_a_compiled_module_elsewhere_that_is_of_an_earlier_edit(tmp_path):
    task = "  - {name: t, target: 'work:run', inputs: []}"
    text = "def run():\n    return {}\n"
    write(tmp_path, job=job("fork", task), work=text.format(1))
    env = {"PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    second = int(time.time()) - 10
    os.utime(tmp_path / "work.py", (second, second))
    writes = {**os.environ, **env, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", "import work"], cwd=tmp_path, env=writes, check=True)
    settle(tmp_path)
    assert [ran(run(tmp_path, env=env)) for _ in range(2)] == [True, False]
    write(tmp_path, work=text.format(2))
    os.utime(tmp_path / "work.py", (second, second))
    settle(tmp_path)
    for _ in range(2):
        result = run(tmp_path, env=env)
        assert result.result("t") == 1
        assert ran(result)
        assert "is of an earlier `work.py`: remove it" in " ".join(result.stderr.split())


def test_a_compiled_module_that_python_does_not_compare_with_its_file(tmp_path):
    task = "  - {name: t, target: 'work:run', inputs: []}"
    text = "def run():\n    return {}\n"
    write(tmp_path, job=job("fork", task), work=text.format(1))
    py_compile.compile(
        str(tmp_path / "work.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    write(tmp_path, work=text.format(2))
    settle(tmp_path)
    for _ in range(2):
        result = run(tmp_path)
        assert result.result("t") == 1
        assert ran(result)


@pytest.mark.once
def test_the_list_of_imports_is_not_left_behind(tmp_path):
    tasks = (
        "  - {name: t, target: 'work:run', inputs: []}",
        "  - {name: bad, target: 'work:fail', inputs: [], allow_failure: true, retry: {retries: 1}}",
        "  - {name: blind, target: 'blind:run', inputs: []}",
    )
    work = "def run():\n    pass\n\ndef fail():\n    raise ValueError\n"
    write(
        tmp_path, job=job("fork", *tasks), work=work, blind="import sys\n\nsys.path\n\ndef run():\n    pass\n"
    )
    settle(tmp_path)
    for options in ([], ["--repeat", "2"]):
        assert run(tmp_path, *options).code == 0
        assert not [*(tmp_path / ".mprun").rglob("*.modules.json")]


@spawned_on_each
def test_what_python_imports_at_its_start_counts(tmp_path, method):
    work = "import os\n\ndef run():\n    return getattr(os, 'MODE', 0)\n"
    write(tmp_path, job=job(method, "  - {name: t, target: 'work:run', inputs: []}"), work=work)
    site = tmp_path / "site"
    site.mkdir()
    variables = {"PYTHONPATH": os.pathsep.join([str(site), environment().get("PYTHONPATH", "")])}

    def is_skipped():
        planned = mprun("plan", "job.yaml", "--json", cwd=tmp_path, env=variables)
        (task,) = json.loads(planned.stdout)["tasks"]
        return task["unchanged"]["skipped"]

    for mode in range(3):
        if mode:
            # Each time of another size: what Python has compiled may be of the same second.
            (site / "sitecustomize.py").write_text(f"import os\nos.MODE = {mode}{' ' * mode}\n")
        settle(tmp_path)
        assert not is_skipped()
        changed = run(tmp_path, env=variables)
        assert (ran(changed), changed.result("t")) == (True, mode)
        assert is_skipped()
        assert not ran(run(tmp_path, env=variables))
    (site / "sitecustomize.py").unlink()
    assert not is_skipped()
    assert run(tmp_path, env=variables).result("t") == 0
    assert "module `sitecustomize` is gone" in why(tmp_path)


@pytest.mark.once
def test_what_another_version_has_left_is_said_to_be_so(tmp_path):
    write(tmp_path, job="tasks:\n  - {name: t, command: 'true', inputs: []}\n")
    run(tmp_path)
    kept = tmp_path / ".mprun/unchanged"
    key = (kept / "key").read_bytes()
    (file,) = kept.glob("*.json")
    content = json.loads(file.read_bytes().partition(b"\n")[2])
    text = json.dumps({**content, "format": 1}).encode()
    file.write_bytes(hmac.new(key, text, "sha256").hexdigest().encode() + b"\n" + text)
    assert ran(run(tmp_path))
    assert why(tmp_path) == (
        "`t` ran: what an earlier run has left to compare with is by another version of mprun"
    )
