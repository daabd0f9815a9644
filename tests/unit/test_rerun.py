"""Which tasks of a resumed run do not run again, chosen without a run."""

from __future__ import annotations

import pytest
from support.plans import job, task

from mprun.jobfile.model import Retry, Whole
from mprun.jobfile.references import Reference
from mprun.outcomes import Outcome
from mprun.record.rerun import choose_reused
from mprun.record.resume import EarlierRun
from mprun.record.state_dir import RunDirectory
from mprun.scheduling.plan import Reused, plan_tasks


class Name(str):
    """A task's name that counts how often it is looked up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self):
        Name.lookups += 1
        return super().__hash__()


def earlier_run(failed, succeeded):
    return EarlierRun(
        directory=RunDirectory("/none"),
        file="/job.yaml",
        cwd=None,
        params={},
        options={},
        reused={name: Reused(outcome=Outcome.SUCCEEDED, attempts=1, reason="") for name in succeeded},
        lineage=(),
        known_tasks=frozenset({*failed, *succeeded}),
        failed=frozenset(failed),
    )


def group(name, number, **more):
    return task(name, number, foreach=Reference(text="tasks.x.result", root="tasks", name="x"), **more)


@pytest.mark.parametrize("condition", ["succeeded", "finished"])
def test_the_lookups_per_failed_instance_do_not_grow_with_the_instances_of_a_dependent(condition):
    plan = plan_tasks(
        job((group("g", 0), group("h", 1, after=(f"g:{condition}",)))), cpus=2, default_method="fork"
    )

    def lookups(count):
        failed = [Name(f"{one}[{number}]") for one in "gh" for number in range(count)]
        earlier = earlier_run(failed, [])
        Name.lookups = 0
        assert choose_reused(plan, earlier) == {}
        return Name.lookups / count

    assert lookups(200) == lookups(50)


def test_the_lookups_per_failed_task_do_not_grow_with_the_instances_of_their_dependent():
    def lookups(count):
        names = [f"t{number}" for number in range(count)]
        tasks = [task(name, number) for number, name in enumerate(names)]
        last = group("h", count, after=tuple(f"{name}:finished" for name in names))
        plan = plan_tasks(job((*tasks, last)), cpus=2, default_method="fork")
        earlier = earlier_run([*names, *(Name(f"h[{number}]") for number in range(count))], [])
        Name.lookups = 0
        assert choose_reused(plan, earlier) == {}
        return Name.lookups / count

    assert lookups(200) == lookups(50)


def test_a_dependent_of_which_one_instance_has_run_runs_again_whole():
    plan = plan_tasks(
        job((group("g", 0), group("h", 1, after=("g",)), task("i", 2))), cpus=2, default_method="fork"
    )
    earlier = earlier_run(["g[0]", "g[1]", "h[1]"], ["g[2]", "h[0]", "i"])
    assert set(choose_reused(plan, earlier)) == {"g[2]", "i"}


def whole_job(**more):
    whole = Whole(name="r", retry=Retry(retries=1), timeout=None)
    made = [task("r/a", 0, whole=whole), task("r/b", 1, whole=whole), task("out", 2, after=("r/a",))]
    return plan_tasks(job(tuple(made), **more), cpus=2, default_method="fork")


def test_a_recipe_that_is_taken_as_one_runs_again_with_all_that_depends_on_it():
    plan = whole_job()
    assert choose_reused(plan, earlier_run(["r/b"], ["r/a", "out"])) == {}
    assert set(choose_reused(plan, earlier_run([], ["r/a", "r/b"]))) == {"r/a", "r/b"}
    assert choose_reused(plan, earlier_run([], ["r/a", "r/b", "out"]), ["r/b"]) == {}


def test_a_task_that_was_skipped_does_not_run_its_recipe_again():
    earlier = earlier_run([], ["r/a", "out"]).replace(
        known_tasks=frozenset({"r/a", "r/b", "out"}), skipped=frozenset({"r/b"})
    )
    assert set(choose_reused(whole_job(), earlier)) == {"r/a", "out"}


def test_nothing_runs_of_a_recipe_that_is_taken_as_one_and_has_an_unknown_task():
    earlier = earlier_run([], ["r/a"])
    unknown = Reused(outcome=Outcome.UNKNOWN, attempts=1, reason="unknown")
    earlier = earlier.replace(reused={"r/b": unknown})
    chosen = choose_reused(whole_job(), earlier)
    assert {name: (one.outcome, one.attempts) for name, one in chosen.items()} == {
        "r/a": ("unknown", 0),
        "r/b": ("unknown", 1),
    }
    assert "`--rerun-unknown`" in chosen["r/a"].reason
    assert choose_reused(whole_job(), earlier, ["r/b"]) == {}
