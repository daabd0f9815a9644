"""The modules that the command makes lazy for click and PyYAML are complete once they are used."""

import importlib
import pkgutil
import subprocess
import sys
import textwrap

import pytest


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    return done.stdout


def test_importing_click_does_not_import_modules_that_a_run_does_not_use():
    code = """
import sys
from mprun.cli.lean_imports import import_click
import_click()
import click
print([name for name in ("dis", "tokenize", "platform", "locale") if name in sys.modules])
print([type(sys.modules[name]).__name__ for name in ("inspect", "uuid")])
"""
    assert run(code) == "[]\n['LazyModule', 'LazyModule']\n"


def test_click_can_use_every_lazy_module():
    code = """
from mprun.cli.lean_imports import import_click
import_click()
import click, uuid, inspect

@click.command(help="One.\\n\\n    Two.", epilog="End.")
@click.option("--id", type=click.UUID, help="  Of one line. ")
@click.option("--long", help="First.\\n\\n    Second.")
def command(id, long):
    assert type(id) is uuid.UUID, id
    click.echo_via_pager(str(line) for line in [id])

print(inspect.isfunction(run := command.callback), click.termui.inspect.isgeneratorfunction(run))
print([option.help for option in command.params])
command.main(["--id", "12345678123456781234567812345678"], standalone_mode=False)
try:
    command.main(["--id", "no"], standalone_mode=False)
except click.BadParameter as error:
    print(error.message)
"""
    assert run(code).splitlines() == [
        "True False",
        "['Of one line. ', 'First.\\n\\nSecond.']",
        "12345678-1234-5678-1234-567812345678",
        "'no' is not a valid UUID.",
    ]


def test_similar_options_are_looked_for_where_click_shows_them():
    code = """
from mprun.cli.lean_imports import import_click
import_click()
import sys
import click

@click.command()
@click.option("--quiet", "-q", is_flag=True)
@click.option("--jobs", "-j", type=int)
def command(quiet, jobs):
    print(quiet, jobs, type(sys.modules["difflib"]).__name__)

command.main(["-q", "-j2"], standalone_mode=False)
for arguments in (["-x"], ["--qiet"], ["-qx"]):
    try:
        command.main(arguments, standalone_mode=False)
    except click.NoSuchOption as error:
        print(error.format_message())
import difflib
print(difflib.get_close_matches("-q", ["--q", "-qq"]), difflib.get_close_matches.__module__)
"""
    plain = run(code.replace("import_click()", "").replace('type(sys.modules["difflib"]).__name__', "'-'"))
    assert run(code).replace("LazyModule", "-") == plain
    assert "LazyModule" in run(code)
    assert "Did you mean" in plain


def test_attributes_given_for_click_are_the_real_ones_afterwards():
    code = """
from mprun.cli.lean_imports import import_click
import_click()
from gettext import gettext, ngettext
from uuid import UUID
import click.core
from datetime import datetime, date
print([one.__module__ for one in (gettext, ngettext, UUID, datetime, date)])
print(isinstance(date.today(), date), click.types.datetime is datetime)
print(click.core._("Options"), click.core.ngettext("one", "many", 1), click.core.ngettext("one", "many", 2))
"""
    assert run(code).splitlines() == [
        "['gettext', 'gettext', 'uuid', 'datetime', 'datetime']",
        "True True",
        "Options one many",
    ]


def test_a_text_is_cleaned_as_inspect_does():
    code = r"""
from mprun.cli.lean_imports import _clean
import inspect
for text in ("", " ", "a", "  a  ", "\ta\tb ", " a\n   b\n  c\n", "\n\n a"):
    assert _clean(text) == inspect.cleandoc(text), text
"""
    assert run(code) == ""


@pytest.mark.parametrize("name", ["inspect", "uuid"])
def test_a_module_that_is_imported_already_stays_as_it_is(name):
    code = f"""
import {name}
from mprun.cli.lean_imports import import_click
import_click()
import click, sys
print(sys.modules["{name}"] is {name}, type({name}).__name__)
"""
    assert run(code) == "True module\n"


