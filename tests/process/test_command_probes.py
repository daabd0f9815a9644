"""Readiness probes that are commands: where they run, what is said of them, and that none survives (C30)."""

from __future__ import annotations

import os
import select
import signal
import time

import pytest
from support.runs import (
    START_METHODS,
    alive,
    eventually,
    finish,
    mprun,
    recorded_starts,
    start,
    write,
)

from mprun.launcher.command_probes import CommandProbes
from mprun.linux import procfs

# A daemon, its probe, and a task that waits for it.
JOB = """\
tasks:
  - {{name: server, command: {command}, daemon: true, ready: {ready}{more}}}
  - {{name: test, command: [echo, tested], depends_on: {{server: ready}}}}
"""


def job(folder, ready, command="[sleep, 1000]", more=""):
    write(folder, job=JOB.format(command=command, ready=ready, more=more))


def printed_by_probe(run, task="server", attempt=1):
    with open(run.directory.probe_output(task, attempt).path) as file:
        return file.read()


def reason(run, task="server"):
    return run.one("task_finished", task)["reason"]


@pytest.mark.parametrize(
    "command",
    ["[test, -e, up]", "test -e up", "[sh, -c, 'exec test -e up']", "'test -e up || exit 7'"],
)
def test_c30_task_is_ready_once_its_command_exits_with_0(tmp_path, command):
    job(tmp_path, f"{{command: {command}, interval: 20ms}}", "sleep 0.2; touch up; exec sleep 1000")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.place("task_ready", "server") < run.place("task_started", "test")


