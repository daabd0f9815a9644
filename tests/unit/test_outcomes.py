"""How the exit of a process is described."""

import pytest

from mprun.outcomes import format_exit


@pytest.mark.parametrize(
    ("code", "signal", "core", "words"),
    [
        (0, None, False, "exit 0"),
        (255, None, False, "exit 255"),
        (-9, "SIGKILL", False, "killed by SIGKILL"),
        (-11, "SIGSEGV", True, "killed by SIGSEGV (core dumped)"),
        (None, None, False, "exit status unknown"),
    ],
)
def test_each_kind_of_exit_has_its_words(code, signal, core, words):
    assert format_exit(code, signal, core) == words
