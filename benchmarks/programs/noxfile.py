"""The session of nox that does nothing, in nox's own process and environment."""

import nox


@nox.session(venv_backend="none")
def one(_: nox.Session) -> None:
    """Do nothing: modules beside this file cannot be imported here."""
