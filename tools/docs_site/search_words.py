"""The words for which the site's search leads to a section, although other pages mention them as often."""

from __future__ import annotations

import re

# For each page, its headings and the words that people look for there; "" is the page itself.
WORDS = {
    "install": {
        "": "install, installation, pip, pipx, uvx, uninstall",
        "Shell completion": "completion, bash, zsh, fish, tab",
        "From cron or a systemd timer": "cron, crontab, systemd, schedule",
    },
    "job-file": {
        "Commands": "command, shell",
        "Tokens and limits": "token, tokens, semaphore, lock, concurrency",
        "Limits": "memory limit, rlimit",
        "Retries": "retry, retries, backoff, attempt",
        "The verdict": "verdict, exit code, allow_failure",
    },
    "services": {
        "": "service, daemon, port, background",
        "Ready": "ready, probe, health check, wait for port",
        "Restart": "restart",
    },
    "order": {"": "order, critical path"},
    "stopping-and-resuming": {
        "": "stop, kill, signal, timeout, interrupt",
        "Suspending": "suspend",
        "Resuming": "resume",
    },
    "unchanged": {"": "cache, caching, skip, unchanged, incremental, inputs, outputs"},
    "data": {
        "Params": "param, params, parameter, secret",
        "Results": "result, results",
        "The environment": "env, environment variable, dotenv",
    },
    "many-from-one": {
        "Matrix": "matrix",
        "Foreach": "foreach, loop",
        "Uses": "recipe, uses",
        "Selecting tasks": "select, tag",
    },
    "repeat-and-compare": {"": "repeat, race", "Is it flaky?": "flaky", "What has changed?": "compare"},
    "ci": {"": "ci, junit", "Shards": "shard, partition"},
    "cluster": {"": "dask, cluster, host, remote", "Slurm": "slurm", "Kubernetes": "kubernetes"},
    "traces": {"": "trace, perfetto, opentelemetry, otlp"},
    "report": {"": "report, html"},
    "live-view": {"": "progress, colour, color"},
    "record": {"Logs": "log, logs", "Removing old runs": "prune, clean", "For programs": "json"},
    "security": {"": "security, sandbox"},
}


def with_search_words(page: str, text: str) -> str:
    """The text of a page with an index entry, which Sphinx's search knows, below each of these headings.

    Raises LookupError if the page has not got one of them.
    """
    for heading, words in WORDS.get(page, {}).items():
        title = re.compile(rf"^#+ {re.escape(heading)}$" if heading else r"\A# .+$", re.MULTILINE)
        found = title.findall(text)
        if len(found) != 1:
            raise LookupError(f"{page}.md has {len(found)} headings {heading!r}")
        # Main entries: the search puts others last.
        entries = ", ".join(f"!{word}" for word in words.split(", "))
        text = text.replace(f"{found[0]}\n", f"{found[0]}\n\n```{{index}} {entries}\n```\n", 1)
    return text
