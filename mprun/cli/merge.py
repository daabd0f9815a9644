"""The command that makes one run of the records of its shards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mprun.cli.messages import note, warn
from mprun.cli.options import STATE_DIR, grouped_options, json_option, result_options
from mprun.cli.show import read_run_in
from mprun.reporters.door import ci_service, wants_colour

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _result_options(command: Callable[..., int]) -> Callable[..., int]:
    return grouped_options(command, "results", *result_options())


@click.command()
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(readable=False))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="The state directory that gets the merged run; by default that of `--state-dir`.",
)
@json_option("Show the merged run as one JSON object, like `mprun show --json`.")
@_result_options
@STATE_DIR
def merge(
    directories: tuple[str, ...], output: str | None, as_json: bool, results: dict[str, Any], state_dir: str
) -> int:
    """Make one run of the records of its shards.

    Records of runs with `--partition` are looked for in each DIR and below it, and of a shard the newest
    one is taken. A task that several shards ran counts once, and a failure wins. The exit code is
    the worst of the shards. If a shard is missing, or does not belong to the others, the run
    counts as interrupted.
    """
    from mprun.cli.run_files import RunFiles, is_stdout_for_program
    from mprun.cli.views.run import show_run
    from mprun.cli.views.run_json import show_json
    from mprun.record.merge import merge as merge_shards
    from mprun.record.shards import find_shards, problems

    service = ci_service(results["ci"])
    if service:
        from mprun.cli.ci_reporter import guard_streams

        guard_streams(service)
    # If a program reads stdout, people read the table on stderr.
    stream = sys.stderr if is_stdout_for_program(results, as_json=as_json) else sys.stdout
    files = RunFiles(results)
    files.check()
    shards, messages = find_shards(directories)
    for message in messages:
        note(message)
    found = problems(shards)
    for shard in shards:
        for damage in shard.damage:
            warn(f"{shard.directory.events}: {damage}, left out")
    directory, code = merge_shards(shards, output or state_dir, found)
    for problem in found:
        warn(problem)
    _, state = read_run_in(directory)
    if service:
        from mprun.cli.ci_reporter import tell_service

        tell_service(service, directory, state)
    if as_json:
        show_json(directory, state, sys.stdout)
    else:
        show_run(directory, state, stream, wants_colour(stream))
    files.write(directory)
    return code
