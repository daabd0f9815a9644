"""The options of the command line, each defined once."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

from mprun.cli.messages import expect_json
from mprun.cli.option import Option
from mprun.executors.base import EXECUTORS
from mprun.jobfile import units
from mprun.record.state_dir import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click
    from click.shell_completion import CompletionItem

    Command = Callable[..., int]


def to_seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """An option's duration, written as in a job file, in seconds."""
    if value is None:
        return None
    try:
        return units.to_seconds(float(value) if value.replace(".", "", 1).isdecimal() else value)
    except ValueError as error:
        from click import BadParameter

        raise BadParameter(str(error)) from None


def to_timeout(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """As `to_seconds`, but 0 is refused."""
    seconds = to_seconds(context, option, value)
    if seconds == 0:
        from click import BadParameter

        raise BadParameter("it must be longer than 0 seconds; leave it out for the default")
    return seconds


def complete_job(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shell completion of what the job file on the command line declares."""
    from mprun.cli.job_completion import complete

    return complete(context, parameter, incomplete)


def _executor_name(names: Sequence[str]) -> click.ParamType[str]:
    # Most runs are read without click.
    from mprun.cli.executor_name import ExecutorName

    return ExecutorName(names)


def json_option(help: str) -> Option:
    """The option `--json`, as the argument `as_json`: stdout is for a program."""

    def announce(_: click.Context, __: click.Parameter, value: bool) -> bool:
        if value:
            expect_json()
        return value

    return Option("--json", "as_json", is_flag=True, callback=announce, help=help)


STATE_DIR = Option(
    "--state-dir",
    default=DEFAULT,
    show_default=True,
    envvar="MPRUN_STATE_DIR",
    metavar="DIR",
    help="Where the records of runs are kept.",
)


def planning() -> tuple[Option, ...]:
    """The options that say which tasks run, and how: the arguments of `api.plan_job`, and `params`."""
    from mprun.jobfile.model import FLAKY_POLICIES, START_METHODS

    return (
        Option(
            "-p",
            "--param",
            "params",
            multiple=True,
            metavar="NAME=VALUE",
            shell_complete=complete_job,
            help="Set a param; NAME=@FILE reads the value from a file. MPRUN_PARAM_NAME sets it too.",
        ),
        Option(
            "-k",
            "--name",
            "names",
            multiple=True,
            envvar="MPRUN_NAME",
            metavar="GLOB",
            help="Run the tasks whose name matches (* and ?), and their dependencies.",
        ),
        Option(
            "-t",
            "--tag",
            "tags",
            multiple=True,
            envvar="MPRUN_TAG",
            metavar="TAG",
            help="Run the tasks with this tag, and their dependencies.",
        ),
        Option(
            "--deps/--no-deps",
            "with_dependencies",
            default=True,
            show_default=True,
            envvar="MPRUN_DEPS",
            help="With -k and -t: also run the dependencies of the selected tasks.",
        ),
        Option(
            "-j",
            "--max-parallel",
            least=1,
            envvar="MPRUN_MAX_PARALLEL",
            metavar="N",
            help="Run at most N tasks at once.",
        ),
        Option(
            "-x",
            "--fail-fast",
            is_flag=True,
            default=None,
            envvar="MPRUN_FAIL_FAST",
            help="Stop the run at the first failure.",
        ),
        Option(
            "--force",
            is_flag=True,
            default=None,
            envvar="MPRUN_FORCE",
            help="Also run tasks whose inputs, outputs and code are unchanged.",
        ),
        Option(
            "--timeout",
            callback=to_timeout,
            envvar="MPRUN_TIMEOUT",
            metavar="DURATION",
            help="How long the whole run may take: seconds, or 1m30s.",
        ),
        Option(
            "--start-method",
            choices=START_METHODS,
            envvar="MPRUN_START_METHOD",
            help="How the processes of all tasks are started.",
        ),
        Option(
            "--flaky",
            choices=FLAKY_POLICIES,
            envvar="MPRUN_FLAKY",
            help="Whether tasks that succeed only after they were retried fail the run.",
        ),
        Option(
            "--repeat",
            least=1,
            envvar="MPRUN_REPEAT",
            metavar="N",
            help="Run N copies of each selected task side by side: TASK@1, TASK@2, ...",
        ),
        Option(
            "--repeat-for",
            callback=to_timeout,
            envvar="MPRUN_REPEAT_FOR",
            metavar="DURATION",
            help="Run more copies of the selected tasks until this time is over: seconds, or 1m30s.",
        ),
        Option(
            "--until-failure",
            is_flag=True,
            default=None,
            envvar="MPRUN_UNTIL_FAILURE",
            help="Repeat the selected tasks, and stop at the first failure.",
        ),
        Option(
            "--seed",
            least=0,
            envvar="MPRUN_SEED",
            metavar="N",
            help="With --repeat: the order of the copies; the same seed gives the same order.",
        ),
        Option(
            "--partition",
            envvar="MPRUN_PARTITION",
            metavar="KIND:M/N",
            help="Run shard M of N of the selected tasks, such as slice:2/5; KIND is slice, hash or time.",
        ),
    )


def planning_options(command: Command) -> Command:
    """Give a command those of `planning` as one argument of this name."""
    return grouped_options(command, "planning", *planning())


def running() -> tuple[Option, ...]:
    """The options that say how a run is shown and recorded, for `cli.execution.execute`."""
    from mprun.engine.preflight import IMPORT_TIMEOUT_SECONDS
    from mprun.reporters.console import OUTPUTS, PROGRESS

    return (
        Option(
            "--output",
            choices=OUTPUTS,
            default="prefix",
            show_default=True,
            envvar="MPRUN_OUTPUT",
            help="How to show output: line by line, grouped per task, failed tasks only, or not at all.",
        ),
        Option(
            "--progress",
            choices=PROGRESS,
            default="auto",
            show_default=True,
            envvar="MPRUN_PROGRESS",
            help="How to show progress: in rows at the bottom of a terminal, in lines, or not at all.",
        ),
        Option(
            "-v",
            "--verbose",
            count=True,
            envvar="MPRUN_VERBOSE",
            help="Log the process lineage, one line per event.",
        ),
        Option(
            "-q",
            "--quiet",
            is_flag=True,
            envvar="MPRUN_QUIET",
            help="Show only the output of tasks and warnings; list the failures at the end.",
        ),
        Option(
            "--events",
            metavar="FILE",
            envvar="MPRUN_EVENTS",
            help="Write a copy of the record's events to FILE; - is stdout.",
        ),
        *result_options(),
        Option(
            "--import-timeout",
            callback=to_timeout,
            # As a text, so that the help shows 60s, not 60.0.
            default=f"{IMPORT_TIMEOUT_SECONDS:g}s",
            show_default=True,
            envvar="MPRUN_IMPORT_TIMEOUT",
            metavar="DURATION",
            help="How long the imports of the targets may take: seconds, or 1m30s.",
        ),
        Option(
            "--executor",
            choices=tuple(EXECUTORS),
            make_type=_executor_name,
            default=next(iter(EXECUTORS)),
            show_default=True,
            envvar="MPRUN_EXECUTOR",
            help="Where tasks run: on this machine, on the hosts of a dask cluster, or as MODULE:CLASS does.",
        ),
        Option(
            "--scheduler",
            metavar="ADDRESS",
            envvar="MPRUN_SCHEDULER",
            help="With --executor dask: the scheduler, such as tcp://10.0.0.1:8786.",
        ),
        Option(
            "--scheduler-file",
            metavar="FILE",
            envvar="MPRUN_SCHEDULER_FILE",
            help="With --executor dask: the file that the scheduler has written, with its address.",
        ),
        Option(
            "--tls-ca",
            metavar="FILE",
            envvar="MPRUN_TLS_CA",
            help="With --executor dask: the CA certificates that sign those of the cluster.",
        ),
        Option(
            "--tls-cert",
            metavar="FILE",
            envvar="MPRUN_TLS_CERT",
            help="With --executor dask: the certificate that mprun shows to the cluster.",
        ),
        Option(
            "--tls-key",
            metavar="FILE",
            envvar="MPRUN_TLS_KEY",
            help="With --executor dask: its private key, if that is not in the same file.",
        ),
        Option(
            "--host-timeout",
            callback=to_timeout,
            default="30s",
            show_default=True,
            envvar="MPRUN_HOST_TIMEOUT",
            metavar="DURATION",
            help="With --executor dask: a host counts as lost if nothing is heard from it for this long.",
        ),
        STATE_DIR,
    )


def running_options(command: Command) -> Command:
    """Give a command those of `running` as one argument of this name."""
    return grouped_options(command, "running", *running())


def only_of_run() -> tuple[Option, ...]:
    """The other options of `mprun run`."""
    return (
        Option("--dry-run", is_flag=True, help="Import and check every target, but start nothing."),
        json_option("Show the run at its end as one JSON object, like `mprun show --json`."),
    )


def result_options() -> tuple[Option, ...]:
    """The options that say who is told about a run at its end."""
    from mprun.reporters.door import CI_SERVICES

    return (
        Option(
            "--report",
            metavar="FILE",
            envvar="MPRUN_REPORT",
            help="Write a report of the run, an HTML page, to FILE at its end; - is stdout.",
        ),
        Option(
            "--junit",
            metavar="FILE",
            envvar="MPRUN_JUNIT",
            help="Write the results of all tasks as JUnit XML to FILE at the end; - is stdout.",
        ),
        Option(
            "--ci",
            choices=CI_SERVICES,
            default="auto",
            show_default=True,
            envvar="MPRUN_CI",
            help="Write annotations, folded logs and a summary for a CI service; auto: the one it runs in.",
        ),
        Option(
            "--trace",
            metavar="FILE",
            envvar="MPRUN_TRACE",
            help="Write a trace of the run, for ui.perfetto.dev, to FILE at its end; - is stdout.",
        ),
        Option(
            "--otlp",
            metavar="FILE",
            envvar="MPRUN_OTLP",
            help="Write the run as OTLP/JSON, for OpenTelemetry, to FILE at its end; - is stdout.",
        ),
    )


def grouped_options(command: Command, argument: str, *options: Option) -> Command:
    """Give a command options whose values it takes together, as a dict in one argument."""
    names = [option.name for option in options]

    @wraps(command)
    def grouped(*args: object, **values: object) -> int:
        group = {name: values.pop(name) for name in names}
        return command(*args, **{argument: group}, **values)

    return with_options(grouped, *options)


def with_options(command: Command, *options: Option) -> Command:
    """Give a command options, in this order."""
    for option in reversed(options):
        command = option(command)
    return command
