"""The file of `--junit`: a run as JUnit XML."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.cli.output_file import Format
from mprun.cli.recorded_plan import read_plan
from mprun.outcomes import Outcome
from mprun.record import reader
from mprun.reporters import junit
from mprun.reporters.task_places import TaskPlaces, checkout, present_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan


def _pieces(directory: RunDirectory, plan: Plan | None) -> Iterator[str]:
    state, _ = reader.read_state(directory)
    if plan is None:
        plan = read_plan(state)
    places = TaskPlaces(plan, state, checkout(os.environ, present_directory(state)))
    alive = reader.run_outcome(directory, state) == Outcome.RUNNING
    return junit.pieces(directory, state, places, alive=alive)


# Whatever other program wrote an XML file of this name: each run of a CI job writes it again.
FORMAT = Format(name="JUnit file", beginning="<?xml", pieces=_pieces)
