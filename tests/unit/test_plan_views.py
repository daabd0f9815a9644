"""The views of a plan as text, JSON and graph: what each shows, and the secrets that none shows."""

import json
import tracemalloc
from collections import deque

import pytest
from support.plans import ORIGIN, job, plan, task
from support.timing import quick

from mprun.cli.views.plan_graph import dot_lines, mermaid_lines
from mprun.cli.views.plan_json import plan_json
from mprun.cli.views.plan_text import WIDTH, plan_lines
from mprun.jobfile.dependencies import link
from mprun.jobfile.matrix import combinations
from mprun.jobfile.model import Expect, Instance, Limits, Ready, Retry, Stop
from mprun.jobfile.names import NameIndex
from mprun.jobfile.reference_syntax import compiled, parse
from mprun.jobfile.references import Scope
from mprun.reporters.format import display_width
from mprun.scheduling.plan import plan_tasks

VIEWS = (plan_lines, plan_json, mermaid_lines, dot_lines)
SECRET = "hunter2"
SCOPE = Scope(
    params={
        "n": 3,
        "day": "2026-01-01",
        "off": False,
        "token": SECRET,
        "late": parse("${tasks.fetch.result}"),
    },
    secrets=frozenset({"token"}),
    env={"HOME": "/root"},
)


def text(made):
    return list(plan_lines(made))


def lines_of(**keys):
    """The lines of text about one task with these keys."""
    made = plan({"a": ()}, keys={"a": {"scope": SCOPE, **keys}})
    return text(made)[2:-1]


def document(made):
    return json.loads("\n".join(plan_json(made)))


# -- text


def test_a_small_plan_reads_as_its_job_file():
    made = plan(
        {"last": ("first", "beat:started"), "first": (), "beat": ()},
        daemons=("beat",),
        join=[("first", 90.0), ("last", None)],
        keys={"first": {"args": [1, "two"], "kwargs": {"three": [4]}, "start_method": "spawn"}},
    )
    assert text(made) == [
        "test: 3 tasks, parallel (at most 2 at once on 2 cores), fork",
        "   1. first  m:f(1, 'two', three=[4])  [spawn]",
        "   2. beat  m:f()  [daemon]",
        "   3. last  m:f()  [after first, beat started]",
        "join: first (1m30s at most), last",
        "stopped at the end: beat",
    ]


def test_daemons_are_listed_in_the_order_of_their_stop_with_the_worst_case():
    """C16"""
    spec = {"web": ("db:started",), "beat": (), "db": (), "proxy": ("web:started",)}
    made = plan(spec, daemons=tuple(spec), keys={"db": {"stop": Stop(grace=90.0)}})
    assert text(made)[-1] == "stopped at the end (1m40s at most): proxy, web, db, beat"


def test_plan_with_every_setting_fits_in_eighty_columns():
    keys = {
        "fetch": {
            "args": compiled(["${params.n}", "${params.token}", "at ${params.day}"]),
            "kwargs": compiled({"rows": "${tasks.other.result.rows}", "text": "x" * 100}),
            "retry": Retry(
                retries=3, delay=1.0, backoff=2.0, max_delay=60.0, exceptions=("OSError",), exit_codes=(75,)
            ),
            "timeout": 90.0,
            "resources": {"db": 1},
            "limits": Limits(memory=512 * 2**20, cpu_time=60, open_files=9, nice=5, cpus=(0, 1), log=10**8),
            "stop": Stop(signal="SIGINT", grace=0.5, to="process"),
        },
        "serve": {
            "target": None,
            "command": tuple(compiled(["python", "-m", "a b", "${params.n}", "--token=${params.token}"])),
            "ready": Ready(kind="tcp", what="8080", timeout=5.0),
            "restart": "on-failure",
        },
        "each": {
            "foreach": parse("${tasks.fetch.result}"),
            "args": compiled(["${item}"]),
            "expect": Expect(
                result=[1], has_result=True, exit_codes=(0, 75), output="rows", max_seconds=2, max_rss=10**9
            ),
            "allow_failure": True,
        },
        "never": {"when": parse("${params.off}"), "target": None, "command": ("sh", "-c", "a && b\nc 'd'")},
        "maybe": {"when": parse("${tasks.fetch.result.ok}")},
    }
    made = plan(
        {"fetch": (), "serve": (), "each": ("fetch",), "never": (), "maybe": ("fetch:finished",)},
        daemons=("serve",),
        keys={name: {"scope": SCOPE, **more} for name, more in keys.items()},
        resources={"db": 2, "gpu": 1},
        params={"n": 3, "day": "2026-01-01", "off": False},
    )
    assert text(made)[1:] == [
        "tokens: db 2, gpu 1",
        "params: n=3, day=2026-01-01, off=false, token=***",
        "   1. fetch",
        "      m:f(3, '***', 'at 2026-01-01', rows=${tasks.other.result.rows},",
        "        text='xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…)",
        "      [holds db:1; 3 retries after 1s × 2 up to 1m on OSError, exit 75; timeout",
        "       1m30s; stopped by SIGINT to its process, killed 500ms later; limits:",
        "       memory 512MiB, cpu time 1m, open files 9, nice 5, on cores 0 1, log",
        "       100MB]",
        "   2. serve  $ python -m 'a b' 3 '--token=***'",
        "      [daemon; ready tcp 8080 within 5s; restart on-failure]",
        "   3. each  m:f(${item})",
        "      [for each of ${tasks.fetch.result}; after fetch; expects exit 0 or 75,",
        "       result [1], output like `rows`, at most 2s, at most 1GB; may fail]",
        "   4. never  $ a && b\\nc 'd'  [skipped: `when` is false]",
        "   5. maybe  m:f()  [when ${tasks.fetch.result.ok}; after fetch finished]",
        "join: fetch, each, never, maybe",
        "stopped at the end: serve",
    ]
    assert all(display_width(line) <= WIDTH for line in text(made))


