"""multiprocessing's auxiliary processes and files: its fork server, its resource tracker, a socket.

Their modules are imported only when they are needed, because each fork would copy them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(
    method: str, methods: set[str], modules: list[str], path: list[str], pause: Callable[[float], None]
) -> int:
    """Make `method` the default, and start the helpers of `methods`; the fork server's pid, else 0.

    The fork server imports `modules`, and tasks more, by the import path `path`. `pause` is called with
    seconds before a helper that could not be started is tried again.
    """
    multiprocessing.set_start_method(method, force=True)
    if "spawn" in methods:
        from multiprocessing import resource_tracker

        # What starts them, too, which is used only when the import path is that of the job again.
        import mprun.launcher.spawn  # noqa: F401
        from mprun.launcher.helper_start import start_helper

        start_helper(resource_tracker.ensure_running, pause)
    return _start_fork_server(modules, path, pause) if "forkserver" in methods else 0


def _start_fork_server(modules: list[str], path: list[str], pause: Callable[[float], None]) -> int:
    """Start the fork server, which imports these modules; its pid."""
    from multiprocessing import forkserver

    from mprun.launcher.forkserver_preload import IMPORT_PATH, MODULES
    from mprun.launcher.helper_start import start_helper

    forkserver.set_forkserver_preload(["mprun.launcher.forkserver_preload"])
    os.environ.update({IMPORT_PATH: os.pathsep.join(path), MODULES: " ".join(modules)})
    start_helper(forkserver.ensure_running, pause)
    del os.environ[IMPORT_PATH], os.environ[MODULES]
    from mprun.launcher.spawn import fork_server_pid

    return fork_server_pid() or 0


def release_resource_tracker() -> None:
    """Close the pipe of multiprocessing's resource tracker, if it was started, so that it ends."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker = module._resource_tracker if module is not None else None
    if tracker is not None and tracker._fd is not None:
        os.close(tracker._fd)
        tracker._fd = tracker._pid = None


def main_name() -> str:
    """The name of the launcher as a process of multiprocessing."""
    return multiprocessing.current_process().name


def remove_files() -> None:
    """Remove the directory of the fork server's socket, which multiprocessing would remove at exit."""
    directory = multiprocessing.current_process()._config.get("tempdir")  # type: ignore[attr-defined]
    if directory is not None:
        import shutil

        shutil.rmtree(directory, ignore_errors=True)
