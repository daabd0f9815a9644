"""`make test` runs its checks side by side, and says which one failed and how."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.parts import is_in_part
from support.runs import ROOT, alive, eventually

DEFAULT = f"{sys.version_info.major}.{sys.version_info.minor}"

# Makes an environment whose Python is the one below, and says so.
VENV = """\
    mkdir -p "$1/bin"
    ln -sf "$PWD/pytest" "$1/bin/python"
    echo "made $1"
"""

# In place of pytest in one environment: counts the lanes that run at this moment, waits until a fourth one
# has been started, and does what the test has put there under the environment's name.
PYTEST = """\
    venv=$(basename "${0%/bin/python}")
    touch "running.$$"
    ls running.* | wc -l >>counts
    echo "$venv $*" >>started
    [ -d "$PYTEST_DEBUG_TEMPROOT" ] && echo "$PYTEST_DEBUG_TEMPROOT" >>directories
    for n in $(seq 2000); do [ "$(wc -l <started)" -lt 4 ] || break; sleep 0.01; done
    [ ! -e "do$venv" ] || sh "do$venv"
    result=$?
    rm "running.$$"
    echo "the end of $venv"
    echo "SKIPPED [3] tests/x.py: needs chromium"
    echo "12 passed, 3 skipped in 0.10s"
    exit $result
"""


@pytest.fixture
def tree(tmp_path):
    """A directory with the program and with scripts in place of what it calls."""

    def script(name, text):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n" + textwrap.dedent(text), encoding="utf-8")
        path.chmod(0o755)

    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "check.py").write_bytes(Path(ROOT, "tools", "check.py").read_bytes())
    script("tools/python", "[ $1 != 9.9 ]\n")
    script("tools/venv", VENV)
    # They say what is missing, and do not fail.
    script("tools/packages", "echo no chromium\n")
    script("tools/browser", "echo no browser; exit 1\n")
    script("pytest", PYTEST)
    return tmp_path


def start(tree, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "tools/check.py", *arguments],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def check(tree, *arguments):
    process = start(tree, *arguments)
    output, _ = process.communicate(timeout=40)
    return process.returncode, output


def test_every_part_of_the_tests_runs_and_four_at_a_time(tree):
    code, output = check(tree, "tests", DEFAULT, "7.7", "8.8", "9.9")

    assert (code, output.splitlines()[-1]) == (0, "== all passed"), output
    assert "Python 9.9 is not installed: skipped" in output
    assert sorted((tree / "started").read_text().splitlines()) == [
        ".venv -m pytest -qrs -m not once",
        ".venv -m pytest -qrs -m once --part=1/3 tests/cli",
        ".venv -m pytest -qrs -m once --part=1/3 tests/faults",
        ".venv -m pytest -qrs -m once --part=1/4 tests/process",
        ".venv -m pytest -qrs -m once --part=1/6 tests/unit",
        ".venv -m pytest -qrs -m once --part=2/3 tests/cli",
        ".venv -m pytest -qrs -m once --part=2/3 tests/faults",
        ".venv -m pytest -qrs -m once --part=2/4 tests/process",
        ".venv -m pytest -qrs -m once --part=2/6 tests/unit",
        ".venv -m pytest -qrs -m once --part=3/3 tests/cli",
        ".venv -m pytest -qrs -m once --part=3/3 tests/faults",
        ".venv -m pytest -qrs -m once --part=3/4 tests/process",
        ".venv -m pytest -qrs -m once --part=3/6 tests/unit",
        ".venv -m pytest -qrs -m once --part=4/4 tests/process",
        ".venv -m pytest -qrs -m once --part=4/6 tests/unit",
        ".venv -m pytest -qrs -m once --part=5/6 tests/unit",
        ".venv -m pytest -qrs -m once --part=6/6 tests/unit",
        ".venv-7.7 -m pytest -qrs -m not once",
        ".venv-8.8 -m pytest -qrs -m not once",
    ]
    assert max(map(int, (tree / "counts").read_text().split())) == 4
    assert "\nno chromium\n" in output
    assert "\nno browser\n" in output
    # Of what passed, only that, and what was skipped.
    assert f"tests on {DEFAULT}, once, tests/cli 1/3: passed" in output
    assert output.count("\nSKIPPED [3] tests/x.py: needs chromium\n12 passed, 3 skipped in 0.10s\n") == 19
    assert "the end of" not in output


def test_no_two_suites_share_the_directory_in_which_pytest_removes_what_earlier_ones_left(tree, monkeypatch):
    """Two that ended at the same time failed on each other's removals. What failed can be looked at."""
    monkeypatch.setenv("TMPDIR", str(tree))
    (tree / "do.venv-7.7").write_text("exit 1\n")
    check(tree, "tests", DEFAULT, "7.7", "8.8")
    directories = [Path(line) for line in (tree / "directories").read_text().splitlines()]

    assert len(directories) == len(set(directories)) == 19
    assert [directory for directory in directories if directory.exists()] == [
        Path(line.split()[-1])
        for line in (tree / ".lanes/tests-on-7-7.log").read_text().splitlines()
        if line.startswith("The directories of its tests")
    ]


