"""What tasks' processes import of ours, imported in the launcher before it forks them."""

from __future__ import annotations

import contextlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def for_task(command: Any, limits: Any) -> None:
    """Import here what few tasks need, before the first of them would do so in its own process.

    Raises OSError or ImportError where there is no descriptor for it.
    """
    if command is not None:
        import mprun.launcher.exec_command
    if limits:
        import mprun.launcher.rlimits  # noqa: F401


def for_results() -> None:
    """Import what each fork with a result would import, at three times its cost.

    One task alone does not wait for that. Where there is no descriptor for it, none has it from here.
    """
    with contextlib.suppress(OSError, ImportError):
        import mprun.launcher.result_files  # noqa: F401