def test_c30_probe_has_the_variables_and_the_directory_of_the_task(tmp_path):
    (tmp_path / "below").mkdir()
    write(
        tmp_path,
        job="""
        env: {A: job, B: job}
        params: {p: from a param}
        tasks:
          - name: server
            command: [sleep, 1000]
            daemon: true
            cwd: below
            env: {B: task, C: "${params.p}", MPRUN_TASK: x, MPRUN_ATTEMPT: "7", MPRUN_RUN_ID: x}
            ready:
              command: 'pwd; echo "$A $B $C $MPRUN_TASK $MPRUN_ATTEMPT $${#MPRUN_RUN_ID}"; cat; tty; true'
          - {name: test, command: [echo], depends_on: {server: ready}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    length = len(run.directory.run_id)
    expected = f"{tmp_path}/below\njob task from a param server 1 {length}\nnot a tty\n"
    assert printed_by_probe(run) == expected


def test_c30_probe_is_not_a_task_and_its_output_is_in_a_file_of_its_own(tmp_path):
    job(
        tmp_path,
        "{command: 'echo out; echo err >&2; echo $$ > pid; test -e up'}",
        "touch up; exec sleep 1000",
    )
    run = mprun("job.yaml", "-v", cwd=tmp_path)
    assert run.code == 0
    assert {event.get("task") for event in run.events} == {None, "server", "test"}
    assert run.log("server") == b""
    assert printed_by_probe(run) == "out\nerr\n"
    assert "out" not in run.stdout
    pid = (tmp_path / "pid").read_text().strip()
    assert f"pid={pid}" not in run.stderr
    assert pid not in mprun("tree", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("[sh, -c, 'echo one; echo no response >&2; exit 2']", "exit 2: no response"),
        ("[sh, -c, 'exit 3']", "exit 3"),
        ("[sh, -c, 'kill -KILL $$']", "killed by SIGKILL"),
        ("[no-such-program, -x]", "exit 127: no-such-program: command not found"),
        ("[/etc/passwd]", "exit 126: /etc/passwd: Permission denied"),
        ("[sh, -c, 'echo hanging; sleep 1000']", "no answer within 600ms: hanging"),
        ("[sleep, 1000]", "no answer within 600ms"),
    ],
)
def test_c30_reason_says_what_was_seen_last(tmp_path, command, words):
    # Those that answer have all of the time for that.
    limit = ", try_timeout: 600ms" if "no answer" in words else ""
    job(tmp_path, f"{{command: {command}, timeout: 1500ms, interval: 50ms{limit}}}")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert reason(run).startswith("not ready: command ")
    assert reason(run).endswith(f": {words}")
    assert f"failed: {reason(run)}" in run.stderr


def test_c30_first_try_without_an_answer_is_the_reason(tmp_path):
    job(tmp_path, "{command: echo waiting; exec sleep 1000, timeout: 1500ms}")
    run = mprun("job.yaml", cwd=tmp_path)
    assert reason(run).startswith("not ready: command echo waiting; exec sleep 1000: no answer within ")
    assert reason(run).endswith("s: waiting")


def test_c30_missing_directory_of_the_task_is_the_reason(tmp_path):
    (tmp_path / "there").mkdir()
    more = f", cwd: {tmp_path}/there"
    job(
        tmp_path,
        "{command: [true], timeout: 1500ms}",
        f"[sh, -c, 'rmdir {tmp_path}/there; sleep 1000']",
        more,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    # The first try may have been faster than the daemon.
    if run.code:
        assert "there: No such file or directory" in reason(run)


@pytest.mark.parametrize("order", [("probe", "server"), ("server", "probe")])
@pytest.mark.parametrize("expect", ["", "expect: {output: served}"])
@pytest.mark.parametrize("method", START_METHODS)
def test_c30_answer_that_is_read_together_with_the_end_of_the_task_counts(tmp_path, method, expect, order):
    """In whichever order the two are read: the try began while the task ran."""
    wait = "echo $$ > $0.new; mv $0.new $0; until test -e $0-end; do sleep 0.01; done"
    write(
        tmp_path,
        job=f"""
        start_method: {method}
        tasks:
          - name: server
            command: [sh, -c, '{wait}; echo served', server]
            daemon: true
            ready: {{command: [sh, -c, '{wait}', probe], try_timeout: 100s, timeout: 100s}}
            {expect}
          - {{name: test, command: [echo], depends_on: {{server: ready}}}}
        """,
    )
    process = start("job.yaml", cwd=tmp_path)
    eventually(lambda: (tmp_path / "server").exists() and (tmp_path / "probe").exists(), 30)
    process.send_signal(signal.SIGSTOP)
    for name in order:
        (tmp_path / f"{name}-end").touch()
        assert are_gone([int((tmp_path / name).read_text())])
    process.send_signal(signal.SIGCONT)
    run = finish(process, tmp_path / ".mprun")
    assert (run.code, run.outcome("server"), run.outcome("test")) == (0, "succeeded", "succeeded")


def test_c30_try_that_runs_at_the_end_of_the_task_is_killed_and_says_nothing(tmp_path):
    job(
        tmp_path,
        "{command: 'test -e tried && touch again && exec sleep 1000; touch tried; echo no; exit 7'}",
        "until test -e again; do sleep 0.01; done",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("server"), run.outcome("test")) == (1, "failed", "skipped")
    assert reason(run).startswith("not ready, exit 0: command ")
    assert reason(run).endswith(": exit 7: no")


@pytest.mark.parametrize("method", START_METHODS)
def test_c30_target_of_each_start_method_is_probed(tmp_path, method):
    write(tmp_path, work="import time\ndef serve():\n    open('up', 'w').close()\n    time.sleep(1000)\n")
    write(
        tmp_path,
        job=f"""
        start_method: {method}
        tasks:
          - {{name: server, target: "work:serve", daemon: true, ready: {{command: [test, -e, up]}}}}
          - {{name: test, command: [echo], depends_on: {{server: ready}}}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.one("task_exited", "server")["orphans"] == []


def test_c30_each_attempt_is_probed(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - name: server
            command: 'test $MPRUN_ATTEMPT = 2 && exec sleep 1000; until test -e probed; do sleep 0.01; done'
            daemon: true
            restart: always
            retry: {delay: 10ms}
            ready: {command: 'echo $MPRUN_ATTEMPT; touch probed; test $MPRUN_ATTEMPT = 2', interval: 10s}
          - {name: test, command: [echo], depends_on: {server: ready}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.one("task_ready", "server")["attempt"] == 2
    assert (printed_by_probe(run), printed_by_probe(run, attempt=2)) == ("1\n", "2\n")


def test_c30_commands_of_instances_and_recipes_have_references_and_plain_numbers(tmp_path):
    write(
        tmp_path,
        job="""
        params: {word: {type: list, default: [test, -e, a file]}}
        tasks:
          - name: server
            command: [sleep, 1000]
            daemon: true
            matrix: {n: [1.50, 2]}
            ready:
              command: [sh, -c, 'test "$0 $1 $2" = "up 080 true" && echo "$3"', up, 080, true, "${matrix.n}"]
          - name: other
            command: "touch 'a file'; exec sleep 1000"
            daemon: true
            ready: {command: "${params.word}"}
          - {name: r, uses: recipe.yaml}
          - {name: items, target: "work:items"}
          - name: late
            foreach: "${tasks.items.result}"
            command: [sleep, 1000]
            daemon: true
            ready: {command: ["echo", "${item}"]}
          - name: test
            command: [echo]
            depends_on: {server: ready, other: ready, r/db: ready, late: ready}
        """,
        work="def items(): return ['x', 'y']\n",
    )
    (tmp_path / "recipe.yaml").write_text(
        "tasks: [{name: db, command: [sleep, 1000], daemon: true, ready: {command: [echo, db]}}]"
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert printed_by_probe(run, "server[n=1.5]") == "1.5\n"
    assert printed_by_probe(run, "late[1]") == "y\n"
    assert printed_by_probe(run, "r/db") == "db\n"
    assert "ready command test -e 'a file'" in mprun("plan", "job.yaml", cwd=tmp_path).stdout


# -- none survives


# Writes the pids of the probe, a child, and a child in a session of its own, then waits.
FAMILY = """\
#!/bin/sh
sleep 1000 &
child=$!
setsid sh -c 'echo $$ > session; exec sleep 1000' &
while ! test -s session; do sleep 0.01; done
echo $$ $child $(cat session) > family.new
mv family.new family
wait
"""


@pytest.fixture
def family(tmp_path):
    """A script for a probe that hangs, and a function that returns its pids once it does."""
    (tmp_path / "probe.sh").write_text(FAMILY)
    (tmp_path / "probe.sh").chmod(0o700)

    def pids():
        eventually((tmp_path / "family").exists, 30)
        found = [int(pid) for pid in (tmp_path / "family").read_text().split()]
        assert len(found) == 3
        return found

    return pids


def are_gone(pids):
    eventually(lambda: not any(alive(pid) for pid in pids), 30)
    return True


@pytest.mark.parametrize(
    "end",
    ["engine", "launcher", "both", "SIGTERM", "SIGINT twice", "server"],
)
def test_c30_no_probe_survives(tmp_path, family, end):
    job(tmp_path, "{command: [./probe.sh], timeout: 100s, try_timeout: 100s}")
    process = start("job.yaml", cwd=tmp_path)
    pids = family()
    (started,) = eventually(lambda: recorded_starts(tmp_path / ".mprun"))
    launcher, server = started["ppid"], started["pid"]
    # Its session is not theirs: the probe is a child of the launcher, and the leader of its own.
    assert os.getsid(pids[0]) == pids[0]
    assert procfs.read_stat(pids[0]).ppid == launcher
    if end in ("engine", "both"):
        process.kill()
    if end in ("launcher", "both"):
        os.kill(launcher, signal.SIGKILL)
    if end.startswith("SIG"):
        process.send_signal(getattr(signal, end.split()[0]))
    if end == "SIGINT twice":
        process.send_signal(signal.SIGINT)
    if end == "server":
        os.kill(server, signal.SIGKILL)
    run = finish(process, tmp_path / ".mprun")
    if end == "both":
        # The probe dies with the launcher; what it has started lives until the next start.
        assert are_gone(pids[:1])
        write(tmp_path, other="", job="tasks: [{command: [echo]}]")
        assert mprun("job.yaml", cwd=tmp_path).code == 0
    assert are_gone(pids)
    if end == "server":
        assert (run.code, run.outcome("test")) == (1, "skipped")
        assert run.one("task_exited", "server")["orphans"] == []


def test_c30_try_that_takes_too_long_is_killed_with_its_tree_and_tried_again(tmp_path, family):
    job(tmp_path, "{command: 'test -e family && exit; exec ./probe.sh', try_timeout: 3s, interval: 20ms}")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert are_gone(family())
    assert run.one("task_exited", "server")["orphans"] == []


def test_c30_event_of_a_descriptor_that_a_new_probe_has_got_does_not_kill_it(tmp_path):
    """In the turn of the loop in which an exit has closed it, and a request has started the probe."""
    with select.epoll() as epoll:
        probes = CommandProbes(epoll, {}, lambda ended: {})
        probes.start((0, 1), 7, ("server", ("sleep", "1000"), {}, None, str(tmp_path / "output")))
        ((descriptor, probe),) = probes.running.items()
        pid = probe.handle.pid
        eventually(lambda: os.getpgid(pid) == pid, 30)
        assert probes.handle_exit(descriptor) is None
        os.kill(pid, signal.SIGTERM)
        assert epoll.poll(30) == [(descriptor, select.EPOLLIN)]
        key, _, number, code, message = probes.handle_exit(descriptor)
    assert (key, number, code, message) == ((0, 1), 7, -signal.SIGTERM, "")
    assert probes.running == {}


def test_c30_what_a_probe_leaves_is_killed_at_its_end_and_is_not_an_orphan_of_the_task(tmp_path):
    script = "setsid sh -c 'echo $$ > left; exec sleep 1000' & while ! test -s left; do sleep 0.01; done"
    (tmp_path / "probe.sh").write_text(script)
    (tmp_path / "probe.sh").chmod(0o700)
    job(tmp_path, "{command: [sh, probe.sh]}")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert are_gone([int((tmp_path / "left").read_text())])
    assert [event["orphans"] for event in run.of("task_exited")] == [[], []]


def test_c30_probe_that_runs_at_the_end_of_the_run_is_killed(tmp_path, family):
    write(
        tmp_path,
        job="""
        tasks:
          - name: server
            command: [sleep, 1000]
            daemon: true
            ready: {command: [./probe.sh], try_timeout: 100s}
          - {name: test, command: "until test -e family; do sleep 0.01; done"}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("server")) == (0, "stopped")
    assert are_gone(family())


def test_c30_what_a_probe_has_detached_is_not_an_orphan_of_a_task_that_ends(tmp_path):
    script = """
        (setsid sh -c 'echo $$ > left; exec sleep 1000' &)
        until test -e go; do sleep 0.01; done
    """
    (tmp_path / "probe.sh").write_text(script)
    write(
        tmp_path,
        job="""
        tasks:
          - name: server
            command: [sleep, 1000]
            daemon: true
            ready: {command: [sh, probe.sh], try_timeout: 100s, timeout: 100s}
          - {name: a, command: "until test -s left; do sleep 0.01; done"}
          - {name: b, command: "kill -0 $(cat left) && touch go", depends_on: a}
          - {name: test, command: [echo], depends_on: {server: ready}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert all(event["orphans"] == [] for event in run.of("task_exited"))
    assert are_gone([int((tmp_path / "left").read_text())])


def test_c30_other_tasks_may_end_while_a_probe_runs(tmp_path):
    """The end of a task looks for orphans; a probe that is running is not one."""
    write(
        tmp_path,
        job="""
        tasks:
          - name: server
            command: [sleep, 1000]
            daemon: true
            ready: {command: 'until test -e last; do sleep 0.01; done', try_timeout: 100s, timeout: 100s}
          - {name: a, command: [echo]}
          - {name: b, command: [echo], depends_on: a}
          - {name: c, command: [touch, last], depends_on: b}
          - {name: test, command: [echo], depends_on: {server: ready}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert all(event["orphans"] == [] for event in run.of("task_exited"))


def test_c30_suspended_run_suspends_its_probe(tmp_path, family):
    job(tmp_path, "{command: [./probe.sh], timeout: 100s, try_timeout: 100s}")
    process = start("job.yaml", cwd=tmp_path)
    pids = family()
    process.send_signal(signal.SIGTSTP)
    eventually(lambda: procfs.read_stat(process.pid).state == "T", 30)
    assert all(procfs.read_stat(pid).state == "T" for pid in pids)
    process.send_signal(signal.SIGCONT)
    eventually(lambda: all(procfs.read_stat(pid).state != "T" for pid in pids), 30)
    process.send_signal(signal.SIGTERM)
    finish(process, tmp_path / ".mprun")
    assert are_gone(pids)


def test_c30_a_probe_costs_no_processor_between_two_tries(tmp_path):
    job(tmp_path, "{command: 'echo $$ >> tries; exit 1', interval: 200ms, timeout: 900ms}")
    begun = time.monotonic()
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    tries = len((tmp_path / "tries").read_text().split())
    assert 1 <= tries <= (time.monotonic() - begun) / 0.2 + 1
