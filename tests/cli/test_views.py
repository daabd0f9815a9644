"""What a run shows: output of tasks, lineage and table; in pipes, on terminals, and to closed streams."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.records import FINISHED, ended, record
from support.runs import TIMEOUT, environment, mprun, newest_run, read_events, start, write
from support.terminal import on_terminal

WORK = """
    import os
    import sys
    import time

    print("imported")

    def dance(step="one"):
        print("step", step)
        print("and turn", file=sys.stderr)

    def pair():
        return [1, 2]

    def fail():
        print("about to fail")
        raise ValueError("no\\nmusic")

    def beat():
        print("beat", flush=True)
        time.sleep(60)

    def escape():
        print("\\x1b[31mred\\x1b[0m \\x07bell")
        print("lost\\rback \\u202egpj.exe tab\\there")
        os.write(1, b"\\xff\\x9b31m no line feed")

    def flood(lines):
        line = b"x" * 20 + b"\\n"
        for _ in range(lines // 1000):
            os.write(1, line * 1000)

    def giant(size):
        piece = b"y" * (1 << 20)
        for _ in range(size >> 20):
            os.write(1, piece)
    """
JOB = """
    tasks:
      - {name: dance, target: work:dance}
      - {name: sing, target: work:dance, args: [two], depends_on: dance}
      - {name: bad, target: work:fail, depends_on: dance}
      - {name: never, target: work:dance, depends_on: bad}
      - {name: beat, target: work:beat, daemon: true}
    join: [bad, sing]
    """


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    return tmp_path


@pytest.fixture(scope="module")
def verbose(tmp_path_factory):
    """One run of JOB with its lineage."""
    path = tmp_path_factory.mktemp("desk")
    write(path, work=WORK, job=JOB)
    return mprun("-v", "job.yaml", cwd=path)


def shell(command, cwd):
    """Run a command line in a shell; `mprun` in it is the command of this Python."""
    command = command.replace("mprun", f"{sys.executable} -m mprun")
    answer = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert "Traceback" not in answer.stderr
    return answer


# -- the head, the lineage, the table


def test_header_says_parallel_or_concurrent_with_both_numbers(desk, verbose):
    cpus = len(os.sched_getaffinity(0))
    head = verbose.stderr.splitlines()[0]
    mode = "parallel" if cpus >= 3 else "concurrent"
    cores = f"{cpus} core{'' if cpus == 1 else 's'}"
    assert head.startswith(f"job: 5 tasks, {mode} (at most 3 at once on {cores}), fork, run 20")
    alone = mprun("-j1", "job.yaml", cwd=desk).stderr.splitlines()[0]
    mode = "parallel" if cpus >= 2 else "concurrent"
    assert alone.startswith(f"job: 5 tasks, {mode} (at most 2 at once on {cores})")


def test_header_says_sequential_if_no_two_tasks_can_run_together_C07(tmp_path):
    chain = "{name: a, command: 'true'}, {name: b, command: 'true', depends_on: a}"
    write(tmp_path, job_one="tasks: [{command: 'true'}]", job_chain=f"tasks: [{chain}]")
    for name, tasks in (("one", "1 task"), ("chain", "2 tasks")):
        head = f"job_{name}: {tasks}, sequential (at most 1 at once on "
        assert mprun(f"job_{name}.yaml", cwd=tmp_path).stderr.startswith(head)
        assert mprun("show", cwd=tmp_path).stdout.startswith(head)
        assert mprun("plan", f"job_{name}.yaml", cwd=tmp_path).stdout.startswith(head)
        plan = json.loads(mprun("plan", f"job_{name}.yaml", "--format", "json", cwd=tmp_path).stdout)
        assert (plan["mode"], plan["at_once"]) == ("sequential", 1)


CLOCK = r"\d\d:\d\d:\d\d\.\d{3}"
USAGE = r"after \d+\.\d\ds cpu=\d+\.\d\ds rss=[\d.]+MB"
LINEAGE = {
    "main": rf"{CLOCK} main   main process pid=\d+ ppid=\d+ \(mprun\)",
    "start": rf"{CLOCK} start  (\w+)  pid=\d+ ppid=\d+ \(main\) attempt=1 target=work:\w+( daemon)?",
    "exit": rf"{CLOCK} exit   (\w+)  pid=\d+ (exit \d+|killed by SIGTERM) {USAGE}",
    "skip": rf"{CLOCK} skip   never  `bad` did not succeed",
    "join": rf"{CLOCK} join   (\w+)  \d of \d",
    "stop": rf"{CLOCK} stop   beat  SIGTERM \(end of the run\)",
    "end": rf"{CLOCK} end    main process ends; stopping daemons: beat",
}


def test_lineage_has_one_line_per_event(verbose):
    lines = [line for line in verbose.stderr.splitlines() if re.match(CLOCK, line)]
    for line in lines:
        assert re.fullmatch(LINEAGE[line.split()[1]], line), line
    kinds = [line.split()[1] for line in lines]
    assert kinds[0] == "main"
    assert {kind: kinds.count(kind) for kind in LINEAGE} == {
        "main": 1,
        "start": 4,
        "exit": 4,
        "skip": 1,
        "join": 3,
        "stop": 1,
        "end": 1,
    }
    # The main process ends when the last task is joined; then the daemons are stopped.
    assert kinds[-3:] == ["end", "stop", "exit"]
    assert [line.split()[2:] for line in lines if " join " in line] == [
        ["bad", "1", "of", "4"],
        ["sing", "2", "of", "4"],
        ["dance", "3", "of", "4"],
    ]


def test_the_lineage_has_the_pids_of_the_record(verbose):
    main = verbose.one("run_started")
    assert f"main   main process pid={main['main_pid']} ppid={main['pid']} (mprun)" in verbose.stderr
    for event in verbose.of("task_started"):
        assert f"start  {event['task']}  pid={event['pid']} ppid={main['main_pid']} (main)" in verbose.stderr


def test_the_end_of_the_main_process_is_logged_without_daemons_too(tmp_path):
    write(tmp_path, work=WORK, job="tasks:\n  - target: work:dance")
    assert mprun("-v", "job.yaml", cwd=tmp_path).stderr.count(" end    main process ends\n") == 1


def test_the_table_has_a_row_for_each_task(verbose):
    lines = verbose.stderr.splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.startswith("TASK")]
    assert lines[head].split() == ["TASK", "OUTCOME", "PID", "PPID", "DURATION", "CPU", "MEMORY", "ATTEMPTS"]
    rows = {line.split()[0]: line for line in lines[head + 1 : head + 6]}
    assert set(rows) == {"dance", "sing", "bad", "beat", "never"}
    numbers = r" +\d+ +\d+ +\d+\.\d\ds +\d+\.\d\ds +[\d.]+MB +1"
    assert re.fullmatch(rf"dance +succeeded{numbers}", rows["dance"])
    assert re.fullmatch(rf"bad +failed: exit 1 \(ValueError: no music\){numbers}", rows["bad"])
    assert re.fullmatch(rf"beat +stopped: end of the run{numbers}", rows["beat"]) or "stopped" in rows["beat"]
    assert re.fullmatch(r"never +skipped: `bad` did not succeed +- +- +- +- +- +0", rows["never"])


def test_last_lines_count_outcomes_and_name_record_and_resume_command(verbose):
    *_, why, over, record, resume = verbose.stderr.splitlines()
    assert why == "bad failed: exit 1 (ValueError: no music)"
    assert re.fullmatch(r"failed in \d+\.\d\ds: 2 succeeded, 1 failed, 1 stopped, 1 skipped", over)
    assert record == f"record: .mprun/runs/{verbose.one('run_started')['run']}"
    assert resume == f"resume: mprun resume {verbose.one('run_started')['run']}"
    assert verbose.code == 1


def test_resume_command_names_the_state_directory(desk):
    run = mprun("job.yaml", cwd=desk, state_dir=desk / "its records")
    command = run.stderr.splitlines()[-1].removeprefix("resume: ")
    assert command == f"mprun resume {newest(desk / 'its records')} --state-dir 'its records'"
    again = shell(command, desk)
    assert again.returncode == 1
    assert f"resumed from {run.directory.run_id}" in again.stderr
    assert f"resume: mprun resume {newest(desk / 'its records')} --state-dir" in again.stderr


def newest(state_dir):
    return newest_run(state_dir).run_id


def test_successful_run_names_no_resume_command(desk):
    write(desk, job_good="tasks: [{target: 'work:dance'}]")
    assert "resume" not in mprun("job_good.yaml", cwd=desk).stderr


def test_quiet_run_that_fails_names_the_resume_command(desk):
    run = mprun("-q", "job.yaml", cwd=desk)
    assert run.stderr.splitlines()[-1] == f"resume: mprun resume {run.directory.run_id}"


def test_a_long_error_does_not_widen_the_table(tmp_path):
    work = "def fail():\n    raise ValueError('x' * 5000)\n"
    write(tmp_path, work=work, job="tasks:\n  - {name: a, target: work:fail}")
    run = mprun("job.yaml", cwd=tmp_path)
    row = next(line for line in run.stderr.splitlines() if line.startswith("a  "))
    assert len(row) < 160
    assert "xxx…" in row


# The command, with a shorter first silence.
IMPATIENT = """
import sys
from mprun.reporters import console
console.FIRST_SILENCE = 0.3
sys.argv[0] = "mprun"
from mprun.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("more", "done"),
    [
        ("", "1 of 2 tasks done"),
        (
            "  - {name: pair, target: work:pair}\n"
            "  - {name: late, target: work:dance, foreach: '${tasks.pair.result}'}\n",
            "4 of 5 tasks done",
        ),
    ],
    ids=["known", "known during the run"],
)
def test_silent_run_reports_its_progress(more, done, desk):
    wait = "while ! test -e go; do sleep 0.02; done"
    write(desk, job=f"tasks:\n  - {{name: w, command: '{wait}'}}\n  - target: work:dance\n{more}")
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "job.yaml"],
        cwd=desk,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    head, line = process.stderr.readline(), ""
    try:
        while not re.fullmatch(rf"after \d+\.\d+s: {done}, 1 running: w\n", line):
            line = process.stderr.readline()
            assert line.startswith("after "), line
    finally:
        (desk / "go").touch()
        _, rest = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, head[:4]) == (0, "job:")
    assert rest.startswith("TASK")


