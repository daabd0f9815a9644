"""The parts of a small pipeline, in which tasks use the results of others."""

from __future__ import annotations


def fetch(day: str, rows: int = 3) -> dict[str, object]:
    """Pretend to fetch: a day and the numbers of its rows."""
    print(f"fetched {rows} rows of {day}")
    return {"day": day, "rows": list(range(1, rows + 1))}


def crunch(row: int, by: int = 2) -> int:
    """Multiply one row."""
    print(f"{row} x {by} = {row * by}")
    return row * by


def check(row: int) -> int:
    """Return the row, or fail if it is the third."""
    if row == 3:
        raise ValueError(f"row {row} is damaged")
    return row


def total(numbers: list[int | None], label: str = "total") -> int:
    """Add up the results of others, without those that have failed."""
    found = sum(number for number in numbers if number is not None)
    print(f"{label}: {found}")
    return found


def train(model: str, n: int, depth: int | None = None) -> str:
    """Pretend to train one combination of a matrix."""
    print(f"model {model} on {n} rows, depth {depth}")
    return f"{model}{n}"


def report(**named: object) -> None:
    """Print each argument with its type."""
    for name, value in named.items():
        print(f"{name} = {value!r} ({type(value).__name__})")
