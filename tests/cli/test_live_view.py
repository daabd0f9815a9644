"""The live view on a terminal, with a shell: what can be seen, and what is left of it."""

import os
import re
import signal
import time

import pytest
from support.runs import mprun, start, write
from support.screen import MPRUN, Screen

WORK = """
    import os, sys, time

    def until(path):
        # In one line, so that its stack is the same wherever it is.
        while not os.path.exists(path): time.sleep(0.02)

    def crunch(number):
        print(f"reading part {number}", flush=True)
        until("go")

    def ask():
        print("name? ", end="", flush=True)
        until("go")

    def move():
        print("10%\\r20%", end="", flush=True)
        until("go")

    def fail():
        time.sleep(0.5)
        raise ConnectionError("no one answers")

    def late():
        print("first", flush=True)
        until("go")
        sys.exit("second")

    def serve():
        print("serving", flush=True)
        time.sleep(1000)
"""
JOB = """
    max_parallel: 20
    tasks:
      - {name: redis, target: work:serve, daemon: true, ready: {log: serving}}
      - {name: crunch, target: work:crunch, matrix: {n: [0, 1]}, args: ["${matrix.n}"]}
      - {name: ask, target: work:ask}
      - {name: move, target: work:move}
      - {name: lint, target: work:fail}
      - {name: connect, target: work:fail, retry: {retries: 1, delay: 1000s}}
"""
WAITING = """
    tasks:
      - {name: crunch, target: work:crunch, args: [7]}
"""


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK)
    return tmp_path


def put(desk, text):
    (desk / "job.yaml").write_text(re.sub("(?m)^    ", "", text))


def bars(screen):
    """The rows that have a bar, also of those that have scrolled away."""
    return [row for row in screen.all_lines() if re.match(r"[━╺─]{5,}  \d", row)]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 10), (200, 60)])
def test_a_run_is_shown_and_the_view_is_gone_at_its_end(desk, columns, rows):
    put(desk, JOB)
    with Screen(desk, columns, rows) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for(lambda: screen.shows("0/7  1 failed  1 retrying", "name?", "20%", "reading part 1"))
        shown = screen.lines()
        bar = next(number for number, row in enumerate(shown) if "1 failed  1 retrying" in row)
        assert len(shown) - bar <= rows - 2
        assert any("redis ready" in row for row in shown[bar:])
        assert not any("10%" in row for row in shown)
        assert screen.shows_cursor
        assert max(map(len, shown[bar:])) < columns
        above = screen.all_lines()
        assert any(row.startswith("FAIL      lint  exit 1 (ConnectionError") for row in above)
        assert any(row.startswith("RETRY 1/1 connect  ConnectionError") for row in above)
        screen.type("\x03")
        screen.wait_for_prompt()
        assert bars(screen) == []
        assert any(row.startswith("Stopping: 5 tasks have ") for row in screen.all_lines())


def test_enter_leaves_the_counts_and_t_says_what_each_task_is_doing(desk):
    put(desk, WAITING)
    # A stack has a path.
    with Screen(desk, 200) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for(lambda: screen.shows("0/1  1 running", "  reading part 7"))
        screen.type("\n")
        screen.wait_for(lambda: "0/1  1 running" in screen.lines())
        screen.type("what?\n")
        screen.type("t\n")
        screen.wait_for("stack of thread MainThread:")
        screen.wait_for(lambda: screen.shows("in until", "time.sleep(0.02)", "running for", "CPU"))
        assert len(bars(screen)) == 1
        (desk / "go").touch()
        screen.wait_for_prompt()
        assert bars(screen) == []
        assert screen.shows("succeeded in")
    # No task's log has its stack.
    (log,) = desk.glob(".mprun/runs/*/logs/crunch*")
    assert log.read_text() == "reading part 7\n"


def test_stacks_can_be_asked_for_twice_and_of_several_tasks(desk):
    put(desk, JOB)
    with Screen(desk, 200, 200) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("1 retrying")
        for count in (5, 10):
            screen.type("t\n")
            screen.wait_for(
                lambda count=count: sum("stack of thread" in row for row in screen.lines()) == count
            )
        stacks = [row for row in screen.lines() if ", in until" in row or ", in serve" in row]
        half = len(stacks) // 2
        assert stacks[:half] == stacks[half:]
        screen.type("\x03")
        screen.wait_for_prompt()


