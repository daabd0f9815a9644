"""Probes of `ready` that an executor makes, without a cluster: when they are asked for, and on the host."""

import select
import socket
import threading
from types import SimpleNamespace

import pytest
from support.ports import held_ports

from mprun.engine.request_prober import RequestProber
from mprun.executors.base import Probed, ProbeRequest
from mprun.executors.dask import host_probes
from mprun.executors.dask.host_probes import HostProbes
from mprun.jobfile.model import Ready

KEY = (3, 1)
SECONDS = 10


def request(kind, what, number=1, key=KEY, **more):
    return ProbeRequest(
        key=key, number=number, task="a", what=(str(what),), env={}, cwd="/", output="", kind=kind, **more
    )


def answer(probes):
    """The next answer."""
    assert select.select([probes], [], [], SECONDS)[0]
    (found,) = probes.take()
    return found.key, found.number, found.exit_code, found.message


def test_a_file_is_looked_for_from_the_directory_of_the_task(tmp_path):
    probes = HostProbes()
    probes.start(request("file", "up", seconds=5.0).replace(cwd=str(tmp_path)))
    assert answer(probes) == (KEY, 1, 1, f"there is no file `{tmp_path}/up`")
    (tmp_path / "up").touch()
    probes.start(request("file", "up", number=2, seconds=5.0).replace(cwd=str(tmp_path)))
    assert answer(probes) == (KEY, 2, 0, "")


def test_a_server_is_connected_to_and_says_why_not():
    probes = HostProbes()
    with held_ports() as (port,):
        with socket.create_server(("127.0.0.1", port)):
            probes.start(request("tcp", port, seconds=5.0))
            assert answer(probes) == (KEY, 1, 0, "")
            # It accepts, and says nothing.
            probes.start(request("http", f"http://127.0.0.1:{port}/", key=(4, 1), seconds=0.2))
            assert answer(probes) == ((4, 1), 1, 1, "")
        probes.start(request("tcp", port, number=2, seconds=5.0))
        assert answer(probes) == (KEY, 2, 1, "connection refused")


def test_a_try_begins_once_the_run_is_resumed():
    probes = HostProbes()
    probes.suspend()
    probes.start(request("file", "/"))
    assert not select.select([probes], [], [], 0.05)[0]
    probes.resume()
    assert answer(probes) == (KEY, 1, 0, "")


def test_a_host_with_all_the_threads_that_it_allows_is_the_reason(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    probes = HostProbes()
    probes.start(request("file", "/"))
    assert answer(probes) == (KEY, 1, 1, "can't start new thread")


def test_what_was_found_out_of_a_process_is_kept_until_its_attempt_has_ended(monkeypatch):
    made = []

    def make(kind, what, cwd, pid):
        made.append(pid)
        return SimpleNamespace(check=lambda deadline: "no")

    monkeypatch.setattr(host_probes, "make_probe", make)
    probes = HostProbes()
    for _ in range(3):
        probes.start(request("tcp", 80, pid=7))
        answer(probes)
    assert made == [7]
    probes.forget(KEY)
    probes.start(request("tcp", 80, pid=8))
    answer(probes)
    assert made == [7, 8]


# -- when the executor is asked


class Asked:
    """An executor, and a clock, that do nothing."""

    def __init__(self):
        self.tries, self.ended, self.now = [], [], 100.0

    def probe(self, request):
        self.tries.append(request.number)

    def end_probe(self, key):
        self.ended.append(key)

    def timed(self, reading=None):
        return self.now if reading is None else reading


@pytest.fixture
def asked():
    return Asked()


def probed(number, message="", code=1, clock=100.0):
    return Probed(key=KEY, clock=clock, number=number, exit_code=code, message=message)


def begin(asked, kind, what="80"):
    prober = RequestProber(asked, asked)
    ready = Ready(kind=kind, what=what, interval=1.0, try_timeout=5.0)
    prober.start(ready, request(kind, what), SimpleNamespace(read_end=lambda limit: b""))
    return prober


def test_a_server_is_asked_for_again_at_every_interval_until_it_answers(asked):
    prober = begin(asked, "tcp")
    assert asked.tries == [1]
    prober.handle_probed(probed(1, "connection refused"))
    assert prober.reason(KEY) == "tcp 80: connection refused"
    assert prober.interval == 1.0
    asked.now += 1.0
    prober.tick()
    assert asked.tries == [1, 2]
    prober.handle_probed(probed(2, code=0))
    assert prober.take_ready() == [KEY]


def test_a_try_on_a_host_has_its_own_limit_and_is_not_given_up_here(asked):
    prober = begin(asked, "http", "http://u:p@a:80/x")
    asked.now += 60.0
    prober.tick()
    assert (asked.tries, asked.ended, prober.interval) == ([1], [], None)
    prober.handle_probed(probed(1))
    assert prober.reason(KEY) == "http a:80: no answer within 5s"


def test_a_file_is_looked_for_once_more_when_the_attempt_has_ended(asked):
    prober = begin(asked, "file", "done")
    # The first try may have looked before the end.
    assert prober.read_to_end(KEY)
    assert asked.tries == [1, 2]
    assert not prober.is_last(probed(1))
    prober.handle_probed(probed(1, "there is no file `done`"))
    assert not prober.was_read_to_end(KEY)
    assert prober.is_last(probed(2))
    prober.handle_probed(probed(2, code=0))
    assert prober.was_ready(KEY)


def test_the_end_of_an_attempt_waits_for_no_server(asked):
    prober = begin(asked, "tcp")
    assert not prober.read_to_end(KEY)
    assert asked.ended == []
