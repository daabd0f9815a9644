"""Targets are imported and their arguments bound; errors say what is wrong and where."""

import functools
import inspect
import re
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.launcher.targets import TargetError, check_arguments, find, find_module, set_import_path


@pytest.fixture(autouse=True)
def _own_modules(tmp_path, monkeypatch):
    """A directory of modules at the head of the import path, which are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def module(directory, name, text=""):
    path = directory.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def refused(call, *arguments):
    with pytest.raises(TargetError) as caught:
        call(*arguments)
    return caught.value


def test_a_path_behind_the_colon_reaches_attributes_and_methods(tmp_path):
    module(
        tmp_path, "pack.deep", "class A:\n    class B:\n        @staticmethod\n        def f(): return 5\n"
    )
    assert find("pack.deep:A.B.f")() == 5
    assert find("builtins:len") is len


def test_a_missing_module_is_reported_by_the_part_that_is_missing(tmp_path):
    module(tmp_path, "pack.__init__")
    module(tmp_path, "pack.present")
    error = refused(find, "pack.absent.more:f")
    assert (str(error), error.where, error.word) == (
        "module `pack.absent` not found",
        ("target", "module"),
        "absent",
    )
    assert error.candidates == ("present",)
    error = refused(find, "pakc:f")
    assert str(error).startswith(f"module `pakc` not found (searched {tmp_path};")
    assert "pack" in error.candidates
    assert str(refused(find, "pack.present.x:f")) == (
        "module `pack.present.x` not found: `pack.present` is a module, not a package"
    )


def test_an_import_error_of_the_users_module_is_shown(tmp_path):
    module(tmp_path, "needs", "import not_there_at_all")
    assert str(refused(find, "needs:f")) == (
        "importing `needs` failed: ModuleNotFoundError: No module named 'not_there_at_all' "
        f"({tmp_path}/needs.py:1)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ValueError('a\\n  b')", "failed: ValueError: a b"),
        ("raise ValueError", "failed: ValueError"),
        ("raise KeyboardInterrupt", "failed: KeyboardInterrupt"),
        ("import sys; sys.exit(3)", "called sys.exit(3)"),
        ("import sys; sys.exit()", "called sys.exit(None)"),
        ("raise ValueError('x' * 9000)", "failed: ValueError: " + "x" * 500),
        ("class E(Exception): pass\nraise E('x')", "failed: E: x"),
        ("raise ExceptionGroup('many', [ValueError(1)])", "failed: ExceptionGroup: many (1 sub-exception)"),
    ],
)
def test_an_exception_at_import_is_reported_with_its_line(text, words, tmp_path):
    module(tmp_path, "bad", text)
    line = text.count("\n") + 1
    assert str(refused(find_module, "bad")) == f"importing `bad` {words} ({tmp_path}/bad.py:{line})"


def test_a_syntax_error_is_reported_with_its_line(tmp_path):
    module(tmp_path, "bad", "x = 1\ndef f(:\n")
    assert (
        str(refused(find, "bad:f"))
        == f"importing `bad` failed: SyntaxError: invalid syntax ({tmp_path}/bad.py:2)"
    )


def test_a_missing_attribute_is_reported_with_its_owner(tmp_path):
    module(tmp_path, "m", "_hidden = 1\nclass A:\n    def start(self): ...\n")
    error = refused(find, "m:A.strat")
    assert (str(error), error.where, error.word) == (
        "`A` has no attribute `strat`",
        ("target", "callable"),
        "strat",
    )
    assert error.candidates == ("start",)
    error = refused(find, "m:B.start")
    assert (str(error), error.word, error.candidates) == ("module `m` has no attribute `B`", "B", ("A",))


def test_only_names_of_the_package_itself_are_candidates(tmp_path):
    own = "def own(): ...\nclass Own: ...\nmade = partial(own)\nnumber = 1\n"
    borrowed = "import csv\nfrom pathlib import Path\nfrom textwrap import dedent\n"
    module(tmp_path, "m", f"{borrowed}from functools import partial\n{own}")
    assert refused(find, "m:none").candidates == ("Own", "made", "number", "own")
    module(tmp_path, "b", borrowed)
    assert refused(find, "b:none").candidates == ("Path", "csv", "dedent")


def test_an_object_that_is_not_callable_is_reported_with_its_type(tmp_path):
    module(tmp_path, "m", "n = 5")
    assert str(refused(find, "m:n")) == "`m:n` is not callable (type int)"


def test_an_error_in_the_getattr_of_a_module_is_reported(tmp_path):
    module(tmp_path, "lazy", "def __getattr__(name): raise RuntimeError('not now')\n")
    assert str(refused(find, "lazy:f")) == "looking up `lazy:f` failed: RuntimeError: not now"


def test_the_jobs_directories_replace_the_scripts(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/script", "", "/lib", "/own"])
    monkeypatch.setattr(sys, "argv", ["/script/mprun"])
    set_import_path(["/own", "/more"])
    assert sys.path == ["/own", "/more", "/lib"]
    set_import_path(["/own"])


# -- binding


def greet(name, times=1, *, loud=False): ...


@pytest.mark.parametrize(
    ("args", "kwargs", "message", "where"),
    [
        ((), {}, "missing a required argument: 'name'", ("target",)),
        (("a", 1, 2, 3), {}, "too many positional arguments", ("args", 2)),
        (("a",), {"lout": True}, "got an unexpected keyword argument 'lout'", ("kwargs", "lout")),
        (("a",), {"name": "b"}, "multiple values for argument 'name'", ("kwargs", "name")),
    ],
)
def test_arguments_that_do_not_bind_are_reported_with_their_path(args, kwargs, message, where):
    error = refused(check_arguments, greet, args, kwargs)
    assert str(error) == f"cannot call `greet(name, times=1, *, loud=False)` with these arguments: {message}"
    assert error.where == where
    if "lout" in kwargs:
        assert (error.word, error.candidates) == ("lout", ("name", "times", "loud"))


def test_the_message_of_the_running_python_is_shown():
    """The messages differ between versions: that of 3.12 has `keyword-only`."""
    error = refused(check_arguments, lambda *, pause: 0, (), {})
    assert re.search(r"missing a required (keyword-only )?argument: 'pause'", str(error))
    error = refused(check_arguments, lambda a, /: 0, (), {"a": 1})
    assert "'a'" in str(error)
    assert error.where == ("kwargs", "a")


def test_a_callable_without_a_signature_is_not_bound():
    check_arguments(max, (1, 2, 3), {"nonsense": 1})


class Thing:
    def __init__(self, size): ...

    def __call__(self, one): ...

    def method(self, one): ...

    @classmethod
    def made(cls, one): ...


CALLABLES = [
    lambda: 0,
    lambda a: 0,
    lambda a, b=1: 0,
    lambda a, /, b: 0,
    lambda a, /, b=1, *, c: 0,
    lambda *args: 0,
    lambda a, *args, c=1: 0,
    lambda **kwargs: 0,
    lambda a, /, **kwargs: 0,
    lambda *, a, b=2: 0,
    Thing,
    Thing(1),
    Thing(1).method,
    Thing.method,
    Thing.made,
    functools.partial(greet, "x"),
    functools.wraps(greet)(lambda *args, **kwargs: 0),
]


@given(
    call=st.sampled_from(CALLABLES),
    args=st.lists(st.just(0), max_size=4).map(tuple),
    kwargs=st.dictionaries(st.sampled_from("abc"), st.just(0), max_size=3),
)
def test_binding_agrees_with_the_signature(call, args, kwargs):
    """The fast check for plain functions gives the same answer as `inspect`."""
    try:
        inspect.signature(call).bind(*args, **kwargs)
        binds = True
    except TypeError:
        binds = False
    try:
        check_arguments(call, args, kwargs)
        assert binds
    except TargetError:
        assert not binds
