"""The whole job model with real processes: results, matrix, foreach, conditions, tokens, services."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from collections import Counter

import jsonschema
import pytest
from support.ports import held_ports
from support.runs import (
    START_METHODS,
    eventually,
    finish,
    mprun,
    side_by_side,
    start,
    survivors,
    write,
)

from mprun.jobfile.schema.job_schema import schema_text

every_start_method = pytest.mark.parametrize("method", START_METHODS)
VALIDATOR = jsonschema.Draft7Validator(json.loads(schema_text("event")))
SECRET = "s3cr3t-5e7a-ünique"

WORK = """
    import json
    import os
    import sys
    import time

    def give(value=None):
        return value

    def echo(*args, **kwargs):
        return [*args, kwargs] if kwargs else list(args)

    def loads(text):
        return json.loads(text)

    def boom(*args):
        raise ValueError("boom")

    def flaky(good_from):
        attempt = int(os.environ["MPRUN_ATTEMPT"])
        if attempt < good_from:
            raise ValueError(f"not yet: {attempt}")
        return f"attempt {attempt}"

    def even(n):
        if n % 2:
            raise ValueError("odd")
        return n

    def fail_or_hang(n):
        if n == 1:
            raise ValueError("one")
        time.sleep(60)

    def hold(attempts=1):
        begin = time.monotonic()
        time.sleep(0.03)
        with open("held", "a") as file:
            file.write(f"{begin} {time.monotonic()}\\n")
        if int(os.environ["MPRUN_ATTEMPT"]) < attempts:
            raise ValueError("again")

    def meet(number):
        # Holds its token until the other one holds one, too.
        begin = time.monotonic()
        open(f"meets-{number}", "w").close()
        while not all(os.path.exists(f"meets-{other}") for other in (1, 2)):
            time.sleep(0.005)
        with open("held", "a") as file:
            file.write(f"{begin} {time.monotonic()}\\n")

    def unlike_json():
        return {1, 2}

    def many(count):
        return list(range(count))

    def large(size):
        return {"text": "ü" * size, "end": [1]}

    def env(*names):
        return {name: os.environ.get(name) for name in names}

    def here():
        return os.getcwd()

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)
        return name

    def hang(name="hanging"):
        open(name, "w").close()
        time.sleep(60)

    def same(*args, expected):
        assert list(args) == expected, args

    def check_secret(*given, text):
        assert all(one == text[::-1] for one in given), "not what it should be"
        return len(given)
    """


def assert_sound(run):
    """Properties of every record."""
    for event in run.events:
        VALIDATOR.validate(event)
    ends = Counter(event["task"] for event in run.of("task_finished"))
    assert [name for name, count in ends.items() if count != 1] == []
    for kind in ("task_started", "task_exited", "task_joined", "task_retrying", "task_ready"):
        assert {event["task"] for event in run.of(kind)} <= ends.keys()
    over = run.one("run_finished")
    assert over is run.events[-1]
    assert over["exit_code"] == run.code
    assert Counter(over["counts"]) == Counter(event["outcome"] for event in run.of("task_finished"))
    started = Counter((event["task"], event["attempt"]) for event in run.of("task_started"))
    assert started == Counter((event["task"], event["attempt"]) for event in run.of("task_exited"))
    assert set(started.values()) <= {1}
    for event in run.of("task_finished"):
        assert event["attempts"] == sum(task == event["task"] for task, _ in started)
    joins = run.of("task_joined")
    assert [event["position"] for event in joins] == list(range(1, len(joins) + 1))
    assert survivors(run.events) == []


class Desk:
    """A directory with work.py and job files in it."""

    def __init__(self, path):
        self.path = path
        write(path, work=WORK)

    def write(self, job, **files):
        for name, text in {"job": job, **files}.items():
            self.path.joinpath(f"{name}.yaml").write_text(textwrap.dedent(text), encoding="utf-8")

    def run(self, job, *options, code=0, env=None, files=None):
        """Run a job, and check its exit code and the properties of its record."""
        self.write(job, **(files or {}))
        run = mprun("job.yaml", *options, cwd=self.path, env=env or {})
        assert run.code == code, run.stderr
        assert "Traceback" not in run.stderr
        assert_sound(run)
        return run

    def refused(self, job, *options, command="run", files=None, env=None):
        """The error message of a job that does not start."""
        return self.refused_each(job, [options], command, files, env)[0]

    def refused_each(self, job, alternatives, command="run", files=None, env=None):
        """The error message of a job with each of these options."""
        self.write(job, **(files or {}))
        before = len(list(self.path.glob(".mprun/runs/*")))

        def refused(options):
            run = mprun(command, "job.yaml", *options, cwd=self.path, env=env or {})
            assert (run.code, run.stdout) == (2, ""), run.stderr
            return run.stderr

        messages = side_by_side(refused, alternatives)
        assert len(list(self.path.glob(".mprun/runs/*"))) == before
        return messages


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def outcomes(run):
    return {event["task"]: event["outcome"] for event in run.of("task_finished")}


def reason(run, task):
    return run.one("task_finished", task)["reason"]


# ---- results


@every_start_method
def test_results_keep_their_types(desk, method):
    run = desk.run(
        """
        tasks:
          - name: give
            target: work:give
            kwargs:
              value: {n: 1, f: 1.5, t: true, z: null, s: "1", l: [[10, 20], {"ü": "ß 漢字 🎉"}], e: {}}
          - name: whole
            target: work:echo
            args: ["${tasks.give.result}", "${tasks.give.result.n}", "${tasks.give.result.f}",
                   "${tasks.give.result.t}", "${tasks.give.result.z}", "${tasks.give.result.s}",
                   "${tasks.give.result.l.0.1}", "${tasks.give.result.l.1.ü}", "${tasks.give.result.e}"]
          - name: inside
            target: work:echo
            kwargs:
              text: "n=${tasks.give.result.n} t=${tasks.give.result.t} z=${tasks.give.result.z}"
              more: "l=${tasks.give.result.l} $${tasks.give.result}"
          - name: command
            command: ["printf", "%s|", "${tasks.give.result.n}", "${tasks.give.result.l}", "$${x}"]
            env: {A: "${tasks.give.result.t}", B: "ü${tasks.give.result.l.1.ü}"}
          - name: shell
            command: printf '%s' "$A ${tasks.give.result.l.0}"
            env: {A: "${tasks.give.result.l.1}"}
        """,
        "--start-method",
        method,
    )
    given = run.result("give")
    assert given["l"] == [[10, 20], {"ü": "ß 漢字 🎉"}]
    assert run.result("whole") == [given, 1, 1.5, True, None, "1", 20, "ß 漢字 🎉", {}]
    assert [type(value) for value in run.result("whole")[1:4]] == [int, float, bool]
    text = json.dumps(given["l"], ensure_ascii=False)
    assert run.result("inside") == [{"text": "n=1 t=true z=null", "more": f"l={text} ${{tasks.give.result}}"}]
    assert run.log("command").decode() == f"1|{text}|${{x}}|"
    assert run.log("shell").decode() == '{"ü": "ß 漢字 🎉"} [10, 20]'
    for task in ("whole", "inside", "command", "shell"):
        assert run.place("task_started", task) > run.place("task_exited", "give")


@every_start_method
def test_large_result_is_passed_in_full(desk, method):
    run = desk.run(
        """
        tasks:
          - {name: large, target: "work:large", args: [200000], expect: {result: {text: "${tasks.text.result}", end: [1]}}}
          - {name: text, target: "work:give", args: ["${params.text}"]}
          - {name: same, target: "work:same", args: ["${tasks.large.result.end.0}"], kwargs: {expected: [1]}}
          - {name: all, target: "work:same", args: ["${tasks.large.result}"], kwargs: {expected: ["${tasks.large.result}"]}}
          - {name: null expected, target: "work:large", args: [100000], expect: {result: null}, allow_failure: true}
          - {name: unlike expected, target: "work:unlike_json", expect: {result: null}, allow_failure: true}
        params: {text: {type: string}}
        """,  # noqa: E501
        "--start-method",
        method,
        env={"MPRUN_PARAM_TEXT": "ü" * 60000},
        code=1,
    )
    # The expectation is not met: 200,000 items are not 60,000.
    assert outcomes(run) == {
        "large": "failed",
        "text": "succeeded",
        "same": "skipped",
        "all": "skipped",
        "null expected": "failed",
        "unlike expected": "failed",
    }
    run = desk.run(
        """
        tasks:
          - {name: large, target: "work:large", args: [200000]}
          - {name: same, target: "work:same", args: ["${tasks.large.result.end.0}"], kwargs: {expected: [1]}}
          - {name: all, target: "work:echo", args: ["${tasks.large.result}"], expect: {result: ["${tasks.large.result}"]}}
        """,  # noqa: E501
        "--start-method",
        method,
    )
    assert run.one("task_finished", "large")["result_kind"] == "file"


def test_result_that_is_not_json_fails_only_the_tasks_that_refer_to_it(desk):
    run = desk.run(
        """
        tasks:
          - {name: unlike, target: "work:unlike_json"}
          - {name: refers, target: "work:echo", args: ["${tasks.unlike.result}"]}
          - {name: inside, target: "work:echo", args: ["<${tasks.unlike.result.0}>"]}
          - {name: spread, target: "work:echo", foreach: "${tasks.unlike.result}"}
          - {name: asks, target: "work:echo", when: "${tasks.unlike.result}"}
          - {name: waits, target: "work:echo", depends_on: unlike}
          - {name: after, target: "work:echo", depends_on: {refers: failed}}
          - {name: other, target: "work:echo"}
        """,
        code=1,
    )
    ends = outcomes(run)
    failed = {"refers", "inside", "spread", "asks"}
    assert {task for task, outcome in ends.items() if outcome == "failed"} == failed
    assert {task for task, outcome in ends.items() if outcome == "succeeded"} == ends.keys() - failed
    for task in failed:
        assert reason(run, task) == (
            f"`unlike` returned {{1, 2}}, which is not JSON, so `{task}` cannot receive it; "
            "return a list instead"
        )
    assert run.one("task_finished", "unlike")["result_kind"] == "repr"


def test_result_that_is_not_json_names_what_to_return_instead(tmp_path):
    write(
        tmp_path,
        work="""
        import pathlib
        def path(): return pathlib.PosixPath("/etc")
        def frozen(): return frozenset({"a"})
        def words(): return {"a", "b"}
        def keys(): return {1: {2}}
        """,
        job="""
        tasks:
          - {name: path, target: "work:path"}
          - {name: use path, command: [echo, "${tasks.path.result}"]}
          - {name: frozen, target: "work:frozen"}
          - {name: use frozen, command: [echo, "${tasks.frozen.result}"]}
          - {name: words, target: "work:words"}
          - {name: use words, command: [echo, "${tasks.words.result}"]}
          - {name: keys, target: "work:keys"}
          - {name: use keys, command: [echo, "${tasks.keys.result}"]}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    ends = {name: reason(run, f"use {name}") for name in ("path", "frozen", "words", "keys")}
    assert ends["path"] == (
        "`path` returned a PosixPath, which is not JSON, so `use path` cannot receive it; "
        "return a string instead"
    )
    assert {name: text.partition("; ")[2] for name, text in ends.items()} == {
        "path": "return a string instead",
        "frozen": "return a list instead",
        "words": "return a list instead",
        "keys": "return a list instead",
    }


