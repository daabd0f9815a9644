"""What a reason says about an expectation that is not met."""

import pytest

from mprun.engine.expectations import Observed, unmet
from mprun.jobfile.model import Expect


def attempt(**facts):
    """What an attempt that succeeded looks like, apart from these facts."""
    return Observed(
        **{
            "exit_code": 0,
            "words": "exit 0",
            "exceptions": (),
            "result": None,
            "output_problem": "",
            "seconds": 0.333790214,
            "max_rss": 15_126_528,
        }
        | facts
    )


@pytest.mark.parametrize(
    ("expected", "facts", "reason"),
    [
        ({"exit_codes": (3,)}, {"exit_code": 2, "words": "exit 2"}, "expected exit 3, but got exit 2"),
        (
            {"exit_codes": (3, 4)},
            {"exit_code": -9, "words": "killed by SIGKILL"},
            "expected exit 3 or 4, but it was killed by SIGKILL",
        ),
        ({"raises": "ValueError"}, {}, "expected ValueError, but got exit 0"),
        (
            {"raises": "ValueError"},
            {"exceptions": ("KeyError",)},
            "expected ValueError, but KeyError was raised",
        ),
        ({"max_seconds": 0.1}, {}, "expected at most 0.1s, but it took 0.33s"),
        ({"max_seconds": 0.33}, {}, "expected at most 0.33s, but it took 0.333790214s"),
        ({"max_rss": 1_000_000}, {}, "expected at most 1MB of memory, but it used 15MB"),
        ({"max_rss": 15_000_000}, {}, "expected at most 15MB of memory, but it used 15126528B"),
        ({"max_rss": 1_000_000}, {"max_rss": None}, "expected at most 1MB of memory, but the use is unknown"),
        ({"max_seconds": 1, "max_rss": 64_000_000}, {}, ""),
    ],
)
def test_a_reason_says_what_was_expected_and_what_happened(expected, facts, reason):
    assert unmet(Expect(**expected), attempt(**facts)) == reason
