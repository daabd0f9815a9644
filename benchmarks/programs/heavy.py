"""The task that does nothing, in a module whose import takes long."""

import numpy


def noop(_: object = None) -> None:
    """Use the library, and do nothing else."""
    assert numpy.pi


if __name__ == "__main__":
    noop()
