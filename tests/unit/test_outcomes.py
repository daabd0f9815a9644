"""The rule by which an exit proves that an attempt succeeded."""

from __future__ import annotations

import pytest

from mprun.outcomes import attempt_succeeded


@pytest.mark.parametrize(
    ("exit_code", "more", "succeeded"),
    [
        (0, {}, True),
        (1, {}, False),
        (-9, {}, False),
        (None, {}, False),
        (0, {"asked": True}, False),
        (0, {"seconds": 4.9, "timeout": 5.0}, True),
        (0, {"seconds": 5.0, "timeout": 5.0}, False),
        (0, {"seconds": 5.0}, True),
        (1, {"seconds": 4.9, "timeout": 5.0}, False),
    ],
)
def test_an_exit_proves_success_with_code_0_in_time_and_unasked(exit_code, more, succeeded):
    assert attempt_succeeded(exit_code, **more) is succeeded
