"""Raises at import."""


def call():
    """Never reached."""


call.answer = {}["missing"]
