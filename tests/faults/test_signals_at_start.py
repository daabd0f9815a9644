"""mprun hears and counts, whoever started it ignored or blocked signals."""

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


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("surroundings", [ignore, block])
def test_whatever_was_ignored_or_blocked_at_the_start_mprun_hears(tmp_path, method, surroundings):
    write(
        tmp_path,
        work="""\
            import signal, sys
            def leave():
                sys.exit(3)
            def stay():
                open("there", "w").close()
                signal.pause()
        """,
        job="""\
            tasks:
            - {name: leave, target: 'work:leave'}
            - {name: stay, target: 'work:stay'}
            - {name: hang, target: 'work:stay', timeout: 500ms}
        """,
    )
    engine = start("job.yaml", "--start-method", method, cwd=tmp_path, preexec_fn=surroundings)
    state_dir = tmp_path / ".mprun"

    def over():
        return "timed_out" in "".join(path.read_text() for path in state_dir.glob("runs/*/events.jsonl"))

    eventually(over)
    eventually((tmp_path / "there").exists)
    engine.send_signal(signal.SIGTERM)
    run = finish(engine, state_dir)
    assert run.code == 143
    assert run.one("task_exited", "leave")["exit_code"] == 3
    assert run.one("task_exited", "stay")["signal"] == "SIGTERM"
    # Where it hung is said by a handler, which hears its signal.
    assert b"in stay\n" in run.log("hang")
    assert survivors(run.events) == []
