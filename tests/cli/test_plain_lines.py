"""Command lines that are read without click: they mean what they mean to click, or click reads them."""

import subprocess
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.runs import environment

from mprun.cli import run
from mprun.cli.command_line import MODULES, read_plain
from mprun.cli.commands import group
from mprun.cli.options import only_of_run, planning, running
from mprun.errors import UsageError

OPTIONS = (*planning(), *running(), *only_of_run())
NAMES = sorted({word for option in OPTIONS for name in option.names for word in name.split("/")})
VALUES = [
    "job.yaml",
    "x",
    "",
    "-",
    "--",
    "-q",
    "0",
    "1",
    "01",
    "+2",
    " 3",
    "٤",
    "1" * 5000,
    "-1",
    "1.5",
    "5s",
]
VALUES += ["none", "NONE", "live", "fork", "fail", "auto", "local", "dask", "a:B", "a=1", "é", "\udc80", "*"]


def by_click(words):
    """What click has the command do; None if that is something else, or it refuses the words."""
    called = []

    def called_with(_, job, tasks, planning, running, **others):
        called.append({"job": job, "tasks": tasks, "planning": planning, "running": running, **others})
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_job_file", called_with)
        try:
            group.main([*words], prog_name="mprun", standalone_mode=False)
        except (click.ClickException, UsageError):
            return None
    return called[0] if called else None


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for option in OPTIONS:
        monkeypatch.delenv(option.attributes.get("envvar", "MPRUN"), raising=False)


@pytest.mark.parametrize(
    "line",
    [
        "job.yaml",
        "run job",
        "run run",
        "./job",
        "-",
        "-q job.yaml",
        "-q run job.yaml",
        "job.yaml a b* -x",
        "-v job.yaml -v -j 3 --output none",
        "-p a=1 --param b=2 job.yaml -k x -t y --name z",
        "--quiet job.yaml -q --dry-run --ci none --start-method spawn",
        "job.yaml --executor local --executor dask --scheduler tcp://a:1 --tls-ca b",
        "job.yaml --state-dir a --state-dir b --max-parallel 1 --max-parallel 02",
    ],
)
def test_a_plain_line_is_read_as_click_does(line):
    found = read_plain(line.split())
    assert found is not None
    assert found == by_click(line.split())


@pytest.mark.parametrize(
    "line",
    [
        *(
            "-j4 job.yaml",
            "--output=none job.yaml",
            "-qx job.yaml",
            "job.yaml -- -q",
            "--json job.yaml",
            "-q",
        ),
        *("job.yaml --executor a:B", "job.yaml --executor other"),
    ],
)
def test_other_forms_are_left_to_click(line):
    assert read_plain(line.split()) is None


@pytest.mark.parametrize("name", [*NAMES, *sorted(MODULES)])
def test_each_option_and_command_is_read_as_click_does_or_not_at_all(name):
    for words in (
        [name],
        [name, "job.yaml"],
        ["job.yaml", name],
        *([name, value, "./j"] for value in VALUES),
    ):
        found = read_plain(words)
        assert found is None or found == by_click(words), words


@given(st.lists(st.sampled_from([*NAMES, *VALUES, "job.yaml"]), min_size=1, max_size=8))
def test_any_line_is_read_as_click_does_or_not_at_all(words):
    found = read_plain(words)
    assert found is None or found == by_click(words)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_variable_that_sets_an_option_is_left_to_click(option, monkeypatch):
    if "envvar" in option.attributes:
        monkeypatch.setenv(option.attributes["envvar"], "")
        assert read_plain(["job.yaml"]) is None


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_has_the_name_that_click_gives_it(option):
    @option
    def function(): ...

    assert function.__click_params__[0].name == option.name


# Runs the command as its script does, and says at its end whether it has imported click.
SPY = """
import os, sys
from mprun.__main__ import main
engine, leave = os.getpid(), os._exit

def tell_and_leave(code):
    if os.getpid() == engine:
        print(code, "click" in sys.modules)
        sys.stdout.flush()
    leave(code)

os._exit = tell_and_leave
main()
"""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("-q job.yaml", 0),
        ("-v job.yaml --progress plain --output group -x --force --events e.jsonl", 0),
        ("job.yaml --report r.html --junit j.xml --trace t.json --otlp o.json -q", 0),
        ("job.yaml --ci github -p a=1", 2),
        ("job.yaml --repeat 2 --seed 3 -j 2 -q", 0),
        ("job.yaml --seed 3", 2),
        ("job.yaml --flaky fail --start-method spawn --partition slice:1/1 -q", 0),
        ("job.yaml --scheduler-file x", 2),
        ("job.yaml -k nothing", 4),
        ("missing.yaml", 2),
        ("job.yaml --dry-run", 0),
    ],
)
def test_a_plain_run_imports_no_click(line, code, tmp_path):
    (tmp_path / "job.yaml").write_text("tasks: [{command: ['true']}]\n")
    command = [sys.executable, "-c", SPY, *line.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{code} False", done.stderr
