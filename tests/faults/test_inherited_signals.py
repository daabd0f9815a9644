"""mprun handles signals and counts them even if they were ignored or blocked when it started."""

from __future__ import annotations

import signal

import pytest
from support.runs import START_METHODS, eventually, finish, start, survivors, write

IGNORED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


def ignore():
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@pytest.mark.parametrize("surroundings", [ignore, block])
def test_mprun_handles_signals_that_were_ignored_or_blocked_when_it_started(tmp_path, surroundings):
    # Side by side, because a timeout is waited for in each.
    engines = {method: begin(tmp_path / method, method, surroundings) for method in START_METHODS}
    for method, engine in engines.items():
        check(tmp_path / method, engine)


def begin(directory, method, surroundings):
    directory.mkdir()
    write(
        directory,
        work="""\
            import signal, sys
            def leave():
                sys.exit(3)
            def stay():
                open("there", "w").close()
                signal.pause()
        """,
        # A new Python may take its time to come to the target.
        job=f"""\
            tasks:
            - {{name: leave, target: 'work:leave'}}
            - {{name: stay, target: 'work:stay'}}
            - {{name: hang, target: 'work:stay', timeout: {"2s" if method == "fork" else "5s"}}}
        """,
    )
    return start("job.yaml", "--start-method", method, cwd=directory, preexec_fn=surroundings)


def check(directory, engine):
    state_dir = directory / ".mprun"

    def have_ended():
        record = "".join(path.read_text() for path in state_dir.glob("runs/*/events.jsonl"))
        return "timed_out" in record and record.count('"task_exited"') == 2

    eventually(have_ended, 20)
    eventually((directory / "there").exists)
    engine.send_signal(signal.SIGTERM)
    run = finish(engine, state_dir)
    assert run.code == 143
    assert run.one("task_exited", "leave")["exit_code"] == 3
    assert run.one("task_exited", "stay")["signal"] == "SIGTERM"
    # The stack of a hanging task is dumped by a handler, which must get its signal.
    assert b", in stay\n" in run.log("hang")
    assert survivors(run.events) == []
