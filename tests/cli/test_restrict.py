"""`mprun validate --restrict`: no file outside a directory is read, however it is named (C56)."""

import os
import re

import pytest
from support.runs import mprun, write

JOB = "tasks: [{target: 'os:getpid'}]\n"
SECRET = "tasks: [{target: 'os:getpid'}]\nhorse9: 1\n"
REMEDY = "copy the file into it, or allow it with `--restrict DIR` or `--restrict /`"


@pytest.fixture
def tree(tmp_path):
    """A work tree, beside which there are a job file, an env file and a directory of both."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tmp_path / "out.yaml").write_text(SECRET)
    (tmp_path / "out.env").write_text("horse9\n")
    # Its name begins like that of the tree.
    (tmp_path / "tree2").mkdir()
    (tmp_path / "tree2" / "out.yaml").write_text(SECRET)
    (tree / "in.yaml").write_text(JOB)
    (tree / "in.env").write_text("A=1\n")
    (tree / "link.yaml").symlink_to("../out.yaml")
    (tree / "link.env").symlink_to(tmp_path / "out.env")
    (tree / "folder").symlink_to("..")
    (tree / "inner.yaml").symlink_to("sub/../in.yaml")
    (tree / "dead.yaml").symlink_to("../nowhere.yaml")
    return tree


def uses(name):
    return f"tasks: [{{name: t, uses: {name}}}]\n"


OUTSIDE = {
    "above": (uses("../out.yaml"), "`../out.yaml` is outside"),
    "beside": (uses("../tree2/out.yaml"), "`../tree2/out.yaml` is outside"),
    "absolute": (uses("/etc/passwd"), "`/etc/passwd` is outside"),
    "link": (uses("link.yaml"), "`link.yaml` is a link out of"),
    "link that leads nowhere": (uses("dead.yaml"), "`dead.yaml` is a link out of"),
    "folder": (uses("folder/out.yaml"), "`folder/out.yaml` is a link out of"),
    "proc": (uses("/proc/self/environ"), "`/proc/self/environ` is outside"),
    "not there": (uses("../nowhere.yaml"), "`../nowhere.yaml` is outside"),
    "env file": (f"env_file: ../out.env\n{JOB}", "env file `../out.env` is outside"),
    "env file behind a link": (f"env_file: link.env\n{JOB}", "env file `link.env` is a link out of"),
    "env file of a param": (
        f"params: {{f: {{default: ../out}}}}\nenv_file: '${{params.f}}.env'\n{JOB}",
        "env file `../out.env` is outside",
    ),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_file_outside_the_directory_is_refused_at_its_name_C56(tree, case):
    text, message = OUTSIDE[case]
    (tree / "job.yaml").write_text(text)
    run = mprun("validate", "--restrict", ".", "job.yaml", cwd=tree)
    assert (run.code, run.stdout) == (2, "")
    assert f"error: {message} `.`; {REMEDY}" in run.stderr
    assert re.search(r"^ *--> job\.yaml:\d+:\d+$", run.stderr, re.MULTILINE)
    assert "horse9" not in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("text", [uses("../out.yaml"), f"env_file: ../out.env\n{JOB}"])
def test_a_recipe_in_a_recipe_is_refused_where_it_names_a_file_outside_C56(tree, text):
    (tree / "first.yaml").write_text(text)
    (tree / "job.yaml").write_text(uses("first.yaml"))
    run = mprun("validate", "--restrict", ".", "job.yaml", cwd=tree)
    assert run.code == 2
    assert "--> first.yaml:1:" in run.stderr
    assert "is outside `.`" in run.stderr


@pytest.mark.parametrize("name", ["../out.yaml", "link.yaml", "folder/out.yaml", "dead.yaml"])
def test_a_job_file_outside_is_refused_C56(tree, name):
    run = mprun("validate", "--restrict", ".", name, cwd=tree)
    assert run.code == 2
    assert re.fullmatch(
        rf"error: `{name}` is (outside|a link out of) `\.`; {re.escape(REMEDY)}\n", run.stderr
    )


def test_what_is_inside_is_read_by_any_name_C56(tree):
    (tree / "job.yaml").write_text(f"env_file: folder/tree/in.env\n{uses('../tree/inner.yaml')}")
    for directory, job in ((".", "job.yaml"), ("../tree", "folder/tree/job.yaml"), ("/", "job.yaml")):
        run = mprun("validate", "--restrict", directory, job, cwd=tree)
        assert (run.code, run.stderr) == (0, "")


def test_the_directory_must_exist(tree):
    run = mprun("validate", "--restrict", "nowhere", "in.yaml", cwd=tree)
    assert run.code == 2
    remedy = "name one that contains the files"
    assert run.stderr == f"error: `--restrict`: `nowhere` is not a directory; {remedy}\n"


@pytest.mark.parametrize(
    "env",
    [{"CI": "true"}, {"CI": "1"}, {"GITHUB_ACTIONS": "true"}, {"CI": "false", "GITHUB_ACTIONS": "true"}],
)
def test_in_ci_the_git_work_tree_is_the_limit_C56(tree, env):
    """In a worktree and a submodule, `.git` is a file."""
    (tree / ".git").touch()
    write(tree / "sub", job=uses("../../out.yaml"))
    run = mprun("validate", "job.yaml", cwd=tree / "sub", env=env)
    assert run.code == 2
    assert f"`../../out.yaml` is outside `{tree}`; {REMEDY}" in run.stderr
    write(tree / "sub", job=uses("../in.yaml"))
    assert mprun("validate", "job.yaml", cwd=tree / "sub", env=env).code == 0


@pytest.mark.parametrize("env", [{}, {"CI": ""}, {"CI": "false"}, {"CI": "0", "GITHUB_ACTIONS": "false"}])
def test_elsewhere_there_is_no_limit(tree, env):
    (tree / ".git").mkdir()
    (tree.parent / "out.yaml").write_text(JOB)
    write(tree, job=uses("../out.yaml"))
    assert mprun("validate", "job.yaml", cwd=tree, env=env).code == 0


def test_a_slash_lifts_the_limit_of_ci_and_so_does_the_lack_of_a_work_tree(tree):
    (tree.parent / "out.yaml").write_text(JOB)
    write(tree, job=uses("../out.yaml"))
    has_tree = any(os.path.lexists(above / ".git") for above in tree.parents)
    assert has_tree or mprun("validate", "job.yaml", cwd=tree, env={"CI": "true"}).code == 0
    (tree / ".git").mkdir()
    assert mprun("validate", "job.yaml", cwd=tree, env={"CI": "true"}).code == 2
    assert mprun("validate", "--restrict", "/", "job.yaml", cwd=tree, env={"CI": "true"}).code == 0


def test_a_name_that_cannot_be_a_path_is_refused_by_its_own_error(tree):
    (tree / "job.yaml").write_text(f'env_file: "a\\0b"\n{JOB}')
    run = mprun("validate", "--restrict", ".", "job.yaml", cwd=tree)
    assert run.code == 2
    assert "cannot read env file" in run.stderr
