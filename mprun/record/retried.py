"""Decides from the record whether a task was flaky in a run: whether it succeeded only after a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_flaky(finished: Mapping[str, Any]) -> bool:
    """Whether a task succeeded only at a later attempt, by its `task_finished` event."""
    if finished.get("outcome") != Outcome.SUCCEEDED:
        return False
    # Older records do not have it.
    flaky, attempts = finished.get("flaky"), finished.get("attempts")
    return flaky if isinstance(flaky, bool) else isinstance(attempts, int) and attempts > 1
