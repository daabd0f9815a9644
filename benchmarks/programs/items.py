"""The tasks of a list of COUNT items: one makes it, one is run for each item, one takes all their results."""


def numbers(count: int) -> list[int]:
    """The items."""
    return list(range(count))


def square(number: int) -> int:
    """The result of an item."""
    return number * number


def total(squares: list[int]) -> None:
    """Take the results, and see that they are all there."""
    assert squares == [number * number for number in range(len(squares))]
