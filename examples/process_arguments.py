"""A task that shows what it got from `Process(group, target, name, args, kwargs, daemon)`."""

from __future__ import annotations

from multiprocessing import current_process


def show_arguments(*args: object, **kwargs: object) -> dict[str, object]:
    process = current_process()
    print(f"name={process.name} args={args} kwargs={kwargs} daemon={process.daemon}")
    return {"name": process.name, "args": list(args), "kwargs": kwargs, "daemon": process.daemon}
