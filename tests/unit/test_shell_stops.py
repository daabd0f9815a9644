"""A stop signal for the process alone ends a shell, and not the program in it: the file is warned about."""

from __future__ import annotations

import pytest
from support.desk import Desk

STOP = "stop: {grace: 60s, to: process}"
WARNING = "the stop signal of `w` goes to its shell alone, not to the program in it"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def warned(desk, text):
    return [str(warning) for warning in desk.job(job=text).warnings]


@pytest.mark.parametrize(
    "tasks",
    [
        f"tasks: [{{name: w, command: celery worker, {STOP}}}]",
        f"tasks: [{{name: w, command: 'cd app && celery worker', daemon: true, {STOP}}}]",
        f"defaults: {{{STOP}}}\ntasks: [{{name: w, command: celery worker}}]",
        f"defaults: {{command: celery worker}}\ntasks: [{{name: w, {STOP}}}]",
        f"defaults: {{{STOP}, command: celery}}\ntasks: [{{name: w}}, {{name: t, target: 'm:f'}}]",
        f"tasks: [{{name: w, command: celery, matrix: {{n: [1, 2]}}, {STOP}}}]",
    ],
)
def test_a_command_in_a_string_is_warned_about_once_C17(desk, tasks):
    (warning,) = warned(desk, tasks)
    assert WARNING in warning


@pytest.mark.parametrize(
    "tasks",
    [
        f"tasks: [{{command: exec celery worker, {STOP}}}]",
        f"tasks: [{{command: 'cd app && exec celery worker', {STOP}}}]",
        f"tasks: [{{command: \"trap 'kill $p' TERM; celery & p=$!; wait\", {STOP}}}]",
        f"tasks: [{{command: [celery, worker], {STOP}}}]",
        f"tasks: [{{target: 'm:f', {STOP}}}]",
        "tasks: [{command: process, stop: {grace: 60s}}]",
        f"defaults: {{{STOP}}}\ntasks: [{{command: process, stop: {{to: group}}}}]",
        f"defaults: {{{STOP}, command: celery}}\ntasks: [{{target: 'm:f'}}]",
    ],
)
def test_no_other_task_is_warned_about(desk, tasks):
    assert warned(desk, tasks) == []