def test_sigusr1_asks_the_same_where_there_is_no_terminal(desk):
    put(desk, WAITING)
    with start("job.yaml", cwd=desk) as run:
        log = next(iter(wait_until(lambda: list(desk.glob(".mprun/runs/*/logs/crunch*")))))
        wait_until(lambda: log.stat().st_size)
        run.send_signal(signal.SIGUSR1)
        shown = b""
        while b"stack of thread MainThread" not in shown:
            shown += run.stderr.readline()
        assert re.search(rb"(?m)^crunch  pid \d+, running for \S+, \S+ CPU, [\d.]+MB$", shown)
        assert b"    reading part 7\n" in shown
        (desk / "go").touch()
        assert run.wait(40) == 0


def wait_until(condition):
    until = time.monotonic() + 40
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def test_ctrl_z_leaves_the_terminal_to_the_shell_and_fg_draws_the_view_anew(desk):
    put(desk, WAITING)
    with Screen(desk) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("0/1  1 running")
        screen.type("\x1a")
        screen.wait_for("Stopped")
        screen.wait_for_prompt()
        assert bars(screen) == []
        screen.type("echo typed while it is sus''pended\n")
        screen.wait_for(lambda: screen.lines()[-2:] == ["typed while it is suspended", "$"])
        screen.type("fg\n")
        screen.wait_for("0/1  1 running")
        assert len(bars(screen)) == 1
        assert screen.shows("typed while it is suspended")
        (desk / "go").touch()
        screen.wait_for_prompt()
        assert screen.shows("succeeded in")
        assert bars(screen) == []


def test_a_job_in_the_background_has_no_view_until_it_is_brought_to_the_front(desk):
    put(desk, WAITING)
    with Screen(desk) as screen:
        screen.type(f"{MPRUN} job.yaml --progress live &\n")
        screen.wait_for("crunch | reading part 7")
        screen.type("echo what is typed is the shell''s\n")
        screen.wait_for("what is typed is the shells")
        time.sleep(0.5)
        assert bars(screen) == []
        screen.type("fg\n")
        screen.wait_for("0/1  1 running")
        (desk / "go").touch()
        screen.wait_for_prompt()
        assert bars(screen) == []


def test_after_kill_9_the_terminal_is_as_it_was(desk):
    put(desk, WAITING)
    with Screen(desk) as screen:
        screen.run("job.yaml --progress live")
        before = screen.settings()
        screen.wait_for("0/1  1 running")
        assert screen.settings() == before
        os.kill(screen.foreground(), signal.SIGKILL)
        screen.wait_for("Killed")
        screen.wait_for_prompt()
        assert screen.shows_cursor
        screen.type("echo all is w''ell\n")
        screen.wait_for(lambda: screen.lines()[-2:] == ["all is well", "$"])


def test_lines_below_the_view_are_not_taken_for_it(desk):
    put(desk, WAITING)
    with Screen(desk, 60, 12) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("0/1  1 running")
        for _ in range(4):
            screen.type("\n\n")
            screen.wait_for(lambda: screen.all_lines().count("0/1  1 running") % 2 == 0)
        screen.wait_for(lambda: screen.all_lines().count("0/1  1 running") == 8)
        assert len(bars(screen)) == 1
        (desk / "go").touch()
        screen.wait_for_prompt()
        assert bars(screen) == []


@pytest.mark.parametrize("sizes", [[(120, 24), (50, 24), (90, 40)], [(70, 24), (60, 24), (50, 24), (40, 24)]])
def test_no_row_is_left_behind_when_the_terminal_gets_another_width(desk, sizes):
    put(desk, JOB)
    with Screen(desk) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("1 retrying")
        for columns, rows in sizes:
            screen.resize(columns, rows)
            # A frame that is drawn for this width.
            seen = len(screen.bytes)
            screen.wait_for(lambda seen=seen: b"\x1b[J" in screen.bytes[seen:])
            screen.wait_for(lambda: screen.shows("1 retrying", "redis ready"))
            assert sum("1 retrying" in row for row in screen.all_lines()) == 1
            assert sum("redis ready" in row for row in screen.all_lines()) == 1
        screen.type("\x03")
        screen.wait_for_prompt()


def test_ctrl_s_does_not_hold_up_the_run(desk):
    put(desk, WAITING)
    with Screen(desk) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("0/1  1 running")
        screen.type("\x13")
        (desk / "go").touch()
        (events,) = desk.glob(".mprun/runs/*/events.jsonl")
        wait_until(lambda: b'"run_finished"' in events.read_bytes())
        screen.type("\x11")
        screen.wait_for_prompt()
        assert bars(screen) == []


