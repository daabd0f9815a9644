"""What the engine does about requests from outside."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from mprun.engine.control_requests import ControlRequests
from mprun.engine.signals import REQUEST


def test_a_request_is_left_unanswered_if_there_is_no_descriptor_to_read_it(monkeypatch):
    # The import fails like this if no more files can be opened.
    monkeypatch.delattr("mprun.engine.control", raising=False)
    monkeypatch.setitem(sys.modules, "mprun.engine.control", None)
    inbox = SimpleNamespace(take=lambda: [(REQUEST, 0.0)])
    unused = SimpleNamespace()
    requests = ControlRequests(inbox, unused, unused, unused, unused, unused)
    requests.handle(unused)
    assert (requests.signal, requests.stopped_tasks) == (None, set())
