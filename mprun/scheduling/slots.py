"""Gives a plan another number of slots: that of the hosts on which it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling.plan import max_concurrency_of, mode_of

if TYPE_CHECKING:
    from mprun.scheduling.plan import Plan


def with_slots(plan: Plan, slots: int, *, cpus: int) -> Plan:
    """The plan with another number of slots, and of cores on which they are."""
    max_concurrency = max_concurrency_of(plan.tasks, slots, plan.job.resources)
    return plan.replace(
        max_parallel=slots, cpus=cpus, max_concurrency=max_concurrency, mode=mode_of(max_concurrency, cpus)
    )
