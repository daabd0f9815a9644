"""Exit codes and signals: thousands of random ends of functions and commands, compared with the record."""

import json
import resource
import signal
from pathlib import Path
from random import Random

from seen import Figure, Seen, none_of
from support.runs import mprun, write

TRIALS = 3000
# Trials per job; spawn starts a whole Python for each.
BATCH = 500
# Timeout of one job, in seconds.
TIMEOUT = 900
METHODS = ("fork", "forkserver", "fork", "forkserver", "spawn")
WORK = """\
    import os, signal, sys

    def leave(code):
        sys.exit(code)

    def leave_at_once(code):
        os._exit(code)

    def be_killed(number):
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def fail():
        raise ValueError("as asked")

    def call():
        return 1
"""
# Signals that end a process that does not handle them.
FATAL = sorted(
    set(signal.valid_signals())
    - {
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGURG,
        signal.SIGWINCH,
    }
)


def random_end(random: Random) -> tuple[dict[str, object], int]:
    """A task without its name, and its exit code; for a signal, minus its number."""
    kind = random.choice(
        ["leave", "leave", "leave_at_once", "be_killed", "be_killed", "fail", "call", "exit", "kill"]
    )
    number = int(random.choice(FATAL))
    code = random.choice([0, 1, 255, random.randrange(256), random.randrange(256)])
    if kind == "be_killed":
        return {"target": "work:be_killed", "args": [number]}, -number
    if kind == "kill":
        return {"command": f"kill -{number} $$"}, -number
    if kind == "exit":
        return {"command": f"exit {code}"}, code
    if kind in ("fail", "call"):
        return {"target": f"work:{kind}"}, int(kind == "fail")
    if kind == "leave":
        # Codes that do not fit into a status: their lower eight bits, but never 0.
        code = random.choice([code, code, 256 + code, -code, 256])
        return {"target": "work:leave", "args": [code]}, code & 255 or int(code != 0)
    return {"target": f"work:{kind}", "args": [code]}, code


def succeeds(task: dict[str, object], code: int) -> bool:
    """Whether a task with this exit code has come to its end."""
    return code == 0 and task.get("target") != "work:leave_at_once"


def play(directory: Path, numbers: range, random: Random) -> Seen:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen = Seen(trials=len(numbers))
    method = METHODS[numbers.start // BATCH % len(METHODS)]
    wanted = {f"t{number}": random_end(random) for number in numbers}
    tasks = [{"name": name, **task} for name, (task, _) in wanted.items()]
    write(directory, work=WORK, job=json.dumps({"tasks": tasks}))
    options = ("-q", "-j", 4, "--output", "none", "--start-method", method)
    run = mprun("job.yaml", *options, cwd=directory, timeout=TIMEOUT)
    if run.code != int(not all(succeeds(*each) for each in wanted.values())):
        seen.add_defect(numbers.start, "run", f"{run.code} {run.stderr[-500:]}")
    exited = {event["task"]: event for event in run.of("task_exited")}
    finished = {event["task"]: event["outcome"] for event in run.of("task_finished")}
    if len(run.of("task_exited")) != len(numbers):
        seen.add_defect(numbers.start, "count", f"{len(run.of('task_exited'))} ends")
    for number in numbers:
        task, code = wanted[f"t{number}"]
        end = exited.get(f"t{number}", {})
        signaled = end.get("signal") is not None
        recorded = (end.get("exit_code"), signaled, finished.get(f"t{number}"))
        if recorded != (code, code < 0, "succeeded" if succeeds(task, code) else "failed"):
            seen.add_defect(number, "end", f"{method} {task}: {recorded} instead of {code}")
    seen.add(f"ends under {method}", len(numbers))
    return seen


def figures(seen: Seen) -> list[Figure]:
    return [
        none_of("wrong exit codes or signals", seen, "end", "count", "run"),
        *(
            Figure(f"… {name}", "", f"{sum(values):,.0f}", int(sum(values)))
            for name, values in sorted(seen.values.items())
        ),
    ]
