"""Dancing and singing in a module that also says, at import, which process imports it.

Under `fork` that is the main process alone; under `spawn` each task imports the module once more.
"""

from __future__ import annotations

from examples.dancing import dance
from examples.identity import introduce
from examples.singing import sing

__all__ = ["dance", "sing"]

introduce("imported by")
