"""docs/ci.md: each snippet runs as the service that it is for would run it, and does what the page says."""

import os
import re
import resource
import shutil
import subprocess
import sys

import pytest
import yaml
from junitparser import xunit2
from support.ports import held_ports
from support.runs import ROOT, environment, newest_run, read_events

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
# What each service sets of what mprun reads.
SERVICES = {
    "GitHub Actions": {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": ".",
        "GITHUB_STEP_SUMMARY": "summary.md",
    },
    "GitLab CI": {"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": "."},
    "Jenkins": {"JENKINS_URL": "http://localhost/", "WORKSPACE": "."},
    "Buildkite": {"CI": "true", "BUILDKITE": "true", "BUILDKITE_BUILD_CHECKOUT_PATH": "."},
    "A shell": {},
}


def scripts(value):
    """The commands in a snippet of YAML that run mprun."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [script for below in value for script in scripts(below)]
    return [value] if isinstance(value, str) and value.startswith("mprun ") else []


def script_of(service):
    section = re.search(rf"^## {service}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[1]
    language, block = re.search(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL).groups()
    if language == "yml":
        (script,) = scripts(yaml.safe_load(block))
        return script
    return re.search(r"sh '(.*)'", block)[1] if language == "groovy" else block


@pytest.fixture
def port():
    """The port of a server of the test, as text."""
    with held_ports() as (found,):
        yield str(found)


@pytest.mark.parametrize("service", SERVICES)
def test_the_snippet_of_each_service_runs(service, tmp_path, port):
    for name in ("jobs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    variables = {name: str(tmp_path) if value == "." else value for name, value in SERVICES[service].items()}
    done = subprocess.run(
        ["sh", "-c", f'mprun() {{ "{sys.executable}" -m mprun "$@"; }}\n{script_of(service)}'],
        cwd=tmp_path,
        env=environment(**variables, MPRUN_PARAM_PORT=port),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"^failed in .*: 2 succeeded \(1 flaky\), 1 failed, 1 stopped$", done.stderr, re.MULTILINE
    )
    (suite,) = xunit2.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    cases = {case.name: case for case in suite}
    assert {name for name, case in cases.items() if not case.is_passed} == {"checkout"}
    assert cases["search"].is_flaky
    assert {case._elem.get("file") for case in suite} == {"jobs/smoke.yaml"}
    assert "checkout" in (tmp_path / "report.html").read_text()
    outcomes = {
        event["task"]: event["outcome"]
        for event in read_events(newest_run(tmp_path / ".mprun").events)
        if event["event"] == "task_finished"
    }
    assert outcomes == {
        "shop": "stopped",
        "start page": "succeeded",
        "search": "succeeded",
        "checkout": "failed",
    }
    errors = re.findall(r"^::error .*", done.stderr, re.MULTILINE)
    assert len(errors) == (service == "GitHub Actions")
    assert (tmp_path / "summary.md").exists() == (service == "GitHub Actions")
    assert ("section_start:" in done.stderr) == (service == "GitLab CI")
    assert ("answers 500" in done.stdout.rpartition("checkout")[2]) or service != "A shell"


def block_of(section):
    return re.search(rf"^## {section}\n.*?^```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]


def run_in(directory, *command, **variables):
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_pytest_runs_the_job_files(tmp_path, port):
    (tmp_path / "jobs").mkdir()
    shutil.copy(ROOT / "jobs" / "smoke.yaml", tmp_path / "jobs")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = run_in(tmp_path, *block_of("pytest").split(), MPRUN_PARAM_PORT=port)
    assert done.returncode == 1, done.stdout
    assert re.search(
        r"^failed in .*: 2 succeeded \(1 flaky\), 1 failed, 1 stopped$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^checkout .*answers 500", done.stdout, re.MULTILINE)


def test_the_hook_checks_the_files_that_it_names_in_one_process(tmp_path):
    """As pre-commit runs it, which installs mprun from a clone of the repository."""
    (repository,) = yaml.safe_load(block_of("pre-commit"))["repos"]
    (used,) = repository["hooks"]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == used["id"]
    assert hook["language"] == "python"
    assert hook["require_serial"]
    (tmp_path / "jobs").mkdir()
    names = [f"jobs/{number}.yaml" for number in range(200)]
    for name in names:
        (tmp_path / name).write_text(f"tasks:\n  - command: echo {name}\n")
    (tmp_path / "jobs" / "wrong.yml").write_text("tasks:\n  - comand: echo\n")
    for pattern in (used["files"], hook["files"]):
        assert all(re.search(pattern, name) for name in [*names, "jobs/wrong.yml"])
        assert not re.search(pattern, "compose.yaml")
    program, *arguments = hook["entry"].split()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    sound = run_in(tmp_path, program, *arguments, *names)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (sound.returncode, sound.stdout, sound.stderr) == (0, "", "")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    wrong = run_in(tmp_path, program, *arguments, *names, "jobs/wrong.yml")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert "error: unknown key `comand`" in wrong.stderr
    assert " --> jobs/wrong.yml:2:5" in wrong.stderr


@pytest.mark.once
def test_pre_commit_checks_the_job_files_of_a_commit_and_no_others(tmp_path):
    """With mprun as it is here: the environment that pre-commit would make of a clone takes a network."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    hooks, project = tmp_path / "mprun", tmp_path / "project"
    (project / "jobs").mkdir(parents=True)
    hooks.mkdir()
    (hooks / ".pre-commit-hooks.yaml").write_text(yaml.safe_dump([hook | {"language": "system"}]))
    programs = os.path.dirname(sys.executable)
    variables = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "home"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{who}_{what}": "a@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def run(directory, *command):
        return subprocess.run(
            command,
            cwd=directory,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def commit(directory):
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
            assert run(directory, "git", *command).returncode == 0
        return run(directory, "git", "rev-parse", "HEAD").stdout.strip()

    config = block_of("pre-commit").replace("COMMIT", commit(hooks))
    (project / ".pre-commit-config.yaml").write_text(config)
    shutil.copy(ROOT / "jobs" / "demo.yaml", project / "jobs")
    # Neither is a job file.
    (project / "compose.yaml").write_text("services: {web: {image: nginx}}\n")
    (project / "jobs" / "notes.txt").write_text("tasks: [\n")
    commit(project)
    sound = run(project, sys.executable, "-m", "pre_commit", "run", "--all-files")
    assert (sound.returncode, sound.stderr) == (0, "")
    assert re.search(r"^mprun validate\.+Passed$", sound.stdout, re.MULTILINE)
    # Without `files`, it is the hook that says which files are meant.
    (project / "usual.yaml").write_text(re.sub(r" +files: .*\n", "", config))
    others = run(
        project,
        *(sys.executable, "-m", "pre_commit", "run", "-c", "usual.yaml"),
        *("--files", "compose.yaml", "jobs/notes.txt"),
    )
    assert re.search(r"^mprun validate\.+\(no files to check\)Skipped$", others.stdout, re.MULTILINE)
    (project / "jobs" / "wrong.yaml").write_text("tasks:\n  - comand: echo\n")
    assert run(project, sys.executable, "-m", "pre_commit", "install").returncode == 0
    assert run(project, "git", "add", "-A").returncode == 0
    refused = run(project, "git", "commit", "-m", "second")
    assert refused.returncode == 1
    assert "error: unknown key `comand`" in refused.stderr
    assert " --> jobs/wrong.yaml:2:5" in refused.stderr
    assert run(project, "git", "log", "--format=%s").stdout == "first\n"


def test_the_shards_of_a_matrix_are_merged(tmp_path, port):
    section = re.search(r"^## Shards\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[1]
    jobs = yaml.safe_load(re.search(r"^```yml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1])["jobs"]
    (of_shard,), (of_merge,) = scripts(jobs["shard"]), scripts(jobs["merge"])

    def sh(script, **variables):
        return subprocess.run(
            ["sh", "-c", f'mprun() {{ "{sys.executable}" -m mprun "$@"; }}\n{script}'],
            cwd=tmp_path,
            env=environment(
                **(SERVICES["GitHub Actions"] | {"GITHUB_WORKSPACE": str(tmp_path)}), **variables
            ),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    for name in ("jobs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    codes = []
    for number in jobs["shard"]["strategy"]["matrix"]["shard"]:
        done = sh(of_shard.replace("${{ matrix.shard }}", str(number)), MPRUN_PARAM_PORT=port)
        codes.append(done.returncode)
        # As upload-artifact and download-artifact do.
        shutil.move(tmp_path / ".mprun" / "runs", tmp_path / "shards" / f"shard-{number}")
    assert codes == [0, 0, 1]
    (tmp_path / "summary.md").unlink()
    merged = sh(of_merge)
    assert merged.returncode == 1
    assert re.findall(r"^::error file=(.*?),line=\d+,title=(.*?)::", merged.stderr, re.MULTILINE) == [
        ("jobs/smoke.yaml", "checkout")
    ]
    assert "2 succeeded (1 flaky), 1 failed, 1 stopped" in (tmp_path / "summary.md").read_text()
    (suite,) = xunit2.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert sorted(case.name for case in suite) == ["checkout", "search", "shop", "start page"]
    assert [case.name for case in suite if not case.is_passed] == ["checkout"]
    assert "answers 500" in (tmp_path / "report.html").read_text()


def test_records_are_kept_from_run_to_run_wherever_the_checkout_is(tmp_path, port):
    steps = yaml.safe_load(block_of("Earlier runs"))["jobs"]["smoke"]["steps"]
    restore, save = (step["with"] for step in steps if step.get("uses", "").startswith("actions/cache/"))
    assert restore["path"] == save["path"] == ".mprun/runs"
    assert restore["key"] == save["key"]
    assert save["key"].startswith(restore["restore-keys"])
    run, compare, prune = scripts(steps)

    def job(number):
        """What each step of a job prints, in a checkout of its own."""
        place = tmp_path / f"agent-{number}" / "work"
        for name in ("jobs", "examples"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        if (tmp_path / "cache").exists():
            shutil.copytree(tmp_path / "cache", place / ".mprun" / "runs")
        found = [
            subprocess.run(
                ["sh", "-c", f'mprun() {{ "{sys.executable}" -m mprun "$@"; }}\n{script}'],
                cwd=place,
                env=environment(**SERVICES["GitHub Actions"] | {"GITHUB_WORKSPACE": str(place)}),
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
            for script in (f"{run} -p port={port}", compare, prune)
        ]
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        shutil.copytree(place / ".mprun" / "runs", tmp_path / "cache")
        shutil.rmtree(place)
        return found

    first = job(1)
    for number in range(2, 6):
        second = job(number)
        # On a busy machine a task may take so much longer than in the run before that it got worse.
        if second[1].returncode == 0:
            break
    assert [done.returncode for done in first] == [done.returncode for done in second] == [1, 0, 0]
    assert "no run in .mprun before" in first[1].stderr
    lines = second[1].stdout.splitlines()
    assert [line[:4] for line in lines[:2]] == ["old:", "new:"]
    assert lines[-1] in ("no difference", "nothing got worse")
    assert not [line for line in lines if line.startswith(("the runs are of", "new tasks", "gone tasks"))]


def test_what_failed_in_ci_is_looked_at_and_resumed_on_a_laptop(tmp_path, port):
    section = re.search(r"^## On a laptop\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[1]
    (in_ci,) = re.findall(r"^```yml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (here,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    run, pack = scripts(yaml.safe_load(in_ci))

    def sh(script, place, **variables):
        return subprocess.run(
            ["sh", "-c", f'mprun() {{ "{sys.executable}" -m mprun "$@"; }}\n{script}'],
            cwd=tmp_path / place,
            env=environment(MPRUN_PARAM_PORT=port, **variables),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    for place in ("ci", "laptop"):
        for name in ("jobs", "examples"):
            shutil.copytree(
                ROOT / name, tmp_path / place / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    assert [sh(script, "ci", **SERVICES["GitHub Actions"]).returncode for script in (run, pack)] == [1, 0]
    shutil.move(tmp_path / "ci" / "run.zip", tmp_path / "laptop")
    shutil.rmtree(tmp_path / "ci")
    show, logs, report, resume = here.splitlines()
    assert "checkout" in sh(show, "laptop").stdout
    assert "answers 500" in sh(logs, "laptop").stdout
    page = sh(report, "laptop").stdout.strip()
    assert "answers 500" in (tmp_path / "laptop" / page).read_text()
    resumed = sh(resume, "laptop")
    assert resumed.returncode == 1, resumed.stderr
    started = {
        event["task"]
        for event in read_events(newest_run(tmp_path / "laptop" / ".mprun").events)
        if event["event"] == "task_started"
    }
    # The flaky one succeeded.
    assert started == {"shop", "checkout"}


def test_the_smoke_run_has_less_than_40_lines():
    assert len((ROOT / "jobs" / "smoke.yaml").read_text().splitlines()) < 40