def test_result_of_a_task_without_one_is_null(desk):
    run = desk.run(
        """
        tasks:
          - {name: nothing, target: "work:give"}
          - {name: skipped, target: "work:give", args: [1], when: false}
          - {name: failed, target: "work:boom", allow_failure: true}
          - {name: retried, target: "work:flaky", args: [3], retry: 2}
          - {name: command, command: ["true"]}
          - name: see
            target: work:echo
            depends_on: {failed: finished}
            args: ["${tasks.nothing.result}", "${tasks.skipped.result}", "${tasks.failed.result}",
                   "${tasks.retried.result}", "${tasks.command.result}", "<${tasks.nothing.result}>"]
          - {name: too deep, target: "work:echo", args: ["${tasks.nothing.result.rows}"]}
          - {name: no such, target: "work:echo", args: ["${tasks.see.result.17}"]}
        """,
        code=1,
    )
    assert run.result("see") == [None, None, None, "attempt 3", None, "<null>"]
    assert reason(run, "too deep") == "invalid reference `${tasks.nothing.result.rows}`: no `rows` in null"
    assert (
        reason(run, "no such") == "invalid reference `${tasks.see.result.17}`: no `17` in a list of 6 items"
    )
    assert run.of("task_started", "too deep") == []


def test_reference_to_a_failed_task_skips_but_waiting_for_its_end_does_not(desk):
    run = desk.run(
        """
        tasks:
          - {name: bad, target: "work:boom"}
          - {name: refers, target: "work:echo", args: ["${tasks.bad.result}"]}
          - {name: chain, target: "work:echo", args: ["${tasks.refers.result}"]}
          - {name: end, target: "work:echo", depends_on: {bad: finished}, args: ["${tasks.bad.result}"]}
          - {name: if bad, target: "work:echo", depends_on: {bad: failed}, args: ["${tasks.bad.result}"]}
          - {name: begun, target: "work:echo", depends_on: {bad: started}, args: ["${tasks.bad.result}"]}
        """,
        code=1,
    )
    assert outcomes(run) == {
        "bad": "failed",
        "refers": "skipped",
        "chain": "skipped",
        "end": "succeeded",
        "if bad": "succeeded",
        "begun": "skipped",
    }
    assert run.result("end") == [None]


@pytest.mark.parametrize("value", ['"a\\u0000b"', '"\\ud800"'], ids=["NUL", "surrogate"])
def test_invalid_argument_of_a_command_fails_only_that_task(desk, value):
    run = desk.run(
        f"""
        tasks:
          - {{name: give, command: "true", allow_failure: true}}
          - {{name: bad, target: "work:loads", args: ['{value}']}}
          - {{name: word, command: ["echo", "${{tasks.bad.result}}"]}}
          - {{name: variable, target: "work:echo", env: {{A: "${{tasks.bad.result}}"}}}}
          - {{name: folder, target: "work:echo", cwd: "${{tasks.bad.result}}"}}
          - {{name: argument, target: "work:echo", args: ["${{tasks.bad.result}}"]}}
          - {{name: other, target: "work:echo", depends_on: bad}}
        """,
        code=1,
    )
    ends = outcomes(run)
    assert ends["bad"] == ends["argument"] == ends["other"] == ends["give"] == "succeeded"
    assert [ends[task] for task in ("word", "variable", "folder")] == ["failed"] * 3


# ---- matrix


