"""A task that shows its two arguments, however they were passed."""

from __future__ import annotations


def show_info(name: str, age: int) -> dict[str, str | int]:
    print(f"name: {name}, age: {age}")
    return {"name": name, "age": age}
