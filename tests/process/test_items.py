"""The item of an instance of a `foreach`, wherever the instance is shown (C36)."""

import json

from support.runs import START_METHODS, mprun, write

WORK = """
    def names():
        return ["a.csv", {"path": "b" * 50}, "c.csv"]

    def load(item):
        if item == "c.csv":
            raise ValueError("no")
    """
JOB = """
    params: {secret: {type: string, secret: true, required: true}}
    tasks:
      - {name: check, target: 'work:load', args: ['${item}'], foreach: [x, 2]}
      - {name: load, target: 'work:load', args: ['${item}'], foreach: '${tasks.names.result}'}
      - {name: after, target: 'work:load', args: [1], depends_on: load}
      - {name: names, target: 'work:names'}
    """


def test_items_are_beside_the_names(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    env = {"MPRUN_PARAM_SECRET": "c.csv"}
    names = ["check[0] (x)", "check[1] (2)", "load[0] (a.csv)", 'load[1] ({"path": "' + "b" * 29 + "…)"]
    for method in START_METHODS:
        run = mprun("job.yaml", "-v", "--start-method", method, cwd=tmp_path, env=env)
        assert run.code == 1
        table = [line for line in run.stderr.splitlines() if "  succeeded" in line]
        assert [line.partition("  ")[0] for line in table] == [*names, "names"]
        for name in names:
            assert f" start  {name}  pid=" in run.stderr
        # A secret is not shown here either.
        assert "FAIL      load[2] (***)  exit 1 (ValueError: no)" in run.stderr
    shown, tree = mprun("show", cwd=tmp_path).stdout, mprun("tree", cwd=tmp_path).stdout
    lines = shown.splitlines()
    assert [line.partition("  ")[0] for line in lines if " succeeded  " in line] == [*names, "names"]
    assert "load[2] (***) " in tree
    assert "check[1] (2) " in tree
    tasks = json.loads(mprun("show", "--json", cwd=tmp_path).stdout)["tasks"]
    assert [task["task"] for task in tasks][:3] == ["check[0]", "check[1]", "load[0]"]
    assert [task["item"] for task in tasks] == ["x", "2", "a.csv", names[3][9:-1], "***", None, None]


def test_target_of_an_instance_has_no_secret(tmp_path):
    """An item of a list that a task returns may be a secret, or contain one, also one with quotes."""
    secret = "s3cr'3t value"
    job = """
        params: {secret: {type: string, secret: true, required: true}}
        tasks:
          - {name: names, target: 'work:names', args: ["${params.secret}"]}
          - {name: load, command: [echo, "${item}"], foreach: '${tasks.names.result}'}
        """
    write(tmp_path, work="def names(secret): return [secret, 'a/' + secret]", job=job)
    run = mprun("job.yaml", "-v", "--output", "none", cwd=tmp_path, env={"MPRUN_PARAM_SECRET": secret})
    assert run.code == 0
    targets = [run.one("task_started", name)["target"] for name in ("load[0]", "load[1]")]
    assert targets == ["echo '***'", "echo 'a/***'"]
    assert "target=echo '***'" in run.stderr
    assert "3t value" not in run.stderr


def test_a_group_that_is_resolved_over_several_turns_is_complete(tmp_path):
    write(
        tmp_path,
        work="""
            def many():
                return [0] * 2500 + [1]
            """,
        job="""
            tasks:
              - {name: many, target: "work:many"}
              - {name: each, command: [echo, "${item}"], foreach: "${tasks.many.result}", when: "${item}"}
              - {name: after, command: ["true"], depends_on: [each]}
            """,
    )
    run = mprun("job.yaml", "-q", cwd=tmp_path)
    assert run.code == 0
    assert run.one("run_finished")["counts"] == {"succeeded": 3, "skipped": 2500}
    assert run.outcome("each[2500]") == "succeeded"
    assert run.place("task_finished", "each[2499]") < run.place("task_finished", "after")