@every_start_method
def test_matrix_is_a_task_for_each_combination_with_its_own_policies(desk, method):
    run = desk.run(
        """
        tasks:
          - name: train
            target: work:echo
            matrix:
              model: [a, b]
              n: [1, 2]
              exclude: [{model: b, n: 2}]
              include: [{model: a, extra: [x]}, {model: c, n: 9}]
            args: ["${matrix.model}", "${matrix.n}", "${matrix.extra}", "<${matrix.n}>"]
          - {name: base, target: "work:echo", matrix: {n: [1, 2]}, args: ["b${matrix.n}"]}
          - {name: one, target: "work:echo", matrix: {n: [1, 2]}, depends_on: "base[n=${matrix.n}]"}
          - {name: all, target: "work:echo", depends_on: train, args: ["${tasks.train.result}"]}
          - {name: some, target: "work:echo", depends_on: "train[mod*", args: ["${tasks.base[n=2].result}"]}
          - name: hang
            target: work:hang
            matrix: {t: [200ms, 300ms]}
            timeout: ${matrix.t}
            args: ["hanging-${matrix.t}"]
            allow_failure: true
        join: [one, train, base]
        """,
        "--start-method",
        method,
    )
    assert run.result("all") == [
        [["a", 1, ["x"], "<1>"], ["a", 2, ["x"], "<2>"], ["b", 1, None, "<1>"], ["c", 9, None, "<9>"]]
    ]
    names = [event["task"] for event in run.of("task_started") if event["task"].startswith("train")]
    assert len(names) == 4
    assert {"train[model=b,n=1]", "train[model=c,n=9]"} <= set(names)
    assert run.result("some") == [["b2"]]
    for n in (1, 2):
        assert run.place("task_started", f"one[n={n}]") > run.place("task_exited", f"base[n={n}]")
    for name in names:
        assert run.place("task_started", "all") > run.place("task_exited", name)
    assert [outcomes(run)[f"hang[t={t}]"] for t in ("200ms", "300ms")] == ["timed_out"] * 2
    assert run.one("task_exited", "hang[t=200ms]")["duration"] >= 0.2
    assert run.one("task_exited", "hang[t=300ms]")["duration"] >= 0.3
    joined = [event["task"] for event in run.of("task_joined")]
    assert joined[:2] == ["one[n=1]", "one[n=2]"]
    assert set(joined[2:6]) == set(names)
    assert joined[6:8] == ["base[n=1]", "base[n=2]"]


# ---- foreach


@every_start_method
def test_literal_list_has_items_of_every_type(desk, method):
    run = desk.run(
        """
        tasks:
          - {name: bad, target: "work:boom", allow_failure: true}
          - {name: good, target: "work:give", args: [{rows: [7, 8]}]}
          - name: each
            target: work:echo
            foreach: [1, {a: {b: [2]}, t: 5s}, "${tasks.good.result.rows}", {x: "<${tasks.good.result}>"}, null, "${tasks.bad.result}"]
            args: ["${item}"]
          - {name: all, target: "work:echo", depends_on: {each: finished}, args: ["${tasks.each.result}"]}
        """,  # noqa: E501
        "--start-method",
        method,
    )
    assert run.result("each[0]") == [1]
    assert run.result("each[2]") == [[7, 8]]
    assert run.result("each[3]") == [{"x": '<{"rows": [7, 8]}>'}]
    # The failure of `bad` is allowed.
    assert run.result("each[5]") == [None]
    assert run.result("all") == [
        [[1], [{"a": {"b": [2]}, "t": "5s"}], [[7, 8]], [{"x": '<{"rows": [7, 8]}>'}], [None], [None]]
    ]
    assert run.place("task_started", "each[3]") > run.place("task_exited", "good")


# A new Python for each of a hundred tasks would show no more than for each of ten.
@pytest.mark.parametrize(
    ("method", "count"),
    [(method, count) for method in START_METHODS for count in (0, 1, 100 if method == "fork" else 10)],
)
def test_returned_list_becomes_tasks(desk, method, count):
    run = desk.run(
        f"""
        tasks:
          - {{name: list, target: "work:many", args: [{count}]}}
          - {{name: each, target: "work:echo", foreach: "${{tasks.list.result}}", args: ["${{item}}"]}}
          - {{name: all, target: "work:echo", args: ["${{tasks.each.result}}"]}}
          - {{name: after, target: "work:echo", depends_on: each}}
        """,
        "--start-method",
        method,
    )
    assert run.result("all") == [[[n] for n in range(count)]]
    names = [f"each[{n}]" for n in range(count)]
    assert {task for task in outcomes(run) if task.startswith("each")} == set(names or ["each"])
    for name in names:
        assert run.place("task_started", "after") > run.place("task_finished", name)
    joined = [event["task"] for event in run.of("task_joined")]
    assert joined == ["list", *names, "all", "after"]
    assert run.of("task_joined")[-1]["of"] == len(joined)
    shown = mprun("show", cwd=desk.path)
    assert (shown.code, shown.stderr) == (0, "")
    if count == 0:
        assert reason(run, "each") == "the list is empty"
        assert (run.result("each"), run.of("task_started", "each")) == ([], [])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("{a: 1}", "a mapping"),
        ("text", "a string"),
        ("3", "a number"),
        ("true", "a boolean"),
        ("null", "null"),
    ],
)
def test_foreach_over_a_value_that_is_not_a_list_fails(desk, value, kind):
    run = desk.run(
        f"""
        tasks:
          - {{name: list, target: "work:give", args: [{value}]}}
          - {{name: each, target: "work:echo", foreach: "${{tasks.list.result}}"}}
          - {{name: after, target: "work:echo", depends_on: each}}
        """,
        code=1,
    )
    assert outcomes(run) == {"list": "succeeded", "each": "failed", "after": "skipped"}
    assert reason(run, "each") == f"`foreach` must be a list, but `${{tasks.list.result}}` is {kind}"


def test_items_set_policies_and_an_invalid_one_fails_the_group(desk):
    run = desk.run(
        """
        tasks:
          - {name: list, target: "work:give", args: [[{t: 100ms, f: h1}, {t: 200ms, f: h2}]]}
          - name: each
            target: work:hang
            foreach: ${tasks.list.result}
            timeout: ${item.t}
            args: ["${item.f}"]
            allow_failure: true
          - {name: bad, target: "work:echo", foreach: "${tasks.list.result}", timeout: "${item.f}"}
          - {name: nowhere, target: "work:echo", foreach: "${tasks.list.result}", args: ["${item.zz}"]}
          - {name: policy, target: "work:echo", foreach: "${tasks.list.result}", timeout: "${item.zz}"}
        """,
        code=1,
    )
    ends = outcomes(run)
    assert [ends["each[0]"], ends["each[1]"]] == ["timed_out", "timed_out"]
    assert run.one("task_exited", "each[1]")["duration"] >= 0.2
    assert ends["bad"] == ends["policy"] == "failed"
    assert "must be a duration" in reason(run, "bad")
    assert "unknown key `zz`" in reason(run, "policy")
    assert {task: ends[task] for task in ends if task.startswith("nowhere")} in (
        {"nowhere": "failed"},
        {"nowhere[0]": "failed", "nowhere[1]": "failed"},
    )


def test_foreach_over_the_results_of_another_foreach(desk):
    run = desk.run(
        """
        tasks:
          - {name: list, target: "work:many", args: [3]}
          - {name: first, target: "work:give", foreach: "${tasks.list.result}", args: ["${item}0"]}
          - {name: second, target: "work:echo", foreach: "${tasks.first.result}", args: ["<${item}>"]}
          - {name: third, target: "work:echo", foreach: "${tasks.second.result}", args: ["${item.0}"]}
          - {name: all, target: "work:echo", args: ["${tasks.third.result}", "${tasks.second.result.1}", "${tasks.first*.result}"]}
        """  # noqa: E501
    )
    assert run.result("all") == [[["<00>"], ["<10>"], ["<20>"]], ["<10>"], ["00", "10", "20"]]


