"""References to results during a run: what they cost where there are many instances."""

from __future__ import annotations

import json

import pytest
from support.records import state_file
from support.timing import cpu_seconds, growth

from mprun import api, errors
from mprun.engine.late_answers import Expanded, Expanding, Failed, LateAnswers, Resolved
from mprun.engine.resolver import TaskResolver
from mprun.engine.result_values import ResultValues
from mprun.engine.task_table import TaskTable
from mprun.jobfile.loader import load_job_file
from mprun.scheduling.instructions import Finish


class Results:
    """The directory of a run, with the result of one task: numbers from 0."""

    def __init__(self, path, count):
        self._path = str(path / str(count))
        with open(self._path + ".json", "w", encoding="utf-8") as file:
            json.dump(list(range(count)), file)

    def result_files(self, name, attempt):
        return state_file(self._path)

    log_file = result_files


def resolving(path, count, *tasks):
    """The answers and the table of a run whose first task, `list`, has returned `count` numbers."""
    file = path / "job.yaml"
    lines = ["params: {p: 1}", "tasks:", "- {name: list, target: 'm:f'}", *tasks]
    file.write_text("\n".join(lines).replace("NUMBERS", str(list(range(count)))), encoding="utf-8")
    plan = api.plan_job(load_job_file(str(file), {}, (), {}))
    table = TaskTable(plan)
    resolver = TaskResolver(plan, table, Results(path, count))
    resolver.handle_finished(Finish(task=0, outcome="succeeded", attempts=1, reason=""))
    return LateAnswers(resolver, plan, table), table


def answered(answers, number):
    """The answer for a task, after all of its steps."""
    answer = answers.answer(number)
    while isinstance(answer, Expanding):
        answer = answer.step() or answer
    return answer


def grows_linearly(few, many):
    """Whether eight times as many take about eight times as long, and not 64 times."""
    return growth(lambda: cpu_seconds(few), lambda: cpu_seconds(many)) < 24


def test_the_time_of_an_expansion_grows_with_those_that_select_and_not_their_square(tmp_path):
    def expanding(count):
        late = "- {name: late, target: 'm:f', foreach: '${tasks.list.result}', args: ['${item}']}"
        use = "- {name: use, target: 'm:f', foreach: NUMBERS, args: ['${tasks.late[${item}].result}']}"
        answers, _ = resolving(tmp_path, count, late, use)
        answer = answered(answers, 1)
        assert isinstance(answer, Expanded)
        assert [task.needed_by for task in answer.tasks] == [((n + 2, "passed"),) for n in range(count)]
        return lambda: answered(answers, 1)

    assert grows_linearly(expanding(2_000), expanding(16_000))


@pytest.mark.parametrize("late", ["foreach: '${tasks.list.result}'", "matrix: {n: '${tasks.list.result}'}"])
def test_lists_together_have_no_more_tasks_than_a_job_may_have(tmp_path, monkeypatch, late):
    monkeypatch.setattr(errors, "MAX_TASKS", 12)
    lines = (f"- {{name: {name}, target: 'm:f', {late}}}" for name in ("a", "b", "c"))
    answers, table = resolving(tmp_path, 4, *lines)
    answer = answered(answers, 1)
    assert isinstance(answer, Expanded)
    table.expand(1, answer.tasks)
    answer = answered(answers, 2)
    assert isinstance(answer, Expanded)
    table.expand(2, answer.tasks)
    assert answered(answers, 3) == Failed(reason="too many tasks: 16 (limit: 12)")


def test_the_time_of_conditions_grows_with_the_number_of_instances_and_not_its_square(tmp_path):
    def starting(count):
        each = "- {name: each, target: 'm:f', foreach: NUMBERS, when: '${tasks.list.result}'}"
        answers, _ = resolving(tmp_path, count, each)

        def start():
            assert {type(answered(answers, number)) for number in range(1, count + 1)} == {Resolved}

        return start

    assert grows_linearly(starting(1_000), starting(8_000))


def test_a_task_that_starts_at_once_has_the_results_read_once(tmp_path, monkeypatch):
    uses = (f"- {{name: {name}, target: 'm:f', args: ['${{tasks.list.result}}']}}" for name in "ab")
    answers, _ = resolving(tmp_path, 3, *uses)
    resolver = answers._resolver
    read = []
    monkeypatch.setattr(ResultValues, "_read", lambda self, *of: (read.append(of) or [0, 1, 2], None))
    assert answered(answers, 1) == answered(answers, 2) == Resolved()
    assert len(read) == 2
    assert resolver.start_request(2, 1).args == ([0, 1, 2],)
    assert len(read) == 2
    # Another task was resolved since, and it is another attempt.
    assert resolver.start_request(1, 1).args == resolver.start_request(2, 2).args == ([0, 1, 2],)
    assert len(read) == 4


@pytest.mark.parametrize(
    ("keys", "late"),
    [
        ("args: ['${item}'], kwargs: {x: '${params.p}'}, env: {E: 'a${item}'}", False),
        ("args: ['${item}', '${tasks.list.result}']", True),
        ("kwargs: {x: '${tasks.other[${item}].result}'}", True),
        ("args: ['${item}'], when: '${item}'", True),
        ("args: ['${item}'], when: '${tasks.list.result}'", True),
        ("args: ['${item}'], inputs: ['a'], outputs: ['b']", True),
    ],
)
def test_an_instance_that_needs_only_its_item_is_not_resolved_again(tmp_path, keys, late):
    other = "- {name: other, target: 'm:f', foreach: [0, 1, 2], args: ['${item}']}"
    each = f"- {{name: each, target: 'm:f', foreach: '${{tasks.list.result}}', {keys}}}"
    answers, _ = resolving(tmp_path, 3, other, each)
    answer = answered(answers, 4)
    assert isinstance(answer, Expanded)
    assert [task.late for task in answer.tasks] == [late] * 3