@pytest.mark.parametrize(
    ("keys", "notes"),
    [
        ({"when": parse("${params.n}")}, "   1. a  m:f()"),
        ({"args": parse("${params.late}")}, "   1. a  m:f(*${tasks.fetch.result})"),
        ({"kwargs": parse("${tasks.b.result}")}, "   1. a  m:f(**${tasks.b.result})"),
        ({"args": [None, True, 1.5, float("nan")]}, "   1. a  m:f(None, True, 1.5, nan)"),
        ({"args": [0] * 25}, "   1. a  m:f(" + "0, " * 15 + "… 10 more)"),
        ({"args": ["\x1b[31m", "a\u202eb"]}, "   1. a  m:f('\\x1b[31m', 'a\\u202eb')"),
        ({"args": [10**100]}, f"   1. a  m:f(1{'0' * 58}…)"),
        ({"target": None, "command": ("true",)}, "   1. a  $ true"),
        ({"target": None, "command": parse("${tasks.b.result}")}, "   1. a  $ ${tasks.b.result}"),
        ({"target": None, "command": ("a", "", "*")}, "   1. a  $ a '' '*'"),
        (
            {"target": None, "command": ("sh", "-c", "printf '\x1b[31m\t'")},
            "   1. a  $ printf '\\x1b[31m\\t'",
        ),
        ({"ready": Ready(kind="log", what="up\x07")}, "   1. a  m:f()  [ready log up\\x07]"),
        ({"expect": Expect(raises="ValueError")}, "   1. a  m:f()  [expects ValueError raised]"),
        ({"expect": Expect(has_result=True)}, "   1. a  m:f()  [expects result null]"),
        ({"limits": Limits(cpus=1)}, "   1. a  m:f()  [limits: on 1 core]"),
        ({"retry": Retry(retries=1)}, "   1. a  m:f()  [1 retry]"),
        ({"restart": "always", "timeout": 0.5}, "   1. a  m:f()  [timeout 500ms; restart always]"),
    ],
)
def test_notes_list_settings_that_differ_from_the_default(keys, notes):
    assert lines_of(**keys) == [notes]


def test_unresolvable_reference_is_shown_as_written():
    made = plan({"a": ()}, keys={"a": {"scope": SCOPE}})
    for reference in ("${env.NOT_SET}", "${params.n.deep}", "${params.missing}"):
        broken = made.tasks[0].task.replace(args=compiled([reference, "${params.token}"]))
        odd = made.replace(tasks=(made.tasks[0].replace(task=broken),))
        assert reference in "\n".join(text(odd))
        assert reference in "\n".join(plan_json(odd))


def test_a_long_name_and_many_dependencies_stay_readable():
    names = {f"task number {n}": () for n in range(30)}
    made = plan({**names, "x" * 100: tuple(names)})
    *_, name, call, first, second, third, _ = text(made)
    assert name == f"  31. {'x' * 100}"
    assert call == "      m:f()"
    assert first == "      [after task number 0, task number 1, task number 2, task number 3, task"
    assert second == "       number 4, task number 5, task number 6, task number 7, task number 8,"
    assert third == "       task number 9, … 20 more]"