def test_failed_instances_are_retried_allowed_or_skip_the_dependents(desk):
    run = desk.run(
        """
        tasks:
          - {name: list, target: "work:many", args: [4]}
          - {name: retried, target: "work:flaky", foreach: "${tasks.list.result}", args: ["${item}"], retry: 3}
          - {name: bad, target: "work:even", foreach: "${tasks.list.result}", args: ["${item}"]}
          - {name: allowed, target: "work:even", foreach: "${tasks.list.result}", args: ["${item}"], allow_failure: true}
          - {name: after, target: "work:echo", depends_on: bad}
          - {name: end, target: "work:echo", depends_on: {bad: finished}, args: ["${tasks.bad.result}"]}
          - {name: chosen, target: "work:echo", when: "${tasks.allowed.result}", depends_on: {allowed: finished}}
        """,  # noqa: E501
        code=1,
    )
    ends = outcomes(run)
    assert [run.one("task_finished", f"retried[{n}]")["attempts"] for n in range(4)] == [1, 1, 2, 3]
    assert [ends[f"bad[{n}]"] for n in range(4)] == ["succeeded", "failed"] * 2
    assert [run.one("task_finished", f"allowed[{n}]")["allowed"] for n in range(4)] == [False, True] * 2
    assert ends["after"] == "skipped"
    assert run.result("end") == [[0, None, 2, None]]
    assert ends["chosen"] == "succeeded"


def test_fail_fast_ends_a_foreach_completely(desk):
    run = desk.run(
        """
        fail_fast: true
        max_parallel: 2
        tasks:
          - {name: list, target: "work:many", args: [30]}
          - {name: each, target: "work:fail_or_hang", foreach: "${tasks.list.result}", args: ["${item}"]}
          - {name: nested, target: "work:echo", foreach: "${tasks.each.result}", args: ["${item}"]}
        """,
        code=1,
    )
    ends = outcomes(run)
    # The other running task does not end by itself, however late the failure comes.
    assert (ends["each[0]"], ends["each[1]"]) == ("stopped", "failed")
    assert {ends[f"each[{number}]"] for number in range(2, 30)} == {"cancelled"}
    assert ends["nested"] == "skipped"
    assert "each" not in ends


@pytest.mark.parametrize("options", [(), ("-j", "1")], ids=["many", "one"])
def test_ctrl_c_during_a_foreach_leaves_no_process(desk, options):
    desk.write(
        """
        tasks:
          - {name: list, target: "work:many", args: [3]}
          - {name: each, target: "work:hang", foreach: "${tasks.list.result}", args: ["h${item}"]}
          - {name: after, target: "work:echo", args: ["${tasks.each.result}"]}
          - {name: later, target: "work:echo", foreach: "${tasks.after.result}"}
        """
    )
    process = start("job.yaml", *options, cwd=desk.path, process_group=0)
    eventually(lambda: (desk.path / "h0").exists())
    process.send_signal(signal.SIGINT)
    run = finish(process, desk.path / ".mprun")
    assert run.code == 130
    assert_sound(run)
    ends = outcomes(run)
    assert set(ends) == {"list", "each[0]", "each[1]", "each[2]", "after", "later"}
    assert ends["each[0]"] == "stopped"
    assert ends["after"] == ends["later"] == "cancelled"
    if options:
        assert ends["each[2]"] == "cancelled"


def test_sequential_foreach_keeps_the_order_of_the_file(desk):
    run = desk.run(
        """
        tasks:
          - {name: list, target: "work:many", args: [5]}
          - {name: each, target: "work:echo", foreach: "${tasks.list.result}", args: ["${item}"]}
          - {name: last, target: "work:echo"}
        """,
        "-j",
        "1",
    )
    order = [event["task"] for event in run.of("task_started")]
    assert [task for task in order if task.startswith("each")] == [f"each[{n}]" for n in range(5)]
    running = 0
    for event in run.events:
        running += {"task_started": 1, "task_exited": -1}.get(event["event"], 0)
        assert running <= 1


def test_item_that_claims_a_missing_token_fails(desk):
    run = desk.run(
        """
        resources: {db: 2}
        tasks:
          - {name: list, target: "work:give", args: [[1, 2]]}
          - {name: more, target: "work:give", args: [[1, 3]]}
          - {name: each, target: "work:echo", foreach: "${tasks.list.result}", resources: {db: "${item}"}}
          - {name: over, target: "work:echo", foreach: "${tasks.more.result}", resources: {db: "${item}"}}
          - {name: unknown, target: "work:echo", foreach: "${tasks.more.result}", resources: {"t${item}": 1}}
          - {name: servers, command: "sleep 60", daemon: true, foreach: "${tasks.list.result}",
             resources: {db: 1}, allow_failure: true}
        """,
        code=1,
    )
    ends = outcomes(run)
    assert ends["each[1]"] == "succeeded"
    assert ends["over"] == "failed"
    assert reason(run, "over") == "task `over` claims 3 of `db`, but the job has only 2"
    assert reason(run, "unknown") == "unknown token `t1`"
    assert ends["servers"] == "failed"
    assert reason(run, "servers").startswith("its daemons would hold 2 of `db`, but `each")


def test_item_that_claims_the_token_of_a_daemon_fails(desk):
    """The daemon holds it until the job ends, so the task would wait without end."""
    run = desk.run(
        """
        resources: {db: 2}
        tasks:
          - {name: server, command: "sleep 60", daemon: true, resources: {db: 1}}
          - {name: list, target: "work:give", args: [[1, 2]], depends_on: {server: started}}
          - {name: each, target: "work:echo", foreach: "${tasks.list.result}", resources: {db: "${item}"}}
        """,
        code=1,
    )
    assert outcomes(run) == {"server": "stopped", "list": "succeeded", "each": "failed"}
    assert reason(run, "each") == "it could never start: daemon `server` holds `db` until the job ends"


def test_daemons_of_a_list_that_claim_too_many_tokens_together_fail(desk):
    run = desk.run(
        """
        resources: {db: 2}
        tasks:
          - {name: list, target: "work:many", args: [3]}
          - {name: servers, command: "sleep 60", daemon: true, foreach: "${tasks.list.result}",
             resources: {db: 1}}
          - {name: last, target: "work:echo", depends_on: {servers: finished}}
        """,
        code=1,
    )
    assert outcomes(run) == {"list": "succeeded", "servers": "failed", "last": "succeeded"}
    assert reason(run, "servers") == "the daemons claim 3 of `db`, but the job has only 2"


def test_item_waits_for_the_token_of_a_task_that_is_not_a_daemon(desk):
    """`holder` ends after `each` was expanded, because it waits for what `first` writes then."""
    run = desk.run(
        """
        resources: {db: 1}
        tasks:
          - {name: holder, target: "work:wait_for", args: [expanded], resources: {db: 1}}
          - {name: list, target: "work:give", args: [[1]], depends_on: {holder: started}}
          - {name: first, command: "touch expanded", foreach: "${tasks.list.result}"}
          - {name: each, target: "work:echo", foreach: "${tasks.list.result}", resources: {db: "${item}"}}
        """
    )
    assert set(outcomes(run).values()) == {"succeeded"}
    order = [(event["event"], event["task"]) for event in run.events if event.get("task")]
    assert order.index(("task_exited", "holder")) < order.index(("task_started", "each[0]"))


