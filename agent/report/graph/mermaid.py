"""A graph as Mermaid text, which GitHub, GitLab and many editors draw by themselves."""

from __future__ import annotations

import json

from agent.report.graph.model import KINDS, Edge, Graph, Step
from agent.report.graph.palette import LIGHT

_ARROWS = {"plain": "-->", "failure": "-.->", "both": "<-->"}


def to_mermaid(graph: Graph) -> str:
    """A flowchart: a subgraph for each step that has agents, a box for each other."""
    lines = ["---", f"title: {_title(graph.title)}", "---", "flowchart TB"]
    for step in graph.steps:
        lines += _step(step)
    lines += [_arrow(edge) for step in graph.steps for edge in step.edges]
    lines += [_arrow(edge, "step_") for edge in graph.edges]
    for kind in graph.kinds:
        members = [node.id for node in graph.nodes if node.kind == kind]
        members += [f"step_{step.id}" for step in graph.steps if step.kind == kind and not step.rows]
        fill, line, text = LIGHT.kinds[kind]
        lines.append(f"    classDef {kind} fill:{fill},stroke:{line},color:{text}")
        lines.append(f"    class {','.join(members)} {kind}")
    lines += [f"    %% {kind}: {KINDS[kind]}" for kind in graph.kinds]
    return "\n".join(lines) + "\n"


def _step(step: Step) -> list[str]:
    if not step.rows:
        return [f'    step_{step.id}["<b>{_text(step.name)}</b><br/>{_text(step.does)}"]']
    lines = [f'    subgraph step_{step.id}["{_text(step.name)}: {_text(step.does)}"]']
    lines += [
        f'        {node.id}["<b>{_text(node.name)}</b><br/>{_text(node.does)}"]' for row in step.rows for node in row
    ]
    return [*lines, "    end"]


def _arrow(edge: Edge, prefix: str = "") -> str:
    label = f'|"{_text(edge.label)}"|' if edge.label else ""
    return f"    {prefix}{edge.source} {_ARROWS[edge.style]}{label} {prefix}{edge.target}"


def _text(text: str) -> str:
    """Text between quotes: Mermaid's own entity codes for what would end it or be taken for markup."""
    codes = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}
    return "".join(codes.get(character, character if character.isprintable() else " ") for character in text)


def _title(text: str) -> str:
    """The title as a YAML string."""
    return json.dumps("".join(c if c.isprintable() else " " for c in text), ensure_ascii=False)
