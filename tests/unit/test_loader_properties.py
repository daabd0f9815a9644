"""Job files with random keys, valid or not, give a job with a plan, or diagnostics with spans."""

from __future__ import annotations

# ruff: noqa: E501, PT017  a table of keys is easier to read with one key per line
import contextlib
import json
import os
import re
import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mprun import api
from mprun.cli.views.plan_graph import dot_lines, mermaid_lines
from mprun.cli.views.plan_json import plan_json
from mprun.cli.views.plan_text import plan_lines
from mprun.errors import JobFileError, NothingSelected, UsageError
from mprun.jobfile.loader import load_job_file

# How many files are tried; `MPRUN_EXAMPLES=20000` tries more.
EXAMPLES = int(os.environ.get("MPRUN_EXAMPLES", "150"))
looked_at = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
ENVIRONMENT = {"HOME": "/h", "MPRUN_PARAM_SEC": "hidden-91", "NUM": "7"}
NAMES = ["a", "b", "c.d", "Process-2", "e f", "g.result"]
RECIPE = {
    "params": {"p": "x", "q": None, "l": [1, 2], "n": 3},
    "env": {"IN": "${params.p}"},
    "tasks": [
        {"name": "in", "target": "m:f", "args": ["${params.p}", "${params.q}", "${env.IN}"]},
        {"name": "use", "target": "m:f", "args": ["${tasks.in.result}"], "depends_on": "in"},
        {"name": "each", "command": "echo ${item}", "foreach": "${params.l}", "when": "${params.q}"},
        {"name": "grid", "target": "m:f", "matrix": {"n": [1, 2]}, "timeout": "${params.n}"},
    ],
}
NESTED = {
    "params": {"p": "y"},
    "tasks": [{"name": "n", "uses": "recipe.yaml", "with": {"p": "<${params.p}>"}}],
}
PARAMS = {
    "s": "text",
    "n": {"type": "integer", "default": 2},
    "f": {"type": "number", "default": 1.5},
    "b": True,
    "l": {"type": "list", "default": ["x", 1, None, "$${y}"]},
    "sec": {"type": "string", "secret": True},
    "none": None,
    "path": "/${env.HOME}",
}