def test_item_gets_the_token_of_a_daemon_that_has_finished_or_was_skipped(desk):
    run = desk.run(
        """
        resources: {db: 1, gpu: 1}
        tasks:
          - {name: no, target: "work:give", args: [false]}
          - {name: ended, command: "true", daemon: true, resources: {db: 1}}
          - {name: skipped, command: "sleep 60", daemon: true, when: "${tasks.no.result}",
             resources: {gpu: 1}}
          - {name: list, target: "work:give", args: [[1]],
             depends_on: {ended: finished, skipped: finished}}
          - {name: each, target: "work:echo", foreach: "${tasks.list.result}",
             resources: {db: "${item}", gpu: "${item}"}}
        """
    )
    ends = outcomes(run)
    assert (ends["ended"], ends["skipped"], ends["each[0]"]) == ("succeeded", "skipped", "succeeded")


# ---- recipes


INNER = """
    params: {word: x, late: null, token: ""}
    env: {WHO: inner, BOTH: inner}
    cwd: sub
    tasks:
      - {name: say, target: "work:echo", args: ["${params.word}", "${params.late}"], tags: [talk]}
      - {name: env, target: "work:env", args: [WHO, BOTH, OUTER, TASK], env: {TASK: task}}
      - {name: here, target: "work:here", depends_on: say}
      - {name: used, target: "work:echo", args: ["${tasks.say.result}"], env: {T: "${params.token}"}}
    """
MIDDLE = """
    params: {word: x, late: null}
    tasks:
      - name: in
        uses: inner.yaml
        matrix: {n: [1, 2]}
        with: {word: "${params.word}${matrix.n}", late: "<${params.late}>"}
        env: {BOTH: "m${matrix.n}"}
    """


@every_start_method
def test_nested_recipes_under_a_matrix_with_results(desk, method):
    desk.path.joinpath("parts", "sub").mkdir(parents=True)
    desk.path.joinpath("parts", "middle.yaml").write_text(textwrap.dedent(MIDDLE))
    desk.path.joinpath("parts", "inner.yaml").write_text(textwrap.dedent(INNER))
    run = desk.run(
        """
        env: {OUTER: outer, WHO: outer}
        tasks:
          - {name: first, target: "work:give", args: [41]}
          - {name: u, uses: parts/middle.yaml, with: {word: w, late: "${tasks.first.result}"}, depends_on: gate, tags: [big]}
          - {name: gate, target: "work:echo"}
          - {name: after, target: "work:echo", depends_on: u, args: ["${tasks.u/in[n=2]/say.result}"]}
          - {name: all, target: "work:echo", args: ["${tasks.u/in*/say.result}"]}
        """,  # noqa: E501
        "--start-method",
        method,
    )
    assert run.result("u/in[n=1]/say") == ["w1", "<41>"]
    assert run.result("u/in[n=2]/used") == [["w2", "<41>"]]
    assert run.result("u/in[n=1]/env") == {"WHO": "inner", "BOTH": "m1", "OUTER": "outer", "TASK": "task"}
    assert run.result("u/in[n=2]/here") == str(desk.path / "parts" / "sub")
    assert run.result("after") == [["w2", "<41>"]]
    assert run.result("all") == [[["w1", "<41>"], ["w2", "<41>"]]]
    mine = [task for task in outcomes(run) if task.startswith("u/")]
    assert len(mine) == 8
    for task in mine:
        assert run.place("task_started", task) > run.place("task_exited", "gate")
        assert run.place("task_started", "after") > run.place("task_exited", task)
    files = {os.path.relpath(one["path"], desk.path) for one in run.one("run_started")["files"]}
    assert files == {"job.yaml", "parts/middle.yaml", "parts/inner.yaml"}
    tagged = mprun("plan", "job.yaml", "-t", "talk", "--format", "json", cwd=desk.path)
    names = [task["name"] for task in json.loads(tagged.stdout)["tasks"]]
    assert names == ["first", "u/in[n=1]/say", "u/in[n=2]/say", "gate"]


def test_outputs_of_recipes_are_results_also_in_a_resumed_run(desk):
    desk.path.joinpath("inner.yaml").write_text(
        textwrap.dedent("""
        params: {rows: [1]}
        outputs: {rows: "${tasks.load.result.rows}", all: "${tasks.each.result}"}
        tasks:
          - {name: load, target: "work:give", args: [{rows: "${params.rows}"}]}
          - {name: each, target: "work:echo", foreach: "${tasks.load.result.rows}", args: ["${item}"]}
        """)
    )
    desk.path.joinpath("outer.yaml").write_text(
        textwrap.dedent("""
        params: {rows: null}
        outputs: {first: "${tasks.in.outputs.rows.0}"}
        tasks: [{name: in, uses: inner.yaml, with: {rows: "${params.rows}"}}]
        """)
    )
    job = """
        tasks:
          - name: report
            target: work:echo
            args: ["${tasks.b.outputs.first}", "of ${tasks.a.outputs.all.1}"]
          - {name: late, target: "work:echo", foreach: "${tasks.a.outputs.rows}", args: ["${item}"]}
          - {name: a, uses: inner.yaml, with: {rows: [2, 3]}}
          - {name: b, uses: outer.yaml, with: {rows: "${tasks.a.outputs.rows}"}}
          - {name: one, target: "work:echo", args: ["${tasks.m[1].outputs.rows}"]}
          - {name: m, uses: inner.yaml, foreach: [[1], [2]], with: {rows: "${item}"}}
          - name: flaky
            command: 'test -e ready || exit 1; echo "$@" $ROWS'
            env: {ROWS: "${tasks.a.outputs.rows.1}"}
            capture: text
        """
    run = desk.run(job, code=1)
    assert run.result("report") == [2, "of [3]"]
    assert [run.result(f"late[{n}]") for n in (0, 1)] == [[2], [3]]
    assert run.result("one") == [[2]]
    desk.path.joinpath("ready").touch()
    resumed = mprun("resume", cwd=desk.path)
    assert resumed.code == 0, resumed.stderr
    assert mprun("result", "flaky", cwd=desk.path).stdout.strip() == '"3"'


def test_recipe_whose_when_is_false_is_skipped_and_counts_as_success(desk):
    desk.path.joinpath("sub").mkdir()
    run = desk.run(
        """
        tasks:
          - {name: ask, target: "work:give", args: [false]}
          - {name: known, uses: inner.yaml, when: "no"}
          - {name: asked, uses: inner.yaml, when: "${tasks.ask.result}"}
          - {name: both, uses: outer.yaml, with: {go: "${tasks.ask.result}"}}
          - name: after
            target: work:echo
            depends_on: [known, asked, both]
            args: ["${tasks.asked/say.result}"]
        """,
        files={
            "inner": INNER,
            "outer": "params: {go: true}\ntasks: [{name: in, uses: inner.yaml, when: '${params.go}'}]",
        },
    )
    ends = outcomes(run)
    assert {task for task, outcome in ends.items() if outcome == "skipped"} == ends.keys() - {"ask", "after"}
    assert len(ends) == 14
    assert {reason(run, task) for task in ends.keys() - {"ask", "after"}} == {"`when` is false"}
    assert run.result("after") == [None]


# ---- when


