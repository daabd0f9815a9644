"""COUNT bare forks, two at a time: the least that a process for each task can cost in Python."""

import os
import sys

from noop import noop

running = 0
for _ in range(int(sys.argv[1])):
    if running == 2:
        os.wait()
        running -= 1
    if os.fork() == 0:
        noop()
        os._exit(0)
    running += 1
while running:
    os.wait()
    running -= 1
