"""Which code a target depends on, by the text of its modules."""

import os
import re
import sys
from pathlib import Path

import pytest

from mprun.record.code_files import ImportedCode
from mprun.record.file_hashes import Unusable
from mprun.record.source_code import BY_NAME, UNKNOWN_MODULES, read_code

FILES = {
    "plain.py": "def f():\n    return 1\n",
    "inner.py": "def f():\n    import late\n",
    "late.py": "",
    "pkg/__init__.py": "",
    "pkg/a.py": "from . import b\nfrom .sub.c import x\n",
    "pkg/b.py": "",
    "pkg/sub/__init__.py": "",
    "pkg/sub/c.py": "x = 1\n",
    "names.py": "import pkg\n\ndef f():\n    return pkg.b\n",
    "star.py": "from pkg import *\n",
    "constant.py": "import importlib\n\ndef f():\n    return importlib.import_module('plain')\n",
    "pkg/data/x.txt": "",
    "folder.py": "from pkg import data\n",
    "common.py": "import pkg\n",
    "through.py": "from common import pkg\n\ndef f():\n    return pkg.sub.c.x\n",
    "optional.py": "try:\n    import fast\nexcept ImportError:\n    import plain\n",
    "typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere\n",
    "fallback.py": "try:\n    import plain\nexcept ImportError:\n    import nowhere\n",
    "version.py": "import sys\nif sys.version_info < (3, 0):\n    import nowhere\nelse:\n    import plain\n",
    "newer.py": "import sys\nif sys.version_info >= (3, 0):\n    import plain\nelse:\n    import nowhere\n",
    "system.py": "import sys\nif 'win32' == sys.platform:\n    import nowhere\nimport plain\n",
    "other_error.py": "try:\n    import plain\nexcept OSError:\n    import nowhere\n",
    "after.py": "import sys\nif sys.platform == 'win32':\n    pass\nimport nowhere\n",
    "missing.py": "import nowhere\n",
    "later.py": "try:\n    def f():\n        import nowhere\nexcept ImportError:\n    pass\n",
    "method.py": "def f(model):\n    model.eval()\n",
    "space/deep.py": "import plain\n",
    "json.py": "",
    "shadow.py": "import json\nimport os\n",
}


@pytest.fixture
def found(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def found(target, *imported):
        names = {}
        for name in imported:
            path = tmp_path.joinpath(*name.split("."))
            names[name] = str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
        return sorted(ImportedCode(names, [str(tmp_path)]).of([target]).paths)

    return found


@pytest.mark.parametrize(
    ("target", "imported", "expected"),
    [
        ("plain:f", (), ["plain"]),
        ("inner:f", (), ["inner", "late"]),
        ("pkg.a:f", (), ["pkg", "pkg.a", "pkg.b", "pkg.sub", "pkg.sub.c"]),
        ("pkg:sub.c.x", (), ["pkg", "pkg.sub", "pkg.sub.c"]),
        ("names:f", (), ["names", "pkg"]),
        # Another target has imported it.
        (
            "names:f",
            ("names", "pkg", "pkg.a", "pkg.b"),
            ["names", "pkg", "pkg.a", "pkg.b", "pkg.sub", "pkg.sub.c"],
        ),
        (
            "star:f",
            ("star", "pkg", "pkg.b", "plain"),
            ["pkg", "pkg.a", "pkg.b", "pkg.sub", "pkg.sub.c", "star"],
        ),
        ("constant:f", ("constant", "pkg"), ["constant", "plain"]),
        ("folder:f", (), ["folder", "pkg"]),
        ("through:f", ("pkg", "pkg.sub", "pkg.sub.c"), ["common", "pkg", "pkg.sub", "pkg.sub.c", "through"]),
        ("fallback:f", (), ["fallback", "plain"]),
        ("version:f", (), ["plain", "version"]),
        ("newer:f", (), ["newer", "plain"]),
        ("system:f", (), ["plain", "system"]),
        ("optional:f", (), ["optional", "plain"]),
        ("typed:f", (), ["typed"]),
        ("method:f", ("method", "plain"), ["method"]),
        ("space.deep:f", (), ["plain", "space.deep"]),
        ("shadow:f", (), ["json", "shadow"]),
        ("os:getcwd", (), []),
    ],
)
def test_the_modules_behind_a_target(found, target, imported, expected):
    assert found(target, *imported) == expected


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("x = 1\n", "x = 1  # one\n", True),
        ("x = 1\n", "x  =  1\n", True),
        ("def f():\n    return 1\n", 'def f():\n    """One."""\n    return 1\n', True),
        ("class A:\n    '''Old.'''\n", "class A:\n    '''New.'''\n", True),
        ("x = 1\n", "x = 1.0\n", False),
        ("x = 'a'\n", "x = b'a'\n", False),
        ("f('''text''')\n", "f('''other''')\n", False),
        ("x = 1\n", "x = (\n", False),
    ],
)
def test_what_code_does_is_compared(tmp_path, old, new, same):
    for name, text in (("old.py", old), ("new.py", new)):
        (tmp_path / name).write_text(text)
    digests = [read_code(str(tmp_path / name)).digest for name in ("old.py", "new.py")]
    assert (digests[0] == digests[1]) == same


