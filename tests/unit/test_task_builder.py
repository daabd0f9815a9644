"""A checked document becomes a Job: defaults, paths, and spans of errors in a call."""

import os

import pytest

from mprun.jobfile import locate
from mprun.jobfile.loader import JobLoader
from mprun.jobfile.model import Dependency, Expect, JoinEntry, Retry, Stop
from mprun.jobfile.syntax.document import parse


def job(text, path="jobs/demo.yaml"):
    return JobLoader({}, lenient=False).job_of(parse(text, path), {}, ())


def task(lines, before=""):
    """The first task of a job, with these lines; the other task is named `b`."""
    text = before + "tasks:\n  - target: m:f\n" + "".join(f"    {line}\n" for line in lines.splitlines())
    return job(text + "  - {name: b, target: 'm:f'}\n").tasks[0].task


def test_the_smallest_job_has_every_default():
    found = job("tasks:\n  - target: m:f\n")
    assert (found.name, found.description, found.join) == ("demo", "", None)
    assert (found.max_parallel, found.start_method, found.preload, found.pythonpath) == (None, None, (), ())
    assert found.path == os.path.abspath("jobs/demo.yaml")
    only = found.tasks[0].task
    assert (only.name, only.position, only.args, only.kwargs, only.env) == ("Process-1", 1, (), {}, {})
    assert (only.daemon, only.depends_on, only.cwd, only.tags) == (False, (), None, ())


@pytest.mark.parametrize(
    ("path", "name"),
    [("a.yaml", "a"), ("x/b.yml", "b"), ("c", "c"), ("d.job.yaml", "d.job"), (".yaml", ".yaml")],
)
def test_a_job_is_named_after_its_file(path, name):
    assert job("tasks:\n  - target: m:f\n", path).name == name
    assert job("name: own\ntasks:\n  - target: m:f\n", path).name == "own"


def test_defaults_go_before_nothing_and_after_everything():
    before = "defaults: {args: [1], kwargs: {a: 1}, daemon: true, tags: [x], start_method: spawn}\n"
    assert task("", before).args == (1,)
    assert task("args: []", before).args == ()
    found = task("kwargs: {b: 2}\ndaemon: false", before)
    assert (found.kwargs, found.daemon, found.tags, found.start_method) == ({"b": 2}, False, ("x",), "spawn")


def test_environments_are_merged_name_by_name():
    before = "env: {A: job, B: job, C: job}\ndefaults: {env: {B: default, C: default}}\n"
    assert task("env: {C: task}", before).env == {"A": "job", "B": "default", "C": "task"}


def test_paths_are_relative_to_the_job_file():
    folder = os.path.abspath("jobs")
    found = job("pythonpath: [., ../lib, /abs]\ntasks:\n  - target: m:f\n")
    assert found.pythonpath == (folder, os.path.join(os.path.dirname(folder), "lib"), "/abs")
    assert job("pythonpath: src\ntasks:\n  - target: m:f\n").pythonpath == (os.path.join(folder, "src"),)
    assert task("cwd: data").cwd == os.path.join(folder, "data")
    assert task("", "cwd: data\n").cwd == os.path.join(folder, "data")
    assert task("cwd: /tmp", "cwd: data\n").cwd == "/tmp"


@pytest.mark.parametrize("value", ["b", "[b]", "[b, b]"])
def test_a_dependency_without_a_condition_leaves_it_to_the_other_task(value):
    assert task(f"depends_on: {value}").depends_on == (Dependency(task="b", condition=None),)


def test_a_mapping_gives_each_dependency_its_condition():
    assert task("depends_on: {b: failed}").depends_on == (Dependency(task="b", condition="failed"),)


def test_retry_is_a_number_or_all_of_its_parts():
    assert task("retry: 2").retry == Retry(retries=2)
    assert task("").retry == Retry()
    assert task("retry: {delay: 500ms}").retry == Retry(retries=1, delay=0.5)
    text = "{retries: 3, delay: 1, backoff: 2, max_delay: 1m, jitter: 0.5, exceptions: [E], exit_codes: [75]}"
    assert task(f"retry: {text}").retry == Retry(
        retries=3,
        delay=1.0,
        backoff=2.0,
        max_delay=60.0,
        jitter=0.5,
        exceptions=("E",),
        exit_codes=(75,),
    )


