"""The script that mprun replaces, for one task: start a process and join it."""

import multiprocessing

from noop import noop

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    process = multiprocessing.Process(target=noop)
    process.start()
    process.join()
