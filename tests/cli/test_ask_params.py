"""A required param that was not given is asked for, on a terminal and nowhere else."""

import os
import signal
import termios

import pytest
from support.runs import mprun, newest_run, read_events, write
from support.screen import Screen

JOB = """
    params:
      day: {type: string, required: true, description: The day to load.}
      n: {type: integer, required: true, enum: [1, 2]}
    tasks:
      - {name: say, command: 'echo got ${params.day} ${params.n}', capture: text}
    """
SECRET = """
    params:
      token: {secret: true, required: true, pattern: 'h.*9'}
    tasks:
      - {name: say, command: 'test "${params.token}" = horse9'}
    """
NO_CI = {"CI": "", "GITHUB_ACTIONS": ""}


def params_of(folder):
    return read_events(newest_run(folder / ".mprun").events)[0]["params"]


def test_required_params_are_asked_for_until_they_are_valid(tmp_path):
    write(tmp_path, job=JOB)
    with Screen(tmp_path, **NO_CI) as screen:
        screen.run("job.yaml; echo code $?")
        screen.wait_for("day (string):")
        assert screen.shows("day: The day to load.")
        screen.type("\n")
        screen.wait_for("a value for param `day` is required")
        screen.type("today\n")
        screen.wait_for("n (integer, one of 1, 2):")
        screen.type("many\n")
        screen.wait_for("param `n` must be an integer")
        screen.type("3\n")
        screen.wait_for("param `n` must be one of `1`, `2`")
        screen.type("2\n")
        screen.wait_for("code 0")
    assert params_of(tmp_path) == {"day": "today", "n": 2}


def test_only_what_was_not_given_is_asked_for(tmp_path):
    write(tmp_path, job=JOB)
    with Screen(tmp_path, **NO_CI, MPRUN_PARAM_N="1") as screen:
        screen.run("job.yaml -q; echo code $?")
        screen.wait_for("day (string):")
        screen.type("x\n")
        screen.wait_for("code 0")
        assert not screen.shows("n (integer")
    assert params_of(tmp_path) == {"day": "x", "n": 1}


def test_a_secret_is_read_without_being_shown(tmp_path):
    write(tmp_path, job=SECRET)
    with Screen(tmp_path, **NO_CI) as screen:
        screen.run("job.yaml; echo code $?")
        screen.wait_for("token (string, secret, pattern h.*9):")
        screen.wait_for(lambda: not screen.settings()[3] & termios.ECHO)
        screen.type("elephant7\n")
        screen.wait_for("param `token` must match")
        screen.wait_for(lambda: not screen.settings()[3] & termios.ECHO)
        screen.type("horse9\n")
        screen.wait_for("code 0")
        assert b"horse9" not in screen.bytes
        assert b"elephant7" not in screen.bytes
        assert screen.settings()[3] & termios.ECHO
    assert params_of(tmp_path) == {"token": "***"}


@pytest.mark.parametrize("job", [JOB, SECRET], ids=["plain", "secret"])
@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 2)], ids=["Ctrl-C", "Ctrl-D"])
def test_a_question_can_be_refused(job, key, code, tmp_path):
    write(tmp_path, job=job)
    with Screen(tmp_path, **NO_CI) as screen:
        screen.run("job.yaml; echo code $?")
        screen.wait_for("string")
        if job is SECRET:
            screen.wait_for(lambda: not screen.settings()[3] & termios.ECHO)
        screen.type(key)
        screen.wait_for(f"code {code}")
        assert screen.settings()[3] & termios.ECHO
        assert screen.shows("missing param") == (code == 2)
        assert not screen.shows("Traceback")
    assert newest_run(tmp_path / ".mprun") is None


def test_a_signal_that_ends_the_command_restores_the_echo(tmp_path):
    write(tmp_path, job=SECRET)
    with Screen(tmp_path, **NO_CI) as screen:
        screen.run("job.yaml; echo code $?")
        screen.wait_for("token")
        screen.wait_for(lambda: not screen.settings()[3] & termios.ECHO)

        os.kill(screen.foreground(), signal.SIGTERM)
        screen.wait_for("code 143")
        assert screen.settings()[3] & termios.ECHO


def test_no_one_is_asked_in_ci_or_with_a_pipe(tmp_path):
    write(tmp_path, job=JOB)
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, "missing param `day`" in run.stderr) == (2, True)
    with Screen(tmp_path, **{**NO_CI, "CI": "true"}) as screen:
        screen.run("job.yaml; echo code $?")
        screen.wait_for("code 2")
    for redirected in ("</dev/null", "2>err", "| cat"):
        with Screen(tmp_path, **NO_CI) as screen:
            screen.run(f"job.yaml {redirected}; echo code ${{PIPESTATUS[0]}}")
            screen.wait_for("code 2")


def test_a_file_with_other_mistakes_is_refused_at_once(tmp_path):
    write(tmp_path, job=JOB.rstrip() + "\n      - {name: other, command: ls, depends_on: nothing}\n")
    with Screen(tmp_path, **NO_CI) as screen:
        screen.run("job.yaml; echo code $?")
        screen.wait_for("code 2")
        assert screen.shows("unknown task `nothing`")
