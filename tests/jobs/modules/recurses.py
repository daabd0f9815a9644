"""Calls itself at import."""


def call():
    """Again."""
    call()


call()