# -- output of tasks


def test_output_has_its_task_in_front(verbose):
    assert verbose.printed("main") == ["imported"]
    assert verbose.printed("dance") == ["step one", "and turn"]
    assert verbose.printed("sing") == ["step two", "and turn"]
    assert verbose.printed("beat") == ["beat"]
    assert verbose.printed("bad")[0] == "about to fail"
    assert "ValueError" in verbose.printed("bad")[-2]
    assert all(re.match(r"(main|dance|sing|bad|beat) {1,3}\| ", line) for line in verbose.stdout.splitlines())


def test_grouped_output_is_whole_and_in_join_order(desk):
    run = mprun("job.yaml", "--output", "group", cwd=desk)
    names = [line.partition("|")[0].strip() for line in run.stdout.splitlines()]
    order = list(dict.fromkeys(names))
    assert order == ["main", "bad", "sing", "dance", "beat"]
    assert names == sorted(names, key=order.index)


def test_only_output_of_failed_tasks_is_shown(desk):
    run = mprun("job.yaml", "--output", "failed", cwd=desk)
    names = {line.partition("|")[0].strip() for line in run.stdout.splitlines()}
    assert names == {"bad"}
    assert "about to fail" in run.stdout


def test_output_none_shows_no_output(desk):
    run = mprun("job.yaml", "--output", "none", cwd=desk)
    assert run.stdout == ""
    assert run.log("dance") == b"step one\nand turn\n"