def test_wide_characters_count_twice_in_folded_lines():
    made = plan({"跳" * 30: ("舞" * 20,), "舞" * 20: ()})
    assert all(display_width(line) <= WIDTH for line in text(made)[:-1])


def test_a_long_join_order_is_folded_and_a_default_one_is_named():
    spec = {f"a task {n}": () for n in range(21)}
    assert text(plan(spec))[-1] == "join: 21 tasks, in the order of the file"
    made = text(plan(spec, join=[(name, 1.0) for name in spec]))
    assert made[22:24] == [
        "join: a task 0 (1s at most), a task 1 (1s at most), a task 2 (1s at most),",
        "  a task 3 (1s at most), a task 4 (1s at most), a task 5 (1s at most),",
    ]
    assert all(len(line) <= WIDTH for line in made)
    assert text(plan({"a": ()}, join=[]))[-1] == "join: nothing"


def test_empty_plan_has_a_header():
    empty = plan_tasks(job((task("a", 0),)), cpus=2, default_method="fork", selection=[])
    assert text(empty)[1:] == ["join: nothing"]
    assert document(empty)["tasks"] == []


# -- JSON


def test_json_document_has_everything_of_the_plan():
    keys, found = combinations({"m": ["a"], "n": [1]}, include=[{"m": "b"}])
    of_matrix = task(
        "t",
        0,
        axes=keys,
        args=compiled(["${matrix.m}", "${params.token}"]),
        kwargs=compiled({"late": "${tasks.s.result}"}),
        env=compiled({"TOKEN": "${params.token}", "A": "b"}),
        scope=SCOPE,
        resources={"db": 1},
        limits=Limits(memory=1),
        ready=Ready(kind="tcp", what="1"),
        expect=Expect(result=None, has_result=True, exit_codes=(3,)),
        tags=("slow",),
    )
    tasks = [
        Instance(name=f"t{suffix}", groups=("t",), task=of_matrix, values=values) for values, suffix in found
    ]
    tasks.append(
        Instance(
            name="s",
            task=task("s", 1, after=("t",), when=False, foreach=parse("${params.late}"), scope=SCOPE),
        )
    )
    whole = job((), resources={"db": 2}, params={"n": 3}, timeout=9.0)
    whole = whole.replace(tasks=tuple(tasks), needs=link(tasks, NameIndex(tasks)))
    value = document(plan_tasks(whole, cpus=2, default_method="fork"))
    assert list(value) == [
        *(
            "job",
            "file",
            "start_method",
            "fail_fast",
            "flaky",
            "on_host_lost",
            "timeout",
            "max_parallel",
            "cpus",
            "at_once",
            "mode",
        ),
        *("resources", "params", "partition", "expected", "order", "join", "tasks"),
    ]
    assert (value["resources"], value["params"]) == ({"db": 2}, {"n": 3, "token": "***"})
    assert value["order"] == ["t[m=a,n=1]", "t[m=b]", "s"]
    assert value["join"] == [{"task": name, "timeout": None} for name in value["order"]]
    first, second, last = value["tasks"]
    assert first["matrix"] == {"m": "a", "n": 1}
    assert second["matrix"] == {"m": "b", "n": None}
    assert (first["args"], first["kwargs"]) == (["a", "***"], {"late": "${tasks.s.result}"})
    assert first["env"] == ["A", "TOKEN"]
    assert first["resources"] == {"db": 1}
    assert first["limits"]["memory"] == 1
    assert first["ready"] == {
        "kind": "tcp",
        "what": "1",
        "command": [],
        "timeout": 30.0,
        "interval": 0.1,
        "try_timeout": 5.0,
    }
    assert first["expect"]["exit_codes"] == [3]
    assert first["expect"]["result"] is None
    assert first["tags"] == ["slow"]
    assert last["needs"] == [
        {"task": "t[m=a,n=1]", "condition": "passed"},
        {"task": "t[m=b]", "condition": "passed"},
    ]
    assert last["depends_on"] == {"t": None}
    assert (last["when"], last["skipped"], last["foreach"]) == (False, True, "${tasks.fetch.result}")
    assert (last["expect"], last["limits"], last["ready"], last["restart"]) == (None, None, None, "never")
    assert list(first) == list(last)


def test_a_task_is_exactly_one_line():
    lines = list(plan_json(plan({"a": (), "b": ("a",)})))
    assert sum(line.startswith('  {"name"') for line in lines) == 2
    assert not any("\n" in line for line in lines)


