"""A regular expression that would take years is ended, and the message says so (C53)."""

import contextlib
import signal
from pathlib import Path

import pytest
from support.runs import alive, eventually, finish, mprun, newest_run, start, write

from mprun.linux import procfs

# Python tries each way to split the letters, of which there are 2^40.
HOSTILE_VALUE = "a" * 40 + "!"


@pytest.fixture
def quarter(tmp_path):
    """An environment in which the limit is a quarter of a second, where no test needs the real one."""
    write(
        tmp_path,
        sitecustomize="""
        from mprun.jobfile import matcher
        matcher.LIMIT_SECONDS = 0.25
        """,
    )
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_file_with_an_endless_pattern_is_refused_at_its_place(command, tmp_path, quarter):
    write(
        tmp_path,
        job=f"""
        params:
          p: {{pattern: '(a+)+', default: {HOSTILE_VALUE}}}
          q: {{pattern: '(a|a)*', default: {HOSTILE_VALUE}}}
        tasks:
          - command: touch started
        """,
    )
    run = mprun(command, "job.yaml", cwd=tmp_path, env=quarter)
    assert run.code == 2
    assert run.stdout == ""
    for place, name in (("job.yaml:3:16", "p"), ("job.yaml:4:16", "q")):
        assert f" --> {place}\n" in run.stderr
        words = "cannot be matched: all patterns of the file take longer than 0.25s of CPU time"
        assert f"error: the `pattern` of param `{name}` {words}\n" in run.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("key", ["expect: {output: %s}", "daemon: true, ready: {log: %s}", "params"])
def test_a_pattern_of_megabytes_is_refused_at_its_place(key, tmp_path):
    pattern = "a" * 6_000_000
    text = f"tasks: [{{command: touch started, {key.replace('%s', pattern)}}}]\n"
    if key == "params":
        text = f"params: {{p: {{pattern: {pattern}}}}}\ntasks: [{{command: touch started}}]\n"
    write(tmp_path, job=text)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 2
    assert "too long: 6,000,000 characters (limit: 10,000)\n" in run.stderr
    assert " --> job.yaml:1:" in run.stderr
    assert not (tmp_path / "started").exists()


TOO_LONG = "it takes longer than 2s of CPU time"
TOO_LONG_HERE = "it takes longer than 0.25s of CPU time"
PRINTS = """
    import sys

    def value():
        print("{}")

    def megabytes(unit, count):
        sys.stdout.write(unit * count)
    """


