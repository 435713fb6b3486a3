"""A graph as one self-contained SVG: nothing is loaded, nothing runs, and it follows the viewer's light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from agent.report.graph.layout import (
    LABEL_SIZE,
    LINE,
    MARGIN,
    NAME_SIZE,
    PADDING,
    STEP_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    Box,
    Layout,
    Route,
    fitted,
    lay_out,
    text_width,
    wrapped,
)
from agent.report.graph.model import KINDS, Graph, Node, Step
from agent.report.graph.palette import DARK, LIGHT, Palette

FONTS = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def to_svg(graph: Graph) -> str:
    """The drawing's text."""
    layout = lay_out(graph)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width:g} {layout.height:g}" '
        f'width="{layout.width:g}" height="{layout.height:g}" role="img" aria-labelledby="title">',
        f'<title id="title">{_text(graph.title)}</title>',
        f"<style>{_style()}</style>",
        _DEFINITIONS,
        f'<rect class="ground" width="{layout.width:g}" height="{layout.height:g}"/>',
        _line(MARGIN, MARGIN + TITLE_SIZE * 0.8, fitted_title(graph, layout), "title"),
        _line(MARGIN, MARGIN + TITLE_SIZE * 0.8 + 24, graph.subtitle, "subtitle"),
        *_legend(graph, layout),
    ]
    for number, step in enumerate(graph.steps, 1):
        parts += _frame(step, layout.frames[step.id], number)
    for step in graph.steps:
        for row in step.rows:
            for node in row:
                parts += _node(node, layout.nodes[node.id])
    for route in layout.routes:
        parts += _route(route)
    parts += _notes(graph, layout.notes)
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend(graph: Graph, layout: Layout) -> list[tuple[str, Box]]:
    """Kind and the box of its sample; its words begin 8 to the right of the box. Right-aligned in the title."""
    found: list[tuple[str, Box]] = []
    x = layout.width - MARGIN
    for kind in reversed(graph.kinds):
        x -= text_width(KINDS[kind], TEXT_SIZE)
        found.append((kind, Box(x - 24, MARGIN + 2, 16, 16)))
        x -= 24 + 22
    return found[::-1]


def fitted_title(graph: Graph, layout: Layout) -> str:
    """The title as far as the legend leaves room."""
    return fitted(graph.title, TITLE_SIZE, legend(graph, layout)[0][1].x - MARGIN - 24)


def _legend(graph: Graph, layout: Layout) -> list[str]:
    parts = []
    for kind, box in legend(graph, layout):
        parts.append(_rect(box, f"node {kind}", 4))
        parts.append(_line(box.right + 8, box.y + 12.5, KINDS[kind], "does"))
    return parts


def _frame(step: Step, box: Box, number: int) -> list[str]:
    kind = "frame" if step.rows or step.kind == "rules" else f"node {step.kind}"
    x, y = box.x + PADDING, box.y + PADDING + STEP_SIZE * 0.8
    parts = [f'<g id="step-{_text(step.id)}">', _rect(box, kind, 12), _line(x, y, f"{number} {step.name}", "step")]
    parts += _lines(x, y + STEP_SIZE * 0.35 + TEXT_SIZE, wrapped(step.does, TEXT_SIZE, box.w - 2 * PADDING), "does")
    return [*parts, "</g>"]


def _node(node: Node, box: Box) -> list[str]:
    y = box.y + 9 + NAME_SIZE * 0.95
    parts = [_rect(box, f"node {node.kind}", 8), _line(box.centre, y, node.name, "name middle")]
    lines = wrapped(node.does, TEXT_SIZE, box.w - 20)
    return parts + _lines(box.centre, y + NAME_SIZE * 0.3 + TEXT_SIZE, lines, "does middle")


