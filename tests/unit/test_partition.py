"""Shards: each task runs in one at least, and the longest shard takes hardly longer than it must."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import job, task

from mprun import api
from mprun.errors import UsageError
from mprun.jobfile.model import Retry, Whole
from mprun.scheduling.estimates import Estimates, RunTimings
from mprun.scheduling.partition import divide, parse_partition


def job_of(spec, daemons=()):
    tasks = enumerate(spec.items())
    return job(tuple(task(name, at, after=after, daemon=name in daemons) for at, (name, after) in tasks))


def estimates(durations):
    return Estimates([RunTimings(durations=durations, until_ready={})])


def shards(found_job, text, durations=None, selection=None):
    partition = parse_partition(text)
    if durations:
        partition = partition.replace(estimates=estimates(durations))
    found = divide(found_job, selection, partition)
    assert found.selected == found.shards[partition.number - 1].tasks
    return [[found_job.tasks[number].name for number in shard.tasks] for shard in found.shards]


def independent(count):
    return {f"t{number}": () for number in range(count)}


def test_slices_are_dealt_in_the_order_of_the_file():
    assert shards(job_of(independent(5)), "slice:1/2") == [["t0", "t2", "t4"], ["t1", "t3"]]
    assert shards(job_of(independent(2)), "slice:3/3")[2] == []


def test_a_task_takes_along_what_it_depends_on():
    spec = {"build": (), "a": ("build",), "b": ("build",), "report": ("b",)}
    assert shards(job_of(spec), "slice:1/2") == [["build", "a"], ["build", "b", "report"]]


def test_a_service_that_nothing_names_is_in_each_shard_with_a_task():
    found = shards(job_of({"log": (), "a": (), "b": ()}, daemons=("log",)), "slice:1/3")
    assert found == [["log", "a"], ["log", "b"], []]
    assert shards(job_of({"log": ()}, daemons=("log",)), "slice:1/2") == [["log"], []]


def test_only_selected_tasks_are_divided():
    assert shards(job_of(independent(4)), "slice:1/2", selection=[1, 2, 3]) == [["t1", "t3"], ["t2"]]


def test_by_hash_a_task_stays_in_its_shard_when_others_come_and_go():
    before = shards(job_of(independent(60)), "hash:1/4")
    assert all(before)
    fewer = dict.fromkeys(list(independent(60))[::3], ())
    after = shards(job_of(fewer), "hash:1/4")
    assert after == [[name for name in shard if name in fewer] for shard in before]
    # The same with every Python and on each machine.
    assert before[0][:3] == ["t0", "t2", "t15"]


def longest(found, durations):
    return max(sum(durations[name] for name in shard) for shard in found)


@pytest.mark.parametrize("seed", range(5))
def test_by_time_the_longest_shard_is_nearly_as_short_as_possible(seed):
    random = Random(seed)
    durations = {name: random.uniform(0.1, 2) for name in independent(40)} | {"t7": 20}
    found = shards(job_of(independent(40)), "time:1/3", durations)
    best = max(20, sum(durations.values()) / 3)
    assert longest(found, durations) <= 1.1 * best
    assert sorted(name for shard in found for name in shard) == sorted(durations)


def test_by_time_what_tasks_share_counts_once_in_a_shard():
    # To build twice takes longer than to run both tests of a build.
    spec = {
        "x": (),
        "y": (),
        "x1": ("x",),
        "y1": ("y",),
        "x2": ("x",),
        "y2": ("y",),
    }
    durations = dict.fromkeys(spec, 1.0) | {"x": 10.0, "y": 10.0}
    assert shards(job_of(spec), "time:1/2", durations) == [["x", "x1", "x2"], ["y", "y1", "y2"]]


def test_without_durations_time_divides_as_slice():
    found_job = job_of(independent(5))
    assert shards(found_job, "time:2/3") == shards(found_job, "slice:2/3")


def test_tasks_without_a_duration_are_spread():
    found = shards(job_of(independent(4)), "time:1/2", {"other": 0.0})
    assert sorted(map(len, found)) == [2, 2]


@given(st.data(), st.integers(1, 5), st.sampled_from(["slice", "hash", "time"]))
def test_no_task_is_left_out_and_none_comes_without_its_needs(data, of, kind):
    names = [f"t{number}" for number in range(data.draw(st.integers(1, 12)))]
    spec = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:place]), max_size=3, unique=True)))
        if place
        else ()
        for place, name in enumerate(names)
    }
    daemons = data.draw(st.sets(st.sampled_from(names), max_size=2))
    durations = {name: data.draw(st.floats(0, 9)) for name in names}
    found = shards(job_of(spec, daemons), f"{kind}:1/{of}", durations)
    assert set().union(*found) == set(names)
    for shard in found:
        assert all(set(spec[name]) <= set(shard) for name in shard)
    assert found == shards(job_of(spec, daemons), f"{kind}:{of}/{of}", durations)


def test_shards_that_were_divided_differently_have_other_digests():
    found_job = job_of(independent(4))
    of = {text: divide(found_job, None, parse_partition(text)).digest for text in ("slice:1/2", "slice:2/2")}
    assert len(set(of.values())) == 1
    other = parse_partition("time:1/2").replace(estimates=estimates({"t0": 9.0, "t1": 1.0}))
    assert divide(found_job, None, other).digest not in of.values()


@pytest.mark.parametrize(
    "text",
    ["", "2/5", "slice", "slice:0/5", "slice:6/5", "slice:1/0", "slice:+1/2", "slice:1/10001", "x:1/2"],
)
def test_what_is_not_a_partition_is_refused(text):
    with pytest.raises(UsageError, match="such as `slice:2/5`"):
        parse_partition(text)


def test_a_shard_can_be_planned_from_python_and_repeated():
    found_job = job_of({"build": (), "a": ("build",), "b": ("build",)})
    found = api.plan_job(found_job, partition="slice:2/2")
    assert [planned.name for planned in found.tasks] == ["build", "b"]
    copies = api.plan_job(found_job, partition="slice:2/2", repeat=2, seed=1)
    assert sorted(planned.name for planned in copies.tasks) == ["b@1", "b@2", "build@1", "build@2"]
    assert api.plan_job(found_job, partition="slice:3/3", repeat=2).tasks == ()


def test_a_recipe_that_is_taken_as_one_is_in_one_shard():
    whole = Whole(name="r", retry=Retry(retries=1), timeout=None)
    tasks = [
        task("r/a", 0, whole=whole),
        task("x", 1),
        task("r/b", 2, whole=whole),
        task("y", 3, after=("r/b",)),
        task("r/db", 4, whole=whole, daemon=True),
    ]
    assert shards(job(tuple(tasks[:3])), "slice:1/2") == [["r/a", "r/b"], ["x"]]
    assert shards(job(tuple(tasks)), "slice:1/2") == [["x"], ["r/a", "r/b", "y", "r/db"]]