def test_glyphs_are_ascii_where_the_locale_has_no_others(desk):
    put(desk, WAITING)
    with Screen(desk, LC_ALL="C") as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("-----  0/1  1 running")
        assert screen.bytes.isascii()
        (desk / "go").touch()
        screen.wait_for_prompt()


@pytest.mark.parametrize(
    ("variables", "colours"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "", "FORCE_COLOR": "1"}, True)],
)
def test_colours_are_those_that_were_asked_for(desk, variables, colours):
    put(desk, WAITING)
    with Screen(desk, **variables) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("0/1  1 running")
        assert (b"\x1b[2m" in screen.bytes) == colours
        (desk / "go").touch()
        screen.wait_for_prompt()


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        (f"{MPRUN} job.yaml --progress live", {"TERM": "dumb"}),
        (f"{MPRUN} job.yaml --progress plain", {}),
        (f"{MPRUN} job.yaml", {"MPRUN_PROGRESS": "none"}),
        (f"{MPRUN} job.yaml --progress live -q", {}),
        (f"{MPRUN} job.yaml | cat", {}),
        (f"{MPRUN} job.yaml", {"CI": "true"}),
        (f"{MPRUN} job.yaml --progress live 2>&1 | cat", {}),
        (f"{MPRUN} job.yaml --progress live 2>errors", {}),
    ],
)
def test_there_is_no_view_where_it_would_be_in_the_way(desk, command, variables):
    put(desk, "    tasks:\n      - {name: a, target: work:fail}\n")
    with Screen(desk, **variables) as screen:
        screen.type(f"{command}\n")
        screen.wait_for_prompt()
        assert b"\x1b[J" not in screen.bytes
        assert b"\x1b[K" not in screen.bytes


def test_plain_counts_on_a_terminal_and_none_does_not(desk):
    put(desk, "    tasks:\n      - {name: a, target: work:fail}\n")
    with Screen(desk) as screen:
        screen.run("job.yaml --progress plain")
        screen.wait_for("[0/1, 1 failed] FAIL      a  exit 1")
        screen.wait_for_prompt()
    run = mprun("job.yaml", "--progress", "none", cwd=desk)
    assert "\nFAIL      a  exit 1" in run.stderr


def test_a_prompt_is_in_the_row_of_its_task_or_above_if_there_is_no_view(desk):
    put(desk, "    tasks:\n      - {name: ask, target: work:ask}\n")
    with Screen(desk, 60) as screen:
        screen.type(f"{MPRUN} job.yaml &\n")
        screen.wait_for("ask  | name?")
        screen.type("fg\n")
        screen.wait_for("0/1  1 running")
        screen.wait_for(lambda: any(re.match(r"  ask +\S+s  name\?$", row) for row in screen.lines()))
        assert sum(row.startswith("ask  | name?") for row in screen.lines()) == 1
        (desk / "go").touch()
        screen.wait_for_prompt()
        assert screen.shows("ask  | name?", "succeeded in")
        assert bars(screen) == []


@pytest.mark.parametrize("output", ["prefix", "group", "failed", "none"])
def test_output_comes_above_the_view_when_it_is_due(desk, output):
    put(desk, "    tasks:\n      - {name: a, target: work:late}\n")
    with Screen(desk, 100) as screen:
        screen.run(f"job.yaml --progress live --output {output}")
        screen.wait_for(lambda: any(re.match(r"  a  .*  first$", row) for row in screen.lines()))
        assert ("a    | first" in screen.lines()) == (output == "prefix")
        (desk / "go").touch()
        screen.wait_for_prompt()
        shown = [row for row in screen.all_lines() if row.startswith("a    |")]
        assert shown == ([] if output == "none" else ["a    | first", "a    | second"])
        assert bars(screen) == []


def test_the_time_left_counts_what_was_expanded_before_the_view_began(desk):
    put(
        desk,
        """
    max_parallel: 1
    tasks:
      - {name: list, command: "echo '[1, 2]'", capture: json}
      - {name: part, command: sleep 0.6, foreach: "${tasks.list.result}"}
      - {name: last, target: work:until, args: [go], depends_on: part}
    """,
    )
    (desk / "go").touch()
    assert mprun("job.yaml", cwd=desk).code == 0
    (desk / "go").unlink()
    with Screen(desk, 100) as screen:
        screen.run("job.yaml --progress live")
        screen.wait_for("≈ 1s left")
        screen.wait_for(lambda: screen.shows("3/4  1 running") and not screen.shows("left"))
        (desk / "go").touch()
        screen.wait_for_prompt()