# In a process of its own, because its peak memory includes that from before its exec.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "mprun", "job.yaml"], os.environ)
_, status, usage = os.wait4(pid, 0)
sys.exit(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss * 1024}")
"""


def shown_of(target, argument, cwd):
    """The stdout of a run of one task, its exit code, and the peak memory of its processes."""
    job = f"tasks:\n  - {{name: f, target: 'work:{target}', args: [{argument}]}}"
    write(cwd, work=WORK, job=job)
    with open(cwd / "out", "wb") as out:
        answer = subprocess.run(
            [sys.executable, "-c", MEASURE],
            cwd=cwd,
            env=environment(),
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
        )
    code, memory = map(int, answer.stderr.split()[-2:])
    return (cwd / "out").read_bytes(), code, memory


def test_large_output_is_complete_in_bounded_memory(tmp_path):
    shown, code, memory = shown_of("flood", 1_000_000, tmp_path)
    assert code == 0
    assert shown.count(b"\n") == 1_000_001  # And one is of the import.
    assert shown.count(b"f    | xxxxxxxxxxxxxxxxxxxx\n") == 1_000_000
    assert memory < 60e6


def test_giant_line_is_shown_in_bounded_memory(tmp_path):
    size = 128 << 20
    shown, code, memory = shown_of("giant", size, tmp_path)
    assert code == 0
    assert shown.count(b"y") == size
    assert memory < 60e6


def test_escape_codes_are_unchanged_in_a_pipe(tmp_path):
    write(tmp_path, work=WORK, job="tasks:\n  - {name: e, target: work:escape}")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.log("e").endswith(b"\xff\x9b31m no line feed")
    assert "\x1b[31mred\x1b[0m \x07bell" in run.stdout


# -- without a reader


def test_closed_stdout_changes_nothing_else(desk):
    answer = shell("mprun job.yaml | head -1; exit ${PIPESTATUS[0]}", desk)
    assert answer.returncode == 1
    assert answer.stdout == "main  | imported\n"
    assert ": 2 succeeded" in answer.stderr
    (run,) = (desk / ".mprun" / "runs").iterdir()
    assert (run / "logs" / "sing.1.log").read_text() == "step two\nand turn\n"
    assert read_events(run / "events.jsonl")[-1]["event"] == "run_finished"


def test_closed_stderr_changes_nothing_else(desk):
    answer = shell("mprun -v job.yaml 2>&1 >out | head -1; exit ${PIPESTATUS[0]}", desk)
    assert answer.returncode == 1
    assert answer.stdout.startswith("job: 5 tasks")
    assert "step two" in (desk / "out").read_text()


def test_closed_events_pipe_changes_nothing_else(desk):
    answer = shell("mprun job.yaml --events - | head -1; exit ${PIPESTATUS[0]}", desk)
    assert answer.returncode == 1
    assert answer.stdout.startswith('{"event":"run_started"')
    (run,) = (desk / ".mprun" / "runs").iterdir()
    assert read_events(run / "events.jsonl")[-1]["event"] == "run_finished"


@pytest.mark.parametrize(
    "command", ["show", "logs", "schema", "plan job.yaml", "validate job.yaml", "--help"]
)
def test_closed_stdout_of_a_view_causes_no_traceback(command, desk):
    mprun("-q", "job.yaml", cwd=desk)
    answer = shell(f"mprun {command} | head -c 1; exit ${{PIPESTATUS[0]}}", desk)
    assert answer.returncode in (0, 141)
    assert answer.stderr == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("show", 141),
        ("show --json", 141),
        ("schema", 141),
        ("plan job.yaml", 141),
        ("--help", 141),
        ("plan --help", 141),
        ("--version", 141),
        ("logs", 0),
        ("job.yaml", 1),
    ],
)
def test_closed_pipe_is_not_exit_code_1(command, code, desk):
    mprun("-q", "job.yaml", cwd=desk)
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*command.split(), cwd=desk, stdout=writer)
    os.close(writer)
    _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_descriptors_go_nowhere(closed, desk):
    answer = shell(f"mprun job.yaml {closed}", desk)
    assert answer.returncode == 1
    assert ("step one" in answer.stdout) == (">&-" not in closed.split())
    assert (": 2 succeeded" in answer.stderr) == ("2>&-" not in closed)
    (run,) = (desk / ".mprun" / "runs").iterdir()
    assert (run / "logs" / "dance.1.log").read_text() == "step one\nand turn\n"
    assert all(json["event"] for json in read_events(run / "events.jsonl"))
    assert shell(f"mprun show {closed}", desk).returncode == 0


def test_a_full_disk_under_the_output_does_not_end_a_run(desk):
    answer = shell("mprun job.yaml >/dev/full", desk)
    assert answer.returncode == 1
    assert ": 2 succeeded" in answer.stderr
    answer = shell("mprun job.yaml 2>/dev/full", desk)
    assert answer.returncode == 1
    assert "step two" in answer.stdout


@pytest.mark.parametrize("env", ["", "GITHUB_ACTIONS=true "])
@pytest.mark.parametrize("option", ["", "-q", "--output group"])
def test_output_that_cannot_be_written_is_told_even_if_it_is_all(env, option, tmp_path):
    """One write, which no other follows."""
    (tmp_path / "job.yaml").write_text("tasks: [{name: one, command: echo hi}]")
    answer = shell(f"{env}mprun job.yaml {option} >/dev/full", tmp_path)
    assert answer.returncode == 0
    warning = "warning: cannot write the output of tasks: No space left on device; "
    assert answer.stderr.count(warning) == 1


def test_full_disk_under_a_copy_of_the_events_is_reported_once(desk):
    answer = shell("mprun job.yaml --events /dev/full", desk)
    assert answer.returncode == 1
    warning = "warning: cannot write --events /dev/full: No space left on device; the run continues\n"
    assert answer.stderr.count(warning) == 1
    assert ": 2 succeeded" in answer.stderr


@pytest.mark.parametrize("command", ["show", "show --json", "schema", "plan job.yaml"])
def test_a_report_that_cannot_be_written_is_an_error(command, desk):
    mprun("-q", "job.yaml", cwd=desk)
    answer = shell(f"mprun {command} >/dev/full", desk)
    assert answer.returncode == 3
    message = "cannot write the output: No space left on device"
    if "--json" in command:
        assert json.loads(answer.stderr)["error"] == message
    else:
        assert answer.stderr == f"error: {message}\n"


def test_events_on_stdout_are_the_only_output(desk):
    run = mprun("job.yaml", "--events", "-", "-v", cwd=desk)
    assert run.code == 1
    Path(desk, "copy").write_text(run.stdout)
    assert read_events(desk / "copy") == run.events
    assert run.stdout == Path(run.directory.events).read_text()


# -- colours and terminals


def test_colours_are_for_terminals_unless_forced(desk):
    plain = mprun("-v", "job.yaml", cwd=desk)
    forced = mprun("-v", "job.yaml", cwd=desk, env={"FORCE_COLOR": "1"})
    both = mprun("-v", "job.yaml", cwd=desk, env={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "\x1b" not in plain.stdout + plain.stderr
    assert "\x1b" not in both.stdout + both.stderr
    assert re.search(r"\x1b\[\d+mdance \|\x1b\[0m step one", forced.stdout)
    assert re.search(r"\x1b\[31mfailed in \d+\.\d\ds: 2 succeeded", forced.stderr)


def test_errors_follow_the_same_colour_variables(tmp_path):
    write(tmp_path, job="tsaks: []")
    assert "\x1b" not in mprun("validate", "job.yaml", cwd=tmp_path).stderr
    forced = mprun("validate", "job.yaml", "none.yaml", cwd=tmp_path, env={"FORCE_COLOR": "1"}).stderr
    assert "\x1b[1;31merror:\x1b[0m unknown key" in forced
    assert "\x1b[1merror:\x1b[0m job file `none.yaml` not found" in forced


def test_terminal_shows_colours_and_visible_control_characters(tmp_path):
    write(tmp_path, work=WORK, job="tasks:\n  - {name: e, target: work:escape}\n  - target: work:dance")
    code, shown = on_terminal("job.yaml", cwd=tmp_path)
    assert code == 0
    # C12: colours pass, and of a line with `\r` the last state is shown.
    assert re.search(r"\x1b\[\d+me         \|\x1b\[0m \x1b\[31mred\x1b\[0m \\x07bell\n", shown)
    assert "| " + r"back \u202egpj.exe tab" + "\there\n" in shown.replace("\x1b[0m", "")
    assert r"\xff\x9b31m no line feed" + "\n" in shown
    colours = re.findall(r"\x1b\[(\d+)m\S+ +\|", shown)
    assert len(set(colours)) == 3  # main, e, Process-2
    assert set("".join(re.findall(r"\x1b.", shown))) <= {"\x1b", "["}
    assert "\x07" not in shown
    code, shown = on_terminal("job.yaml", cwd=tmp_path, NO_COLOR="1")
    assert not re.search(r"\x1b\[\d+m(e|main) ", shown)
    assert r"\x1b[31mred" in shown


def test_names_cannot_write_escape_codes(tmp_path):
    """Names from an old or damaged record are not trusted either."""
    code, shown = on_terminal("show", "\x1b[31mx", cwd=tmp_path)
    assert code == 2
    assert "\x1b[31m" not in shown


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_the_table_can_be_read_in_a_narrow_terminal(columns, desk):
    code, shown = on_terminal("job.yaml", "--output", "none", cwd=desk, columns=columns)
    assert code == 1
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    table = plain[plain.index(" TASK") : plain.index("bad failed:")].splitlines()
    assert max(map(len, table)) <= columns
    assert table[0].split()[:2] == ["TASK", "OUTCOME"]
    assert ("ATTEMPTS" in table[0]) == (columns == 200)
    for row in ("dance +succeeded", "bad +failed: exit 1", "never +skipped: `bad`"):
        assert re.search(row, "\n".join(table))
    # Names are not folded letter by letter, and numbers are not folded.
    assert not any(re.search(r" \d+$", line) and len(line.split()) == 1 for line in table)
    assert len(table) <= 14
    assert "\x1b[1;31mfailed: exit 1" in shown


@pytest.mark.parametrize(("columns", "width"), [(30, 15), (60, 30), (80, 40), (200, 40)])
def test_long_name_takes_at_most_half_of_a_narrow_terminal(columns, width, tmp_path):
    write(tmp_path, work=WORK, job=f"tasks: [{{name: {'n' * 50}, target: 'work:dance'}}]")
    code, shown = on_terminal("job.yaml", cwd=tmp_path, columns=columns, NO_COLOR="1")
    assert code == 0
    end = (width - 1) - (width - 1) // 2
    assert f"\n{'n' * (width - 1 - end)}…{'n' * end} | step one\n" in shown


@pytest.mark.parametrize("command", ["job.yaml", "show", "runs"])
def test_without_colours_a_terminal_gets_no_escape_codes(command, desk):
    if command != "job.yaml":
        mprun("-q", "job.yaml", cwd=desk)
    code, shown = on_terminal(command, cwd=desk, NO_COLOR="1")
    assert (code, " TASK" in shown or " RUN" in shown) == (int(command == "job.yaml"), True)
    assert "\x1b" not in shown


def test_a_warning_that_cannot_be_written_does_not_end_a_run(desk):
    (desk / "file").touch()
    answer = shell("mprun job.yaml --state-dir file --events /dev/full 2>/dev/full", desk)
    assert answer.returncode == 1
    assert "step two" in answer.stdout


def test_an_error_that_cannot_be_written_is_still_an_exit_code(desk):
    assert shell("mprun validate nothing.yaml 2>/dev/full", desk).returncode == 2


@pytest.mark.parametrize(
    "name", ["job.yaml", "./job_recipe.yaml", "a.env", "link", "hard", ".mprun/new", "state"]
)
def test_events_overwrite_no_file_of_the_job_or_of_a_record(name, tmp_path):
    write(
        tmp_path,
        job="env_file: a.env\ntasks: [{name: r, uses: job_recipe.yaml}]",
        job_recipe="tasks: [{name: c, command: 'true'}]",
    )
    (tmp_path / "a.env").write_text("A=1\n")
    (tmp_path / "link").symlink_to("job.yaml")
    os.link(tmp_path / "job.yaml", tmp_path / "hard")
    assert mprun("-q", "job.yaml", cwd=tmp_path).code == 0
    (tmp_path / "state").symlink_to(newest_run(tmp_path / ".mprun").events)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    run = mprun("job.yaml", "--events", name, cwd=tmp_path)
    assert run.code == 2
    assert "name another file" in run.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_events_overwrite_nothing_but_the_events_of_a_run(desk):
    """Also with `mprun --events tasks.py job.yaml`, where the name of the file was forgotten."""
    for content in ("def f(): pass\n", '{"event": "x"}\n', '{"event":"task_started",', "[]", "x" * 5000):
        (desk / "mine").write_text(content)
        run = mprun("-q", "job.yaml", "--events", "mine", cwd=desk)
        assert (run.code, (desk / "mine").read_text()) == (2, content)
        assert "overwrite `mine`, which has no events of a run; name another file, or remove" in run.stderr
    (desk / "mine").write_text("")
    for _ in range(2):
        run = mprun("-q", "job.yaml", "--events", "mine", cwd=desk)
        assert read_events(desk / "mine") == run.events


def test_events_of_a_run_stay_if_the_next_one_does_not_begin(tmp_path):
    write(tmp_path, work="def f(): pass", job="tasks: [{target: 'work:f'}]")
    write(tmp_path, job_bad="tasks: [{target: 'fails:f'}]", fails="def f(): pass\n1 / 0")
    assert mprun("-q", "job.yaml", "--events", "copy", cwd=tmp_path).code == 0
    before = (tmp_path / "copy").read_bytes()
    assert mprun("-q", "job_bad.yaml", "--events", "copy", cwd=tmp_path).code == 2
    assert (tmp_path / "copy").read_bytes() == before != b""


def test_events_go_to_a_device_or_a_pipe(desk):
    assert mprun("-q", "job.yaml", "--events", "/dev/null", cwd=desk).code == 1
    run = mprun("-q", "job.yaml", "--output", "none", "--events", "/dev/stdout", cwd=desk)
    assert [json.loads(line) for line in run.stdout.splitlines()] == run.events


@pytest.mark.parametrize("columns", [80, 200])
def test_the_header_fits_into_a_terminal(columns, desk):
    _, shown = on_terminal("job.yaml", "--output", "none", cwd=desk, columns=columns, NO_COLOR="1")
    run = newest_run(desk / ".mprun").run_id
    head = shown[: shown.index("FAIL ")]
    assert head.endswith(f", run {run}\n" if columns == 200 else f"\nrun {run}\n")
    assert max(map(len, head.splitlines())) <= columns


def test_a_record_without_its_first_event_says_so(tmp_path):
    record(tmp_path, [FINISHED, ended()])
    shown = mprun("show", cwd=tmp_path).stdout
    assert "the first event of the run is missing: its job, its params and its start are unknown" in shown
