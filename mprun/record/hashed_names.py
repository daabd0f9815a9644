"""The part of a file name for a task whose own name is not safe there, is long or has capital letters.

A default name in a matrix is one, so this needs neither `re` nor hashlib, which take 10 ms to import.
"""

from __future__ import annotations

from mprun.jobfile.syntax.document import sha256

_KEPT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=-")
# So much of the name is kept, in characters.
_MAX_LENGTH = 40


def hashed_name(task: str) -> str:
    """What can be read of a name, and a hash, so that different names differ."""
    text = "".join([each if each in _KEPT else "/" for each in task])
    while "//" in text:
        text = text.replace("//", "/")
    digest = sha256(task.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{text.replace('/', '_')[:_MAX_LENGTH].strip('._-')}~{digest}"
