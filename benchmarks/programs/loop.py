"""A hand-written loop: COUNT processes of MODULE's noop, two at a time, by METHOD."""

import importlib
import multiprocessing
import sys
from multiprocessing.connection import wait

if __name__ == "__main__":
    count, module, method = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    target = importlib.import_module(module).noop
    multiprocessing.set_start_method(method)
    running: list[multiprocessing.Process] = []
    for _ in range(count):
        if len(running) == 2:
            ended = wait([process.sentinel for process in running])
            for process in [process for process in running if process.sentinel in ended]:
                process.join()
                running.remove(process)
        process = multiprocessing.Process(target=target)
        process.start()
        running.append(process)
    for process in running:
        process.join()
