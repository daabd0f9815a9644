"""A directory for job files, and what mprun makes of them without starting a process."""

from __future__ import annotations

import textwrap

import pytest

from mprun import api
from mprun.cli.views.plan_graph import dot_lines, mermaid_lines
from mprun.cli.views.plan_json import plan_json
from mprun.cli.views.plan_text import plan_lines
from mprun.errors import JobFileError
from mprun.jobfile.loader import load_job_file


class Desk:
    """A directory for job files; `job` is the main one."""

    def __init__(self, path):
        self.path = path

    def write(self, **files):
        for name, text in files.items():
            (self.path / f"{name}.yaml").write_text(textwrap.dedent(text), encoding="utf-8")

    def job(self, *options, env=None, lenient=False, params=None, **files):
        """The job of `job.yaml`, after every view of its plan was drawn once."""
        self.write(**files)
        path = str(self.path / "job.yaml")
        job = load_job_file(path, params or {}, options, env or {}, lenient=lenient)
        if not lenient:
            views(job)
        return job

    def diagnostics(self, *options, **given):
        """The errors in `job.yaml`, each as `line:column message`."""
        with pytest.raises(JobFileError) as caught:
            self.job(*options, **given)
        return [f"{p.span.line}:{p.span.column} {p.message}" for p in caught.value.diagnostics]

    def needs(self, *options, **given):
        """The names that each task depends on."""
        job = self.job(*options, **given)
        names = [task.name for task in job.tasks]
        return {names[n]: [names[m] for m, _ in needs] for n, needs in enumerate(job.needs)}


def views(job):
    """Every view of a job's plan, as one text."""
    plan = api.plan_job(job)
    made = [plan_lines(plan), plan_json(plan), mermaid_lines(plan), dot_lines(plan)]
    return "\n".join(line for lines in made for line in lines)
