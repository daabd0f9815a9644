"""A regular expression that would take years is ended, and the message says so (C53)."""

import pytest
from support.runs import mprun, write

# Python tries each way to split the letters, of which there are 2^40.
HOSTILE_VALUE = "a" * 40 + "!"


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_file_with_an_endless_pattern_is_refused_at_its_place(command, tmp_path):
    write(
        tmp_path,
        job=f"""
        params:
          p: {{pattern: '(a+)+', default: {HOSTILE_VALUE}}}
          q: {{pattern: '(a|a)*', default: {HOSTILE_VALUE}}}
        tasks:
          - command: touch started
        """,
    )
    run = mprun(command, "job.yaml", cwd=tmp_path)
    assert run.code == 2
    assert run.stdout == ""
    for place, name in (("job.yaml:3:16", "p"), ("job.yaml:4:16", "q")):
        assert f" --> {place}\n" in run.stderr
        words = "cannot be matched: all patterns of the file take longer than 2s of CPU time"
        assert f"error: the `pattern` of param `{name}` {words}\n" in run.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("key", ["expect: {output: %s}", "daemon: true, ready: {log: %s}", "params"])
def test_a_pattern_of_megabytes_is_refused_at_its_place(key, tmp_path):
    pattern = "a" * 6_000_000
    text = f"tasks: [{{command: touch started, {key.replace('%s', pattern)}}}]\n"
    if key == "params":
        text = f"params: {{p: {{pattern: {pattern}}}}}\ntasks: [{{command: touch started}}]\n"
    write(tmp_path, job=text)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 2
    assert "too long: 6,000,000 characters (limit: 10,000)\n" in run.stderr
    assert " --> job.yaml:1:" in run.stderr
    assert not (tmp_path / "started").exists()
