"""Wheels made by hand, and installed without a network."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zipfile

# The files of a package with recipes; its import ends the process that imports it.
ACME = {
    "acme_jobs/__init__.py": """
        import sys
        print("acme_jobs was imported")
        sys.exit("acme_jobs was imported")
        """,
    "acme_jobs/etl.yaml": """
        name: etl
        description: Loads the rows of one day.
        pythonpath: code
        env_file: etl.env
        params:
          day: {type: string, required: true, description: the day to load}
          size: {type: string, default: small, enum: [small, large]}
        tasks:
          - {name: extract, target: 'acme_code:extract', args: ["${params.day}"]}
          - {name: load, uses: parts/load.yaml, with: {rows: "${tasks.extract.result}"}}
        """,
    "acme_jobs/etl.env": "ACME_FROM=store\n",
    "acme_jobs/parts/load.yaml": """
        params: {rows: {type: integer, required: true}}
        tasks:
          - {name: write, command: 'echo wrote ${params.rows} from $ACME_FROM', capture: text}
        """,
    "acme_jobs/code/acme_code.py": """
        def extract(day):
            return len(day)
        """,
}


def wheel(folder, files, name="acme_jobs", version="1.0", packages=("acme_jobs",)):
    """Write a wheel of these texts, which declares packages with recipes; its path."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    points = "".join(f"{package} = {package}\n" for package in packages)
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[mprun.recipes]\n{points}",
    }
    every = {**{file: textwrap.dedent(text).lstrip("\n") for file, text in files.items()}, **about}
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in every.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in (*every, f"{info}/RECORD")))
    return path


def install(path, target):
    """Install a wheel into a directory, which PYTHONPATH may then name, as pip does without an index."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run(
        [*pip, "--disable-pip-version-check", "--target", target, path],
        check=True,
        capture_output=True,
        timeout=50,
    )
