"""Runs `mprun ARGUMENTS` with a defect: `defective.py MODULE FUNCTION FIRST LAST ARGUMENTS`.

The function, or `Class.method`, raises an exception from its `FIRST` call to its `LAST`, in the engine alone.
A run that has a defect is given no time to end but the graces of its tasks: what it waits for beside them, it
waits for without end.
"""

import os
import sys
from importlib import import_module

import mprun.__main__
from mprun.engine import defects


def break_function(module, function, first, last):
    """Let a function raise an exception."""
    holder = import_module(module)
    *classes, name = function.split(".")
    for each in classes:
        holder = getattr(holder, each)
    works, engine, calls = getattr(holder, name), os.getpid(), 0

    def broken(*arguments, **options):
        nonlocal calls
        calls += os.getpid() == engine
        if first <= calls <= last:
            raise LookupError(f"injected into {function}")
        return works(*arguments, **options)

    setattr(holder, name, broken)


if __name__ == "__main__":
    _, module, function, first, last, *arguments = sys.argv
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    defects.END_SECONDS = 1000.0
    break_function(module, function, int(first), int(last))
    sys.argv[1:] = arguments
    mprun.__main__.main()
