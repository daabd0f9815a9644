"""docs/ci.md: each snippet runs as the service that it is for would run it, and does what the page says."""

import re
import shutil
import socket
import subprocess
import sys

import pytest
import yaml
from junitparser import xunit2
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


@pytest.mark.parametrize("service", SERVICES)
def test_the_snippet_of_each_service_runs(service, tmp_path):
    for name in ("jobs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
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


def test_the_smoke_run_has_less_than_40_lines():
    assert len((ROOT / "jobs" / "smoke.yaml").read_text().splitlines()) < 40