task_names = st.sampled_from(NAMES)
meant = st.one_of(
    task_names,
    task_names,
    st.sampled_from(["*", "a*", "?", "Process-1", "a[k=1]", "b/in", "b/n/in", "c.d[0]", "zz", "b", "a/each"]),
)
references = st.one_of(
    st.sampled_from(
        [
            "${params.s}",
            "${params.n}",
            "${params.f}",
            "${params.b}",
            "${params.l}",
            "${params.l.0}",
            "${params.sec}",
            "${params.none}",
            "${params.path}",
            "${env.HOME}",
            "${env.NUM}",
            "${env.JOB}",
            "${matrix.k}",
            "${matrix.m}",
            "${item}",
            "${item.x}",
            "${item.0}",
        ]
    ),
    meant.map(lambda name: f"${{tasks.{name}.result}}"),
    meant.map(lambda name: f"${{tasks.{name}.result.rows.0}}"),
)
broken = st.sampled_from(
    ["${", "${x", "$${x", "${}", "${a.b}", "${params}", "${params.}", "${params.zz}", "${tasks.a}", "${item..x}",
     "$${${params.n}}", "${params.n}}", "${env.NOPE}", "${tasks..result}", "${matrix}", "${matrix.zz}"]
)  # fmt: skip
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([0.5, 1e300, float("inf"), float("nan")]),
    st.sampled_from(["", "text", "5s", "no", "ü\u2028", "{", "*", "1"]),
)
texts = st.one_of(
    references,
    st.lists(st.one_of(references, st.sampled_from(["-", "$${", "x"])), min_size=1, max_size=3).map("".join),
    st.sampled_from(["x", "y", ""]),
)
values = st.recursive(
    st.one_of(plain, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(["x", "y"]), texts), inner, max_size=2),
    ),
    max_leaves=5,
)
durations = st.one_of(st.sampled_from([0, 1, "5s", "1m30s", "200ms"]), references)
counts = st.one_of(st.integers(1, 3), st.just("${params.n}"), references)
flags = st.one_of(st.booleans(), st.just("${params.b}"), references)
scalars = st.one_of(
    st.integers(-1, 3), st.sampled_from(["a", "b", "1", None, True, 1.0, "x y", "${params.s}"])
)
entries = st.lists(
    st.dictionaries(st.sampled_from(["k", "m", "o"]), st.one_of(scalars, values), min_size=1, max_size=2),
    max_size=2,
)
matrices = st.one_of(
    st.fixed_dictionaries(
        {"k": st.lists(scalars, min_size=1, max_size=3)},
        optional={
            "m": st.one_of(st.lists(scalars, min_size=1, max_size=2), st.just("${params.l}")),
            "include": entries,
            "exclude": entries,
        },
    ),
    st.fixed_dictionaries({"include": entries}),
    references,
)
needs = st.one_of(
    meant,
    st.lists(st.one_of(meant, texts.filter(bool)), max_size=2),
    st.dictionaries(
        st.one_of(meant, texts.filter(bool)),
        st.sampled_from(["succeeded", "finished", "failed", "started", "ready"]),
        max_size=2,
    ),
)
COMMON = {
    "name": task_names,
    "depends_on": needs,
    "when": st.one_of(plain, texts),
    "env": st.dictionaries(st.sampled_from(["A", "B", "JOB"]), texts, max_size=2),
    "tags": st.one_of(st.lists(st.one_of(st.just("t"), texts.filter(bool)), max_size=2), references),
    "allow_failure": flags,
    "description": texts,
    "x-own": values,
}
KEYS = {
    **COMMON,
    "daemon": flags,
    "retry": st.one_of(counts, st.fixed_dictionaries({"retries": counts, "delay": durations, "jitter": st.just(0.5)})),
    "timeout": durations,
    "stop": st.one_of(st.fixed_dictionaries({"signal": st.one_of(st.just("INT"), references), "grace": durations, "to": st.sampled_from(["group", "process", "${params.s}"])}), references),
    "restart": st.sampled_from(["never", "on-failure", "always", "${params.s}"]),
    "ready": st.one_of(
        st.fixed_dictionaries({"tcp": st.one_of(st.just(8000), references), "timeout": durations}),
        st.fixed_dictionaries({"log": st.one_of(st.just("^up"), references)}),
        st.fixed_dictionaries({"file": texts.filter(bool)}),
    ),
    "resources": st.dictionaries(st.sampled_from(["db", "gpu", "${params.s}"]), counts, max_size=2),
    "limits": st.fixed_dictionaries({}, optional={"memory": st.sampled_from(["1GB", "${params.n}"]), "cpus": counts, "log": counts}),
    "expect": st.fixed_dictionaries(
        {}, optional={"result": values, "exit_code": counts, "output": texts, "raises": st.one_of(st.just("E"), references)}
    ),
    "cwd": texts.filter(bool),
    "start_method": st.sampled_from(["fork", "spawn", "${params.s}"]),
}  # fmt: skip
SPREAD = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries({"matrix": matrices}),
    st.fixed_dictionaries(
        {"foreach": st.one_of(st.lists(values, max_size=3), references, st.just("${params.l}"))}
    ),
)
WHAT = st.one_of(
    st.fixed_dictionaries(
        {"target": st.just("m:f")},
        optional={
            "args": st.one_of(st.lists(values, max_size=2), references),
            "kwargs": st.one_of(
                st.dictionaries(st.one_of(st.just("k"), texts), values, max_size=2), references
            ),
        },
    ),
    st.fixed_dictionaries(
        {"command": st.one_of(st.lists(texts, min_size=1, max_size=2), texts.filter(bool))}
    ),
)
RECIPES = st.fixed_dictionaries(
    {"uses": st.sampled_from(["recipe.yaml", "recipe.yaml", "nested.yaml", "job.yaml", "none.yaml", "${params.s}"])},
    optional={"with": st.dictionaries(st.sampled_from(["p", "q", "l", "n"]), values, max_size=3), **COMMON},
)  # fmt: skip


@st.composite
def tasks(draw):
    if draw(st.integers(0, 4)) == 0:
        return {**draw(RECIPES), **draw(SPREAD)}
    keys = draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=4, unique=True))
    return {**draw(WHAT), **draw(SPREAD), **{key: draw(KEYS[key]) for key in keys}}


