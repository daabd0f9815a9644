"""COUNT processes, each started when the one before it was joined."""

import multiprocessing
import sys

from noop import noop

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    for _ in range(int(sys.argv[1])):
        process = multiprocessing.Process(target=noop)
        process.start()
        process.join()
