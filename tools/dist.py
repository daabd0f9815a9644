"""Build the wheel and the source distribution of the last commit, with the same bytes each time.

    tools/dist.py [DIR]    into DIR, dist/ by default; what else is in it stays

Built is what git has, not what lies in the working tree, in a copy whose path, file modes and times are not
in the result; SOURCE_DATE_EPOCH is the time of the commit, if it is not set.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def git(*arguments: str) -> bytes:
    """What a command of git prints."""
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, stdout=subprocess.PIPE).stdout


def build(source: Path, target: Path) -> list[Path]:
    """Build both from a directory, and check them; the files in `target`."""
    python = [sys.executable, "-m"]
    subprocess.run([*python, "build", "--no-isolation", "--outdir", target, source], check=True)
    files = sorted(target.glob("mprun-*"))
    subprocess.run([*python, "twine", "check", "--strict", *files], check=True)
    return files


def main(target: Path) -> int:
    """Build into a directory and print the hashes; the exit code."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", git("log", "-1", "--format=%ct").decode().strip())
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="mprun-dist-") as temporary:
        source, built = Path(temporary, "source"), Path(temporary, "built")
        # The modes are those of git, whatever the umask of its configuration.
        archive = git("-c", "tar.umask=0022", "archive", "--format=tar", "HEAD")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(source, filter="data")
        target.mkdir(parents=True, exist_ok=True)
        for file in build(source, built):
            content = file.read_bytes()
            (target / file.name).write_bytes(content)
            print(hashlib.sha256(content).hexdigest(), target / file.name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist")))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
