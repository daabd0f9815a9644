"""That a cluster cannot be used."""


class Refused(Exception):
    """The cluster cannot be used; the message is for the user."""
