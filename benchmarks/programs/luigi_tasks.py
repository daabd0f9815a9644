"""COUNT tasks of luigi by WORKERS; one worker runs them in its own process, more fork for each."""

import sys

import luigi
from noop import noop


class Noop(luigi.Task):
    """A task without output, so that luigi never takes it as done."""

    number = luigi.IntParameter()

    def complete(self) -> bool:
        return False

    def run(self) -> None:
        noop()


if __name__ == "__main__":
    count, workers = map(int, sys.argv[1:])
    tasks = [Noop(number) for number in range(count)]
    if not luigi.build(tasks, workers=workers, local_scheduler=True, log_level="ERROR"):
        sys.exit(1)