def test_a_job_file_is_read_with_libyaml_alone():
    code = """
import sys
from mprun.cli.lean_imports import import_yaml_parser
import_yaml_parser()
from mprun.jobfile.syntax.document import parse
print(parse("a: [1, &x b, *x]", "job.yaml").root)
of_yaml = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "yaml"}
print(sorted(name for name, module in of_yaml.items() if type(module).__name__ != "LazyModule"))
"""
    names = ["yaml._yaml", "yaml.error", "yaml.events", "yaml.nodes"]
    assert run(code).splitlines() == ["{'a': [1, 'b', 'b']}", str(names)]


def test_the_rest_of_yaml_is_loaded_when_it_is_used():
    code = """
from mprun.cli.lean_imports import import_yaml_parser
import_yaml_parser()
from mprun.jobfile.syntax.document import parse
parse("a: 1", "job.yaml")
import yaml
print(yaml.safe_load("a: 2001-01-01"), yaml.load("[1, x]", yaml.CSafeLoader), yaml.dump({"a": 1}).strip())
print(yaml._yaml.CParser is yaml.cyaml.CParser, yaml.nodes.Node is yaml.Node)
try:
    yaml.load("[1", yaml.CSafeLoader)
except yaml.MarkedYAMLError as error:
    print(error.problem_mark.line)
"""
    assert run(code).splitlines() == [
        "{'a': datetime.date(2001, 1, 1)} [1, 'x'] a: 1",
        "True True",
        "1",
    ]


