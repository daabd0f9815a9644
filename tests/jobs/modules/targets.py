"""Targets for the job files beside; whatever runs leaves a marker."""

from pathlib import Path

NUMBER = 5


def mark():
    Path("started.marker").touch()


def greet(name, times=1):
    mark()


def only_keywords(*, pause):
    mark()


def only_positions(a, /):
    mark()


def anything(*args, **kwargs):
    mark()


class Machine:
    def __init__(self, name):
        mark()

    def start(self):
        mark()