def test_stop_takes_a_signal_with_and_without_sig():
    assert task("stop: {signal: INT}").stop == Stop(signal="SIGINT", grace=5.0)
    assert task("stop: {signal: SIGINT, grace: 100ms}").stop == Stop(signal="SIGINT", grace=0.1)
    assert task("stop: {to: process}").stop == Stop(to="process")
    assert task("stop: {to: group}").stop == Stop()


def test_expected_result_may_be_null():
    assert task("expect: {result: null}").expect == Expect(has_result=True)
    assert task("expect: {exit_code: 3}").expect == Expect(exit_codes=(3,))
    assert task("expect: {max_rss: 1MiB}").expect == Expect(max_rss=1024 * 1024)


def test_join_entries_have_a_name_and_perhaps_seconds():
    found = job(
        "tasks: [" + ", ".join(f"{{name: {name}, target: 'm:f'}}" for name in "abcd") + "]\n"
        "join: [a, {task: b}, {task: c, timeout: 1m30s}, {task: d, timeout: 1ms}]"
    )
    assert found.join == (
        JoinEntry(task="a"),
        JoinEntry(task="b"),
        JoinEntry(task="c", timeout=90.0),
        JoinEntry(task="d", timeout=0.001),
    )
    assert job("tasks:\n  - target: m:f\njoin: []").join == ()


def test_arguments_are_plain_copies():
    found = task("args: [{a: [1]}]\nkwargs: {k: {n: null}}")
    assert (type(found.args[0]), type(found.args[0]["a"]), type(found.kwargs)) == (dict, list, dict)
    assert (found.args, found.kwargs) == (({"a": [1]},), {"k": {"n": None}})


# -- spans of errors in a call


def marked(diagnostic):
    line = diagnostic.source.lines[diagnostic.span.line - 1]
    return line[diagnostic.span.column - 1 :][: diagnostic.span.width]


CALL = "args: [1, two, [3]]\nkwargs:\n  name: x\n  age: 5"


@pytest.mark.parametrize(
    ("where", "word", "mark"),
    [
        (("target",), "", "m:f"),
        (("target", "module"), "m", "m"),
        (("target", "callable"), "f", "f"),
        (("target", "callable"), "not there", "m:f"),
        (("args", 1), "", "two"),
        (("args", 2), "", "[3]"),
        (("kwargs", "age"), "age", "age"),
    ],
)
def test_a_diagnostic_marks_just_what_is_wrong(where, word, mark):
    diagnostic = locate.target_diagnostic(task(CALL), "no", where, word, ("agent",))
    assert marked(diagnostic) == mark
    assert diagnostic.message == "no"


def test_a_word_in_both_halves_of_a_target_is_marked_in_the_right_half():
    found = job("tasks:\n  - target: work.work:work.work\n").tasks[0].task
    module = locate.target_diagnostic(found, "", ("target", "module"), "work")
    call = locate.target_diagnostic(found, "", ("target", "callable"), "work")
    assert (module.span.column, call.span.column) == (13, 23)


def test_a_target_from_elsewhere_is_marked_as_a_whole():
    text = "tasks:\n  - &a {target: &t 'm:f'}\n  - {target: *t}\n"
    found = job(text).tasks[1].task
    assert marked(locate.target_diagnostic(found, "", ("target", "callable"), "f")) == "*t"


def test_an_error_in_the_defaults_is_marked_there_and_names_the_task():
    before = "defaults:\n  args: [1, 2]\n"
    diagnostic = locate.target_diagnostic(task("name: a", before), "too many", ("args", 1))
    assert (diagnostic.span.line, marked(diagnostic)) == (2, "2")
    assert diagnostic.message == "in task `a`, too many"
    own = locate.target_diagnostic(task("args: [3, 4]", before), "too many", ("args", 1))
    assert (own.span.line, own.message) == (5, "too many")


def test_a_diagnostic_of_preload_marks_its_entry():
    found = job("preload: [one, two]\ntasks:\n  - target: m:f\n")
    diagnostic = locate.preload_diagnostic(found, 1, "no", "two", ("tow",))
    assert (marked(diagnostic), diagnostic.help) == ("two", "did you mean `tow`?")
