"""A module of a package."""


def call():
    """Do nothing."""
