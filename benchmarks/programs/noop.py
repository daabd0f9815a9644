"""The task that does nothing."""


def noop(_: object = None) -> None:
    """Do nothing; what a pool maps it over is not looked at."""


if __name__ == "__main__":
    noop()
