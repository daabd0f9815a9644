"""What Python does with what is not needed any more, which a command that only reads does better without."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def paused(*, freezes: bool = False) -> Iterator[None]:
    """Keep the collector from going through all tasks time and again: a seventh of `show` of 100,000.

    When it continues, it `freezes` what there is: to go through all that once takes another tenth. This is
    for commands: in a process that others use, too, garbage of theirs would be kept.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if freezes:
                gc.freeze()
            gc.enable()


def keep(value: object) -> None:
    """Have a value not taken apart before the process ends, as it soon does: a tenth of `show` of 100,000."""
    _kept.append(value)


_kept: list[object] = []