def test_an_expected_output_that_takes_forever_fails_and_nothing_waits_for_it(tmp_path):
    write(
        tmp_path,
        work=PRINTS.format(HOSTILE_VALUE),
        job=rf"""
        tasks:
          - {{name: target, target: 'work:value', expect: {{output: '(a+)+$'}}}}
          - {{name: command, command: 'echo {HOSTILE_VALUE}', expect: {{output: '(a|a)*$'}}}}
          - {{name: hangs, command: sleep 60, timeout: 400ms}}
          - {{name: rows, command: 'echo 12 rows; seq 100000', expect: {{output: '^(1|2)+ rows$'}}}}
          - {{name: none, command: 'seq 100000', expect: {{output: '^(1|2)+ rows$'}}}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    reasons = {e["task"]: (e["outcome"], e["reason"]) for e in run.of("task_finished")}
    assert reasons == {
        "target": ("failed", f"expected output that matches '(a+)+$': {TOO_LONG}"),
        "command": ("failed", f"expected output that matches '(a|a)*$': {TOO_LONG}"),
        "hangs": ("timed_out", "timeout after 0.4s"),
        "rows": ("succeeded", ""),
        "none": ("failed", "expected output that matches '^(1|2)+ rows$'"),
    }
    # While a pattern is matched for two seconds, the timeout of another task is applied.
    assert run.place("task_finished", "hangs") < run.place("task_finished", "target")


def test_a_pattern_on_16_megabytes_is_ended(tmp_path):
    write(
        tmp_path,
        work=PRINTS.format(HOSTILE_VALUE),
        job="""
        tasks:
          - target: work:megabytes
            name: big
            args: [x, 16777216]
            expect: {output: x+y}
            retry: 1
            timeout: 1900ms
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    # It has not timed out, although the answer came after its timeout: it takes two seconds at least.
    assert run.one("task_finished")["reason"] == f"expected output that matches 'x+y': {TOO_LONG}"
    assert run.one("task_finished")["attempts"] == 2


def test_a_service_whose_pattern_takes_forever_is_not_ready(tmp_path, quarter):
    write(
        tmp_path,
        job=f"""
        tasks:
          - name: endless
            command: echo {HOSTILE_VALUE}; sleep 60
            daemon: true
            ready: {{log: '(a+)+$', timeout: 6s}}
          - name: sound
            command: echo listening on 80; sleep 60
            daemon: true
            ready: {{log: '(listening|ready)+ on'}}
          - name: client
            command: 'true'
            depends_on: sound
          - name: none
            command: 'true'
            depends_on: endless
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path, env=quarter)
    assert run.code == 1
    reason = run.one("task_finished", "endless")["reason"]
    assert reason == f"not ready: `(a+)+$` cannot be matched: {TOO_LONG_HERE}"
    assert run.outcome("client") == "succeeded"


@pytest.mark.parametrize(
    ("pattern", "printed", "outcome", "reason"),
    [
        ("(a+)+$", HOSTILE_VALUE, "failed", f": `(a+)+$` cannot be matched: {TOO_LONG_HERE}"),
        ("^(b|c)+$", f"{HOSTILE_VALUE}; echo bcb", "succeeded", ""),
        ("^(b|c)+$", f"{HOSTILE_VALUE}; echo bcd", "failed", ": no line matches `^(b|c)+$`"),
        ("^end$", "begin; seq 2000000; echo end", "succeeded", ""),
    ],
)
def test_what_a_service_has_printed_before_its_end_is_read_beside_the_loop(
    pattern, printed, outcome, reason, tmp_path, quarter
):
    write(
        tmp_path,
        job=f"""
        join: [service, other]
        tasks:
          - name: service
            command: echo {printed}
            daemon: true
            ready: {{log: '{pattern}', interval: 60s}}
          - {{name: other, command: sleep 0.1}}
        """,
    )
    # To find the last of two million lines takes longer.
    run = mprun("job.yaml", cwd=tmp_path, env={} if "seq" in printed else quarter)
    finished = run.one("task_finished", "service")
    assert finished["outcome"] == outcome
    assert finished["reason"].endswith(reason)
    assert len(run.of("task_ready")) == (outcome == "succeeded")


def test_a_run_that_is_stopped_waits_for_no_pattern_for_long(tmp_path):
    """The answer of the last of these would come after 40 seconds of CPU time."""
    write(
        tmp_path,
        job=f"""
        tasks:
          - name: many
            command: echo {HOSTILE_VALUE}
            foreach: {list(range(20))}
            expect: {{output: '(a+)+$'}}
          - {{name: hangs, command: sleep 60}}
        """,
    )
    process = start("job.yaml", cwd=tmp_path)
    events = eventually(lambda: newest_run(tmp_path / ".mprun")).events
    eventually(lambda: b'"task_finished"' in Path(events).read_bytes(), 30)
    process.send_signal(signal.SIGTERM)
    run = finish(process, tmp_path / ".mprun", timeout=30)
    assert run.code == 143
    reasons = {e["reason"].rpartition(": ")[2] for e in run.of("task_finished") if e["task"] != "hangs"}
    assert reasons == {TOO_LONG, "user"}


def test_a_lost_main_process_ends_the_run_while_a_pattern_is_matched(tmp_path, quarter):
    write(
        tmp_path,
        job=f"""
        tasks:
          - name: a
            command: until test -e looks; do sleep 0.01; done; echo {HOSTILE_VALUE}
            expect: {{output: '(a+)+$'}}
          - {{name: kills, target: 'work:kill_main'}}
        """,
        work="""
        import os, psutil, signal, time

        def is_matching(engine):
            # The main process and the one that keeps the output of commands are children of it as well.
            return any("matcher_process.py" in " ".join(child.cmdline()) for child in engine.children())

        def kill_main():
            engine = psutil.Process(os.getppid()).parent()
            open("looks", "w").close()
            while not is_matching(engine):
                time.sleep(0.005)
            os.kill(os.getppid(), signal.SIGKILL)
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path, env=quarter)
    assert run.code == 3
    assert "internal error" not in run.stdout + run.stderr
    assert run.one("task_finished", "a")["outcome"] == "failed"
    assert run.one("run_finished")["exit_code"] == 3


def test_no_process_that_matches_outlives_a_killed_run(tmp_path, quarter):
    write(
        tmp_path,
        job=f"tasks: [{{command: 'echo {HOSTILE_VALUE}', expect: {{output: '(a+)+$'}}}}]",
    )
    process = start("job.yaml", cwd=tmp_path, env=quarter)

    def matching():
        return [pid for pid in procfs.processes() if is_matcher(pid, process.pid)]

    (pid,) = eventually(matching)
    process.kill()
    finish(process, tmp_path / ".mprun")
    eventually(lambda: not alive(pid))


def is_matcher(pid, parent):
    stat = procfs.read_stat(pid)
    if stat is None or stat.ppid != parent:
        return False
    with contextlib.suppress(OSError):
        return b"matcher_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_a_job_with_simple_patterns_starts_no_process_for_them(tmp_path):
    """What is printed is short, and no group is repeated."""
    write(
        tmp_path,
        sitecustomize="""
        import sys

        def note(event, arguments):
            if event == "os.posix_spawn":
                open("spawned", "a").close()

        sys.addaudithook(note)
        """,
        job=r"""
        params:
          day: {pattern: '\d{4}-\d{2}-\d{2}', default: "2026-01-01"}
        tasks:
          - {name: serves, command: 'echo serving on 80; sleep 60', daemon: true, ready: {log: serving on}}
          - {command: 'echo 12 rows', depends_on: serves, expect: {output: '\d+ rows'}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert run.code == 0
    assert not (tmp_path / "spawned").exists()
