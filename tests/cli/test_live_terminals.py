"""The live view on real terminals: what tmux keeps, what `script` records, what a pager shows, tiny ones."""

import os
import re
import shlex
import shutil
import subprocess
import time

import pytest
from support.runs import environment, write
from support.screen import MPRUN, TIMEOUT, Screen

WORK = """
    import os, sys, time

    def say(number):
        if number % 40 == 7:
            raise ValueError(f"bad number {number}")
        print("line", number, flush=True)
        time.sleep(0.03)

    def hold(*_):
        print("\u65e5\u672c\u8a9e " * 40)
        print("10%\\r20%", end="", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.02)
"""
# More than fit; the name is too long for most terminals.
HOLD = """
    max_parallel: 9
    tasks:
      - {name: a-name-that-is-longer-than-most-terminals-are-wide, target: work:hold, foreach: [0, 1, 2, 3]}
      - {name: hold, target: work:hold, foreach: [0, 1, 2, 3, 4]}
"""
# The rows of the view: the bar, the counts of groups, the tasks.
VIEW = re.compile(r"[━╺─]{5,}|(\S.*  )?\d+/400|  say \d+/400|  say\[|  … and \d+ more running")
SAID = re.compile(r"say\[(\d+)\] +\| line \1")
FAILED = re.compile(r"FAIL      say\[(\d+)\] \(\1\)  exit 1 \(ValueError: bad number \1\) after")


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK)
    return tmp_path


def put(desk, text):
    (desk / "job.yaml").write_text(re.sub("(?m)^    ", "", text))


class Tmux:
    """A tmux of its own, of this size, that runs a command; a context manager."""

    def __init__(self, cwd, command, columns, rows):
        self._tmux = ["tmux", "-L", f"mprun-{os.getpid()}", "-f", os.devnull]
        self._cwd = cwd
        self._env = environment(TERM="xterm-256color", LC_ALL="C.UTF-8")
        self._env.pop("TMUX", None)
        self._start = ["new-session", "-d", "-x", str(columns), "-y", str(rows), command]

    def __enter__(self):
        self.ask(*self._start)
        return self

    def __exit__(self, *_):
        self.ask("kill-server")

    def ask(self, *words):
        """What tmux answers to a command."""
        return subprocess.run(
            [*self._tmux, *words], cwd=self._cwd, env=self._env, check=True, capture_output=True, text=True
        ).stdout

    def rows(self):
        """All rows, those that have scrolled away, too; what was wrapped is one."""
        return [row.rstrip() for row in self.ask("capture-pane", "-p", "-J", "-S", "-").splitlines()]


@pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux")
def test_the_scrollback_of_tmux_has_each_line_once_after_resizes(desk):
    items = ", ".join(map(str, range(400)))
    task = f"{{name: say, target: work:say, args: ['${{item}}'], foreach: [{items}]}}"
    put(desk, f"    max_parallel: 4\n    fail_fast: false\n    tasks:\n      - {task}\n")
    sizes = {50: (40, 10), 120: (200, 60), 200: (60, 20)}
    until = time.monotonic() + TIMEOUT
    with Tmux(desk, f"{MPRUN} job.yaml --progress live; cat", 80, 24) as tmux:
        rows = tmux.rows()
        while not any(row.startswith("failed in ") for row in rows):
            assert time.monotonic() < until, rows
            view = [number for number, row in enumerate(rows) if VIEW.match(row)]
            # It is below all lines, in one piece, and there is one.
            assert len([row for row in rows if re.match("[━╺─]{5,}", row)]) <= 1, rows
            assert not view or view == list(range(view[0], view[-1] + 1)), rows
            assert not view or not any(map(SAID.match, rows[view[0] :])), rows
            if sizes and any(f"line {next(iter(sizes))}" in row for row in rows):
                columns, lines = sizes.pop(next(iter(sizes)))
                tmux.ask("resize-window", "-x", str(columns), "-y", str(lines))
            rows = tmux.rows()
    assert not sizes
    failed = [str(number) for number in range(400) if number % 40 == 7]
    said = [str(number) for number in range(400) if number % 40 != 7]
    assert sorted(match[1] for row in rows if (match := SAID.fullmatch(row))) == sorted(said)
    assert sorted(match[1] for row in rows if (match := FAILED.match(row))) == sorted(failed)
    # Nothing else has a name, a number or a bar in it: no part of a row of the view, and none of a line.
    end = next(number for number, row in enumerate(rows) if "TASK" in row and "OUTCOME" in row)
    others = [row for row in rows[:end] if not SAID.fullmatch(row) and not FAILED.match(row)]
    log = re.compile(r"say\[\d+\] +\| (Traceback| +File| +raise| +\^+|ValueError: bad number)")
    assert [row for row in others if row and not log.match(row)] == rows[:2]


