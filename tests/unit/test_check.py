"""`make test` runs its checks side by side, and says which one failed and how."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.runs import ROOT, alive, eventually

DEFAULT = f"{sys.version_info.major}.{sys.version_info.minor}"

# Makes an environment whose Python is the one below, and says so.
VENV = """\
    mkdir -p "$1/bin"
    ln -sf "$PWD/pytest" "$1/bin/python"
    echo "made $1"
"""

# In place of pytest in one environment: counts the lanes that run at this moment, waits until a third one
# has been started, and does what the test has put there under the environment's name.
PYTEST = """\
    venv=$(basename "${0%/bin/python}")
    touch "running.$$"
    ls running.* | wc -l >>counts
    echo "$venv $*" >>started
    for n in $(seq 2000); do [ "$(wc -l <started)" -lt 3 ] || break; sleep 0.01; done
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


def test_every_part_of_the_tests_runs_and_three_at_a_time(tree):
    code, output = check(tree, "tests", DEFAULT, "7.7", "8.8", "9.9")

    assert (code, output.splitlines()[-1]) == (0, "== all passed"), output
    assert "Python 9.9 is not installed: skipped" in output
    assert sorted((tree / "started").read_text().splitlines()) == [
        ".venv -m pytest -qrs -m not once",
        ".venv -m pytest -qrs -m once --ignore=tests/cli --ignore=tests/faults",
        ".venv -m pytest -qrs -m once tests/cli",
        ".venv -m pytest -qrs -m once tests/faults",
        ".venv-7.7 -m pytest -qrs -m not once",
        ".venv-8.8 -m pytest -qrs -m not once",
    ]
    assert max(map(int, (tree / "counts").read_text().split())) == 3
    assert "\nno chromium\n" in output
    assert "\nno browser\n" in output
    # Of what passed, only that, and what was skipped.
    assert f"tests on {DEFAULT}, once: passed" in output
    assert output.count("\nSKIPPED [3] tests/x.py: needs chromium\n12 passed, 3 skipped in 0.10s\n") == 6
    assert "the end of" not in output


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
    (tree / "started").write_text("two\nlanes without\na third\n")
    text = (tree / "tools" / "venv").read_text()
    (tree / "tools" / "venv").write_text(text + '[ "$1" != .venv ] || { echo "no pip"; exit 1; }\n')

    code, output = check(tree, "lint", "tests", DEFAULT, "7.7")

    assert code == 1
    assert "no pip" in output
    assert output.endswith("== FAILED:\n   environment .venv\n")
    assert (tree / "started").read_text().splitlines()[3:] == [".venv-7.7 -m pytest -qrs -m not once"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_lanes(tree, number):
    (tree / "do.venv").write_text("echo $PPID >>pids; exec tail --pid=$PPID -f /dev/null\n")
    process = start(tree, "tests", DEFAULT)
    # Three lanes, each of which this program runs by itself.
    eventually(lambda: (tree / "pids").exists() and len((tree / "pids").read_text().split()) == 3)
    process.send_signal(number)

    output, _ = process.communicate(timeout=40)

    assert process.returncode == 128 + number, output
    assert not [pid for pid in (tree / "pids").read_text().split() if alive(int(pid))]


def test_a_lane_whose_environment_cannot_be_made_is_a_failure(tree):
    text = (tree / "tools" / "venv").read_text()
    (tree / "tools" / "venv").write_text(text + '[ "$1" != .venv-7.7 ] || { echo "no pip"; exit 1; }\n')

    code, output = check(tree, "tests", DEFAULT, "7.7")

    assert code == 1
    assert "no pip" in output
    assert output.endswith("== FAILED:\n   tests on 7.7\n")


def test_lint_that_fails_shows_which_step(tree):
    (tree / "started").write_text("lint needs no\nsecond lane\nand no third\n")

    code, output = check(tree, "lint")

    # Neither ruff nor mypy is there.
    assert code == 1
    assert output.endswith("== FAILED:\n   ruff check\n   ruff format\n   mypy\n")
