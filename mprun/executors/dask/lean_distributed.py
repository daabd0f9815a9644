"""Imports distributed's connections without its client, scheduler and workers, which a run does not use.

Those are a quarter of what `import distributed` takes, which is most of the time until the first task starts.
The package is a lazy module here, which is loaded as a whole if anything else of it is used. This relies on
which modules import which: with a version that no one has tried, it is imported in the ordinary way.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from typing import Any

from mprun.lazy_import import install_lazy

# The newest versions that were tried.
TRIED_PYTHON = (3, 15)
TRIED_DISTRIBUTED = (2026, 8)


def import_core() -> Any:
    """Import `distributed.core`, which is returned, without types."""
    installed = tuple(map(int, re.findall(r"\d+", version("distributed"))))[:2]
    if sys.version_info[:2] <= TRIED_PYTHON and installed <= TRIED_DISTRIBUTED:
        install_lazy("distributed")
        # What `distributed.core` imports from the package: attributes of it by then.
        import distributed.config
        import distributed.profile
        import distributed.protocol
    import distributed.core

    return distributed.core
