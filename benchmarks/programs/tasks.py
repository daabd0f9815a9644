"""The task of invoke, in invoke's own process."""

import noop
from invoke import Context, task


@task
def one(_: Context) -> None:
    """Call the function."""
    noop.noop()
