"""Makes what a command has printed on standard output its result: the key `capture`."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from mprun.jobfile.units import size_text
from mprun.launcher.channel import MAX_CAPTURED_BYTES, STDOUT
from mprun.record.results import JSON
from mprun.record.state_files import CREATE

if TYPE_CHECKING:
    from mprun.record.state_files import StateFile


def take(files: StateFile, how: str) -> str:
    r"""Write the result of an attempt from its output; why there is none, empty if there is.

    `files` are the attempt's result files, without their suffixes; `how` is `text`, `lines` or
    `json`. The output is UTF-8; in `text` and `lines`, other bytes are written as `\xff`.
    """
    try:
        with open(files.with_suffix(STDOUT).open(), "rb") as file:
            data = file.read(MAX_CAPTURED_BYTES + 1)
    except FileNotFoundError:
        # Nothing of the command has run.
        data = b""
    except OSError as error:
        return f"cannot read its output: {error.strerror}"
    if len(data) > MAX_CAPTURED_BYTES:
        return f"its output is longer than {size_text(MAX_CAPTURED_BYTES)}, which `capture` does not keep"
    try:
        _write(files, _json_text(data) if how == "json" else json.dumps(_texts(data, how)))
    except ValueError as error:
        return f"its output is not JSON: {error}"
    except OSError as error:
        return f"cannot write its result: {error.strerror}"
    return ""


def _texts(data: bytes, how: str) -> str | list[str]:
    """The output as a text, or as a list of lines, without the newline at its end."""
    text = data.decode("utf-8", "backslashreplace")
    if how == "text":
        return text.removesuffix("\n").removesuffix("\r")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _json_text(data: bytes) -> str:
    """The output, if it is JSON. Raises ValueError."""
    if not data.strip():
        raise ValueError("it is empty")
    try:
        text = data.decode("utf-8-sig")
        json.loads(text, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return text


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _write(files: StateFile, text: str) -> None:
    """Write the result file whole or not at all, in place of the file of the output."""
    folder, name = files.folder, files.name
    with contextlib.suppress(OSError):
        # A task has put it there.
        folder.unlink(f"{name}{JSON}.part")
    with open(folder.open(f"{name}{JSON}.part", CREATE), "w", encoding="utf-8") as file:
        file.write(text)
    folder.rename(f"{name}{JSON}.part", f"{name}{JSON}")
    with contextlib.suppress(OSError):
        folder.unlink(f"{name}{STDOUT}")
