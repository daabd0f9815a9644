"""The process that matches regular expressions is ended when that takes too long (C53)."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.runs import alive, eventually

from mprun.jobfile import matcher
from mprun.jobfile.matcher import Matcher
from mprun.jobfile.matcher_process import FULL, LINES, SEARCH
from mprun.jobfile.patterns import MatchError
from mprun.linux import procfs

HOSTILE = "(a+)+$", [b"a" * 40 + b"!"]


@pytest.fixture
def quarter(monkeypatch):
    """A limit of a quarter of a second: with the real one, each of these tests costs two seconds."""
    monkeypatch.setattr(matcher, "LIMIT_SECONDS", 0.25)


@pytest.fixture
def matching():
    matching = Matcher()
    yield matching
    matching.close()


def children():
    return set(procfs.children())


@pytest.mark.parametrize(
    ("how", "pattern", "parts", "matches"),
    [
        (FULL, "b+", [b"bb"], True),
        (FULL, "b+", [b"bbc"], False),
        (FULL, "\u00e4\\d", ["\u00e41".encode()], True),
        (SEARCH, "^b$", [b"a\n", b"b\nc"], True),
        (SEARCH, "a.b", [b"a\nb"], False),
        (LINES, "^b$", [b"a\nb\nc"], True),
        (LINES, r"a\nb", [b"a\nb"], False),
        (LINES, r"\\xff", [b"\xff"], True),
        (SEARCH, "^$", [], True),
    ],
)
def test_it_matches_as_re_does(matching, how, pattern, parts, matches):
    assert matching.search(how, pattern, parts) is matches


def test_one_process_serves_all_and_ends_with_its_matcher(matching):
    before = children()
    for _ in range(3):
        matching.search(FULL, "b+", [b"bb"])
    assert len(children() - before) == 1
    matching.close()
    assert children() == before


@pytest.mark.parametrize(
    ("how", "pattern", "text"), [(SEARCH, "(a+)+$", b"a" * 40 + b"!"), (SEARCH, "x+y", b"x" * 16 * 1024**2)]
)
def test_a_pattern_that_does_not_end_is_ended_and_the_next_one_is_matched(
    matching, quarter, how, pattern, text
):
    with pytest.raises(MatchError, match=r"it takes longer than 0\.25s of CPU time"):
        matching.search(how, pattern, [text])
    assert matching.search(how, "^a$", [b"a"])


def test_the_limit_is_two_seconds_of_cpu_time(matching):
    before = os.times().children_user
    with pytest.raises(MatchError, match="it takes longer than 2s of CPU time"):
        matching.search(SEARCH, *HOSTILE)
    assert 1.5 < os.times().children_user - before < 3


def test_a_limit_for_all_is_used_up_once(quarter):
    sharing = Matcher(shares_limit=True)
    for _ in range(50):
        with pytest.raises(MatchError, match=r"all patterns of the file take longer than 0\.25s of CPU time"):
            sharing.search(SEARCH, *HOSTILE)
    sharing.close()


def test_memory_is_limited(matching):
    with pytest.raises(MatchError, match="it takes more than 512 MiB of memory"):
        matching.search(LINES, "a", [b"\n" * 64 * 1024**2])
    assert matching.search(SEARCH, "a", [b"a"])


def test_a_process_that_someone_killed_is_replaced(matching):
    before = children()
    matching.search(SEARCH, "a", [b"a"])
    (pid,) = children() - before
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))
    assert matching.search(SEARCH, "a", [b"a"])


def test_a_process_that_is_stopped_is_given_up(matching, monkeypatch):
    before = children()
    matching.search(SEARCH, "a", [b"a"])
    (pid,) = children() - before
    # Once it has started, which takes its time on a busy machine.
    monkeypatch.setattr(matcher, "ANSWER_SECONDS", 0.2)
    matching._socket.settimeout(matcher.ANSWER_SECONDS)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MatchError, match=r"no answer within 0.2s"):
        matching.search(SEARCH, "a", [b"a"])
    assert children() == before


def test_close_ends_a_match_that_another_thread_waits_for(matching):
    before, errors = children(), []

    def search():
        with pytest.raises(MatchError) as caught:
            matching.search(SEARCH, *HOSTILE)
        errors.append(str(caught.value))

    thread = threading.Thread(target=search)
    thread.start()
    eventually(lambda: children() - before)
    matching.close()
    thread.join()
    assert errors == ["it was not matched before the end of the run"]
    assert children() == before


def test_close_ends_the_process_also_when_its_answer_has_just_come(matching, monkeypatch):
    """It was left as a zombie to the program that had run a job."""
    before, answers = children(), []
    has_answer, may_go_on = threading.Event(), threading.Event()
    ask = matching._ask

    def ask_and_wait(*request):
        answer = ask(*request)
        has_answer.set()
        may_go_on.wait()
        return answer

    monkeypatch.setattr(matching, "_ask", ask_and_wait)
    thread = threading.Thread(target=lambda: answers.append(matching.search(SEARCH, "a", [b"a"])))
    thread.start()
    has_answer.wait()
    matching.close()
    may_go_on.set()
    thread.join()
    assert (answers, children()) == ([True], before)


def test_close_ends_a_match_whose_process_is_being_started(matching, monkeypatch):
    before, errors = children(), []
    has_begun, may_go_on = threading.Event(), threading.Event()
    start = matching._start

    def start_slowly():
        has_begun.set()
        may_go_on.wait()
        return start()

    def search():
        try:
            matching.search(SEARCH, "a", [b"a"])
        except MatchError as error:
            errors.append(str(error))

    monkeypatch.setattr(matching, "_start", start_slowly)
    thread = threading.Thread(target=search)
    thread.start()
    assert has_begun.wait(10)
    matching.close()
    may_go_on.set()
    thread.join()
    assert errors == ["it was not matched before the end of the run"]
    assert children() == before


def test_a_python_that_cannot_be_started_is_a_reason(matching, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(MatchError, match="it could not be matched: No such file or directory"):
        matching.search(SEARCH, "a", [b"a"])


def test_it_dies_with_the_process_that_asked(tmp_path):
    code = (
        "from mprun.jobfile.matcher import Matcher\n"
        "matching = Matcher()\n"
        "matching.search('full', 'a', [b'a'])\n"
        "print(matching._pid, flush=True)\n"
        "matching.search('search', '(a+)+$', [b'a' * 40 + b'!'])\n"
    )
    asker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(asker.stdout.readline())

    def cpu_ticks():
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])

    began = cpu_ticks()
    eventually(lambda: cpu_ticks() > began + 5)
    asker.kill()
    asker.wait()
    asker.stdout.close()
    used = 0

    def has_ended():
        nonlocal used
        if alive(pid):
            with contextlib.suppress(OSError):
                used = cpu_ticks()
        return not alive(pid)

    eventually(has_ended)
    # By itself it would have ended after 200.
    assert used - began < 150