JOBS = st.fixed_dictionaries(
    {"params": st.just(PARAMS), "tasks": st.lists(tasks(), min_size=1, max_size=4)},
    optional={
        "env": st.fixed_dictionaries({"JOB": texts}),
        "resources": st.fixed_dictionaries({"db": counts, "gpu": st.just(1)}),
        "join": st.lists(st.one_of(meant, texts.filter(bool)), max_size=2),
        "max_parallel": counts,
        "timeout": durations,
        "fail_fast": flags,
        "cwd": texts.filter(bool),
        "name": texts.filter(bool),
        "env_file": st.sampled_from(["vars.env", "vars.env", "vars.env", "${params.s}"]),
        "pythonpath": texts.filter(bool),
        "start_method": st.sampled_from(["fork", "${params.s}"]),
        "defaults": st.one_of(
            st.fixed_dictionaries({}, optional={key: KEYS[key] for key in KEYS if key not in ("name",)}),
            st.fixed_dictionaries({"args": st.lists(values, max_size=2)}),
            SPREAD,
        ),
    },
)


LATE = {"args", "kwargs", "command", "env", "when", "with", "cwd"}
TYPED = {
    **dict.fromkeys(
        ["timeout", "delay", "grace", "retries", "tcp", "memory", "log", "cpus", "exit_code"], "n"
    ),
    **dict.fromkeys(["retry", "db", "gpu", "max_parallel"], "n"),
    **dict.fromkeys(["daemon", "allow_failure", "fail_fast"], "b"),
    **dict.fromkeys(["start_method"], "fork"),
}
TREES = {
    "stop": {},
    "ready": {"file": "up"},
    "tags": ["t"],
    "args": [],
    "kwargs": {},
    "foreach": "${params.l}",
}


class Mender:
    """Corrects most references of a random job: a job that is refused at once tests little."""

    def __init__(self, job):
        self.names = []
        self.job = {**job, "defaults": {}} if job.get("defaults") else dict(job)

    def mended(self):
        job = self.job
        if "defaults" in job:
            del job["defaults"]
        tasks = []
        for number, task in enumerate(job["tasks"]):
            name = task.get("name")
            if name in self.names or name is None:
                task = {**task, "name": f"t{number}"}
            tasks.append(self.task(task))
            self.names.append(task["name"])
        rest = {
            key: self.node(node, key, {})
            for key, node in job.items()
            if key not in ("tasks", "params", "join")
        }
        return {**rest, "params": job["params"], "tasks": tasks}

    def task(self, task):
        matrix = task.get("matrix")
        keys = {"k": 1} if isinstance(matrix, dict) and "k" in matrix else {}
        if "matrix" in task and not keys:
            task = {key: node for key, node in task.items() if key != "matrix"}
        if "restart" in task:
            task = {**task, "daemon": True}
        if isinstance(task.get("resources"), dict):
            task = {**task, "resources": {}}
        if "depends_on" in task:
            task = {**task, "depends_on": dict.fromkeys(self.names[:2], "finished")}
        if task.get("uses") in ("job.yaml", "none.yaml", "${params.s}"):
            task = {**task, "uses": "recipe.yaml", "with": {"n": 1}}
        late = {"foreach"} if isinstance(task.get("foreach"), str) else set()
        has = {**keys, **({"item": 1} if "foreach" in task else {})}
        return {
            key: self.node(node, key, {} if key in ("matrix", "foreach") else has, key, late)
            for key, node in task.items()
        }

    def node(self, node, key, has, top=None, late=()):
        if isinstance(node, dict):
            return {
                self.text(name, key, has, top): self.node(
                    child, name if top in (None, key) or name in TYPED else key, has, top
                )
                for name, child in node.items()
            }
        if isinstance(node, list):
            return [self.node(child, key, has, top) for child in node]
        if not isinstance(node, str) or key == "x-own":
            return node
        if key in TREES and key == top and "${" in node:
            return TREES[key]
        return self.text(node, key, has, top)

    def text(self, text, key, has, top):
        kind = TYPED.get(key)
        if kind and "${" in text:
            return f"${{params.{kind}}}" if kind in PARAMS else kind

        def fits(found):
            body = found[1]
            root = body.partition(".")[0]
            if root == "item" and "item" in has:
                return "${item}"
            if root == "matrix" and "k" in has:
                return "${matrix.k}"
            if root == "tasks" and self.names and (top in LATE or key == "foreach"):
                return f"${{tasks.{self.names[len(body) % len(self.names)]}.result}}"
            if root == "params" and body != "params.l.0" and (body != "params.sec" or top in LATE - {"cwd"}):
                return found[0]
            return "${params.s}"

        return re.sub(r"(?<!\$)\$\{([^{}]*)\}", fits, text)


