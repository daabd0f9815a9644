"""The program of the process that hashes what tasks depend on; it waits for files in place of the engine.

Each request on descriptor 0 is a line of JSON, and so is its answer, with what went wrong, "" if nothing.
The first one says which run it is.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

    from mprun.record.unchanged import UnchangedTasks


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    import json

    tasks: UnchangedTasks | None = None
    for line in requests:
        answer: Any = None
        problem = ""
        try:
            request = json.loads(line)
            if tasks is None:
                tasks = _begin(request)
            else:
                answer = _answer(tasks, *request)
        except Exception as error:  # The next request may be a good one.
            problem = describe(error)
        answers.write(json.dumps([answer, problem]) + "\n")
        answers.flush()


def describe(error: Exception) -> str:
    """What went wrong, in words; of what should not happen, also the kind of error."""
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _begin(found: dict[str, Any]) -> UnchangedTasks:
    from mprun.record.code_files import ImportedCode
    from mprun.record.last_results import LastResults
    from mprun.record.state_dir import RunDirectory
    from mprun.record.unchanged import UnchangedTasks

    # This process ignores the variable that sets it.
    sys.pycache_prefix = found["cache"]
    directory = RunDirectory(found["directory"])
    last = LastResults(directory.state, found["job"])
    last.open(create=True)
    last.limit()
    code = ImportedCode(found["modules"], found["path"], found["at_start"])
    return UnchangedTasks(directory, last, code, found["began"], found["files"])


def _answer(tasks: UnchangedTasks, kind: str, *details: Any) -> Any:
    from mprun.record.unchanged import to_question

    if kind == "check":
        return tasks.check(to_question(*details)).to_dict()
    if kind == "finish":
        return tasks.finish(*details)
    return tasks.keep(*details)


def _main() -> None:
    # Isolated, so that nothing of the working directory or the environment is imported.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from mprun.linux import prctl

    prctl.die_with_parent(int(sys.argv[1]))
    # A socket, as two files: the module `socket` takes longer to import than all else that an answer needs.
    with open(0, encoding="ascii") as requests, open(0, "w", encoding="ascii", closefd=False) as answers:
        serve(requests, answers)


if __name__ == "__main__":
    _main()
