"""The task that does nothing."""


def noop(_: object = None) -> None:
    """Do nothing; the argument is for pools."""


if __name__ == "__main__":
    noop()
