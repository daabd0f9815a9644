"""Targets for the job files beside; whatever runs leaves a marker."""

import functools
from pathlib import Path

NUMBER = 5


def mark():
    Path("started.marker").touch()


def greet(name, times=1):
    mark()


def only_keywords(*, pause):
    mark()


def anything(*args, **kwargs):
    mark()


class Machine:
    def __init__(self, name):
        mark()

    def start(self):
        mark()

    @classmethod
    def make(cls, name):
        cls(name)


def same(*args, expected, **kwargs):
    assert list(args) == expected, args
    assert kwargs == {"no": "off"}, kwargs


def add(a, b):
    mark()
    return a + b


add_one = functools.partial(add, 1)


def rows():
    mark()
    yield 1


async def wait():
    mark()
