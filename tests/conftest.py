"""Settings and fixtures for all tests."""

import contextlib
import gc
import os
import signal

import psutil
import pytest
from hypothesis import settings
from support.parts import is_in_part

# A busy machine is not a defect; pytest-timeout bounds the whole test.
settings.register_profile("mprun", deadline=None)
settings.load_profile("mprun")

# A test must not depend on variables that a developer or CI has set.
REMOVED_VARIABLES = {"CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "GITLAB_CI", "NO_COLOR"}
REMOVED_VARIABLES |= {
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "CI_PROJECT_DIR",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKSPACE",
    "WORKSPACE",
}


def _refuse_groups(call):
    """A call for signals, refused to the tests for all processes (-1), or the tests' own group (0).

    `make` and its shell are in that group too. Such a number is easily made by mistake, and no one is left
    to report it.
    """
    tests = os.getpid()

    def checked(pid, number):
        assert pid > 1 or os.getpid() != tests, f"signal {number} to {pid}"
        return call(pid, number)

    return checked


os.kill, os.killpg = _refuse_groups(os.kill), _refuse_groups(os.killpg)


def pytest_addoption(parser):
    parser.addoption(
        "--rounds",
        type=int,
        default=4,
        help="how often what is random is tried, such as kills",
    )
    parser.addoption(
        "--part",
        default="1/1",
        help="N/M: of the files of tests in each directory, only the Nth of M parts",
    )


# Tests with the same result on every Python: `make test` runs them on the default one only. The others, which
# are about interpreters, start methods, signals and files, run on each, and so do those that cost nothing.
ONCE_DIRECTORIES = ("tests/cli/", "tests/faults/")
ONCE = {
    "tests/unit/test_benchmarks.py",
    "tests/unit/test_check.py",
    "tests/unit/test_hosts.py",
    "tests/unit/test_hosts_agent.py",
    "tests/unit/test_hosts_artifacts.py",
    "tests/unit/test_hosts_lease.py",
    "tests/unit/test_hosts_probes.py",
    "tests/unit/test_house.py",
    "tests/unit/test_settings.py",
    "tests/unit/test_texts.py",
    "tests/unit/test_texts_as_numbers.py",
    # What is read and decided in Python that all versions run alike.
    "tests/unit/test_comparison.py",
    "tests/unit/test_concurrency.py",
    # Random jobs in virtual time.
    "tests/unit/test_copy_feed.py",
    "tests/unit/test_critical_path.py",
    "tests/unit/test_dependencies.py",
    "tests/unit/test_diagnostics.py",
    "tests/unit/test_document.py",
    "tests/unit/test_door.py",
    "tests/unit/test_dotenv.py",
    "tests/unit/test_events.py",
    "tests/unit/test_flaky.py",
    "tests/unit/test_forecast.py",
    "tests/unit/test_format.py",
    "tests/unit/test_format_1.py",
    "tests/unit/test_frame.py",
    "tests/unit/test_history.py",
    "tests/unit/test_job_schema.py",
    "tests/unit/test_line_scanner.py",
    "tests/unit/test_loader.py",
    "tests/unit/test_loader_budget.py",
    "tests/unit/test_loader_cost.py",
    "tests/unit/test_loader_properties.py",
    "tests/unit/test_loader_types.py",
    "tests/unit/test_matcher.py",
    "tests/unit/test_matrix.py",
    "tests/unit/test_null_results.py",
    "tests/unit/test_params.py",
    "tests/unit/test_partition.py",
    "tests/unit/test_placement.py",
    "tests/unit/test_plain_numbers.py",
    "tests/unit/test_plan.py",
    "tests/unit/test_plan_forecast.py",
    "tests/unit/test_plan_graph.py",
    "tests/unit/test_plan_views.py",
    "tests/unit/test_progress.py",
    "tests/unit/test_ready_queue.py",
    "tests/unit/test_recipe_outputs.py",
    "tests/unit/test_references.py",
    "tests/unit/test_resolver.py",
    "tests/unit/test_rounds.py",
    "tests/unit/test_rounds_random.py",
    "tests/unit/test_scale.py",
    "tests/unit/test_scheduler.py",
    "tests/unit/test_scheduler_hosts.py",
    "tests/unit/test_scheduler_late.py",
    "tests/unit/test_scheduler_random.py",
    "tests/unit/test_scheduler_services.py",
    "tests/unit/test_siblings.py",
    "tests/unit/test_table.py",
    "tests/unit/test_tail.py",
    "tests/unit/test_task_checks.py",
    "tests/unit/test_timeline.py",
    "tests/unit/test_transitions.py",
    "tests/unit/test_units.py",
    "tests/unit/test_verdict.py",
    # Texts without secrets; the same pytest beside every Python.
    "tests/process/test_pytest_plugin.py",
    "tests/process/test_secrets.py",
    # What the engine does with results, items, policies, probes and stops, and the kernel with commands.
    "tests/process/test_capture.py",
    "tests/process/test_command_output.py",
    "tests/process/test_command_probes.py",
    "tests/process/test_commands_and_limits.py",
    "tests/process/test_host_faults.py",
    "tests/process/test_host_quiet.py",
    "tests/process/test_hosts.py",
    "tests/process/test_hosts_docs.py",
    "tests/process/test_hosts_model.py",
    "tests/process/test_hosts_resources.py",
    "tests/process/test_hosts_start.py",
    "tests/process/test_hosts_tls.py",
    "tests/process/test_items.py",
    "tests/process/test_late_matrix.py",
    "tests/process/test_late_types.py",
    "tests/process/test_live_cost.py",
    "tests/process/test_lost_hosts.py",
    "tests/process/test_many_tasks.py",
    "tests/process/test_order.py",
    "tests/process/test_ordered_stops.py",
    "tests/process/test_pipelines.py",
    "tests/process/test_policies.py",
    "tests/process/test_readiness.py",
    "tests/process/test_recipe_rounds.py",
    "tests/process/test_siblings.py",
    "tests/process/test_stop_messages.py",
    # Which tasks are skipped; what their code is, which depends on the Python, is in two other files.
    "tests/process/test_unchanged_again.py",
    "tests/process/test_unchanged_never.py",
    "tests/process/test_unchanged_tasks.py",
    "tests/process/test_unchanged_why.py",
    "tests/process/test_verdicts.py",
}


def _is_once(path):
    """Whether all tests of a file, whose path is relative, have the mark."""
    return path.startswith(ONCE_DIRECTORIES) or path in ONCE


def _may_have_once(path):
    """Whether a file is read in search of tests that have the mark, by itself or by `support.pythons`."""
    text = path.read_bytes()
    return b"mark.once" in text or b"from support.pythons import" in text


def pytest_ignore_collect(collection_path, config):
    """Read no file that has none of the tests asked for: to rewrite its assertions takes time."""
    if not collection_path.match("test_*.py"):
        return None
    if not is_in_part(collection_path, config.getoption("--part")):
        return True
    half = config.option.markexpr
    if _is_once(collection_path.relative_to(config.rootpath).as_posix()):
        return half == "not once" or None
    return (half == "once" and not _may_have_once(collection_path)) or None


# Before those are left out that are not asked for.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the tests of `ONCE`, and give one with rounds enough time for all of them."""
    marked = set()
    for item in items:
        if _is_once(item.nodeid.partition("::")[0]):
            item.add_marker(pytest.mark.once)
        elif item.get_closest_marker("once"):
            marked.add(item.path)
        if "rounds" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(60 + 10 * config.getoption("--rounds")))
    # No lane of `make test` would run these.
    if unseen := sorted(path.name for path in marked if not _may_have_once(path)):
        raise pytest.UsageError(f"neither `mark.once` nor `support.pythons` is in {', '.join(unseen)}")


def pytest_collection_finish():
    """Leave what collection has made out of garbage collections: there is much of it, and all of it stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rounds(request):
    """How many rounds a test runs that kills at random moments."""
    return request.config.getoption("--rounds")


@pytest.fixture
def crash_target():
    """Starts a `CrashTarget` with the arguments given; nothing of it is left after the test."""
    from support.crash_targets import CrashTarget

    made = []

    def make(*arguments, **options):
        made.append(CrashTarget(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.clean()


def pytest_configure():
    # A shell that runs the tests in the background ignores SIGINT, and nohup SIGHUP; child processes
    # inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for name in list(os.environ):
        if name in REMOVED_VARIABLES or name.startswith("MPRUN_"):
            del os.environ[name]


def pytest_sessionfinish():
    """Kill what failed tests have left running; with each mprun its tasks end."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
