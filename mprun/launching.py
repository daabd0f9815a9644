"""The way into the launcher, by which it imports multiprocessing without what only few tasks need.

Each fork would copy that. `multiprocessing.reduction` takes pickle, socket, selectors, struct and
array to import, and `multiprocessing.util` the whole of subprocess for one function: together half
of what the launcher would hold beyond a bare Python, and a tenth of what a short task costs. A task,
or a module of its, that makes use of them imports them then.
"""

from __future__ import annotations

from mprun.standin import put_off, withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def launch(descriptor: int) -> NoReturn:
    """Be a launcher on this end of a socket pair; does not return."""
    import_multiprocessing()
    from mprun.launcher import main

    main(descriptor)


def import_multiprocessing() -> None:
    """Import it, and what the launcher needs of it, as lean as can be."""
    reduction = put_off("multiprocessing.reduction")
    put_off("subprocess", _args_from_interpreter_flags=_args_from_interpreter_flags)
    try:
        import multiprocessing.util
    finally:
        withdraw("subprocess")
    # As the import of a module has it.
    multiprocessing.reduction = reduction


def _args_from_interpreter_flags() -> Any:
    """As subprocess has it."""
    import subprocess

    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
