"""Commands that only read import no target, start no process and open no connection."""

import json
import os

import pytest
from support.records import STARTED, ended, record, started
from support.runs import ROOT, mprun, write

# Installed by `sitecustomize`, which Python imports before mprun.
HOOK = """
    import json
    import os
    import sys

    PROCESSES = ("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.", "subprocess.")
    found = os.environ["AUDIT_FILE"]

    def note(event, arguments):
        target = event == "import" and arguments[0].partition(".")[0] in ("work", "loud")
        if target or event.startswith((*PROCESSES, "socket.")):
            with open(found, "a") as file:
                file.write(json.dumps([event, str(arguments)]) + chr(10))

    sys.addaudithook(note)
    """
LOUD = """
    from pathlib import Path

    Path("imported.marker").touch()

    def call():
        pass
    """
JOB = """
    preload: [loud]
    start_method: spawn
    tasks:
      - {name: a, target: 'loud:call', args: [1, 2, 3]}
      - {name: b, target: 'no_such_module:call', depends_on: a}
    """
BAD = """
    preload: [loud]
    tasks:
      - {name: a, target: 'loud:call', nonsense: 1, depends_on: c}
    """


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A job whose module creates a file when it is imported, and a run to read."""
    path = tmp_path_factory.mktemp("desk")
    write(path, sitecustomize=HOOK, loud=LOUD, job=JOB, job_bad=BAD, job_good="tasks:\n  - target: loud:call")
    assert mprun("job_good.yaml", cwd=path).code == 0
    assert (path / "imported.marker").exists()
    (path / "imported.marker").unlink()
    # An active run, by its record: its engine is this process.
    engine = {**STARTED, "pid": os.getpid(), "time": "2999-01-01T00:00:00Z"}
    for state_dir, events in (
        ("going", [engine, started("a", pid=os.getpid())]),
        ("old", [STARTED, ended()]),
    ):
        record(path, events)
        (path / ".mprun" / "runs" / STARTED["run"]).rename(path / "moved")
        (path / state_dir / "runs").mkdir(parents=True)
        (path / "moved").rename(path / state_dir / "runs" / STARTED["run"])
    return path


def audited(desk, *arguments):
    """The forbidden actions of a command, and how it ended."""
    file = desk / "audit.jsonl"
    file.unlink(missing_ok=True)
    path = os.pathsep.join([str(desk), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = mprun(*arguments, cwd=desk, env={"PYTHONPATH": path, "AUDIT_FILE": str(file)})
    lines = file.read_text().splitlines() if file.exists() else []
    return run, [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["validate", "job.yaml", "job_good.yaml"], 0),
        (["validate", "job_bad.yaml", "nothing.yaml"], 2),
        (["plan", "job.yaml"], 0),
        (["plan", "job.yaml", "--format", "json"], 0),
        (["plan", "job.yaml", "--format", "dot"], 0),
        (["plan", "job.yaml", "--format", "mermaid"], 0),
        (["plan", "job_bad.yaml"], 2),
        (["schema"], 0),
        (["schema", "event"], 0),
        (["show"], 0),
        (["show", "--json"], 0),
        (["show", "-v"], 0),
        (["show", "--state-dir", "going"], 0),
        (["tree"], 0),
        (["tree", "--json"], 0),
        (["tree", "--state-dir", "going"], 0),
        (["runs"], 0),
        (["runs", "--json", "--state-dir", "going"], 0),
        (["runs", "--prune", "1d", "--dry-run"], 0),
        (["runs", "--prune", "1d", "--state-dir", "old"], 0),
        (["runs", "--prune", "1d", "--state-dir", "nowhere"], 0),
        (["logs"], 0),
        (["logs", "no such task"], 2),
        (["export", "--junit=-", "--trace=t.json", "--otlp=o.json"], 0),
        (["report", "-o-"], 0),
        (["flaky"], 0),
        (["compare"], 2),
        (["show", "nosuchrun"], 2),
        (["logs", "-f", "--json", "*"], 0),
        (["--help"], 0),
        (["--version"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_reading_imports_no_target_starts_no_process_and_opens_no_socket(arguments, code, desk):
    run, found = audited(desk, *arguments)
    assert run.code == code
    assert found == []
    assert not (desk / "imported.marker").exists()


def test_audit_hook_notices_an_import(desk):
    run, found = audited(desk, "job_good.yaml")
    assert run.code == 0
    events = {event for event, _ in found}
    assert "os.fork" in events
    assert any(event == "import" and "loud" in what for event, what in found)
    (desk / "imported.marker").unlink()


def test_the_example_of_an_untrusted_file_runs_nothing(tmp_path):
    """The tags with which YAML runs code, and a job whose modules would run code."""
    write(
        tmp_path,
        job="""
        tasks:
          - target: !!python/name:os.system x
            args: !!python/object/apply:os.system ["touch owned"]
          - target: !!python/object/new:os.system ["touch owned"]
        """,
    )
    for command in ("validate", "plan", "run"):
        run = mprun(command, "job.yaml", cwd=tmp_path)
        assert run.code == 2
        assert "tags are not supported" in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.yaml"]
    assert ROOT.is_dir()
