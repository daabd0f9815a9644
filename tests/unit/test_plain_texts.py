"""C40: plain numbers and booleans in commands and variables are the text that the file has."""

from __future__ import annotations

import pytest
from support.desk import Desk


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


WRITTEN = [
    "012",
    "1.10",
    "0x10",
    "0o17",
    "1e3",
    "+5",
    "-0",
    "True",
    "false",
    ".inf",
    ".NaN",
    "1_000",
    "yes",
    "on",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_plain_value_is_its_text_in_commands_and_variables(desk, text):
    job = desk.job(
        job=f"""
        env: {{OF_JOB: {text}}}
        defaults: {{env: {{OF_DEFAULTS: {text}}}}}
        tasks:
          - {{command: [run, {text}, --port, {text}], env: {{OF_TASK: {text}, QUOTED: "1"}}}}
          - {{command: [{text}]}}
        """
    )
    first, second = (instance.task for instance in job.tasks)
    assert first.command == ("run", text, "--port", text)
    assert first.env == {"OF_JOB": text, "OF_DEFAULTS": text, "OF_TASK": text, "QUOTED": "1"}
    assert second.command == (text,)


def test_a_command_that_is_one_word_may_be_true_or_a_number(desk):
    job = desk.job(job="tasks: [{command: true}, {command: 012}]")
    assert [instance.task.command[2] for instance in job.tasks] == ["true", "012"]


def test_the_default_command_and_a_recipe_have_texts_too(desk):
    job = desk.job(
        job="""
        defaults: {command: [sleep, 0.50]}
        tasks:
          - {name: a}
          - {name: r, uses: recipe.yaml, env: {OF_USER: 007}}
        """,
        recipe="""
        env: {OF_RECIPE: 1.0}
        tasks: [{name: b, command: [sleep, 010]}]
        """,
    )
    first, second = (instance.task for instance in job.tasks)
    assert first.command == ("sleep", "0.50")
    assert second.command == ("sleep", "010")
    assert second.env == {"OF_RECIPE": "1.0", "OF_USER": "007"}


def test_a_value_that_an_alias_repeats_is_its_text_in_one_place_and_its_value_in_another(desk):
    job = desk.job(
        job="""
        x-port: &port 080
        x-note: "&port 99"
        x-all: &all {A: 012, B: &no False}
        tasks:
          - {command: [serve, *port, *no], env: *all}
          - {target: "m:f", kwargs: *all, args: [*port]}
        """
    )
    first, second = (instance.task for instance in job.tasks)
    assert first.command == ("serve", "080", "False")
    assert first.env == {"A": "012", "B": "False"}
    assert second.kwargs == {"A": 12, "B": False}
    assert second.args == (80,)


def test_an_anchor_that_is_used_twice_means_the_value_before_the_alias(desk):
    job = desk.job(
        job="""
        tasks:
          - {command: [a, &n 01, *n]}
          - {command: [a, &n 001, *n]}
        """
    )
    assert [instance.task.command for instance in job.tasks] == [("a", "01", "01"), ("a", "001", "001")]


def test_a_reference_in_a_command_has_the_text_of_its_value(desk):
    job = desk.job(
        job='params: {n: 10}\ntasks: [{command: [a, "${params.n}", "${matrix.v}"], matrix: {v: [1.5]}}]'
    )
    assert [str(word) for word in job.tasks[0].task.command] == ["a", "${params.n}", "${matrix.v}"]


def test_null_has_no_text(desk):
    found = desk.diagnostics(job="tasks: [{command: [a, ~], env: {A: null, B: }}]")
    assert [line.partition(" ")[2] for line in found] == [
        "item 2 of `command` of task `Process-1` must be a string, not null",
        "`env.A` of task `Process-1` must be a string, not null",
        "`env.B` of task `Process-1` must be a string, not null (the value is empty)",
    ]