@pytest.mark.parametrize(("columns", "rows"), [(20, 5), (80, 1), (80, 2), (10, 3), (200, 60)])
def test_tiny_and_large_terminals_show_what_they_have_room_for(desk, columns, rows):
    put(desk, HOLD)
    with Screen(desk, columns, rows) as screen:
        screen.run("job.yaml --progress live --output failed; echo d''one")
        if rows > 2:
            screen.wait_for(lambda: screen.shows(*(["0/9", "20%"] if columns > 40 else ["0/9"])))
            seen = len(screen.bytes)
            screen.resize(columns + 3, rows + 1)
            screen.wait_for(lambda: b"0/9" in screen.bytes[seen:])
            shown = screen.lines()
            assert sum("0/9" in row for row in shown) == 1
            assert all(len(row) <= columns + 2 for row in shown[-rows:])
        (desk / "go").touch()
        screen.wait_for(lambda: "done" in screen.all_lines())
        assert not [row for row in screen.all_lines() if "0/9" in row]
        assert (b"\x1b[K" in screen.bytes) == (rows > 2)


def of_the_run(rows):
    """The rows from the head of the run up to what the shell prints after it, and maybe a prompt then."""
    begin = next(number for number, row in enumerate(rows) if row.startswith("job: 9 tasks"))
    return rows[begin : rows.index("done")]


@pytest.mark.skipif(not shutil.which("script"), reason="there is no script")
def test_script_records_what_was_shown_and_nothing_else(desk):
    put(desk, HOLD)
    with Screen(desk, 80, 24) as screen:
        command = f"{MPRUN} job.yaml --progress live"
        screen.type(f"script -qec {shlex.quote(command)} typescript; echo d''one\n")
        screen.wait_for("0/9  9 running")
        (desk / "go").touch()
        screen.wait_for(lambda: "done" in screen.lines())
        assert not [row for row in screen.all_lines() if "running" in row]
        shown = [row for row in screen.all_lines() if row]
    # Played on another terminal, it shows the same.
    with Screen(desk, 80, 24) as screen:
        screen.type("cat typescript; echo d''one\n")
        screen.wait_for(lambda: "done" in screen.lines())
        played = [row for row in screen.all_lines() if row and not row.startswith("Script ")]
    assert of_the_run(played) == of_the_run(shown)


@pytest.mark.skipif(not shutil.which("less"), reason="there is no less")
def test_a_pager_has_the_terminal_for_itself(desk):
    put(desk, HOLD)
    (desk / "go").touch()
    with Screen(desk, 80, 24, LESS="", LESSHISTFILE="-") as screen:
        screen.type(f"{MPRUN} job.yaml 2>&1 | less; echo d''one\n")
        screen.wait_for(lambda: screen.lines()[-1:] == [":"])
        screen.type("G")
        screen.wait_for("succeeded in")
        assert b"\x1b[?1049h" in screen.bytes
        assert b"0/9" not in screen.bytes
        screen.type("q")
        screen.wait_for(lambda: "done" in screen.lines())
