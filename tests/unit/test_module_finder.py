"""mprun's own modules are found with few steps, and are the same modules as Python's finder finds."""

import importlib.util
import json
import os
import pkgutil
import py_compile
import subprocess
import sys
from importlib.machinery import PathFinder

import pytest

import mprun
from mprun import module_finder
from mprun.module_finder import ModuleFinder

FINDER = ModuleFinder("__pycache__/", f".{sys.implementation.cache_tag}.pyc")


def load(folder, name="part"):
    """A module that the finder finds in a directory, as if it were of mprun."""
    spec = FINDER.find_spec(f"mprun.{name}", [str(folder)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments, **variables):
    """What a new Python prints, with all that is default for compiled files but these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *arguments], env={**kept, **variables}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def part(tmp_path):
    """The source of a module; its compiled file is up to date, but has other code: so one sees its use."""
    source = tmp_path / "part.py"
    source.write_text("value = 2\n")
    py_compile.compile(str(source), doraise=True)
    found = source.stat()
    source.write_text("value = 1\n")
    os.utime(source, ns=(found.st_atime_ns, found.st_mtime_ns))
    return source


def test_each_module_is_the_one_that_python_finds():
    names = [module.name for module in pkgutil.walk_packages(mprun.__path__, "mprun.")]
    assert len(names) > 200
    for name in names:
        path = importlib.import_module(name.rpartition(".")[0]).__path__
        ours, usual = FINDER.find_spec(name, path), PathFinder.find_spec(name, path)
        for attribute in ("name", "origin", "cached", "has_location", "submodule_search_locations", "parent"):
            assert getattr(ours, attribute) == getattr(usual, attribute), (name, attribute)
        assert ours.loader.get_source(name) == usual.loader.get_source(name)
        assert ours.loader.get_code(name) == usual.loader.get_code(name)


def test_what_is_not_ours_or_not_a_source_file_is_left_to_others(part):
    folder = [str(part.parent)]
    assert FINDER.find_spec("mprunner.part", folder) is None
    assert FINDER.find_spec("part", folder) is None
    assert FINDER.find_spec("mprun", folder) is None
    assert FINDER.find_spec("mprun.part", None) is None
    assert FINDER.find_spec("mprun.other", folder) is None


def test_a_compiled_file_that_is_up_to_date_is_read(part):
    module = load(part.parent)
    assert module.value == 2
    assert module.__file__ == str(part)


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_source_that_was_changed_is_compiled(part, change):
    if change == "time":
        os.utime(part, (1, 1))
    else:
        found = part.stat()
        part.write_text("value = 10\n")
        os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert load(part.parent).value in (1, 10)


def test_a_missing_compiled_file_is_written(part, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    compiled = importlib.util.cache_from_source(str(part))
    os.unlink(compiled)
    assert load(part.parent).value == 1
    assert os.path.exists(compiled)


@pytest.mark.parametrize("damage", [b"", b"\0" * 200], ids=["empty", "of another Python"])
def test_a_compiled_file_that_python_would_not_read_is_not_read(part, damage):
    with open(importlib.util.cache_from_source(str(part)), "wb") as file:
        file.write(damage)
    assert load(part.parent).value == 1


def test_a_compiled_file_that_is_checked_by_the_hash_of_its_source_is_checked(part):
    py_compile.compile(str(part), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    part.write_text("value = 3\n")
    assert load(part.parent).value == 3


def test_a_traceback_names_the_file_where_it_is_now(part):
    moved = part.parent / "moved"
    moved.mkdir()
    for path in ("part.py", "__pycache__"):
        (part.parent / path).rename(moved / path)
    module = load(moved)
    assert module.value == 2
    assert module.__loader__.get_code("mprun.part").co_filename == str(moved / "part.py")


def test_a_compiled_file_of_which_a_read_gives_only_a_part_is_read_by_python(part, monkeypatch):
    """A file system in user space may do that."""
    read = module_finder.posix.read
    monkeypatch.setattr(module_finder.posix, "read", lambda file, size: read(file, size)[:40])
    assert load(part.parent).value == 2


def test_a_large_compiled_file_is_read_by_python(part):
    part.write_text(f"value = {'x' * 200_000!r}\n")
    py_compile.compile(str(part), doraise=True)
    assert len(load(part.parent).value) == 200_000


INSTALLED = """
import json, sys
from mprun.module_finder import install_module_finder
install_module_finder()
import mprun.outcomes
print(json.dumps([type(mprun.outcomes.__loader__).__name__, mprun.outcomes.__spec__.cached]))
"""


def test_it_is_installed_where_compiled_files_are_in_the_usual_place(tmp_path):
    assert json.loads(run("-c", INSTALLED))[0] == "_Loader"
    loader, compiled = json.loads(run("-O", "-c", INSTALLED))
    assert (loader, ".opt-1." in compiled) == ("_Loader", True)
    assert json.loads(run("-c", INSTALLED, PYTHONPYCACHEPREFIX=str(tmp_path)))[0] == "SourceFileLoader"


def test_a_program_that_imports_mprun_keeps_its_finders():
    assert (
        run("-c", "import sys; before = [*sys.meta_path]; import mprun.api; print(before == sys.meta_path)")
        == "True\n"
    )
