"""What many tasks leave behind: processes, descriptors, threads, temporary files.

A batch is one job run from Python, in a process that is this file run as a program.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from random import Random

TRIALS = 2000
# Tasks per job.
BATCH = 1000
METHODS = ("fork", "forkserver", "fork", "forkserver", "fork", "forkserver", "spawn")
WORK = """\
    import os, signal, subprocess, sys

    def call(number):
        # Sometimes leave a process, or be killed.
        if number % 20 == 0:
            subprocess.Popen(["sleep", "600"], start_new_session=number % 40 == 0)
        if number % 50 == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number
"""


def state(directory: str) -> dict[str, object]:
    """What this process holds, and the files in temporary directories."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text().split(),
        "temporary files": sorted(os.listdir(tempfile.gettempdir())),
        "pidfiles of runs": os.listdir(Path(directory, ".mprun", "open")),
        "unfinished files": [
            str(p) for p in Path(directory, ".mprun").rglob("*") if p.suffix in (".part", ".tmp")
        ],
    }


def run_here(method: str) -> None:
    """Run a small job, then a large one, and report what was there between them and afterwards."""
    import mprun

    for name in ("job_first", "job"):
        plan = mprun.plan_job(mprun.load_job(f"{name}.yaml"), start_method=method, max_parallel=4)
        mprun.run_job(plan)
        print(json.dumps(state(".")), flush=True)


def play(directory: Path, numbers: range, random: Random):
    from seen import Seen
    from support.crash_targets import CrashTarget
    from support.runs import all_runs, environment, read_events, write

    seen = Seen(trials=len(numbers))
    method = METHODS[numbers.start // BATCH % len(METHODS)]
    tasks = "".join(f"- {{target: 'work:call', args: [{number}]}}\n" for number in numbers)
    write(
        directory, work=WORK, job="tasks:\n" + tasks, job_first="tasks: [{target: 'work:call', args: [2]}]\n"
    )
    (directory / "tmp").mkdir()

    def launch(*arguments, cwd, env):
        command = [sys.executable, __file__, *arguments]
        env = environment(TMPDIR=str(directory / "tmp"), **env)
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    shared = set(os.listdir("/dev/shm"))
    program = CrashTarget(directory, method, launch=launch)
    output, said = program.engine.communicate()
    alive = program.left()
    left = [json.loads(line) for line in output.splitlines()]
    if program.engine.returncode != 0 or len(left) != 2:
        seen.add_defect(numbers.start, "broken", said.decode()[-1000:])
    elif left[0] != left[1]:
        changed = {name: (left[0][name], left[1][name]) for name in left[0] if left[0][name] != left[1][name]}
        seen.add_defect(numbers.start, "left in the program", f"{method}: {changed}")
    if left and (left[-1]["temporary files"] or left[-1]["children"] or left[-1]["pidfiles of runs"]):
        seen.add_defect(numbers.start, "left", f"{method}: {left[-1]}")
    program.clean()
    if alive:
        seen.add_defect(numbers.start, "process left", f"{method}: {alive}")
    if new := {name for name in os.listdir("/dev/shm") if name.startswith(("psm", "sem.mp"))} - shared:
        seen.add_defect(numbers.start, "shared memory left", f"{method}: {new}")
    ended = [e for e in read_events(all_runs(directory / ".mprun")[-1].events) if e["event"] == "task_exited"]
    seen.add("orphans ended", sum(len(event["orphans"]) for event in ended))
    if len(ended) != len(numbers):
        seen.add_defect(numbers.start, "broken", f"{method}: {len(ended)} ends")
    return seen


def figures(seen):
    from seen import Figure, none_of

    ended = sum(seen.values.get("orphans ended", []))
    return [
        none_of("processes, descriptors, threads, temporary files left", seen),
        Figure("… orphans that were ended and named meanwhile", "", f"{ended:,.0f}", seen.trials),
    ]


if __name__ == "__main__":
    run_here(sys.argv[1])