UNKNOWN = {
    "import_module": "import importlib\nimportlib.import_module(f())",
    "an alias of the module": "import importlib as i\ni.import_module(f())",
    "an alias of the function": "from importlib import import_module as load\nload('json')",
    "the function itself": "import importlib\nload = importlib.import_module",
    "a module that is handed on": "import importlib\ngetattr(importlib, 'import' + '_module')",
    "__import__": "__import__('json')",
    "exec": "exec('1')",
    "an alias of exec": "run = exec",
    "eval": "eval('1')",
    "compile": "import types\ntypes.FunctionType(compile('1', '', 'eval'), {})()",
    "discovery": "import unittest\nunittest.defaultTestLoader.discover('tests')",
    "main of unittest": "import unittest\nunittest.main(module=None)",
    "main of unittest, by another name": "import unittest as u\nu.main(module=None)",
    "main from unittest": "from unittest import main",
    "the class behind it": "import unittest\nunittest.TestProgram(module=None)",
    "main of pytest": "import pytest\npytest.main([])",
    "main from pytest": "from pytest import main",
    "builtins": "import builtins",
    "resolve_name": "import pkgutil\npkgutil.resolve_name('json:loads')",
    "locate": "from pydoc import locate\nlocate('json')",
    "runpy": "import runpy",
    "pickle": "import pickle",
    "a lazy package": "def __getattr__(name):\n    return 1",
    "other interpreters": "from concurrent.futures import InterpreterPoolExecutor",
    "other interpreters, by their module": "import concurrent.interpreters as others",
    "of their module, a function": "from concurrent.interpreters import create",
    "sys.path": "import sys\nsys.path.append('x')",
    "an alias of sys": "import sys as s\ns.path.append('x')",
    "path of sys": "from sys import path",
    "sys of another module": "import os\nos.sys.path.append('x')",
    "sys.modules": "import sys\nsys.modules['x']",
    "__path__": "__path__.append('x')",
    "__path__ of another": "import json\njson.__path__.append('x')",
    "importlib.util": "import importlib.util",
    "not Python": "def (",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_nothing_is_known_of_code_that_may_import_anything(tmp_path, name):
    (tmp_path / "work.py").write_text(UNKNOWN[name] + "\n")
    with pytest.raises(Unusable, match="what module `work` imports cannot be known: "):
        ImportedCode({}, [str(tmp_path)]).of(["work:f"])


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n    def __getattr__(self, name):\n        return 1",
        "import sys\nsys.exit(1)",
        "import importlib.resources as r\nr.files('json')",
        "import winreg",
        "import re\nre.compile('x')",
        "import argparse as main\nmain.main = 1",
        "import unittest\nif __name__ == '__main__':\n    unittest.main()",
        "import os.path",
    ],
)
def test_what_only_looks_like_it_is_known(tmp_path, text):
    (tmp_path / "work.py").write_text(text + "\n")
    assert [*ImportedCode({}, [str(tmp_path)]).of(["work:f"]).paths] == ["work"]


@pytest.mark.parametrize("module", ["missing", "later", "other_error", "after"])
def test_an_import_that_is_found_nowhere_is_unknown(found, module):
    with pytest.raises(Unusable, match=f"where module `{module}` finds `nowhere` cannot be known"):
        found(f"{module}:f")