def refuse(constant):
    raise AssertionError(constant)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (float("inf"), ".inf"),
        ([{"a": float("-inf")}], [{"a": "-.inf"}]),
        (float("nan"), ".nan"),
        ({True: 1, None: 2, 1.5: 3}, {"true": 1, "null": 2, "1.5": 3}),
        ({float("nan"): 1}, {".nan": 1}),
        ("\ud800\x00\u2028", "\ud800\x00\u2028"),
        (10**400, 10**400),
    ],
)
def test_unusual_values_are_valid_json(value, read):
    made = plan({"a": ()}, keys={"a": {"args": [value]}})
    written = "\n".join(plan_json(made)).encode("utf-8", "backslashreplace")
    assert json.loads(written, parse_constant=refuse)["tasks"][0]["args"] == [read]


# -- all views


@pytest.mark.parametrize("view", VIEWS)
def test_a_secret_is_in_no_view(view):
    held = compiled(["${params.token}", "x${params.token}y", {"k": "${params.token}", "${params.token}": 1}])
    keys = {
        "args": held,
        "kwargs": {"a": held},
        "env": compiled({"T": "${params.token}"}),
        "cwd": parse("/${params.token}"),
        "when": parse("${params.token}"),
        "expect": Expect(result=held, has_result=True),
        "foreach": parse("${params.token}"),
    }
    command = {"target": None, "command": tuple(compiled(["echo", "${params.token}", "-t${params.token}"]))}
    made = plan({"a": (), "b": ()}, keys={"a": {"scope": SCOPE, **keys}, "b": {"scope": SCOPE, **command}})
    lines = "\n".join(view(made))
    assert SECRET not in lines
    assert ("***" in lines) == (view in (plan_lines, plan_json))


def of_many(count):
    """A plan with so many instances of one task."""
    keys, found = combinations({"a": list(range(count // 1000)), "b": list(range(1000))})
    one = task(
        "t", 0, axes=keys, scope=SCOPE, args=compiled(["${matrix.a}", "${params.n}"]), kwargs={"x": "y"}
    )
    tasks = tuple(
        Instance(name=f"t{suffix}", groups=("t",), task=one, values=values) for values, suffix in found
    )
    needs = ((), *[((0, "succeeded"),)] * (count - 1))
    return plan_tasks(job(()).replace(tasks=tasks, needs=needs), cpus=2, default_method="fork")


@pytest.fixture(scope="module")
def very_many():
    return of_many(100_000)


@pytest.mark.parametrize("view", VIEWS)
def test_a_hundred_thousand_tasks_take_seconds(view, very_many):
    with quick(20):
        assert sum(1 for _ in view(very_many)) > 100_000


@pytest.mark.parametrize("view", VIEWS)
def test_tasks_take_no_memory_beside_the_plan(view):
    # Not with a hundred thousand tasks, because tracing makes this six times as slow.
    made = of_many(10_000)
    deque(view(made), maxlen=0)
    tracemalloc.start()
    deque(view(made), maxlen=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The order of the starts and the names: a few words for each task. A whole task takes 700 bytes.
    assert peak < 40 * 10_000


def test_the_secrets_of_a_job_are_those_of_its_own_tasks():
    of_recipe = ORIGIN.document.replace(sha256="another")
    recipe = SCOPE.replace(secrets=frozenset({"inner"}))
    keys = {"r/a": {"scope": recipe, "document": of_recipe}, "b": {"scope": SCOPE}}
    assert document(plan({"r/a": (), "b": ()}, keys=keys))["params"] == {"token": "***"}
    assert document(plan({"r/a": ()}, keys={"r/a": keys["r/a"]}))["params"] == {}


def test_a_long_list_in_many_arguments_is_not_written_out_to_be_cut_C55():
    numbers = list(range(20_000))
    scope = SCOPE.replace(params={"l": numbers, "m": {"a": [numbers, numbers]}})
    lines = lines_of(scope=scope, args=[parse("${params.l}"), parse("${params.m}")], kwargs={"k": numbers})
    assert " ".join(line.strip() for line in lines) == (
        "1. a m:f([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …, "
        "{'a': [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 1…, "
        "k=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …)"
    )
    made = plan({"a": ()}, keys={"a": {"scope": scope, "args": [parse("${params.l}")] * 5000}})
    # All of them have a hundred million numbers.
    with quick(2.0):
        lines = text(made)
    assert lines[-2].endswith("… 4,985 more)")