def test_false_values_skip_and_all_others_do_not(desk):
    false = ["false", "null", "0", "0.0", '""', '"no"', '"No"', '"OFF"', '"0"', '"False"', '" off "']
    true = ["true", "1", "-1", '"yes"', '"on"', '"x"', '"null"', '"0.0"', "0.5"]
    lists = {"[]": False, "[0]": True, "{}": False, "{a: 0}": True}
    lines = ["tasks:"]
    expected = {}
    for number, text in enumerate([*false, *true]):
        lines.append(f"  - {{name: l{number}, target: 'work:give', when: {text}}}")
        lines.append(f"  - {{name: g{number}, target: 'work:give', args: [{text}]}}")
        lines.append(f"  - {{name: r{number}, target: 'work:give', when: '${{tasks.g{number}.result}}'}}")
        expected[f"l{number}"] = expected[f"r{number}"] = text in true
    for number, (text, runs) in enumerate(lists.items()):
        lines.append(f"  - {{name: gl{number}, target: 'work:give', args: [{text}]}}")
        lines.append(f"  - {{name: rl{number}, target: 'work:give', when: '${{tasks.gl{number}.result}}'}}")
        expected[f"rl{number}"] = runs
    run = desk.run("\n".join(lines))
    ends = outcomes(run)
    found = {task: ends[task] == "succeeded" for task in expected}
    assert found == expected
    assert {outcome for task, outcome in ends.items() if not expected.get(task, True)} == {"skipped"}


def test_chains_of_skipped_tasks(desk):
    run = desk.run(
        """
        params: {go: false}
        tasks:
          - {name: off, target: "work:give", args: [5], when: "${params.go}"}
          - {name: next, target: "work:give", depends_on: off, args: ["${tasks.off.result}"]}
          - {name: asks, target: "work:give", when: "${tasks.off.result}"}
          - {name: last, target: "work:give", depends_on: asks, args: [last]}
          - {name: if failed, target: "work:give", depends_on: {off: failed}}
          - {name: if started, target: "work:give", depends_on: {off: started}}
          - {name: beyond, target: "work:give", depends_on: if failed}
        """,
    )
    assert outcomes(run) == {
        "off": "skipped",
        "next": "succeeded",
        "asks": "skipped",
        "last": "succeeded",
        "if failed": "skipped",
        "if started": "succeeded",
        "beyond": "skipped",
    }
    assert run.one("run_finished")["outcome"] == "succeeded"
    again = desk.run(desk.path.joinpath("job.yaml").read_text(), "-p", "go=true")
    assert (again.outcome("off"), again.result("next")) == ("succeeded", 5)


# ---- tokens


@every_start_method
def test_tokens_are_never_overcommitted_and_are_released(desk, method):
    run = desk.run(
        """
        resources: {db: 2}
        tasks:
          - {name: meet, target: "work:meet", matrix: {n: [1, 2]}, args: ["${matrix.n}"], resources: {db: 1}}
          - {name: plain, target: "work:hold", matrix: {n: [1, 2, 3, 4]}, resources: {db: 1}}
          - {name: again, target: "work:hold", matrix: {n: [1, 2]}, args: [3], retry: 3, resources: {db: 1}}
          - {name: list, target: "work:many", args: [3]}
          - {name: late, target: "work:hold", foreach: "${tasks.list.result}", resources: {db: 1}}
        """,
        "--start-method",
        method,
    )
    lines = (desk.path / "held").read_text().splitlines()
    assert len(lines) == 2 + 4 + 2 * 3 + 3
    edges = []
    for line in lines:
        begin, end = map(float, line.split())
        edges += [(begin, 1), (end, -1)]
    held = most = 0
    for _, change in sorted(edges):
        held += change
        most = max(most, held)
    assert most == 2
    assert set(outcomes(run).values()) == {"succeeded"}


# ---- restarts


def test_daemons_restart_by_their_policy_until_the_run_ends(desk):
    run = desk.run(
        """
        tasks:
          - {name: failing, command: "echo x >> failing; exit 3", daemon: true, restart: on-failure}
          - {name: done, command: "echo x >> done", daemon: true, restart: on-failure}
          - {name: always, command: "echo x >> always", daemon: true, restart: always}
          - {name: never, command: "echo x >> never; exit 3", daemon: true, allow_failure: true}
          - {name: wait, target: "work:wait_for", args: [enough]}
          - {name: count, command: "until [ $(wc -l < always) -ge 3 ] && [ $(wc -l < failing) -ge 3 ]; do sleep 0.01; done; touch enough"}
        """,  # noqa: E501
        code=1,
    )
    ends = outcomes(run)
    assert (ends["done"], ends["wait"]) == ("succeeded", "succeeded")
    assert [(desk.path / name).read_text() for name in ("done", "never")] == ["x\n", "x\n"]
    for task in ("failing", "always"):
        delays = [event["delay"] for event in run.of("task_retrying", task)]
        assert len(delays) >= 2
        assert {event["reason"] for event in run.of("task_retrying", task)} == {"restart"}
        assert delays == sorted(delays)
        assert delays[0] < delays[1]
        assert run.one("task_finished", task)["attempts"] >= 3
    # A task that waited for its next attempt has the outcome of the last one.
    assert ends["failing"] in ("failed", "stopped")


# ---- selections


SELECT = """
    tasks:
      - {name: fetch, target: "work:give", args: [1], tags: [io]}
      - {name: crunch, target: "work:echo", args: ["${tasks.fetch.result}"], tags: [cpu]}
      - {name: store, target: "work:echo", depends_on: crunch, tags: [io]}
      - {name: extra, target: "work:echo"}
      - {name: list, target: "work:many", args: [2]}
      - {name: each, target: "work:echo", foreach: "${tasks.list.result}", tags: [late]}
    join: [store, extra]
    """


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-k", "cr*"], ["fetch", "crunch"]),
        (["-k", "store", "--no-deps"], ["store"]),
        (["-k", "store", "-k", "extra"], ["fetch", "crunch", "store", "extra"]),
        (["-t", "io"], ["fetch", "crunch", "store"]),
        (["-t", "io", "--no-deps"], ["fetch", "store"]),
        (["-t", "io", "-k", "f*"], ["fetch"]),
        (["-t", "late"], ["list", "each[0]", "each[1]"]),
    ],
)
def test_selected_tasks_run_with_their_dependencies(desk, options, names):
    run = desk.run(SELECT, *options)
    assert outcomes(run).keys() == set(names)
    assert run.one("run_started")["tasks"] <= len(names)


def test_empty_selection_and_one_without_a_needed_result(desk):
    desk.write(SELECT)
    nothing = [("-k", "nope"), ("-t", "nope"), ("-t", "cpu", "-k", "fetch")]
    commands = [(command, "job.yaml", *options) for command in ("run", "plan") for options in nothing]
    for run in side_by_side(lambda command: mprun(*command, cwd=desk.path), commands):
        assert (run.code, run.directory) == (4, None)
    message = desk.refused(SELECT, "-k", "crunch", "--no-deps")
    assert "task `fetch`, whose result this is, is not part of the run" in message
    assert "--> job.yaml:4:49" in message
    assert "is not part of the run" in desk.refused(SELECT, "-k", "each", "--no-deps")
    assert "is not part of the run" in desk.refused(SELECT, "-k", "crunch", "--no-deps", command="plan")


# ---- params and env files


PARAMS = """
    params:
      s: text
      n: {type: integer, default: 1}
      f: {type: number, default: 1.5}
      b: {type: boolean, default: false}
      l: {type: list, default: [1]}
      d: {type: string, required: true, pattern: '\\d{4}'}
    env_file: vars.env
    env: {JOB: "${params.s}", FROM: "${env.FILE}"}
    max_parallel: ${params.n}
    tasks:
      - {name: see, target: "work:echo", args: ["${params.s}", "${params.n}", "${params.f}", "${params.b}", "${params.l}", "${params.d}", "${env.FILE}"]}
      - {name: env, target: "work:env", args: [FILE, JOB, FROM, QUOTED, OWN], env: {OWN: "${env.JOB}!"}, timeout: "${params.n}"}
    """  # noqa: E501


