"""Which scripts need no shell, beside the /bin/sh of this machine."""

from __future__ import annotations

import os
import random
import shlex
import subprocess

import pytest

from mprun.launcher import plain_scripts
from mprun.linux import file_systems

pytestmark = pytest.mark.once

NEEDS_DASH = pytest.mark.skipif(not plain_scripts.is_dash(), reason="/bin/sh is not dash")


def words(script):
    return plain_scripts.words_of(("/bin/sh", "-c", script))


@pytest.mark.parametrize(
    "script",
    [
        "/bin/true",
        "sleep 0.1",
        "  make  -j2 CC=gcc x/y.o\n",
        "python3 -m pytest tests/unit/test_a.py::test_b -q",
        "curl -s http://localhost:8000/health,ok+1@2%3",
    ],
)
def test_a_program_and_its_arguments_need_no_shell(script):
    assert words(script) == tuple(shlex.split(script))


@pytest.mark.parametrize(
    "script",
    ["", " \n", "A=1 env", "-x", "true", "exec sleep 1", "cd /tmp", "if", "echo hi", "a\nb", "a\tb", "~/x"]
    + [f"program {character}" for character in "$`\"'\\*?[]{}()<>|&;#!~^\té\0\udcff"],
)
def test_what_a_shell_may_read_in_another_way_is_left_to_it(script):
    assert words(script) is None


@pytest.mark.parametrize(
    "command", [("/bin/true",), ("/bin/sh", "true"), ("sh", "-c", "a"), ("/bin/sh", "-c", "a", "b")]
)
def test_other_commands_are_left_as_they_are(command):
    assert plain_scripts.words_of(command) is None


def of_the_shell(names):
    """Those of these names that mean something to /bin/sh whatever programs there are."""
    asked = "".join(f"type {name}\n" for name in names)
    # Programs are not part of the answer.
    said = subprocess.run(["/bin/sh"], input=asked, capture_output=True, text=True, env={"PATH": "/nowhere"})
    return {line.split()[0] for line in said.stdout.splitlines() if not line.endswith("not found")}


@NEEDS_DASH
def test_no_program_of_this_machine_has_the_name_of_what_its_shell_does_itself():
    programs = {
        name
        for directory in os.get_exec_path()
        if os.path.isdir(directory)
        for name in os.listdir(directory)
        if words(name) is not None
    }
    assert len(programs) > 100
    assert of_the_shell(sorted(programs)) == set()
    # What it would have said.
    assert {"cd", "if", "true"} <= of_the_shell(plain_scripts.BUILTINS)


# What shells do themselves, of any shell.
OF_SHELLS = [
    *(
        "alias",
        "bg",
        "bind",
        "builtin",
        "caller",
        "cd",
        "chdir",
        "command",
        "compgen",
        "coproc",
        "declare",
        "dirs",
    ),
    *(
        "echo",
        "enable",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fg",
        "function",
        "getopts",
        "hash",
        "help",
    ),
    *(
        "history",
        "jobs",
        "kill",
        "let",
        "local",
        "login",
        "logout",
        "mapfile",
        "newgrp",
        "nice",
        "nohup",
        "popd",
    ),
    *("print", "printf", "pushd", "pwd", "read", "readonly", "rehash", "return", "select", "set", "setvar"),
    *(
        "shift",
        "shopt",
        "source",
        "stop",
        "suspend",
        "test",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "typeset",
    ),
    *("ulimit", "umask", "unalias", "unset", "until", "wait", "whence", "which", "while", "wordexp"),
]


@NEEDS_DASH
def test_what_the_shell_does_itself_is_left_to_it():
    assert of_the_shell(OF_SHELLS) <= plain_scripts.BUILTINS


@NEEDS_DASH
def test_words_are_those_of_the_shell():
    chosen = random.Random(1)
    alphabet = [*sorted(plain_scripts._PLAIN), " ", " "]
    for _ in range(300):
        script = "/usr/bin/printf %s, " + "".join(
            chosen.choice(alphabet) for _ in range(chosen.randrange(30))
        )
        plain = words(script)
        if plain is None:
            continue
        said = [subprocess.run(way, capture_output=True).stdout for way in (plain, ["/bin/sh", "-c", script])]
        assert said[0] == said[1], script


VARIABLES = [
    {},
    {"PWD": "/"},
    {"PWD": "somewhere"},
    {"PWD": ""},
    {"A.B": "1", "1A": "2", "BASH_FUNC_x%%": "() { :; }", "é": "3", "A-": "4", "_x": "5", "_": "6"},
    {
        "SHLVL": "3",
        "OLDPWD": "/",
        "PS1": "x",
        "HOME": "/nowhere",
        "TERM": "dumb",
        "MAIL": "/var/mail",
        "ENV": "/x",
    },
    {"CDPATH": "/", "HISTSIZE": "1", "LC_ALL": "C", "LANG": "de_DE", "FCEDIT": "x", "PS4": "+", "NO": "a\nb"},
]


@NEEDS_DASH
@pytest.mark.parametrize("variables", VARIABLES, ids=lambda given: "-".join(given) or "none")
def test_a_program_has_the_variables_that_a_shell_gives_to_it(tmp_path, monkeypatch, variables):
    monkeypatch.chdir(tmp_path)
    given = {os.fsencode(name): os.fsencode(text) for name, text in variables.items()}
    own = plain_scripts.passed_on(given)
    assert plain_scripts.Directory().add_to(own)
    said = subprocess.run(["/bin/sh", "-c", "/usr/bin/env -0"], env=given, capture_output=True, check=True)
    expected = dict(entry.split(b"=", 1) for entry in said.stdout.split(b"\0") if entry)
    assert own == expected


@NEEDS_DASH
@pytest.mark.parametrize("name", ["IFS", "LINENO", "OPTIND", "PPID"])
def test_what_the_shell_sets_by_itself_is_left_to_it(name):
    assert plain_scripts.passed_on({name.encode(): b"1"}) is None


@NEEDS_DASH
def test_a_path_of_the_directory_is_kept_and_another_one_is_not(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    directory = plain_scripts.Directory()
    for path in (tmp_path / "link", f"{tmp_path}/.", tmp_path / "nothing", "/", tmp_path):
        own = {b"PWD": os.fsencode(path)}
        said = subprocess.run(["/bin/sh", "-c", "/usr/bin/env"], env=own, capture_output=True, check=True)
        assert directory.add_to(own)
        assert said.stdout == b"PWD=" + own[b"PWD"] + b"\n"


def test_a_path_that_may_wait_for_another_machine_is_left_to_the_shell(tmp_path, monkeypatch):
    remote = os.fsencode(tmp_path / "remote")
    parse = file_systems._parse
    monkeypatch.setattr(file_systems, "_parse", lambda text: parse(text) | {remote: False})
    monkeypatch.chdir(tmp_path)
    assert not plain_scripts.Directory().add_to({b"PWD": remote})
    # It is known without a look.
    (tmp_path / "remote").mkdir()
    monkeypatch.chdir(tmp_path / "remote")
    assert plain_scripts.Directory().add_to({b"PWD": remote})


def test_a_directory_that_is_gone_is_left_to_the_shell(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        plain_scripts.Directory().add_to({})
