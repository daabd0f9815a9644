"""The task that does nothing, in a module whose import takes long."""

import numpy


def noop(_: object = None) -> None:
    """Look at the library, and do nothing with it."""
    assert numpy.pi


if __name__ == "__main__":
    noop()