def test_params_of_every_type_and_an_env_file(desk):
    (desk.path / "vars.env").write_text("FILE=from file\nexport QUOTED='a # b'\n")
    (desk.path / "long").write_text("text of a file\n")
    options = ["-p", "d=2026", "-p", "n=30", "-p", "f=2", "-p", "b=true", "-p", "l=[a, 2]", "-p", "s=@long"]
    run = desk.run(PARAMS, *options)
    assert run.result("see") == ["text of a file", 30, 2, True, ["a", 2], "2026", "from file"]
    assert run.result("env") == {
        "FILE": "from file",
        "JOB": "text of a file",
        "FROM": "from file",
        "QUOTED": "a # b",
        "OWN": "text of a file!",
    }
    assert run.one("run_started")["params"]["l"] == ["a", 2]
    assert run.one("run_started")["max_parallel"] == 30
    run = desk.run(PARAMS, env={"MPRUN_PARAM_D": "2027", "MPRUN_PARAM_N": "7"})
    assert run.result("see") == ["text", 7, 1.5, False, [1], "2027", "from file"]
    wrong = {
        "n=x": "must be an integer",
        "b=maybe": "must be",
        "d=x": "must match",
        "zz=1": "unknown param `zz`",
        "n": "missing `=`",
    }
    refused = desk.refused_each(PARAMS, [("-p", "d=2026", "-p", param) for param in wrong])
    for message, heard in zip(wrong.values(), refused, strict=True):
        assert message in heard
    assert "missing param `d`" in desk.refused(PARAMS)
    assert "missing param `d`" in desk.refused(PARAMS, command="plan")
    assert mprun("validate", "job.yaml", cwd=desk.path).stdout == "job.yaml: ok, 2 tasks\n"
    dry = mprun("job.yaml", "--dry-run", "-p", "d=2026", cwd=desk.path)
    assert (dry.code, dry.stdout) == (0, "")


def test_dry_run_binds_the_arguments_that_are_known(desk):
    job = """
        tasks:
          - {name: a, target: "work:give", args: [1]}
          - {name: whole, target: "work:give", args: "${tasks.a.result}"}
          - {name: part, target: "work:give", args: ["${tasks.a.result}"]}
          - {name: each, target: "work:give", foreach: "${tasks.a.result}", args: ["${item}"]}
          - {name: command, command: ["echo", "${tasks.a.result}"]}
          - {name: off, target: "work:give", when: false}
        """
    desk.write(job)
    dry = mprun("job.yaml", "--dry-run", cwd=desk.path)
    assert (dry.code, dry.stdout, dry.directory) == (0, "", None), dry.stderr
    wrong = job.replace('args: ["${tasks.a.result}"]}', 'args: ["${tasks.a.result}", 2]}')
    assert "too many positional arguments" in desk.refused(wrong, "--dry-run")
    wrong = job.replace('args: ["${item}"]', 'args: ["${item}", 2]')
    assert "too many positional arguments" in desk.refused(wrong, "--dry-run")
    run = desk.run(job, code=1)
    assert reason(run, "whole") == "`args` must be a list, but `${tasks.a.result}` is a number"


# ---- secrets


@every_start_method
def test_secret_reaches_tasks_but_no_output_or_record(desk, method):
    job = f"""
        params: {{s: {{type: string, secret: true, required: true}}}}
        env: {{JOB: "<${{params.s}}>"}}
        tasks:
          - {{name: args, target: "work:check_secret", args: ["${{params.s}}"], kwargs: {{text: "{SECRET[::-1]}"}}}}
          - {{name: env, command: 'test "$A$JOB" = "$B"', env: {{A: "${{params.s}}", B: "${{params.s}}<${{params.s}}>"}}}}
          - {{name: command, command: ["sh", "-c", 'test "$0" = "$1"', "${{params.s}}", "${{params.s}}"]}}
          - {{name: shell, command: 'test "${{params.s}}" = "$A"', env: {{A: "${{params.s}}"}}}}
          - {{name: when, target: "work:give", when: "${{params.s}}"}}
          - {{name: hang, target: "work:hang", args: ["hanging"], env: {{A: "${{params.s}}"}}, timeout: 100ms, allow_failure: true}}
          - {{name: nocommand, command: ["/nowhere/at/all", "${{params.s}}"], allow_failure: true}}
          - {{name: bad, target: "work:boom", args: ["${{params.s}}"], retry: 1, allow_failure: true}}
          - {{name: list, target: "work:many", args: [2]}}
          - {{name: each, target: "work:check_secret", foreach: "${{tasks.list.result}}", args: ["${{params.s}}"], kwargs: {{text: "{SECRET[::-1]}"}}}}
          - {{name: u, uses: inner.yaml, with: {{token: "${{params.s}}", word: "${{params.s}}"}}, env: {{X: "${{params.s}}"}}}}
          - {{name: v, uses: deep.yaml, with: {{t: "x${{params.s}}"}}, when: "${{params.s}}"}}
        """  # noqa: E501
    inner = f"""
        params: {{token: "", word: ""}}
        tasks:
          - {{name: in, target: "work:check_secret", args: ["${{params.token}}", "${{params.word}}"], kwargs: {{text: "{SECRET[::-1]}"}}}}
        """  # noqa: E501
    deep = """
        params: {t: ""}
        tasks: [{name: d, uses: inner.yaml, with: {token: "${params.t}"}, env: {Y: "${params.t}"}}]
        """
    deeper = {"inner": inner, "deep": deep}
    env = {"MPRUN_PARAM_S": SECRET}
    run = desk.run(job, "-v", "--start-method", method, "--events", "copy", env=env, files=deeper, code=1)
    ends = outcomes(run)
    for task in ("args", "env", "command", "shell", "when", "each[0]", "each[1]", "u/in"):
        assert ends[task] == "succeeded", (task, reason(run, task))
    assert ends["v/d/in"] == "failed"
    texts = [run.stdout, run.stderr]
    (desk.path / "secret").write_text(SECRET)
    given = ("-p", "s=@secret")
    starts = (
        ("run", "job.yaml", *given, "-q", "--events", "-"),
        *(("plan", "job.yaml", *given, "--format", form) for form in ("text", "json", "mermaid", "dot")),
        ("validate", "job.yaml"),
        ("run", "job.yaml", *given, "--dry-run"),
        ("run", "job.yaml", "-p", f"s={SECRET}"),
    )

    def heard(arguments):
        other = mprun(*arguments, cwd=desk.path, env={"MPRUN_START_METHOD": method})
        assert other.stdout + other.stderr, arguments
        return other.stdout + other.stderr

    texts += side_by_side(heard, starts)
    texts += side_by_side(heard, [("show",), ("show", "--json"), ("logs",)])
    for text in texts:
        for form in (SECRET, json.dumps(SECRET)[1:-1], SECRET.encode().decode("latin-1")):
            assert form not in text
    found = [path for path in (desk.path / ".mprun").rglob("*") if path.is_file()]
    assert len(found) > 20
    for path in [*found, desk.path / "copy"]:
        assert SECRET.encode() not in path.read_bytes(), path
        assert json.dumps(SECRET)[1:-1].encode() not in path.read_bytes(), path
    assert run.one("run_started")["params"] == {"s": "***"}