def _route(route: Route) -> list[str]:
    kind = "failure" if route.edge.style == "failure" else "strong" if route.strong else "plain"
    points = " ".join(f"{x:g},{y:g}" for x, y in route.points)
    start = f' marker-start="url(#{kind})"' if route.edge.style == "both" else ""
    parts = [f'<polyline class="arrow {kind}" points="{points}"{start} marker-end="url(#{kind})"/>']
    if route.label is not None:
        box = route.label
        # On its own ground, because it may stand on the line.
        parts.append(_rect(box, "behind" if route.strong else "inside", 3))
        text = "label failed" if kind == "failure" else "label"
        x, kind = (box.x + 3, text) if route.beside else (box.centre, f"{text} middle")
        parts.append(_line(x, box.middle + LABEL_SIZE * 0.36, route.edge.label, kind))
    return parts


def _notes(graph: Graph, box: Box) -> list[str]:
    lines = [line for note in graph.notes for line in wrapped(note, TEXT_SIZE, box.w)]
    return _lines(box.x, box.y + TEXT_SIZE * 1.4, lines, "does")


def _rect(box: Box, kind: str, radius: float) -> str:
    return f'<rect class="{kind}" x="{box.x:g}" y="{box.y:g}" width="{box.w:g}" height="{box.h:g}" rx="{radius:g}"/>'


def _line(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{_text(text)}</text>'


def _lines(x: float, y: float, lines: Sequence[str], kind: str) -> list[str]:
    return [_line(x, y + position * TEXT_SIZE * LINE, line, kind) for position, line in enumerate(lines)]


def _text(text: str) -> str:
    """Escaped, and without the control characters that XML has no place for."""
    return escape("".join(c if c.isprintable() else " " for c in text), {'"': "&quot;"})


def _style() -> str:
    sizes = f"""
text {{ font-family: {FONTS}; }}
.title {{ font-size: {TITLE_SIZE:g}px; font-weight: 700; }}
.subtitle {{ font-size: 14px; }}
.step {{ font-size: {STEP_SIZE:g}px; font-weight: 700; }}
.name {{ font-size: {NAME_SIZE:g}px; font-weight: 600; }}
.does {{ font-size: {TEXT_SIZE:g}px; }}
.label {{ font-size: {LABEL_SIZE:g}px; font-style: italic; }}
.middle {{ text-anchor: middle; }}
.arrow {{ fill: none; stroke-width: 1.6; stroke-linejoin: round; }}
.strong {{ stroke-width: 3; }}
.arrow.failure {{ stroke-dasharray: 5 4; }}
.frame, .node {{ stroke-width: 1.4; }}"""
    dark = "\n".join(_colours(DARK))
    return "\n".join([sizes, *_colours(LIGHT), f"@media (prefers-color-scheme: dark) {{\n{dark}\n}}", ""])


def _colours(palette: Palette) -> list[str]:
    rules = [
        f".ground, .behind {{ fill: {palette.ground}; }}",
        f".inside {{ fill: {palette.frame}; }}",
        f".frame {{ fill: {palette.frame}; stroke: {palette.border}; }}",
        f".title, .step, .name {{ fill: {palette.text}; }}",
        f".subtitle, .does, .label {{ fill: {palette.muted}; }}",
        f".failed {{ fill: {palette.failure}; }}",
        f".arrow {{ stroke: {palette.arrow}; }}",
        f".head {{ fill: {palette.arrow}; }}",
        f".arrow.failure {{ stroke: {palette.failure}; }}",
        f".head.failure {{ fill: {palette.failure}; }}",
    ]
    for kind, (ground, border, _) in palette.kinds.items():
        rules.append(f".node.{kind} {{ fill: {ground}; stroke: {border}; }}")
    return rules


def _marker(kind: str, size: float) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerUnits="userSpaceOnUse" '
        f'markerWidth="{size:g}" markerHeight="{size:g}" orient="auto-start-reverse">'
        f'<path class="head {kind}" d="M0,1 L10,5 L0,9 z"/></marker>'
    )


_DEFINITIONS = "<defs>" + _marker("plain", 9) + _marker("strong", 15) + _marker("failure", 9) + "</defs>"
