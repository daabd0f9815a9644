"""Says what does not fit when a callable cannot be called with its arguments; few jobs need it."""

from __future__ import annotations

import inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # The arguments of `mprun.launcher.targets.TargetError`, in their order.
    Mismatch = tuple[str, tuple[str | int, ...], str, tuple[str, ...]]


def find_mismatch(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mismatch | None:
    """What is wrong with `call(*args, **kwargs)`; None if it binds, or the callable has no signature."""
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(call, "__name__", type(call).__name__)
        message = f"cannot call `{name}{signature}` with these arguments: {error}"
        return message, *_place(signature, args, kwargs)
    return None


def _place(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[str | int, ...], str, tuple[str, ...]]:
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    kinds = {p.kind for p in parameters}
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        return ("args", len(positional)), "", ()
    for name in kwargs:
        if name not in by_name and inspect.Parameter.VAR_KEYWORD not in kinds:
            return ("kwargs", name), name, by_name
        if name in [p.name for p in positional[: len(args)]]:
            return ("kwargs", name), "", ()
    return ("target",), "", ()
