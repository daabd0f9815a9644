"""Make the pictures in docs/pictures anew, from a real run of docs/pictures/shop.yaml: `make pictures`.

    tools/pictures            those that are made from something else than last time
    tools/pictures --all      all of them

Each run has other times and pids, so a picture is made again only if what it shows has changed: the code that
draws it, or the job. It has a checksum of these. In the pictures, the directory of the run and the name of
the host are replaced; nothing else is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from animation import animation  # noqa: E402
from process_tree import process_tree  # noqa: E402
from screenshots import screenshot  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
JOB = ("docs/pictures/shop.yaml", "docs/pictures/shop.py")
TREE = ("jobs/parents.yaml", "examples/parents.py", "tools/pictures/process_tree.py")
# What a change of makes a picture out of date.
MADE_FROM = {
    "live-view.svg": (
        *JOB,
        "tools/pictures/animation.py",
        "mprun/reporters/frame.py",
        "mprun/reporters/view_state.py",
    ),
    "report-light.png": (*JOB, "tools/pictures/screenshots.py", "mprun/reporters/report/*"),
    "report-dark.png": (*JOB, "tools/pictures/screenshots.py", "mprun/reporters/report/*"),
    "tree-fork.svg": TREE,
    "tree-forkserver.svg": TREE,
    "plan.svg": ("docs/order.md", "tools/pictures/graph.mjs", "mprun/cli/views/plan_graph.py"),
}
# The names that the pictures have in place of those of the directory and the host of the run.
FOLDER, HOST = "/home/you/shop", "laptop"
# In bytes.
MAX_SIZE = {".svg": 100_000, ".png": 150_000}
VIZ = "@viz-js/viz@3.31.0"


def checksum(name: str) -> str:
    found = hashlib.sha256()
    for pattern in MADE_FROM[name]:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                found.update(path.read_bytes())
    return f"made from {found.hexdigest()[:16]}"


def keep(name: str, data: bytes) -> None:
    """Write a picture that is not too large."""
    limit = MAX_SIZE[Path(name).suffix]
    if len(data) > limit:
        sys.exit(f"{name} has {len(data):,} bytes, more than {limit:,}")
    (PICTURES / name).write_bytes(data)
    print(f"{name}: {len(data):,} bytes")


def run(*command: str, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    if done.returncode not in codes:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}")
    return done.stdout


def make_live_view(folder: Path) -> None:
    mark = checksum("live-view.svg")
    keep("live-view.svg", animation(folder, "mprun shop.yaml --output failed", mark, FOLDER).encode())


def make_reports(folder: Path, names: list[str]) -> None:
    run(sys.executable, "-m", "mprun", "report", "-o", "report.html", cwd=folder)
    page = folder / "report.html"
    text = page.read_text("utf-8").replace(os.path.realpath(folder), FOLDER)
    page.write_text(text.replace(f" on {socket.gethostname()}", f" on {HOST}"), "utf-8")
    for name in names:
        scheme = name.removeprefix("report-").removesuffix(".png")
        keep(name, screenshot(page, scheme, checksum(name)))


def make_tree(name: str, state: Path) -> None:
    """The processes of jobs/parents.yaml with the start method that the picture is named after."""
    method = name.removeprefix("tree-").removesuffix(".svg")
    options = ["--start-method", method, "--state-dir", str(state), "--quiet"]
    run(sys.executable, "-m", "mprun", "jobs/parents.yaml", *options, cwd=ROOT)
    record = run(sys.executable, "-m", "mprun", "tree", "--json", "--state-dir", str(state), cwd=ROOT)
    keep(name, process_tree(record, checksum(name)).encode())


def make_plan(folder: Path) -> None:
    """The graph of the job in docs/order.md, with the critical path that its first run has shown."""
    (job,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "order.md").read_text("utf-8"), re.DOTALL)[:1]
    (folder / "job.yaml").write_text(job, "utf-8")
    run(sys.executable, "-m", "mprun", "job.yaml", cwd=folder)
    dot = run(sys.executable, "-m", "mprun", "plan", "job.yaml", "--format", "dot", cwd=folder)
    where = ROOT / ".venv" / "node"
    if not (where / "node_modules" / "@viz-js").exists():
        run(
            "npm",
            "install",
            "--prefix",
            str(where),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            VIZ,
            cwd=folder,
        )
    (folder / "plan.dot").write_text(dot, "utf-8")
    svg = run("node", str(ROOT / "tools" / "pictures" / "graph.mjs"), str(where), "plan.dot", cwd=folder)
    keep("plan.svg", svg.replace("<svg ", f"<!-- {checksum('plan.svg')} -->\n<svg ", 1).encode())


def main() -> None:
    def is_current(name: str) -> bool:
        path = PICTURES / name
        return path.exists() and checksum(name).encode() in path.read_bytes()

    stale = [name for name in MADE_FROM if "--all" in sys.argv or not is_current(name)]
    if not stale:
        print("nothing that the pictures show has changed; tools/pictures --all makes them anew")
        return
    # A short name, as it is on the terminal.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in JOB:
            shutil.copy(ROOT / path, folder)
        reports = [name for name in stale if name.startswith("report-")]
        if "live-view.svg" in stale:
            make_live_view(folder)
        elif reports:
            run(sys.executable, "-m", "mprun", "shop.yaml", "--progress", "none", cwd=folder, codes=(1,))
        if reports:
            make_reports(folder, reports)
        if "plan.svg" in stale:
            make_plan(folder)
        for name in stale:
            if name.startswith("tree-"):
                make_tree(name, folder / "state")


main()
