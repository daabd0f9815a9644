"""The task that prints many short lines."""


def flood(lines: int) -> None:
    """Print the lines as any program would."""
    for _ in range(lines):
        print("a short line")