def test_no_test_is_left_out_of_the_lanes(tree):
    """The parts have each file of tests once."""
    assert check(tree, "tests", DEFAULT)[0] == 0
    lanes = [line.split() for line in (tree / "started").read_text().splitlines() if "-m once" in line]
    found = [
        path
        for *_, part, directory in lanes
        for path in (ROOT / directory).glob("test_*.py")
        if is_in_part(path, part.removeprefix("--part="))
    ]

    assert sorted(found) == sorted((ROOT / "tests").glob("**/test_*.py"))


MARKED = """
import pytest
{}
def test_one():
    pass
"""
# Its first case alone has the mark, and so that is not in its text.
TABLE = """
from support.pythons import one_on_each
@pytest.mark.parametrize("case", one_on_each(2, [1, 2]))
def test_cases(case):
    pass
"""


def collect(tree, half, **heads):
    """The files with tests of one half, of those with what is before their test; and pytest's exit code."""
    for name in ("tests/conftest.py", "pyproject.toml"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    if not (tree / "tests/process").exists():
        (tree / "tests/support").symlink_to(ROOT / "tests/support")
        (tree / "tests/process").mkdir()
    for name, head in heads.items():
        (tree / f"tests/process/test_{name}.py").write_text(MARKED.format(head))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", half]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    return [name for name in heads if f"test_{name}.py" in done.stdout], done.returncode


def test_a_test_runs_in_the_lane_of_its_mark_wherever_that_is(tmp_path):
    """A name that begins like one of `ONCE` is another one."""
    heads = {
        "order": "",
        "order_of_all": "",
        "one": "@pytest.mark.once",
        "all": "pytestmark = pytest.mark.once",
        "table": TABLE,
    }
    assert collect(tmp_path, "once", **heads) == (["order", "one", "all", "table"], 0)
    assert collect(tmp_path, "not once", **heads) == (["order_of_all", "table"], 0)


def test_a_mark_that_the_lanes_would_not_find_is_refused(tmp_path):
    assert collect(tmp_path, "not once", hidden="pytestmark = getattr(pytest.mark, 'on' + 'ce')")[1] == 4


def test_a_lane_that_fails_is_named_and_shown_whole_and_the_others_run(tree):
    (tree / "do.venv-7.7").write_text("echo the reason; exit 3\n")

    code, output = check(tree, "tests", DEFAULT, "7.7", "8.8")

    assert code == 1
    assert "tests on 7.7: FAILED" in output
    assert output.endswith("== FAILED:\n   tests on 7.7\n")
    assert "the reason\nthe end of .venv-7.7\n" in output
    assert "tests on 8.8: passed" in output


def test_a_lane_that_fails_is_shown_whole_in_any_locale(tree):
    (tree / "do.venv-7.7").write_text("printf '\\342\\200\\246 the reason\\n'; exit 3\n")
    environ = {**os.environ, "PYTHONIOENCODING": "iso-8859-1"}
    process = start(tree, "tests", DEFAULT, "7.7", env=environ, encoding="utf-8")
    output, _ = process.communicate(timeout=40)

    assert output.endswith("== FAILED:\n   tests on 7.7\n")
    assert "… the reason\n" in output


def test_a_lane_that_is_killed_is_a_failure(tree):
    (tree / "do.venv-7.7").write_text("kill -KILL $PPID\n")

    code, output = check(tree, "tests", DEFAULT, "7.7")

    assert code == 1
    assert output.endswith("== FAILED:\n   tests on 7.7\n")


def test_a_lane_that_kills_its_own_group_is_a_failure_and_the_others_run(tree):
    (tree / "do.venv-7.7").write_text("kill -KILL 0\n")

    code, output = check(tree, "tests", DEFAULT, "7.7", "8.8")

    assert code == 1
    assert output.endswith("== FAILED:\n   tests on 7.7\n")
    assert "== tests on 8.8: passed" in output


def test_what_needs_the_shared_environment_waits_for_it_and_the_others_do_not(tree):
    (tree / "started").touch()
    slow = """
        for n in $(seq 2000); do [ "$(wc -l <started)" -lt 2 ] || break; sleep 0.01; done
        cp started meanwhile
        """
    (tree / "tools" / "packages").write_text("#!/bin/sh\n" + slow)

    code, output = check(tree, "tests", DEFAULT, "7.7", "8.8")

    assert (code, output.splitlines()[-1]) == (0, "== all passed"), output
    assert sorted((tree / "meanwhile").read_text().splitlines()) == [
        ".venv-7.7 -m pytest -qrs -m not once",
        ".venv-8.8 -m pytest -qrs -m not once",
    ]


def test_without_the_shared_environment_only_the_others_run(tree):
    (tree / "started").write_text("three\nlanes\nwithout\na fourth\n")
    text = (tree / "tools" / "venv").read_text()
    (tree / "tools" / "venv").write_text(text + '[ "$1" != .venv ] || { echo "no pip"; exit 1; }\n')

    code, output = check(tree, "lint", "tests", DEFAULT, "7.7")

    assert code == 1
    assert "no pip" in output
    assert output.endswith("== FAILED:\n   environment .venv\n")
    assert (tree / "started").read_text().splitlines()[4:] == [".venv-7.7 -m pytest -qrs -m not once"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_lanes(tree, number):
    (tree / "do.venv").write_text("sleep 600 & echo $PPID $! >>pids; wait\n")
    process = start(tree, "tests", DEFAULT)
    # Four lanes, each of which this program runs by itself.
    eventually(lambda: (tree / "pids").exists() and len((tree / "pids").read_text().split()) == 8)
    process.send_signal(number)

    output, _ = process.communicate(timeout=40)

    assert process.returncode == 128 + number, output
    pids = [int(pid) for pid in (tree / "pids").read_text().split()]
    eventually(lambda: not [pid for pid in pids if alive(pid)])


def test_a_lane_whose_environment_cannot_be_made_is_a_failure(tree):
    text = (tree / "tools" / "venv").read_text()
    (tree / "tools" / "venv").write_text(text + '[ "$1" != .venv-7.7 ] || { echo "no pip"; exit 1; }\n')

    code, output = check(tree, "tests", DEFAULT, "7.7")

    assert code == 1
    assert "no pip" in output
    assert output.endswith("== FAILED:\n   tests on 7.7\n")


def test_lint_that_fails_shows_which_step(tree):
    (tree / "started").write_text("lint needs\nno second lane\nno third\nand no fourth\n")

    code, output = check(tree, "lint")

    # Neither ruff nor mypy is there.
    assert code == 1
    assert output.endswith("== FAILED:\n   ruff check\n   ruff format\n   mypy\n")


def test_lint_beside_the_tests_runs_none_of_them_once_more(tree):
    code, _ = check(tree, "lint", "tests", DEFAULT)

    assert code == 1
    assert "== mypy" in (tree / ".lanes/lint.log").read_text()
    assert not [line for line in (tree / "started").read_text().splitlines() if "test_house" in line]
