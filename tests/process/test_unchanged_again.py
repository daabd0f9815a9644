"""Tasks that are skipped as unchanged, in runs at the same time, and in a run that is resumed."""

import pytest
from support.runs import eventually, finish, mprun, start, write

WORK = """
    import time
    from pathlib import Path

    def wait(path):
        Path("waits").write_text("")
        while not Path(path).exists():
            time.sleep(0.01)

    def fail():
        raise ValueError("no")
    """
JOB = """
    tasks:
      - name: wait
        target: work:wait
        args: [go]
        inputs: [in.txt]
    """


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    (tmp_path / "in.txt").write_text("1")
    return tmp_path


def ran(result):
    return bool(result.of("task_started", "wait"))


def test_two_runs_at_once_leave_nothing_that_is_not_so(desk):
    first = start("job.yaml", cwd=desk)
    eventually((desk / "waits").exists, 30)
    (desk / "waits").unlink()
    (desk / "in.txt").write_text("2")
    second = start("job.yaml", cwd=desk)
    eventually((desk / "waits").exists, 30)
    second.kill()
    finish(second, desk / ".mprun")
    (desk / "in.txt").write_text("1")
    (desk / "go").write_text("")
    assert finish(first, desk / ".mprun").code == 0
    # The second run may have done something else since.
    assert ran(mprun("job.yaml", cwd=desk))
    assert not ran(mprun("job.yaml", cwd=desk))


def test_resume_runs_again_what_is_asked_for(desk):
    write(desk, job=JOB + "  - {name: bad, target: 'work:fail', depends_on: wait}\n    ")
    (desk / "go").write_text("")
    assert mprun("job.yaml", cwd=desk).code == 1
    assert ran(mprun("resume", "--rerun", "wait", cwd=desk))
    assert not ran(mprun("resume", cwd=desk))
