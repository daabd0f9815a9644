"""Parts of a directory of tests, which lanes of `make test` run side by side."""


def is_in_part(path, part):
    """Whether a file of tests is in the part `N/M` of its directory: each Mth one by name, from the Nth."""
    number, count = map(int, part.split("/"))
    return sorted(path.parent.glob("test_*.py")).index(path) % count == number - 1