def test_the_binding_to_libyaml_makes_the_tokens_and_errors_of_yaml():
    code = """
from mprun.cli.lean_imports import import_yaml_parser
import_yaml_parser()
import yaml
text = "%YAML 1.1\\n---\\n- a: [!x 1, &b c, {? d : *b}]\\n...\\n"
tokens = list(yaml.scan(text, Loader=yaml.CLoader))
print([type(token) for token in tokens] == [type(token) for token in yaml.scan(text)], len(tokens))
print({type(token) for token in tokens} <= set(yaml.tokens.Token.__subclasses__()))
for error in (yaml.scanner.ScannerError, yaml.parser.ParserError, yaml.reader.ReaderError):
    for text in ("a: b: c", "[1", "\\0"):
        try:
            yaml.load(text, yaml.CSafeLoader)
        except error as found:
            print(type(found).__name__, type(found) is error, end=" ")
        except yaml.YAMLError:
            pass
"""
    assert run(code).split() == [
        *("True", "27", "True"),
        *("ScannerError", "True", "ParserError", "True", "ReaderError", "True"),
    ]


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "a: *x", "a: &x &y 1", "- a\nb: 1", "%YAML 3.0\n---\n"])
def test_an_invalid_file_is_explained_in_the_same_words(text):
    code = f"""
import sys
from mprun.errors import JobFileError
from mprun.jobfile.syntax.document import parse
if len(sys.argv) > 1:
    from mprun.cli.lean_imports import import_yaml_parser
    import_yaml_parser()
try:
    parse({text!r}, "job.yaml")
except JobFileError as error:
    print([(one.message, one.help, one.span) for one in error.diagnostics])
"""
    with_all, alone = (
        subprocess.run(
            [sys.executable, "-c", code, *more], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        for more in ((), ("alone",))
    )
    assert alone == with_all != ""


def test_a_lazy_module_has_the_path_of_the_real_one():
    code = """
import sys
from mprun.cli.lean_imports import import_click
import_click()
import importlib.util
before = importlib.util.find_spec("uuid").origin
import uuid
print(type(sys.modules["uuid"]).__name__, uuid.uuid4().version, before == uuid.__file__)
"""
    assert run(code) == "LazyModule 4 True\n"


HEAD = """
import sys, threading
from mprun.lazy_import import LazyModule, install_lazy
sys.path.insert(0, sys.argv[1])
"""


def with_late(tmp_path, module, code):
    (tmp_path / "late.py").write_text(module)
    command = [sys.executable, "-c", HEAD + textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_threads_that_use_a_lazy_module_at_the_same_time_wait_until_it_is_complete(tmp_path):
    code = """
        module = install_lazy("late")
        found = []
        threads = [threading.Thread(target=lambda: found.append(module.last)) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(found.count(5), type(module).__name__)
        """
    assert with_late(tmp_path, "import time\ntime.sleep(0.2)\nlast = 5\n", code) == ["8", "module"]


def test_a_lazy_module_that_cannot_be_loaded_is_tried_again(tmp_path):
    module = "import os\nhalf = 1\nif os.path.exists(__file__ + '.not'): raise OSError('no')\nlast = 5\n"
    (tmp_path / "late.py.not").touch()
    code = """
        import os
        module = install_lazy("late")
        for _ in range(2):
            try: module.last
            except OSError as error: print(error, "half" in vars(module))
        os.unlink(module.__file__ + ".not")
        print(module.last)
        """
    assert with_late(tmp_path, module, code) == ["no", "False", "no", "False", "5"]


def test_looking_at_every_module_loads_no_lazy_one(tmp_path):
    code = """
        module = install_lazy("late")
        for each in sys.modules.values():
            getattr(each, "__file__", None), getattr(each, "__warningregistry__", None)
        print(isinstance(module, LazyModule), module.__file__.endswith("late.py"), module.__spec__.name)
        """
    assert with_late(tmp_path, "import email.mime.text\n", code) == ["True", "True", "late"]


def test_an_attribute_set_on_a_lazy_module_stays_set(tmp_path):
    code = """
        module = install_lazy("late")
        module.last = 6
        print(module.last, module.other)
        """
    assert with_late(tmp_path, "last = 5\nother = 7\n", code) == ["6", "7"]


# Records who makes the command load a lazy module: the first frame that is not of the import system.
WHO_LOADS = """
import sys
from mprun import lazy_import
from mprun.cli.lean_imports import import_click

def load(module, name, load=lazy_import._load):
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    package = frame.f_globals["__name__"].partition(".")[0]
    if package in ("click", "mprun"):
        found.append((module.__name__, name, frame.f_globals["__name__"]))
    load(module, name)

found, lazy_import._load = [], load
import_click()
"""


@pytest.mark.parametrize("package", ["click", "mprun"])
def test_no_module_of_click_and_mprun_needs_the_real_typing(package):
    # click's other ones are for Windows, and for tests.
    skipped = ("click._winconsole", "click.testing")
    walked = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    names = [module.name for module in walked if module.name not in skipped]
    code = f"for name in {names}:\n    __import__(name)\nprint([one for one in found if one[0] == 'typing'])"
    assert run(WHO_LOADS + code) == "[]\n"


def test_anyone_else_gets_the_real_typing(tmp_path):
    module = """
        from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, get_type_hints, runtime_checkable
        T = TypeVar("T")
        @runtime_checkable
        class Closes(Protocol[T]):
            def close(self) -> T: ...
        class Box(Generic[T]):
            value: T
            other: Any
        """
    code = """
        from mprun.cli.lean_imports import import_click
        import_click()
        import click, mprun.frozen
        before = type(sys.modules["typing"]).__name__
        import typing
        import late
        print(before, type(typing).__name__, late.Any is typing.Any, hasattr(typing, "__lent__"))
        print(isinstance(open(late.__file__), late.Closes), isinstance(1, late.Closes))
        hints = typing.get_type_hints(late.Box)
        print(late.Box[int].__args__ == (int,), hints == {"value": late.T, "other": typing.Any})
        # What was made before works as before.
        print(click.Choice[str](["a"]).convert("a", None, None), click.IntRange(1).convert("2", None, None))
        """
    module = textwrap.dedent(module)
    assert with_late(tmp_path, module, code) == [
        *("LazyModule", "module", "True", "False"),
        *("True", "False", "True", "True", "a", "2"),
    ]


def test_code_without_a_module_gets_the_real_typing():
    code = """
import sys
from mprun.cli.lean_imports import import_click
import_click()
print(type(sys.modules["typing"]).__name__)
names = {}
exec("import typing; Any = typing.Any", names)
import typing
print(type(typing).__name__, names["Any"] is typing.Any)
"""
    assert run(code).split() == ["LazyModule", "module", "True"]


def test_a_pattern_of_click_is_compiled_when_it_is_used():
    code = (
        WHO_LOADS
        + """
import click, re
print(type(sys.modules["re"]).__name__, click.unstyle("\033[1mbold\033[0m"), type(re).__name__)
print(type(re.compile("a")).__name__, type(click._compat._ansi_re).__name__)
"""
    )
    assert run(code).splitlines() == ["LazyModule bold module", "Pattern _LazyPattern"]