# ---- services

SERVE = """
    import http.server
    import os
    import socket
    import time

    def tcp(port, pids="pids"):
        with socket.create_server(("127.0.0.1", port)):
            with open(pids, "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(60)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/up" else 500)
            self.end_headers()
            self.wfile.write(str(os.getpid()).encode())

    def http_server(port):
        http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()

    def log():
        print("not yet", flush=True)
        print("listening now", flush=True)
        time.sleep(60)

    def file(name):
        open(name, "w").close()
        time.sleep(60)

    def connect(port):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return "connected"

    def ask(port):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /up HTTP/1.0\\r\\n\\r\\n")
            with connection.makefile("rb") as answer:
                return int(answer.read().split()[-1])

    def exists(name):
        return os.path.exists(name)
    """


@pytest.fixture
def ports():
    """Two ports on which no process listens but a server of the test."""
    with held_ports(2) as found:
        yield found


@every_start_method
def test_smoke_run_starts_servers_waits_for_them_tests_and_stops_them(desk, ports, method):
    write(desk.path, serve=SERVE)
    tcp, http = ports
    run = desk.run(
        f"""
        params: {{tcp: {tcp}, http: {http}}}
        defaults: {{stop: {{grace: 2s}}}}
        tasks:
          - {{name: tcp, target: "serve:tcp", args: ["${{params.tcp}}"], daemon: true, ready: {{tcp: "${{params.tcp}}"}}}}
          - {{name: http, target: "serve:http_server", args: ["${{params.http}}"], daemon: true,
             ready: {{http: "http://127.0.0.1:${{params.http}}/up", timeout: 20s}}}}
          - {{name: log, target: "serve:log", daemon: true, ready: {{log: "^listening", interval: 20ms}}}}
          - {{name: file, target: "serve:file", args: [up], daemon: true, ready: {{file: up}}}}
          - {{name: connect, target: "serve:connect", args: ["${{params.tcp}}"], depends_on: {{tcp: ready}}}}
          - {{name: ask, target: "serve:ask", args: ["${{params.http}}"], depends_on: {{http: ready}}}}
          - {{name: after log, target: "work:echo", depends_on: {{log: ready}}}}
          - {{name: exists, target: "serve:exists", args: [up], depends_on: {{file: ready}}}}
        """,  # noqa: E501
        "--start-method",
        method,
    )
    assert run.result("connect") == "connected"
    assert run.result("ask") == run.one("task_started", "http")["pid"]
    assert run.result("exists") is True
    for server, client in {"tcp": "connect", "http": "ask", "log": "after log", "file": "exists"}.items():
        ready = run.place("task_ready", server)
        assert run.place("task_started", server) < ready < run.place("task_started", client)
        assert run.one("task_ready", server)["attempt"] == 1
        assert run.outcome(server) == "stopped"


def test_daemon_that_is_never_ready_fails_and_its_dependents_are_skipped(desk, ports):
    write(desk.path, serve=SERVE)
    port, _ = ports
    run = desk.run(
        f"""
        tasks:
          - name: never
            target: serve:log
            daemon: true
            ready: {{tcp: {port}, timeout: 300ms, interval: 20ms}}
          - {{name: client, target: "work:echo", depends_on: {{never: ready}}}}
          - {{name: next, target: "work:echo", depends_on: client}}
          - {{name: other, target: "work:echo"}}
          - {{name: gone, command: "exit 3", daemon: true, ready: {{file: nowhere}}}}
          - name: dies
            command: "exit 3"
            daemon: true
            restart: on-failure
            ready: {{file: nowhere, timeout: 1s, interval: 10ms}}
          - {{name: asks dies, target: "work:echo", depends_on: {{dies: ready}}}}
          - {{name: asks gone, target: "work:echo", depends_on: {{gone: ready}}}}
        """,
        code=1,
    )
    ends = outcomes(run)
    assert ends["never"] == "failed"
    assert reason(run, "never") == f"not ready: tcp {port}: connection refused"
    assert f"failed: not ready: tcp {port}: connection refused" in run.stderr
    # For a daemon that was restarted until its timeout, the exit code says more than the probe.
    assert reason(run, "dies").startswith("not ready, exit 3")
    assert (ends["client"], reason(run, "client")) == ("skipped", "`never` was never ready")
    assert (ends["next"], ends["other"], ends["gone"], ends["asks gone"]) == (
        "skipped",
        "succeeded",
        "failed",
        "skipped",
    )
    assert run.one("task_stopping", "never")["reason"] == "not_ready"
    assert run.of("task_ready") == []


def test_crashed_server_is_ready_again_after_its_restart(desk, ports):
    write(desk.path, serve=SERVE)
    port, _ = ports
    run = desk.run(
        f"""
        tasks:
          - {{name: server, target: "serve:tcp", args: [{port}], daemon: true, restart: on-failure,
             ready: {{tcp: {port}, interval: 20ms}}}}
          - {{name: kill, command: "kill -9 $(head -1 pids)", depends_on: {{server: ready}}}}
          - name: again
            # The record has this command, too.
            command: until [ $(grep -c '^."event":"task_ready"' .mprun/runs/*/events.jsonl) = 2 ]; do sleep 0.01; done
            depends_on: kill
            timeout: 20s
        """  # noqa: E501
    )
    assert run.outcome("server") == "stopped"
    assert [event["attempt"] for event in run.of("task_started", "server")] == [1, 2]
    assert run.one("task_retrying", "server")["reason"] == "restart"
    assert [event["attempt"] for event in run.of("task_ready", "server")] == [1, 2]


@pytest.mark.parametrize(("ready", "outcome"), [("{file: up}", "stopped"), ("{file: never}", "failed")])
def test_server_that_crashes_at_the_end_does_not_fail_the_run_if_it_was_up(desk, ready, outcome):
    run = desk.run(
        f"""
        tasks:
          - name: server
            command: "touch up; until [ -e go ]; do sleep 0.01; done; exit 3"
            daemon: true
            restart: on-failure
            retry: {{delay: 60s}}
            ready: {ready}
          - name: client
            command: "until grep -q 'task_retryin[g]' .mprun/runs/*/events.jsonl; do sleep 0.01; done"
            depends_on: {{server: started}}
          - name: nudge
            command: "sleep 0.3; touch go"
            depends_on: {{server: {"ready" if outcome == "stopped" else "started"}}}
        """,
        code=0 if outcome == "stopped" else 1,
    )
    assert outcomes(run)["server"] == outcome
    assert reason(run, "server") == ("exit 3, before its next start" if outcome == "stopped" else "exit 3")


def test_deeply_nested_result_is_passed_or_rejected(tmp_path):
    write(
        tmp_path,
        work="""\
            def deep(levels):
                value = []
                for _ in range(levels):
                    value = [value]
                return value

            def take(value):
                return len(value)
        """,
        job="""\
            tasks:
            - {name: d, target: 'work:deep', matrix: {levels: [800, 985, 2500]}, args: ['${matrix.levels}']}
            - {name: low, target: 'work:take', args: ['${tasks.d[levels=800].result}']}
            - {name: high, target: 'work:take', args: ['${tasks.d[levels=985].result}']}
            - {name: top, target: 'work:take', args: ['${tasks.d[levels=2500].result}']}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert (run.outcome("low"), run.result("low")) == ("succeeded", 1)
    for task in ("high", "top"):
        assert f"so `{task}` cannot receive it" in run.one("task_finished", task)["reason"]
