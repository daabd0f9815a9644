"""The options of the command line, each defined once."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

import click

from mprun.cli.messages import expect_json
from mprun.executors.base import EXECUTORS
from mprun.jobfile import units
from mprun.record.state_dir import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    Command = Callable[..., int]


class ExecutorName(click.Choice):  # type: ignore[type-arg]
    """One of `EXECUTORS`, or the import path of a class."""

    def convert(self, value: str, option: click.Parameter | None, context: click.Context | None) -> str:
        is_elsewhere = ":" not in value and EXECUTORS[super().convert(value, option, context)]
        # Nothing is to begin while a shell completes the words.
        if is_elsewhere and context and not context.resilient_parsing:
            # Few runs leave this machine.
            from mprun.cli.hosts import begin

            begin(context, value)
        return value


def to_seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """An option's duration, written as in a job file, in seconds."""
    if value is None:
        return None
    try:
        return units.to_seconds(float(value) if value.replace(".", "", 1).isdecimal() else value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def to_timeout(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """As `to_seconds`, but 0 is refused."""
    seconds = to_seconds(context, option, value)
    if seconds == 0:
        raise click.BadParameter("it must be longer than 0 seconds; leave it out for the default")
    return seconds


def complete_job(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shell completion of what the job file on the command line declares."""
    from mprun.cli.job_completion import complete

    return complete(context, parameter, incomplete)


def json_option(help: str) -> Callable[[Command], Command]:
    """The option `--json`, as the argument `as_json`: stdout is for a program."""

    def announce(_: click.Context, __: click.Parameter, value: bool) -> bool:
        if value:
            expect_json()
        return value

    return click.option("--json", "as_json", is_flag=True, callback=announce, help=help)


STATE_DIR = click.option(
    "--state-dir",
    default=DEFAULT,
    show_default=True,
    envvar="MPRUN_STATE_DIR",
    metavar="DIR",
    help="Where the records of runs are kept.",
)


def planning_options(command: Command) -> Command:
    """Give a command the options that say which tasks run, and how, as one argument `planning`.

    It holds the keyword arguments of `api.plan_job`, and `params`.
    """
    from mprun.jobfile.model import FLAKY_POLICIES, START_METHODS

    return grouped_options(
        command,
        "planning",
        click.option(
            "-p",
            "--param",
            "params",
            multiple=True,
            metavar="NAME=VALUE",
            shell_complete=complete_job,
            help="Set a param; NAME=@FILE reads the value from a file. MPRUN_PARAM_NAME sets it too.",
        ),
        click.option(
            "-k",
            "--name",
            "names",
            multiple=True,
            envvar="MPRUN_NAME",
            metavar="GLOB",
            help="Run the tasks whose name matches (* and ?), and their dependencies.",
        ),
        click.option(
            "-t",
            "--tag",
            "tags",
            multiple=True,
            envvar="MPRUN_TAG",
            metavar="TAG",
            help="Run the tasks with this tag, and their dependencies.",
        ),
        click.option(
            "--deps/--no-deps",
            "with_dependencies",
            default=True,
            show_default=True,
            envvar="MPRUN_DEPS",
            help="With -k and -t: also run the dependencies of the selected tasks.",
        ),
        click.option(
            "-j",
            "--max-parallel",
            type=click.IntRange(min=1),
            envvar="MPRUN_MAX_PARALLEL",
            metavar="N",
            help="Run at most N tasks at once.",
        ),
        click.option(
            "-x",
            "--fail-fast",
            is_flag=True,
            default=None,
            envvar="MPRUN_FAIL_FAST",
            help="Stop the run at the first failure.",
        ),
        click.option(
            "--force",
            is_flag=True,
            default=None,
            envvar="MPRUN_FORCE",
            help="Also run tasks whose inputs, outputs and code are unchanged.",
        ),
        click.option(
            "--timeout",
            callback=to_timeout,
            envvar="MPRUN_TIMEOUT",
            metavar="DURATION",
            help="How long the whole run may take: seconds, or 1m30s.",
        ),
        click.option(
            "--start-method",
            type=click.Choice(START_METHODS),
            envvar="MPRUN_START_METHOD",
            help="How the processes of all tasks are started.",
        ),
        click.option(
            "--flaky",
            type=click.Choice(FLAKY_POLICIES),
            envvar="MPRUN_FLAKY",
            help="Whether tasks that succeed only after they were retried fail the run.",
        ),
        click.option(
            "--repeat",
            type=click.IntRange(min=1),
            envvar="MPRUN_REPEAT",
            metavar="N",
            help="Run N copies of each selected task side by side: TASK@1, TASK@2, ...",
        ),
        click.option(
            "--repeat-for",
            callback=to_timeout,
            envvar="MPRUN_REPEAT_FOR",
            metavar="DURATION",
            help="Add copies of the selected tasks for so long: seconds, or 1m30s.",
        ),
        click.option(
            "--until-failure",
            is_flag=True,
            default=None,
            envvar="MPRUN_UNTIL_FAILURE",
            help="Repeat the selected tasks, and stop at the first failure.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            envvar="MPRUN_SEED",
            metavar="N",
            help="With --repeat: the order of the copies; the same seed gives the same order.",
        ),
        click.option(
            "--partition",
            envvar="MPRUN_PARTITION",
            metavar="KIND:M/N",
            help="Run shard M of N of the selected tasks, such as slice:2/5; KIND is slice, hash or time.",
        ),
    )


def running_options(command: Command) -> Command:
    """Give a command the options that say how a run is shown and recorded, as one argument `running`.

    It holds the options by name, for `cli.run.execute`.
    """
    from mprun.engine.preflight import IMPORT_TIMEOUT_SECONDS
    from mprun.reporters.console import OUTPUTS, PROGRESS

    return grouped_options(
        command,
        "running",
        click.option(
            "--output",
            type=click.Choice(OUTPUTS),
            default="prefix",
            show_default=True,
            envvar="MPRUN_OUTPUT",
            help="How to show output: line by line, grouped per task, failed tasks only, or not at all.",
        ),
        click.option(
            "--progress",
            type=click.Choice(PROGRESS),
            default="auto",
            show_default=True,
            envvar="MPRUN_PROGRESS",
            help="How to show progress: in rows at the bottom of a terminal, in lines, or not at all.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            envvar="MPRUN_VERBOSE",
            help="Log the process lineage, one line per event.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            envvar="MPRUN_QUIET",
            help="Show only the output of tasks, unless one fails.",
        ),
        click.option(
            "--events",
            metavar="FILE",
            envvar="MPRUN_EVENTS",
            help="Write a copy of the record's events to FILE; - is stdout.",
        ),
        *result_options(),
        click.option(
            "--import-timeout",
            callback=to_timeout,
            # As a text, so that the help shows 60s, not 60.0.
            default=f"{IMPORT_TIMEOUT_SECONDS:g}s",
            show_default=True,
            envvar="MPRUN_IMPORT_TIMEOUT",
            metavar="DURATION",
            help="How long the imports of the targets may take: seconds, or 1m30s.",
        ),
        click.option(
            "--executor",
            type=ExecutorName(tuple(EXECUTORS)),
            default=next(iter(EXECUTORS)),
            show_default=True,
            envvar="MPRUN_EXECUTOR",
            help="Where tasks run: on this machine, on the hosts of a dask cluster, or as MODULE:CLASS does.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            envvar="MPRUN_SCHEDULER",
            help="With --executor dask: the scheduler, such as tcp://10.0.0.1:8786.",
        ),
        click.option(
            "--scheduler-file",
            metavar="FILE",
            envvar="MPRUN_SCHEDULER_FILE",
            help="With --executor dask: the file that the scheduler has written, with its address.",
        ),
        click.option(
            "--tls-ca",
            metavar="FILE",
            envvar="MPRUN_TLS_CA",
            help="With --executor dask: the certificates of who may sign those of the cluster.",
        ),
        click.option(
            "--tls-cert",
            metavar="FILE",
            envvar="MPRUN_TLS_CERT",
            help="With --executor dask: the certificate that mprun shows to the cluster.",
        ),
        click.option(
            "--tls-key",
            metavar="FILE",
            envvar="MPRUN_TLS_KEY",
            help="With --executor dask: its private key, if that is not in the same file.",
        ),
        click.option(
            "--host-timeout",
            callback=to_timeout,
            default="30s",
            show_default=True,
            envvar="MPRUN_HOST_TIMEOUT",
            metavar="DURATION",
            help="With --executor dask: after how long without a sign of it a host counts as lost.",
        ),
        STATE_DIR,
    )


def result_options() -> tuple[Callable[[Command], Command], ...]:
    """The options that say who is told about a run at its end."""
    from mprun.reporters.door import CI_SERVICES

    return (
        click.option(
            "--report",
            metavar="FILE",
            envvar="MPRUN_REPORT",
            help="Write a report of the run, an HTML page, to FILE at its end; - is stdout.",
        ),
        click.option(
            "--junit",
            metavar="FILE",
            envvar="MPRUN_JUNIT",
            help="Write the results of all tasks as JUnit XML to FILE at the end; - is stdout.",
        ),
        click.option(
            "--ci",
            type=click.Choice(CI_SERVICES),
            default="auto",
            show_default=True,
            envvar="MPRUN_CI",
            help="Write annotations, folded logs and a summary for this service; auto: if it runs mprun.",
        ),
        click.option(
            "--trace",
            metavar="FILE",
            envvar="MPRUN_TRACE",
            help="Write a trace of the run, for ui.perfetto.dev, to FILE at its end; - is stdout.",
        ),
        click.option(
            "--otlp",
            metavar="FILE",
            envvar="MPRUN_OTLP",
            help="Write the run as OTLP/JSON, for OpenTelemetry, to FILE at its end; - is stdout.",
        ),
    )


def grouped_options(command: Command, argument: str, *options: Callable[[Command], Command]) -> Command:
    """Give a command options whose values it takes together, as a dict in one argument."""

    @wraps(command)
    def grouped(*args: object, **values: object) -> int:
        group = {name: values.pop(name) for name in names}
        return command(*args, **{argument: group}, **values)

    for option in reversed(options):
        option(grouped)
    # `click.option` collects the parameters of a command in this list until the command is made.
    added: list[click.Parameter] = grouped.__click_params__[-len(options) :]  # type: ignore[attr-defined]
    names = [str(parameter.name) for parameter in added]
    return grouped
