"""Tasks with `inputs` or `outputs`: one edit at a time, what runs because of it, and what `why` says."""

import json
import os
import shutil
import textwrap

import pytest
from support.compared import forget_compiled
from support.runs import mprun

FILES = {
    "job.yaml": """
        params: {n: 3, label: x}
        env: {SHARED: one}
        pythonpath: [lib]
        tasks:
          - name: fetch
            target: work:fetch
            args: ["${params.label}"]
          - name: crunch
            target: work:crunch
            args: [{a: 1, b: 2}]
            kwargs: {n: "${params.n}", fetched: "${tasks.fetch.result}"}
            env: {MODE: "${env.MODE}"}
            inputs: ["data/*.csv"]
            outputs: [out.txt]
          - name: convert
            command: [sh, convert.sh]
            inputs: [convert.sh, data/a.csv]
            outputs: [made/*.txt]
          - name: other
            target: side:run
            outputs: [side.txt]
          - name: show
            target: work:show
            args: ["${tasks.crunch.result}"]
        """,
    "work.py": """
        import acme

        import helper
        from pkg import inner


        def fetch(label):
            return {"label": label}


        def crunch(options, n, fetched):
            from pkg import late

            total = helper.double(n) + inner.one() + late.two()
            with open("out.txt", "w") as out:
                out.write(f"{total}")
            return {"total": total}


        def show(result):
            print(f"total {result['total']}")
        """,
    "helper.py": """
        def double(x):
            return 2 * x


        def unused():
            return 1
        """,
    "pkg/__init__.py": "",
    "pkg/inner.py": "def one():\n    return 1\n",
    "pkg/late.py": "def two():\n    return 2\n",
    "side.py": """
        def run():
            with open("side.txt", "w") as out:
                out.write("side")
        """,
    "convert.sh": "mkdir -p made; cp data/a.csv made/a.txt\n",
    "data/a.csv": "1,2,3\n",
    "data/b.csv": "4,5,6\n",
    "lib/acme/__init__.py": "",
    "lib/acme-1.0.dist-info/METADATA": "Name: acme\nVersion: 1.0\nRequires-Dist: base>=1\n",
    "lib/acme-1.0.dist-info/top_level.txt": "acme\n",
    "lib/base-1.0.dist-info/METADATA": "Name: base\nVersion: 1.0\n",
    "lib/base-1.0.dist-info/top_level.txt": "base\n",
}
SKIPPED = {"crunch", "convert", "other"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A project whose tasks have run once."""
    path = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
    ran = run(path)
    assert ran.code == 0, ran.stderr
    assert runs_of(ran) == {"fetch", "show"} | SKIPPED
    return path


@pytest.fixture
def project(done):
    """The same, as it was after that run, in its own directory: in another one, every task would run."""
    as_it_was = done.with_name(f"{done.name}-as-it-was")
    if not as_it_was.exists():
        shutil.copytree(done, as_it_was, symlinks=True)
    shutil.rmtree(done)
    shutil.copytree(as_it_was, done, symlinks=True)
    return done


def run(path, *options, mode="fast"):
    return mprun("job.yaml", *options, cwd=path, env={"MODE": mode})


def runs_of(ran):
    """The names of the tasks that had a process."""
    return {event["task"] for event in ran.of("task_started")}


def why(path, task):
    return mprun("why", task, cwd=path).stdout.strip()


def edit(name, old, new):
    def change(path):
        text = (path / name).read_text()
        assert old in text
        (path / name).write_text(text.replace(old, new))
        forget_compiled(path)

    return change


def write(name, text):
    def change(path):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)

    return change


def rename(old, new):
    return lambda path: (path / old).rename(path / new)


def remove(name):
    return lambda path: (path / name).unlink()


def touch(name):
    return lambda path: os.utime(path / name)


def upgrade(name):
    def change(path):
        edit(f"lib/{name}-1.0.dist-info/METADATA", "Version: 1.0", "Version: 2.0")(path)
        rename(f"lib/{name}-1.0.dist-info", f"lib/{name}-2.0.dist-info")(path)

    return change


NOTHING = set()
# An edit, the tasks that run again because of it, and what is said of the first of them.
EDITS = {
    "nothing": (lambda path: None, NOTHING, ""),
    "comment in a helper": (edit("helper.py", "def double", "# doubles\ndef double"), NOTHING, ""),
    "blank lines in a helper": (edit("helper.py", "\n\n\ndef unused", "\n\n\n\n\ndef unused"), NOTHING, ""),
    "docstring in a helper": (edit("helper.py", "return 2", '"""Doubles."""\n    return 2'), NOTHING, ""),
    "body of a helper": (
        edit("helper.py", "2 * x", "x + x"),
        {"crunch"},
        "module helper has changed since run",
    ),
    "body of an unused function": (
        edit("helper.py", "return 1", "return 2"),
        {"crunch"},
        "module helper has",
    ),
    "body of the target": (edit("work.py", '{total}"', '{total} "'), {"crunch"}, "module work has changed"),
    "module of a package": (edit("pkg/inner.py", "return 1", "return 4"), {"crunch"}, "module pkg.inner has"),
    "package itself": (write("pkg/__init__.py", "import os\n"), {"crunch"}, "module pkg has changed"),
    "module imported in a function": (
        edit("pkg/late.py", "2", "5"),
        {"crunch"},
        "module pkg.late has changed",
    ),
    "another import": (
        edit("helper.py", "def double", "import side\n\n\ndef double"),
        {"crunch"},
        "module helper",
    ),
    "module of another task": (edit("side.py", '"side")', '"other")'), {"other"}, "module side has changed"),
    "new module that nothing imports": (write("new.py", "x = 1\n"), NOTHING, ""),
    "module that shadows one": (
        lambda path: (
            write("helper/__init__.py", (path / "helper.py").read_text())(path),
            remove("helper.py")(path),
        ),
        {"crunch"},
        "module helper is imported from another file",
    ),
    "touch of an input": (touch("data/a.csv"), NOTHING, ""),
    "touch of a module": (touch("helper.py"), NOTHING, ""),
    "touch of an output": (touch("out.txt"), NOTHING, ""),
    "one byte of an input": (
        edit("data/b.csv", "4,", "7,"),
        {"crunch"},
        "input data/b.csv has changed since run",
    ),
    "input of two tasks": (
        edit("data/a.csv", "1,", "7,"),
        {"crunch", "convert"},
        "input data/a.csv has changed",
    ),
    "renamed input": (rename("data/b.csv", "data/c.csv"), {"crunch"}, "input data/b.csv is gone"),
    "new file that matches": (write("data/new.csv", ""), {"crunch"}, "input data/new.csv is new since run"),
    "new file that does not match": (write("data/new.txt", ""), NOTHING, ""),
    "input deleted": (remove("data/b.csv"), {"crunch"}, "input data/b.csv is gone since run"),
    "script of a command": (edit("convert.sh", "cp", "cp -p"), {"convert"}, "input convert.sh has changed"),
    "output deleted": (remove("out.txt"), {"crunch"}, "output out.txt is gone since run"),
    "output edited": (write("out.txt", "8"), {"crunch"}, "output out.txt has changed since run"),
    "output of a command deleted": (remove("made/a.txt"), {"convert"}, "output made/a.txt is gone"),
    "output that is new": (write("made/b.txt", ""), {"convert"}, "output made/b.txt is new since run"),
    "another argument": (edit("job.yaml", "b: 2}", "b: 3}"), {"crunch"}, "argument 1 has changed since run"),
    "type of an argument": (edit("job.yaml", "b: 2}", 'b: "2"}'), {"crunch"}, "argument 1 has changed"),
    "key order": (edit("job.yaml", "{a: 1, b: 2}", "{b: 2, a: 1}"), NOTHING, ""),
    "comment in the job file": (edit("job.yaml", "tasks:", "# these\ntasks:"), NOTHING, ""),
    "order of keys of a task": (
        edit(
            "job.yaml",
            "    target: side:run\n    outputs: [side.txt]",
            "    outputs: [side.txt]\n    target: side:run",
        ),
        NOTHING,
        "",
    ),
    "description": (edit("job.yaml", "name: other", "name: other\n    description: x"), NOTHING, ""),
    "variable of the job": (
        edit("job.yaml", "SHARED: one", "SHARED: two"),
        SKIPPED,
        "environment variable SHARED",
    ),
    "new variable": (edit("job.yaml", "{MODE:", "{A: b, MODE:"), {"crunch"}, "environment variable A is new"),
    "command": (edit("job.yaml", "[sh, convert.sh]", "[sh, -e, convert.sh]"), {"convert"}, "its command has"),
    "target": (edit("job.yaml", "side:run", "side:run.__call__"), {"other"}, "its target has changed"),
    "result of another task": (
        edit("work.py", '"label": label', '"label": [label]'),
        {"crunch"},
        "argument fetched, the result of fetch, has changed since",
    ),
    "upgraded distribution": (upgrade("acme"), {"crunch"}, "distribution acme has changed from 1.0 to 2.0"),
    "upgraded requirement": (upgrade("base"), {"crunch"}, "distribution base has changed from 1.0 to 2.0"),
    "pattern of outputs": (
        edit("job.yaml", "[out.txt]", "[out.txt, more.txt]"),
        {"crunch"},
        "more.txt in outputs matches no file",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_exactly_what_must_run_runs(name, project):
    change, expected, said = EDITS[name]
    change(project)
    ran = run(project)
    assert ran.code == 0, ran.stderr
    assert runs_of(ran) - {"fetch", "show"} == expected
    for task in SKIPPED - expected:
        finished = ran.one("task_finished", task)
        assert finished["reused"]
        assert finished["reason"].startswith("unchanged since ")
    for task in sorted(expected)[:1]:
        words = why(project, task).replace("`", "")
        assert words.startswith(f"{task} ran: ")
        assert said in words
    assert ran.printed("show") == [f"total {json.loads((project / 'out.txt').read_text())}"]


def test_why_prints_an_object_per_line_for_several_tasks(tmp_path):
    job = "tasks: [{name: n, command: 'true', matrix: {k: [a, b]}, inputs: []}]\n"
    (tmp_path / "job.yaml").write_text(job)
    assert mprun("job.yaml", cwd=tmp_path).code == 0
    found = [json.loads(line) for line in mprun("why", "n", "--json", cwd=tmp_path).stdout.splitlines()]
    assert [one["task"] for one in found] == ["n[k=a]", "n[k=b]"]