def test_changes_meanwhile_are_seen(tmp_path):
    def write(name, text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    write("work.py", "import helper\ntry:\n    import fast\nexcept ImportError:\n    pass\n")
    write("helper.py", "x = 1\n")
    (tmp_path / "later").mkdir()
    code = ImportedCode({}, [str(tmp_path), str(tmp_path / "later"), str(tmp_path / "none")])
    seen = [code.of(["work:f"])]
    for name in ("helper.py", "helper/__init__.py", "none/fast.py", "later/fast.py", "fast/__init__.py"):
        write(name, "x = 2\n")
        seen.append(code.of(["work:f"]))
        assert seen[-1] not in seen[:-1], name
        assert code.of(["work:f"]) == seen[-1]


def test_a_module_that_is_found_elsewhere_by_now_is_unknown(tmp_path):
    for name in ("helper.py", "work.py"):
        (tmp_path / name).write_text("import helper\n")
    code = ImportedCode({"helper": str(tmp_path / "helper.py")}, [str(tmp_path)])
    assert [*code.of(["work:f"]).paths] == ["helper", "work"]
    (tmp_path / "helper").mkdir()
    (tmp_path / "helper" / "__init__.py").write_text("")
    with pytest.raises(Unusable, match="now found elsewhere"):
        code.of(["work:f"])


def install(folder, name, *, version="1.0", requires=(), record="", top=None):
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    lines = [f"Name: {name}", *([f"Version: {version}"] if version else [])]
    lines += [f"Requires-Dist: {one}" for one in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "RECORD").write_text(record)
    (info / "top_level.txt").write_text(top or name)
    (folder / f"{name}.py").write_text("")


def test_distributions_are_compared_by_version_and_record(tmp_path):
    site = tmp_path / "site-packages"
    install(site, "acme")
    (tmp_path / "work.py").write_text("import acme\n")
    code = ImportedCode({}, [str(tmp_path), str(site)])
    seen = [code.of(["work:f"])]
    assert [*seen[0].paths] == ["work"]
    for change in ({"version": "2.0"}, {"record": "acme.py,sha256=x,1"}, {"version": ""}):
        install(site, "acme", **change)
        seen.append(code.of(["work:f"]))
        assert seen[-1].distributions != seen[-2].distributions, change


def test_a_module_without_a_distribution_is_compared_as_a_file(tmp_path):
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "alone.py").write_text("x = 1\n")
    (tmp_path / "work.py").write_text("import alone\n")
    code = ImportedCode({}, [str(tmp_path), str(tmp_path / "site-packages")])
    assert [*code.of(["work:f"]).paths] == ["alone", "work"]


def test_what_a_distribution_requires_for_an_extra_counts_only_with_the_extra(tmp_path):
    site = tmp_path / "site-packages"
    needs = ("base>=1; python_version >= '3'", "plot; extra == 'draw'", "rich[fine]", "old ; extra=='old'")
    install(site, "acme", requires=needs)
    install(site, "rich", requires=("fine-one; extra == \"fine\" and os_name == 'posix'", "no; extra == 'x'"))
    for name in ("base", "plot", "fine-one", "old", "no"):
        install(site, name)
    (tmp_path / "work.py").write_text("import acme\n")
    found = ImportedCode({}, [str(tmp_path), str(site)]).of(["work:f"]).distributions
    assert [*found] == ["acme", "base", "fine-one", "rich"]


# What imports, or runs, what a text says.
IMPORTS = re.compile(
    r"(?<![\w.])(?:__import__|import_module|exec|eval|resolve_name|run_path|run_module|find_class)\s*\("
    r"|\bpickle\.loads?\(|\brunpy\.|\bpkgutil\."
)
# What was looked at: no text that is given to these modules becomes a name or a program, except of their own
# modules, of code that they write themselves, of annotations, and of what a child process does.
SEEN = (
    {"_aix_support", "_compat_pickle", "_py_warnings", "_pydatetime", "_pydecimal", "_pyrepl"}
    | {"annotationlib"}
    | {"asyncio.__main__", "collections", "ctypes", "dataclasses", "datetime", "dbm", "encodings"}
    | {"ensurepip", "gettext", "hashlib", "importlib", "inspect", "multiprocessing", "optparse", "pprint"}
    | {"pydoc_data", "re", "subprocess", "sysconfig", "tkinter", "traceback", "turtle", "typing"}
    | {"warnings", "zipfile"}
)


def test_every_module_of_python_that_imports_by_name_is_known():
    library = Path(os.__file__).parent
    known = BY_NAME | UNKNOWN_MODULES | SEEN
    found = set()
    for top in sys.stdlib_module_names:
        for file in (library / f"{top}.py", *(library / top).rglob("*.py")):
            module = ".".join(file.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
            if {"test", "tests"} & {*module.split(".")} or not file.exists():
                continue
            parents = {module[: match.start()] for match in re.finditer(r"\.|$", module)}
            if not parents & known and IMPORTS.search(file.read_text("utf-8", "replace")):
                found.add(module)
    assert not found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import unittest", ["helper", "other", "work"]),
        ("from logging import config", ["helper", "other", "work"]),
        ("import importlib\nimportlib.resources.files(name)", ["helper", "other", "work"]),
        ("def f(logging):\n    logging.config.dictConfig({})", ["helper", "other", "work"]),
        ("import logging", ["work"]),
    ],
)
def test_code_that_imports_what_a_string_names_may_use_all_that_the_job_has_imported(
    tmp_path, text, expected
):
    names = {name: str(tmp_path / f"{name}.py") for name in ("helper", "other", "work")}
    for path in names.values():
        Path(path).write_text("")
    (tmp_path / "work.py").write_text(text + "\n")
    assert sorted(ImportedCode(names, [str(tmp_path)]).of(["work:f"]).paths) == expected
