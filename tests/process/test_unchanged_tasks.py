"""Tasks that are skipped as unchanged: what must never be skipped, whatever happens to files."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from support.runs import START_METHODS, eventually, finish, mprun, start, write

from mprun.linux import procfs

WORK = """
    import os
    import time
    from pathlib import Path

    def count(n=1):
        made = Path("out.txt")
        runs = Path("runs.txt")
        runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
        made.write_text(str(n))
        return {"n": n}

    def edit(path):
        Path(path).write_text(Path(path).read_text() + ".")

    def fail_if(path):
        if Path(path).exists():
            raise ValueError("no")

    def wait(path):
        Path("waits").write_text("")
        while not Path(path).exists():
            time.sleep(0.01)

    def each(item):
        return item * 2

    def give(value):
        return value
    """
COUNT = """
    tasks:
      - name: count
        target: work:count
        inputs: [in.txt]
        outputs: [out.txt]
    """

# One whose result others need, one that always runs, and what follows on each.
PLANNED = (
    COUNT
    + """
      - {name: first, target: 'work:give', args: [1]}
      - {name: late, target: 'work:give', args: ['${tasks.first.result}'], inputs: []}
      - {name: after, target: 'work:give', args: [1], inputs: [], depends_on: first}
    """
)


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK, job=COUNT)
    (tmp_path / "in.txt").write_text("1")
    return tmp_path


def run(desk, *options, **more):
    return mprun("job.yaml", *options, cwd=desk, **more)


def ran(result, task="count"):
    return bool(result.of("task_started", task))


def why(desk, task="count"):
    return mprun("why", task, cwd=desk).stdout


def last(desk):
    """The file about the only task."""
    (found,) = (desk / ".mprun" / "unchanged").glob("*.json")
    return found


@pytest.mark.parametrize("method", START_METHODS)
def test_the_result_of_a_skipped_task_is_that_of_the_run_that_ran_it(desk, method):
    write(desk, job=COUNT + "  - {name: after, target: 'work:give', args: ['${tasks.count.result.n}']}\n    ")
    first = run(desk, "--start-method", method)
    second = run(desk, "--start-method", method)
    third = run(desk, "--start-method", method)
    assert [ran(one) for one in (first, second, third)] == [True, False, False]
    for later in (second, third):
        finished = later.one("task_finished", "count")
        assert finished["reason"] == f"unchanged since {first.directory.run_id}"
        assert (finished["outcome"], finished["result"], finished["reused"]) == ("succeeded", {"n": 1}, True)
        assert later.result("after") == 1
        assert f"succeeded: unchanged since {first.directory.run_id}" in later.stderr
    assert (desk / "runs.txt").read_text() == "x"


def test_an_input_that_changes_while_the_task_runs_is_never_reused(desk):
    write(
        desk,
        job=COUNT.replace("work:count", "work:edit\n        args: [in.txt]").replace("out.txt", "in.txt"),
    )
    first = run(desk)
    assert "one of its `inputs` changed while the task ran" in first.stderr
    assert ran(run(desk))
    assert "left nothing to compare with: one of its `inputs` changed while the task ran" in why(desk)


def test_code_that_changes_while_the_task_runs_is_never_reused(desk):
    write(
        desk, job=COUNT.replace("work:count", "work:edit\n        args: [work.py]").replace("[out.txt]", "[]")
    )
    first = run(desk)
    assert first.code == 0, first.stderr
    assert "`" + str(desk / "work.py") + "` changed while the task ran" in first.stderr
    text = (desk / "work.py").read_text()
    (desk / "work.py").write_text(text.rstrip("."))
    assert ran(run(desk))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[in.txt]", "[none*.txt]", "`none*.txt` in `inputs` matches no file"),
        ("[in.txt]", "[folder]", "`folder` in `inputs` is a directory: write `/**` behind it"),
        ("[in.txt]", "[fifo]", "`fifo` is not a regular file"),
        ("[in.txt]", "[link]", "`link` cannot be read: No such file or directory"),
        ("[out.txt]", "[none]", "`none` in `outputs` matches no file"),
    ],
)
def test_files_that_cannot_be_compared_are_said_and_the_task_runs_each_time(desk, old, new, said):
    (desk / "folder").mkdir()
    os.mkfifo(desk / "fifo")
    (desk / "link").symlink_to("nowhere")
    write(desk, job=COUNT.replace(old, new))
    for _ in range(2):
        result = run(desk)
        assert result.code == 0
        assert ran(result)
        assert said in result.stderr.replace(f"{desk}/", "")


def torn(desk):
    last(desk).write_bytes(last(desk).read_bytes()[:-10])


def empty(desk):
    last(desk).write_bytes(b"")


def edited(desk):
    last(desk).write_bytes(last(desk).read_bytes().replace(b'"attempts":1', b'"attempts":2'))


def unsigned(desk):
    _, _, text = last(desk).read_bytes().partition(b"\n")
    last(desk).write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def forged_key(desk):
    (desk / ".mprun/unchanged/key").write_bytes(bytes(32))


def readable_key(desk):
    (desk / ".mprun/unchanged/key").chmod(0o644)


def short_key(desk):
    (desk / ".mprun/unchanged/key").write_bytes(b"")


def a_link(desk):
    last(desk).rename(desk / "elsewhere")
    (desk / ".mprun/unchanged" / last_name(desk)).symlink_to(desk / "elsewhere")


def last_name(desk):
    return hashlib.sha256(b"../job.yaml\0count").hexdigest()[:40] + ".json"


def a_folder(desk):
    name = last(desk)
    name.unlink()
    name.mkdir()


def of_another_task(desk):
    write(desk, job=COUNT.replace("name: count", "name: other"))
    assert ran(run(desk), "other")
    other = desk / ".mprun/unchanged" / (hashlib.sha256(b"../job.yaml\0other").hexdigest()[:40] + ".json")
    (desk / ".mprun/unchanged" / last_name(desk)).write_bytes(other.read_bytes())
    write(desk, job=COUNT)


def record_removed(desk):
    for path in (desk / ".mprun/runs").iterdir():
        shutil.rmtree(path)


def result_edited(desk):
    (found,) = (desk / ".mprun/runs").glob("*/results/count.1.json")
    found.write_text('{"n": 2}')


def result_removed(desk):
    (found,) = (desk / ".mprun/runs").glob("*/results/count.1.json")
    found.unlink()


DAMAGE = (
    torn,
    empty,
    edited,
    unsigned,
    forged_key,
    readable_key,
    short_key,
    a_link,
    a_folder,
    of_another_task,
)
DAMAGE += (record_removed, result_edited, result_removed)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_forged_record_only_makes_the_task_run(desk, damage):
    run(desk)
    damage(desk)
    result = run(desk)
    assert result.code == 0, result.stderr
    assert ran(result)
    assert result.result("count") == {"n": 1}


def test_a_task_that_failed_since_runs_although_everything_is_as_it_was(desk):
    write(
        desk, job=COUNT.replace("work:count", "work:fail_if\n        args: [bad]").replace("[out.txt]", "[]")
    )
    assert run(desk).code == 0
    assert not ran(run(desk))
    (desk / "in.txt").write_text("2")
    (desk / "bad").write_text("")
    failed = run(desk)
    assert failed.code == 1
    (desk / "in.txt").write_text("1")
    (desk / "bad").unlink()
    assert ran(run(desk))
    assert f"{failed.directory.run_id}, did not finish it successfully" in why(desk)


def test_a_task_whose_expectation_fails_runs_each_time(desk):
    write(desk, job=COUNT + "    expect: {result: {n: 2}}\n    ")
    for _ in range(2):
        result = run(desk)
        assert result.code == 1
        assert ran(result)


def test_a_run_that_was_killed_while_the_task_ran_leaves_nothing_to_compare_with(desk):
    write(desk, job=COUNT.replace("work:count", "work:wait\n        args: [go]").replace("[out.txt]", "[]"))
    (desk / "go").write_text("")
    assert ran(run(desk))
    (desk / "go").unlink()
    (desk / "in.txt").write_text("2")
    (desk / "waits").unlink()
    process = start("job.yaml", cwd=desk)
    eventually((desk / "waits").exists, 30)
    process.kill()
    finish(process, desk / ".mprun")
    (desk / "go").write_text("")
    (desk / "in.txt").write_text("1")
    assert ran(run(desk))


def test_force_and_repeat_run_what_is_unchanged(desk):
    run(desk)
    assert not ran(run(desk))
    forced = run(desk, "--force")
    assert ran(forced)
    assert "`count` ran: `--force` was given" in why(desk)
    assert ran(run(desk, "--repeat", "2"), "count@1")
    assert not ran(run(desk))


def test_instances_are_skipped_one_by_one(desk):
    job = """
        tasks:
          - {name: list, target: 'work:give', args: [[1, 2, 3]]}
          - {name: each, target: 'work:each', args: ['${item}'], foreach: '${tasks.list.result}', inputs: []}
          - {name: sum, target: 'work:give', args: ['${tasks.each.result}']}
        """
    write(desk, job=job)
    assert run(desk).result("sum") == [2, 4, 6]
    write(desk, job=job.replace("2, 3", "5, 3"))
    second = run(desk)
    assert [task for task in ("each[0]", "each[1]", "each[2]") if ran(second, task)] == ["each[1]"]
    assert second.result("sum") == [2, 10, 6]
    assert "argument 1 has changed" in why(desk, "each[1]")


def test_no_secret_can_be_tried_by_what_is_kept(desk):
    job = """
        params: {password: {secret: true}}
        tasks:
          - {name: count, target: 'work:give', args: ['${params.password}x'], inputs: []}
        """
    write(desk, job=job)
    for _ in range(2):
        result = run(desk, env={"MPRUN_PARAM_PASSWORD": "hunter22"})
    assert not ran(result)
    assert ran(run(desk, env={"MPRUN_PARAM_PASSWORD": "hunter23"}))
    kept = b"".join(path.read_bytes() for path in (desk / ".mprun/unchanged").iterdir())
    for text in ("hunter23", "hunter23x", "'hunter23x'", '"hunter23x"'):
        assert text.encode() not in kept
        assert hashlib.sha256(text.encode()).hexdigest().encode() not in kept
    assert (desk / ".mprun/unchanged/key").stat().st_mode & 0o777 == 0o600


def hasher(engine):
    """The pid of the process that hashes files for this run, None if it is not there."""
    for pid in procfs.children(engine):
        if b"unchanged_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def large_input(desk):
    """Have the task read a file that takes minutes to hash, beside another task."""
    with open(desk / "in.txt", "wb") as file:
        file.truncate(60 << 30)
    write(desk, job=COUNT + "  - {name: quick, command: [touch, made]}\n    ")


def test_other_tasks_run_while_a_large_input_is_hashed_and_ctrl_c_ends_it(desk):
    large_input(desk)
    process = start("job.yaml", cwd=desk)
    eventually(lambda: (desk / "made").exists(), 30)
    pid = eventually(lambda: hasher(process.pid), 30)
    process.send_signal(signal.SIGINT)
    result = finish(process, desk / ".mprun", 30)
    assert result.code == 130
    assert result.outcome("count") == "cancelled"
    assert not Path(f"/proc/{pid}").exists()


def test_a_task_runs_if_the_process_that_hashes_is_killed(desk):
    large_input(desk)
    process = start("job.yaml", cwd=desk)
    os.kill(eventually(lambda: hasher(process.pid), 30), signal.SIGKILL)
    result = finish(process, desk / ".mprun", 40)
    assert result.code == 0
    assert ran(result)
    assert "no task is skipped as unchanged, and nothing is kept for the next run" in result.stderr


def test_the_process_that_hashes_ends_with_mprun(desk):
    large_input(desk)
    process = start("job.yaml", cwd=desk)
    pid = eventually(lambda: hasher(process.pid), 30)
    process.kill()
    finish(process, desk / ".mprun")
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 20)


def test_why_as_json_is_what_its_schema_says(desk):
    import jsonschema
    from support import schemas

    run(desk)
    run(desk)
    said = mprun("why", "count", "--json", cwd=desk)
    found = json.loads(said.stdout)
    jsonschema.validate(found, schemas.strict(schemas.read("why")))
    assert (found["ran"], found["outcome"]) == (False, "succeeded")
    assert found["why"] == f"nothing that it depends on has changed since run {found['unchanged_since']}"


def skips(desk, *options):
    document = json.loads(mprun("plan", "job.yaml", "--json", *options, cwd=desk).stdout)
    return {task["name"]: task["unchanged"] for task in document["tasks"]}


def test_plan_says_what_would_be_skipped_and_imports_nothing(desk):
    write(desk, job=PLANNED)
    assert skips(desk)["count"]["why"] == "no earlier run of this job file has left anything to compare with"
    assert not (desk / ".mprun").exists()
    done = run(desk).directory.run_id
    (desk / "work.py").write_text((desk / "work.py").read_text() + "\n# The import would end Python.\n")
    found = skips(desk)
    assert found["count"] == {"skipped": True, "why": f"unchanged since {done}", "since": done}
    assert found["first"] is None
    assert (found["late"]["skipped"], found["late"]["why"]) == (
        None,
        "it refers to results that are known only during the run",
    )
    assert (found["after"]["skipped"], found["after"]["why"]) == (None, "`first` runs before it")
    assert skips(desk, "--force")["count"]["why"] == "`--force` was given"
    text = mprun("plan", "job.yaml", cwd=desk).stdout
    assert f"skipped: unchanged since {done}" in " ".join(text.split())
    (desk / "work.py").write_text("import os\nos._exit(3)\n")
    assert skips(desk)["count"]["why"] == f"module `work` has changed since run {done}"
