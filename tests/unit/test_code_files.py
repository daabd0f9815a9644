"""Which code a target depends on, by the text of its modules."""

import pytest

from mprun.record.code_files import ImportedCode, read_code

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
    "dynamic.py": "import importlib\n\ndef f(name):\n    return importlib.import_module(name)\n",
    "method.py": "def f(model):\n    model.eval()\n",
    "space/deep.py": "import plain\n",
    "json.py": "",
    "shadow.py": "import json\nimport os\n",
    "broken.py": "def (\n",
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
        ("names:f", ("names", "pkg", "pkg.a", "pkg.b"), ["names", "pkg", "pkg.b"]),
        ("star:f", ("star", "pkg", "pkg.b", "plain"), ["pkg", "pkg.b", "star"]),
        ("dynamic:f", ("dynamic", "plain", "pkg"), ["dynamic", "pkg", "plain"]),
        ("method:f", ("method", "plain"), ["method"]),
        ("space.deep:f", (), ["plain", "space.deep"]),
        ("shadow:f", (), ["json", "shadow"]),
        ("broken:f", ("broken", "plain"), ["broken", "plain"]),
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
