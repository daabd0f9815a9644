"""Plans the instances of a group that are made during the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.dependencies import default_condition
from mprun.jobfile.model import EXPANDED, PASSED
from mprun.scheduling.plan import PlannedTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.jobfile.model import Instance, Needs
    from mprun.scheduling.plan import Reused, Traits


def needed_by_instances(group: PlannedTask) -> Needs:
    """The dependents of a group that wait for its instances, and not only for these to be known."""
    if all(condition != EXPANDED for _, condition in group.needed_by):
        return group.needed_by
    return tuple((after, condition) for after, condition in group.needed_by if condition != EXPANDED)


def plan_instance(
    instance: Instance,
    group: PlannedTask,
    reused: Mapping[str, Reused] | None = None,
    *,
    needs: Needs = (),
    needed_by: Needs | None = None,
    late: bool = True,
) -> PlannedTask:
    """The plan of an instance of `group` that is created during the run.

    It needs no more than the group did, but for `needs`; `needed_by` are its dependents, by default
    those of the group. `late` is as for any task: see `is_late`.
    """
    needed_by = needed_by_instances(group) if needed_by is None else needed_by
    if instance.task.daemon and not group.task.daemon:
        # Only its item says that it is a daemon.
        serves = default_condition(instance.task)
        needed_by = tuple((after, serves if of == PASSED else of) for after, of in needed_by)
    return PlannedTask(
        name=instance.name,
        groups=instance.groups,
        task=instance.task,
        values=instance.values,
        start_method=group.start_method,
        needs=needs,
        needed_by=needed_by,
        late=late,
        reused=None if instance.task.daemon else (reused or {}).get(instance.name),
        copy=instance.copy,
    )


def is_late(instance: Instance, needs: Needs, traits: Traits) -> bool:
    """Whether something about an instance with these `needs` is found out only when it would start.

    Most instances refer to their item alone, and nothing is left to resolve but what they are started with.
    """
    task = instance.task
    return bool(needs) or task.when is not True or bool(task.inherited_conditions) or traits.late(instance)
