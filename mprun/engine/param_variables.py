"""The variables that set params (`MPRUN_PARAM_X`), which only the tasks that refer to them get."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import PARAM_VARIABLE, param_variable
from mprun.jobfile.references import references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mprun.jobfile.model import Task

# What a reference in a text names: the value of a variable is in the plan, and the reference is not.
_NAMED = re.compile(r"\$\{\s*(params|env)\.([^.}\s]+)")

# The keys that say what a task does, but for `env`.
_COMPARED_KEYS = ("args", "kwargs", "command", "cwd", "expect")


class ParamVariables:
    """The launcher takes these variables out of its environment; a task that refers to one has it again.

    `environment` is that of mprun.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {name: text for name, text in environment.items() if name.startswith(PARAM_VARIABLE)}
        # By the task's id: many instances share one.
        self._of_task: dict[int, dict[str, str]] = {}

    def of(self, task: Task) -> dict[str, str]:
        """The variables that a task refers to, by its keys, the job's `env` or its `defaults`."""
        found = self._of_task.get(id(task))
        if found is None:
            named = {param_variable(name) if root == "params" else name for root, name in _references(task)}
            found = {name: text for name, text in self._values.items() if name in named}
            self._of_task[id(task)] = found
        return found

    def uncompared(self, task: Task) -> dict[str, str]:
        """Those of them whose params are in nothing that is compared: the task sees nothing else of them."""
        compared = _compared(task)
        return {name: text for name, text in self.of(task).items() if name not in compared}


def may_hold_environment(task: Task, *, is_of_recipe: bool) -> bool:
    """Whether a key of a task names a variable of the environment; that of a recipe, maybe by a param."""
    root: Any = task.document.root
    kinds = {"env", "params"} if is_of_recipe else {"env"}
    nodes = (root.get("defaults"), root["tasks"][task.position - 1])
    named = {kind for node in nodes for text in _texts(node) for kind, _ in _NAMED.findall(text)}
    by_default = {kind for text in _texts(root.get("params")) for kind, _ in _NAMED.findall(text)}
    return not kinds.isdisjoint(named) or "env" in by_default


def _compared(task: Task) -> set[str]:
    """The variables of the params whose values are compared, because they are in what the task does."""
    root: Any = task.document.root
    defaults, own = root.get("defaults"), root["tasks"][task.position - 1]
    holders = [one if isinstance(one, dict) else {} for one in (root, defaults, own)]
    env: dict[str, Any] = {}
    for one in holders:
        # What another one sets has no effect.
        env |= one["env"] if isinstance(one.get("env"), dict) else {}
    nodes = [env, *({**holders[1], **holders[2]}.get(key) for key in _COMPARED_KEYS)]
    texts = (text.replace("$$", "") for node in nodes for text in _texts(node))
    return {param_variable(name) for text in texts for kind, name in _NAMED.findall(text) if kind == "params"}


def _references(task: Task) -> Iterator[tuple[str, str]]:
    nodes = (task.args, task.kwargs, task.command, task.env, task.cwd, task.when)
    yield from ((one.root, one.name) for one in references(nodes))
    root: Any = task.document.root
    for node in (root.get("env"), root.get("defaults"), root["tasks"][task.position - 1]):
        for text in _texts(node):
            yield from _NAMED.findall(text)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        if "${" in node:
            yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _texts(item)