def written(job):
    """A job as YAML: as JSON, except for values that JSON does not have."""
    text = json.dumps(job, ensure_ascii=False, indent=1)
    return text.replace("Infinity", ".inf").replace("NaN", ".nan").replace("1e+300", "1.0e+300")


def looks(directory, text, seen):
    """Validate and plan a file as the command line does; every error is one of mprun's own."""
    path = os.path.join(directory, "job.yaml")
    # The broken key may be the one that declares the secret.
    secret = "hidden-91" if '"secret": true' in text else "not in any"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    for lenient in (True, False):
        try:
            job = load_job_file(path, {}, (), ENVIRONMENT, lenient=lenient)
            if lenient:
                continue
            plan = api.plan_job(job)
        except JobFileError as error:
            seen["refused"] = seen.get("refused", 0) + 1
            for diagnostic in error.diagnostics:
                assert 1 <= diagnostic.span.line <= len(diagnostic.source.lines)
                shown_problem = diagnostic.message + diagnostic.help + str(error)
                assert secret not in shown_problem
        except UsageError as error:
            assert secret not in str(error)
        else:
            seen["planned"] = seen.get("planned", 0) + 1
            names = [planned.name for planned in plan.tasks]
            assert len(set(names)) == len(names)
            shown = [*plan_lines(plan), *plan_json(plan), *mermaid_lines(plan), *dot_lines(plan)]
            assert secret not in "\n".join(shown)
            json.loads("\n".join(plan_json(plan)))
            with contextlib.suppress(JobFileError, NothingSelected):
                api.plan_job(job, names=["a*"], with_dependencies=False)


@contextlib.contextmanager
def desk():
    with tempfile.TemporaryDirectory() as directory:
        for name, content in {"recipe.yaml": RECIPE, "nested.yaml": NESTED}.items():
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                json.dump(content, file)
        with open(os.path.join(directory, "vars.env"), "w", encoding="utf-8") as file:
            file.write("FROM_FILE=1\n")
        yield directory


def test_no_job_of_random_keys_gives_a_traceback():
    seen = {}
    with desk() as directory:

        @looked_at
        @given(JOBS, st.integers(0, 4))
        def look(job, as_it_is):
            looks(directory, written(Mender(job).mended() if as_it_is else job), seen)

        look()
    # Enough files must be valid, and enough invalid.
    assert seen["planned"] >= EXAMPLES // 20
    assert seen["refused"] >= EXAMPLES // 20


@st.composite
def mutated(draw):
    """A job with one value replaced by another or removed, or one key renamed."""
    job = json.loads(json.dumps(Mender(draw(JOBS)).mended()))
    node, parent, step = job, None, None
    for _ in range(draw(st.integers(1, 5))):
        if isinstance(node, dict) and node:
            parent, step = node, draw(st.sampled_from(sorted(node)))
        elif isinstance(node, list) and node:
            parent, step = node, draw(st.integers(0, len(node) - 1))
        else:
            break
        node = parent[step]
    how = draw(st.integers(0, 3))
    if how == 0:
        del parent[step]
    elif how == 1 and isinstance(parent, dict):
        parent[draw(st.one_of(broken, st.sampled_from(["taget", "when", "uses", "matrix", "foreach"])))] = (
            node
        )
    else:
        parent[step] = draw(st.one_of(broken, broken, values))
    return job


def test_no_broken_job_gives_a_traceback():
    seen = {}
    with desk() as directory:

        @looked_at
        @given(mutated())
        def look(job):
            looks(directory, written(job), seen)

        look()
    assert seen["refused"] >= EXAMPLES // 20
