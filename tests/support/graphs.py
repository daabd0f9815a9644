"""Parsers of the graphs of a plan: each raises for a text that is not in its format."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import deque

from mprun.cli.views.plan_graph import dot_lines, mermaid_lines

# The part of DOT's grammar that plans use (https://graphviz.org/doc/info/lang.html).
DOT_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[{}\[\]=,]|[A-Za-z_][A-Za-z_0-9]*|[0-9]+)', re.DOTALL)


def dot_nodes(made):
    """The labels of the nodes of a plan's graph in DOT, by their ids; the whole must parse."""
    source = "\n".join(dot_lines(made)) + "\n"
    tokens, place = [], 0
    while source[place:].strip():
        found = DOT_TOKEN.match(source, place)
        assert found, source[place : place + 40]
        tokens.append(found[1])
        place = found.end()
    nodes, stack = {}, []
    assert tokens[:2] == ["digraph", "{"]
    queue = deque(tokens[1:])
    while queue:
        token = queue.popleft()
        if token == "{":
            stack.append(token)
        elif token == "}":
            stack.pop()
        elif token == "subgraph":
            assert re.fullmatch("cluster_[0-9]+", queue.popleft())
        elif queue[0] == "=":
            queue.popleft()
            queue.popleft()
        else:
            attributes = dot_statement(token, queue)
            if re.fullmatch("n[0-9]+", token) and "label" in attributes and "->" not in attributes:
                nodes[token] = dot_read(attributes["label"])
    assert not stack
    return nodes


def draw(made):
    """Have Graphviz lay out a plan, if it is installed."""
    if shutil.which("dot"):
        source = "\n".join(dot_lines(made))
        subprocess.run(["dot", "-Tplain"], input=source, text=True, check=True, capture_output=True)


def dot_statement(token, queue):
    """The attributes of a node's or an edge's statement; `->` among them for an edge."""
    assert re.fullmatch("n[0-9]+|node|graph", token), token
    attributes = {}
    if queue[0] == "->":
        queue.popleft()
        assert re.fullmatch("n[0-9]+", queue.popleft())
        attributes["->"] = True
    while queue and queue[0] in ("[", ","):
        queue.popleft()
        key, equals, value = (queue.popleft() for _ in range(3))
        assert equals == "="
        attributes[key] = value
        if queue[0] == "]":
            queue.popleft()
    return attributes


def dot_read(label):
    """What Graphviz shows for a label."""
    shown = re.sub(r"\\(.)", lambda found: found[1], label[1:-1])
    return shown.replace("&amp;", "&")


MERMAID_LINE = re.compile(
    r"flowchart TD|end|classDef skipped stroke-dasharray: 5 5"
    r'|subgraph g\d+\["[^"]*"\]'
    r'|n\d+(?:\["[^"]*"\]|\(\["[^"]*"\]\)|\[\["[^"]*"\]\])(?::::skipped)?'
    r"|n\d+ -->(?:\|[a-z]+\|)? n\d+"
)


def mermaid_nodes(made):
    """The same as `dot_nodes`, for Mermaid."""
    nodes, depth = {}, 0
    for line in mermaid_lines(made):
        assert MERMAID_LINE.fullmatch(line.strip()), line
        depth += line.strip().startswith("subgraph") - (line.strip() == "end")
        found = re.match(r'\s*(n\d+)[\[(]+"([^"]*)"', line)
        if found:
            nodes[found[1]] = re.sub("#([0-9]+);", lambda entity: chr(int(entity[1])), found[2])
    assert depth == 0
    return nodes
