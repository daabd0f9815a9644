"""Generated job files, hostile or merely wrong: how soon they are refused, and without a traceback.

A batch is read by a process of its own, which is this file run as a program, with a child for each file,
so that a file that hangs or crashes it is found; one file of each batch goes through the command.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
TRIALS = 2000
BATCH = 200
MOST_BYTES = 1 << 20
# Limits of a process that reads one file.
MOST_MEMORY = 128_000_000
# Timeout of one batch, in seconds.
TIMEOUT = 300
# Text with a meaning in YAML, in references or in names.
SHARP = [
    *"{}[]&*!|>%@`:,#?-'\"\\\t\n\0\x1b\x7f",
    *("<<: *a\n", "---\n", "...\n", "!!python/object:os.system ", "&a ", "*a", "? ", "- ", ": ", "~", "no"),
    *("${", "${tasks.", "}", "${params.a}", "${env.HOME}", "${matrix.", ".result", "..", "010", "1e999"),
    *("0x" + "f" * 5000, "9" * 5000, ".inf", ".nan", "\u202e", "\ufeff", "\u2028", "\U0001f600"),
    *("name", "target", "tasks", "matrix", "depends_on", "foreach", "timeout", "retry", "uses", "env"),
]


def corpus() -> list[list[bytes]]:
    """The known job files: valid and invalid ones."""
    patterns = (("tests/jobs/valid/*.yaml", "jobs/*.yaml"), ("tests/jobs/invalid/*.yaml",))
    found = [[path for pattern in some for path in sorted(ROOT.glob(pattern))] for some in patterns]
    return [[path.read_bytes() for path in paths] for paths in found]


def mutated(text: bytes, random: Random) -> bytes:
    """A text with a few parts removed, doubled, exchanged or inserted."""
    if random.random() < 0.6:
        return _with_other_words(text, random)
    data = bytearray(text)
    for _ in range(random.choice([1, 1, 2, 3, 10])):
        place, other = (random.randrange(len(data) + 1) for _ in range(2))
        first, last = sorted((place, min(other, place + 60)))
        match random.randrange(6):
            case 0:
                del data[first:last]
            case 1:
                # This may be most of the text: a hundred times, ten times over, would fill any memory.
                times = min(random.choice([1, 2, 100]), 1 + MOST_BYTES // (last - first or 1))
                data[place:place] = data[first:last] * times
            case 2:
                data[place:place] = random.choice(SHARP).encode()
            case 3:
                data[place:place] = bytes(random.randrange(256) for _ in range(random.randrange(1, 5)))
            case 4:
                lines = data.split(b"\n")
                random.shuffle(lines)
                data[:] = b"\n".join(lines)
            case 5:
                data[first:last] = b" " * random.randrange(9)
        del data[MOST_BYTES:]
    return bytes(data)


def _with_other_words(text: bytes, random: Random) -> bytes:
    """A text that a parser can mostly still read: some words are exchanged or replaced."""
    words = re.findall(rb"[\w.:$*-]+|[^\w.:$*-]+", text) or [b""]
    for _ in range(random.choice([1, 1, 2, 4])):
        one, other = (2 * random.randrange(len(words) // 2 or 1) for _ in range(2))
        match random.randrange(3):
            case 0:
                words[one], words[other] = words[other], words[one]
            case 1:
                words[one] = words[other]
            case 2:
                words[one] = random.choice(SHARP).encode()
    return b"".join(words)


def _aliases(room: int) -> bytes:
    """Levels, each with the level before it nine times."""
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)]
    return b"\n".join(levels) + b"\ntasks: *a11\n"


def _chain(room: int) -> bytes:
    task = b"- {name: t%d, target: 'os:getpid', depends_on: t%d}\n"
    return b"tasks:\n" + b"".join(task % (n, n + 1) for n in range(room // 60))


def _matrix(axes: int) -> bytes:
    values = b", ".join(b"a%d: [1, 2, 3, 4, 5, 6, 7, 8, 9]" % n for n in range(axes))
    return b"tasks:\n- {name: t, target: 'os:getpid', matrix: {%s}}\n" % values


# Texts of up to `room` bytes that are made to take long, or much memory.
MONSTERS: tuple[Callable[[int, Random], bytes], ...] = (
    lambda room, _: b"tasks: " + b"[" * room,
    lambda room, _: b"tasks: " + b"[" * (room // 2) + b"]" * (room // 2),
    lambda room, _: b"tasks: " + b"{a: " * (room // 4),
    lambda room, _: _aliases(room),
    lambda room, _: _chain(room),
    lambda room, chance: _matrix(chance.choice([3, 8, 40])),
    lambda room, _: b"tasks:\n- {name: t, target: 'os:getpid', args: ['%s']}\n" % (b"${" * (room // 2)),
    lambda room, _: b"tasks:\n- {name: %s, target: 'os:getpid'}\n" % (b"x" * room),
    lambda room, _: b"\n".join(b"k%d: 1" % n for n in range(room // 10)),
    lambda room, _: b"".join(b" " * n + b"- \n" for n in range(int((room // 2) ** 0.5))),
    lambda room, _: b"tasks:\n" + b"- 7\n" * (room // 4),
    lambda room, _: b"tasks:\n" + b"- &a {target: 'os:getpid'}\n" + b"- *a\n" * (room // 5),
    lambda room, chance: chance.randbytes(min(room, 50_000)),
    lambda room, _: b"tasks:\n- {target: 'os:getpid', args: [%s]}\n" % (b"9" * room),
)


def monstrous(random: Random) -> bytes:
    """A text of up to a mebibyte that is made to take long, or much memory."""
    room = random.choice([1000, 50_000, MOST_BYTES])
    return MONSTERS[random.randrange(len(MONSTERS))](room, random)


def hostile_files(known, random):
    """The files of one job by name: usually one, sometimes several that multiply."""
    from oversized import GENERATORS

    if random.random() < 0.05:
        files = random.choice(GENERATORS)(random.choice([1000, 50_000, MOST_BYTES]), random)
        return {name: text.encode()[:MOST_BYTES] for name, text in files.items()}
    return {"job.yaml": hostile_file(known, random)}


def hostile_file(known: list[list[bytes]], random: Random) -> bytes:
    """One file: usually close to a valid one, sometimes a monster."""
    if random.random() < 0.1:
        return monstrous(random)[:MOST_BYTES]
    return mutated(random.choice(random.choice(known)), random)[:MOST_BYTES]


# ---- the process that reads them


def read(seed: str, first: int, count: int) -> None:
    """Load each file in a child of this process, and print the result as a line of JSON.

    In one process, what earlier files have left in its memory would lengthen the collections of garbage.
    """
    known = corpus()
    # What explains errors is imported once, here.
    Path("job.yaml").write_text("tasks: 7\n")
    _load()
    for number in range(first, first + count):
        for name, text in hostile_files(known, Random(f"{seed} {number}")).items():
            Path(name).write_bytes(text)
        pid = os.fork()
        if pid == 0:
            _forget_most_memory()
            begun = time.process_time()
            came = _load()
            seconds = time.process_time() - begun
            print(json.dumps([number, came, seconds, _most_memory()]), flush=True)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != 0:
            sys.exit(f"the process that read file {number} ended with {code}")


def _load() -> str:
    """Load `job.yaml` here; what came of it."""
    from mprun import api
    from mprun.errors import MprunError

    try:
        api.load_job("job.yaml")
        return "loaded"
    except MprunError as error:
        return "refused" if str(error) else "refused without a word"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"[:300]


def _forget_most_memory() -> None:
    """Reset the peak memory (proc(5)), so that it excludes earlier files and the making of this one."""
    # If that is not permitted, the figure is that of all files together.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _most_memory() -> int:
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024


# ---- the measure


def play(directory: Path, numbers: range, random: Random):
    from seen import Seen

    seen = Seen()
    seed = str(random.random())
    command = [sys.executable, __file__, seed, str(numbers.start), str(len(numbers))]
    said, last = "", numbers.start - 1
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT)
        output, said, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        output, code, said = (late.stdout or b"").decode(), -1, "hangs"
    for line in output.splitlines():
        last, came, seconds, memory = json.loads(line)
        seen.trials += 1
        seen.add("memory, MB", memory / 1e6)
        seen.add("refused" if came.startswith("refused") else "loaded", seconds)
        if came not in ("loaded", "refused"):
            seen.add_defect(last, came, f"seed {seed}")
        if memory > MOST_MEMORY:
            seen.add_defect(last, "memory", f"{memory / 1e6:.1f} MB, seed {seed}")
    if code != 0:
        seen.add_defect(
            last + 1, "crash or hang", f"{code} {said[-500:]}, seed {seed}; the file is job.yaml there"
        )
    elif numbers:
        _through_the_command(directory, last, seen)
    return seen


def _through_the_command(directory, number, seen):
    """Read the last file once more, as a user would."""
    from support.runs import mprun

    done = mprun("validate", "job.yaml", cwd=directory)
    if done.code not in (0, 2) or "Traceback" in done.stderr:
        seen.add_defect(number, "traceback", f"{done.code} {done.stderr[-500:]}")


def figures(seen):
    from seen import Figure, none_of, spread

    most = max(seen.values.get("memory, MB", [0]))
    return [
        none_of("hostile job files with a traceback, a crash, a hang, or too much memory", seen),
        spread("… refused in, of processor time", seen.values.get("refused", []), worst=0.5),
        spread("… or loaded, as nothing was wrong, in", seen.values.get("loaded", [])),
        Figure(
            "… the most memory of a process while it reads one",
            f"< {MOST_MEMORY / 1e6:.0f} MB",
            f"{most:.1f} MB",
            seen.trials,
            most < MOST_MEMORY / 1e6,
        ),
    ]


if __name__ == "__main__":
    read(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
