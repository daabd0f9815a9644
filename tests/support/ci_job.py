"""A job of every end of a task, with hostile names and output."""

from __future__ import annotations

from support.runs import write

# What breaks XML, HTML, Markdown, a terminal, and what GitHub's and GitLab's runners obey.
HOSTILE = """
    import os
    import signal
    import sys

    EVIL = b"\\n".join([
        b"</system-out></testcase>]]><![CDATA[ &lt; <failure/>",
        b"\\x00\\x01\\x08\\x0b\\x0c\\x1b[31mred\\x1b[0m\\x1b]0;title\\x07\\x7f\\xc2\\x85",
        b"\\xff\\xfe\\xed\\xa0\\x80\\xef\\xbf\\xbf\\xef\\xbf\\xbe",
        b"::error file=x,line=1,title=evil::pwned",
        b"::set-output name=x::y",
        b"##[error]pwned",
        b"section_start:1:evil\\r\\x1b[0Kevil",
        b"section_end:1:evil\\r\\x1b[0K",
        b"\\xe2\\x80\\xaetext \\xe2\\x80\\xa8 line separator",
        b"```````````` <script>alert(1)</script> </details><img src=x onerror=alert(1)> ![x](http://evil/)",
        b"| a | b |",
        b"",
    ])

    def shout():
        os.write(1, EVIL)

    def good():
        shout()

    def raises():
        shout()
        raise ValueError("no <b>rows</b> ]]> \\x1b[31m\\n::error::pwned | ` \\ud800")

    def killed():
        shout()
        os.kill(os.getpid(), signal.SIGKILL)

    def flake():
        shout()
        if os.environ["MPRUN_ATTEMPT"] == "1":
            raise ConnectionError("first attempt")
    """

FIVE = """
    name: five
    tasks:
      - {name: good, target: "work:good", tags: [smoke, db]}
      - {name: "<b>raises | `x` %0A::error::,title=", target: "work:raises"}
      - {name: killed, target: "work:killed"}
      - {name: flake, target: "work:flake", retry: 2}
      - {name: skipped, target: "work:good", depends_on: [killed]}
    """
NAMES = ["good", "<b>raises | `x` %0A::error::,title=", "killed", "flake", "skipped"]


def write_job(directory, job=FIVE):
    """Write the job, job.yaml, and the module of its targets."""
    write(directory, job=job, work=HOSTILE)
