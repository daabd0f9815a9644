"""Usage errors: click's errors have the form of mprun's own, and name the remedy."""

import pytest
from support.runs import mprun

from mprun.cli.init import SCHEMAS

CHOICES = "`prefix`, `group`, `failed`, `none`"
NAMES = ", ".join(f"`{name}`" for name in SCHEMAS)
METHODS = "`fork`, `forkserver`, `spawn`"
NOT_A_DURATION = "`soon` is not a duration such as `500ms`, `30s` or `1m30s`"
NOT_ZERO = "it must be longer than 0 seconds; leave it out for the default"
JOB = "tasks: [{target: 'os:getpid'}]\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("job.yaml --oputput none", "unknown option `--oputput`; did you mean `--output`?"),
        ("--verison", "unknown option `--verison`; did you mean `mprun --version`?"),
        ("--versio", "unknown option `--versio`; did you mean `mprun --version`?"),
        ("run --hlep", "unknown option `--hlep`; did you mean `--help`?"),
        ("help rnu", "unknown command `rnu`; did you mean `run`?"),
        ("help xyzzy", "unknown command `xyzzy`; see `mprun help`"),
        ("help run plan", "unexpected argument `plan`; write `mprun help [OPTIONS] [COMMAND]`"),
        ("job.yaml --xyzzy", "unknown option `--xyzzy`; see `mprun run --help`"),
        ("job.yaml -Z", "unknown option `-Z`; see `mprun run --help`"),
        ("job.yaml --output all", f"`--output` must be one of {CHOICES}, not `all`"),
        (
            "job.yaml --output prefx",
            f"`--output` must be one of {CHOICES}, not `prefx`; did you mean `prefix`?",
        ),
        ("job.yaml -j 0", "`--max-parallel` must be an integer of at least 1, not `0`"),
        ("job.yaml -j many", "`--max-parallel` must be an integer of at least 1, not `many`"),
        ("job.yaml --timeout soon", f"invalid value for `--timeout`: {NOT_A_DURATION}"),
        ("job.yaml --timeout 0", f"invalid value for `--timeout`: {NOT_ZERO}"),
        ("job.yaml --timeout 0ms", f"invalid value for `--timeout`: {NOT_ZERO}"),
        ("job.yaml --import-timeout 0.0", f"invalid value for `--import-timeout`: {NOT_ZERO}"),
        ("job.yaml --import-timeout soon", f"invalid value for `--import-timeout`: {NOT_A_DURATION}"),
        ("job.yaml --timeout", "missing value of `--timeout`; write `--timeout DURATION`"),
        ("job.yaml -p", "missing value of `-p`; write `-p NAME=VALUE`"),
        ("job.yaml -p day", "missing `=` in `-p day`; write `-p NAME=VALUE`"),
        ("job.yaml --fail-fast=1", "`--fail-fast` does not take a value; write `--fail-fast`"),
        ("show 1 2", "unexpected argument `2`; write `mprun show [OPTIONS] [RUN]`"),
        ("run", "missing argument `JOB`; write `mprun run [OPTIONS] JOB [TASK]...`"),
        ("-v", "missing argument `JOB`; write `mprun run [OPTIONS] JOB [TASK]...`"),
        ("validate", "missing argument `JOBS`; write `mprun validate [OPTIONS] JOBS...`"),
        ("shwo", "`shwo` is neither a command nor a job file; did you mean `mprun show`?"),
        (
            "schema jbo",
            f"`NAME` must be one of {NAMES}, not `jbo`; did you mean `job`?",
        ),
        ("job.yaml --start-method thread", f"`--start-method` must be one of {METHODS}, not `thread`"),
    ],
)
def test_each_usage_error_is_one_line_with_its_remedy(arguments, message, folder):
    run = mprun(*arguments.split(), cwd=folder)
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr == f"error: {message}\n"
    assert not (folder / ".mprun").exists()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MPRUN_MAX_PARALLEL", "many", "`--max-parallel` must be an integer of at least 1, not `many`"),
        ("MPRUN_OUTPUT", "loud", f"`--output` must be one of {CHOICES}, not `loud`"),
        ("MPRUN_TIMEOUT", "soon", f"invalid value for `--timeout`: {NOT_A_DURATION}"),
    ],
)
def test_a_value_from_the_environment_names_its_variable(variable, value, message, folder):
    run = mprun("job.yaml", cwd=folder, env={variable: value})
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr == f"error: {message} (from the environment variable `{variable}`)\n"


def test_control_characters_in_usage_errors_are_made_visible(folder):
    run = mprun("job.yaml", "--output", "\x1b[31mred", cwd=folder)
    assert run.stderr == f"error: `--output` must be one of {CHOICES}, not `\\x1b[31mred`\n"
