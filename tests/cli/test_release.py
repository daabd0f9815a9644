"""A release that could be made: its files, their bytes, what they install, and who publishes them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from support.runs import ROOT

import mprun

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONSTRAINTS = ROOT / "constraints.txt"
# Not for pip, whose caches and settings may be where a user keeps them.
QUIET = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dist(directory, **options):
    run(sys.executable, ROOT / "tools" / "dist.py", directory, **options)
    return {path.name: path for path in directory.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    for name in ("build", "hatchling", "twine"):
        pytest.importorskip(name)
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("not a checkout")
    return dist(tmp_path_factory.mktemp("dist"))


def one(built, suffix):
    (name,) = [name for name in built if name.endswith(suffix)]
    return built[name]


@pytest.mark.timeout(300)
def test_the_same_commit_gives_the_same_bytes(built, tmp_path):
    env = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": str(tmp_path)}
    again = dist(tmp_path / "again", cwd=tmp_path, env=env, umask=0o077)
    assert len(built) == 2
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in again.items()} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in built.items()
    }


@pytest.mark.timeout(300)
def test_both_files_have_what_they_need_and_nothing_else(built):
    with zipfile.ZipFile(one(built, ".whl")) as wheel:
        names = wheel.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        fields = Parser().parsestr(wheel.read(metadata).decode())
    assert fields["Version"] == mprun.__version__
    tops = {name.partition("/")[0] for name in names}
    version = mprun.__version__
    assert tops == {"mprun", f"mprun-{version}.dist-info", f"mprun-{version}.data"}
    assert "mprun/schemas/job.schema.json" in names
    assert "mprun/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]
    with tarfile.open(one(built, ".tar.gz")) as source:
        files = {name.partition("/")[2] for name in source.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "SECURITY.md", "CITATION.cff", "Makefile"):
        assert name in files
    assert {name for name in files if name.startswith("jobs/")} >= {"jobs/demo.yaml"}


def pythons():
    """The oldest and the newest Python that is installed, as commands."""
    found = {}
    for version in ("3.11", "3.12", "3.13", "3.14", "3.15"):
        done = subprocess.run(["tools/python", version], cwd=ROOT, capture_output=True, text=True)
        if not done.returncode:
            found[version] = done.stdout.strip()
    versions = list(found)
    return {version: found[version] for version in {versions[0], versions[-1]}} if found else {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", sorted(pythons()))
def test_the_wheel_runs_the_demo_in_a_fresh_environment(version, built, tmp_path):
    environment = tmp_path / "environment"
    # Filled from outside: to unpack the pip of this Python takes longer than all else.
    run(pythons()[version], "-m", "venv", "--without-pip", environment)
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python"]
    # Most of what it would compile the demo does not import.
    run(*pip, "install", "-q", "--no-compile", "-c", CONSTRAINTS, one(built, ".whl"), env=QUIET)
    for part in ("jobs", "examples"):
        shutil.copytree(ROOT / part, tmp_path / part)
    command = environment / "bin" / "mprun"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MPRUN_", "PYTHON"))}
    assert run(command, "--version", env=env) == f"mprun {mprun.__version__}\n"
    run(command, "jobs/demo.yaml", cwd=tmp_path, env=env)
    assert '"outcome": "succeeded"' in run(command, "show", "--json", cwd=tmp_path, env=env)
    assert (environment / "share" / "man" / "man1" / "mprun.1").is_file()


def test_the_version_is_in_one_place():
    """Only the changelog says it once more, of what has been released."""
    tracked = run(
        "git", "-C", ROOT, "grep", "-lF", mprun.__version__, "--", "*.toml", "*.py", "*.cff", "*.md"
    )
    assert set(tracked.split()) <= {"mprun/__init__.py", "CHANGELOG.md", "docs/stability.md"}


def test_the_manual_page_is_the_help_of_the_commands():
    check = [sys.executable, ROOT / "tools" / "man_page.py", "--check"]
    assert subprocess.run(check).returncode == 0, "run `make man`"


def test_the_manual_page_has_no_mistake_for_a_formatter():
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-b", ROOT / "docs" / "mprun.1"], capture_output=True, text=True
    )
    assert done.stderr == ""
    # Letters are bold by colours or by being printed twice.
    text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    assert "mprun - run the tasks" in text
    assert "--max-parallel" in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_but_those_it_names_and_pins_each_action(path):
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert set(job["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
        assert job["timeout-minutes"] <= 30
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_only_the_job_that_publishes_can_and_it_runs_nothing_of_the_project():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    may = [name for name, job in workflow["jobs"].items() if "id-token" in job["permissions"]]
    assert may == ["publish"]
    job = workflow["jobs"]["publish"]
    assert job["environment"] == "pypi"
    assert not [step for step in job["steps"] if "run" in step or "checkout" in step.get("uses", "")]


def test_the_citation_has_what_the_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "MIT"


def test_the_list_for_language_models_names_every_page_once():
    text = (ROOT / "docs" / "llms.txt").read_text("utf-8")
    links = re.findall(r"^- \[.+\]\((\S+)\): \S", text, re.MULTILINE)
    assert sorted(links) == sorted({path.name for path in Path(ROOT, "docs").glob("*.md")} - {"index.md"})
    assert text.startswith("# mprun\n\n> ")
