"""Settings and fixtures for all tests."""

import contextlib
import gc
import os
import signal

import psutil
import pytest
from hypothesis import settings

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


def pytest_addoption(parser):
    parser.addoption(
        "--rounds",
        type=int,
        default=4,
        help="how often what is random is tried, such as kills",
    )


# Tests with the same result on every Python: `make test` runs them on the default one only. The others, which
# are about interpreters, start methods, signals and files, run on each, and so do those that cost nothing.
ONCE = (
    "tests/cli/",
    "tests/faults/",
    "tests/unit/test_benchmarks",
    "tests/unit/test_check",
    "tests/unit/test_hosts",
    "tests/unit/test_house",
    "tests/unit/test_settings",
    "tests/unit/test_texts",
    # What is read and decided in Python that all versions run alike.
    "tests/unit/test_comparison",
    "tests/unit/test_concurrency",
    # Random jobs in virtual time.
    "tests/unit/test_copy_feed",
    "tests/unit/test_critical_path",
    "tests/unit/test_dependencies",
    "tests/unit/test_diagnostics",
    "tests/unit/test_document",
    "tests/unit/test_door",
    "tests/unit/test_dotenv",
    "tests/unit/test_events",
    "tests/unit/test_flaky",
    "tests/unit/test_forecast",
    "tests/unit/test_format",
    "tests/unit/test_frame",
    "tests/unit/test_history",
    "tests/unit/test_job_schema",
    "tests/unit/test_loader",
    "tests/unit/test_matcher",
    "tests/unit/test_matrix",
    "tests/unit/test_params",
    "tests/unit/test_partition",
    "tests/unit/test_placement",
    "tests/unit/test_plan",
    "tests/unit/test_progress",
    "tests/unit/test_ready_queue",
    "tests/unit/test_references",
    "tests/unit/test_resolver",
    "tests/unit/test_scale",
    "tests/unit/test_scheduler",
    "tests/unit/test_siblings",
    "tests/unit/test_table",
    "tests/unit/test_task_checks",
    "tests/unit/test_timeline",
    "tests/unit/test_transitions",
    "tests/unit/test_verdict",
    # Texts without secrets; the same pytest beside every Python.
    "tests/process/test_pytest_plugin",
    "tests/process/test_secrets",
    # What the engine does with results, items, policies, probes and stops.
    "tests/process/test_capture",
    "tests/process/test_command_probes",
    "tests/process/test_host",
    "tests/process/test_items",
    "tests/process/test_late_matrix",
    "tests/process/test_late_types",
    "tests/process/test_lost_hosts",
    "tests/process/test_many_tasks",
    "tests/process/test_order",
    "tests/process/test_pipelines",
    "tests/process/test_policies",
    "tests/process/test_readiness",
    "tests/process/test_siblings",
    "tests/process/test_stop_messages",
    "tests/process/test_verdicts",
)


def pytest_ignore_collect(collection_path, config):
    """Read no file that has none of the tests asked for: to rewrite its assertions takes time."""
    halves = {"once": False, "not once": True}
    if collection_path.suffix != ".py" or config.option.markexpr not in halves:
        return None
    name = collection_path.relative_to(config.rootpath).as_posix()
    return name.startswith(ONCE) == halves[config.option.markexpr] or None


def pytest_collection_modifyitems(config, items):
    """Give a test with rounds enough time for all of them."""
    for item in items:
        if item.nodeid.startswith(ONCE):
            item.add_marker(pytest.mark.once)
        if "rounds" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(60 + 10 * config.getoption("--rounds")))


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
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP):
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
