"""The launcher imports little of multiprocessing, and the rest when it is used."""

import subprocess
import sys

import pytest

LEAN = """
import sys
from mprun.launcher.main import import_multiprocessing
import_multiprocessing()
import multiprocessing
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", LEAN + code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_launcher_imports_neither_pickle_nor_subprocess():
    code = "print(*sorted({'pickle', 'socket', 'struct', 'subprocess', 're'} & set(sys.modules)))"
    assert run(code) == []


@pytest.mark.parametrize(
    "asks",
    [
        "queue = multiprocessing.Queue(); queue.put(5); assert queue.get() == 5",
        "with multiprocessing.Pool(1) as pool: assert pool.map(abs, [-5]) == [5]",
        "ours, theirs = multiprocessing.Pipe(); ours.send(5); assert theirs.recv() == 5",
        "with multiprocessing.Manager() as manager: assert manager.list([5])[0] == 5",
        "assert multiprocessing.reducer.ForkingPickler.dumps(5)",
        "from multiprocessing.reduction import ForkingPickler",
        "import subprocess; assert subprocess.run(['true']).returncode == 0",
        "context = multiprocessing.get_context('spawn'); one = context.Process(target=abs, args=(-5,)); "
        "one.start(); one.join(); assert one.exitcode == 0",
        "assert isinstance(multiprocessing.util._args_from_interpreter_flags(), list)",
    ],
)
def test_the_rest_is_imported_when_it_is_used(asks):
    assert run(f"{asks}\nprint('got it')") == ["got", "it"]


def test_a_lazy_module_has_its_usual_spec():
    code = """
import importlib.util
print(importlib.util.find_spec("multiprocessing.reduction").origin == multiprocessing.reduction.__file__)
"""
    assert run(code) == ["True"]
