"""A graph as PNG, drawn with Pillow from the same layout as the SVG, in its light colours."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.errors import UsageError
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
    lay_out,
    wrapped,
)
from agent.report.graph.model import KINDS, Graph
from agent.report.graph.palette import LIGHT
from agent.report.graph.svg import fitted_title, legend
from trainers.files import write_atomic

SCALE = 2
"""Pixels for each of the layout's: sharp on the dense screens of today."""


def to_png(graph: Graph, path: Path) -> None:
    """Write the drawing, replacing what stands at `path` in one step. Raises UsageError without Pillow, OSError."""
    try:
        from PIL import Image, ImageDraw
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        raise UsageError(
            "a PNG needs Pillow, which is not installed: `./uvw run --extra graph ...` or "
            "`pip install 'roundtable[graph]'`, or write .svg or .mmd"
        ) from error
    layout = lay_out(graph)
    image = Image.new("RGB", (round(layout.width * SCALE), round(layout.height * SCALE)), LIGHT.ground)
    _Drawing(ImageDraw.Draw(image)).everything(graph, layout)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    write_atomic(path, stream.getvalue())


class _Drawing:
    """Pillow's canvas in the layout's lengths."""

    def __init__(self, draw: Any) -> None:
        from PIL import ImageFont

        self.draw = draw
        self.load = ImageFont.load_default
        self.fonts: dict[float, Any] = {}

    def everything(self, graph: Graph, layout: Layout) -> None:
        self.text(MARGIN, MARGIN + TITLE_SIZE * 0.8, fitted_title(graph, layout), TITLE_SIZE, bold=True)
        self.text(MARGIN, MARGIN + TITLE_SIZE * 0.8 + 24, graph.subtitle, 14, colour=LIGHT.muted)
        for kind, box in legend(graph, layout):
            self.box(box, kind, 4)
            self.text(box.right + 8, box.y + 12.5, KINDS[kind], TEXT_SIZE, colour=LIGHT.muted)
        for number, step in enumerate(graph.steps, 1):
            box = layout.frames[step.id]
            self.box(box, None if step.rows or step.kind == "rules" else step.kind, 12)
            x, y = box.x + PADDING, box.y + PADDING + STEP_SIZE * 0.8
            self.text(x, y, f"{number} {step.name}", STEP_SIZE, bold=True)
            self.lines(x, y + STEP_SIZE * 0.35 + TEXT_SIZE, wrapped(step.does, TEXT_SIZE, box.w - 2 * PADDING))
        for node in graph.nodes:
            box = layout.nodes[node.id]
            self.box(box, node.kind, 8)
            y = box.y + 9 + NAME_SIZE * 0.95
            self.text(box.centre, y, node.name, NAME_SIZE, bold=True, anchor="ms")
            self.lines(
                box.centre, y + NAME_SIZE * 0.3 + TEXT_SIZE, wrapped(node.does, TEXT_SIZE, box.w - 20), anchor="ms"
            )
        for route in layout.routes:
            self.route(route)
        lines = [line for note in graph.notes for line in wrapped(note, TEXT_SIZE, layout.notes.w)]
        self.lines(layout.notes.x, layout.notes.y + TEXT_SIZE * 1.4, lines)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        bold: bool = False,
        anchor: str = "ls",
        colour: str = LIGHT.text,
    ) -> None:
        """y is the baseline. Pillow's own font has one weight: bold is drawn with an outline."""
        font = self.fonts.setdefault(size, self.load(size * SCALE))
        shown = "".join(c if c.isprintable() else " " for c in text)
        self.draw.text(
            (x * SCALE, y * SCALE), shown, fill=colour, font=font, anchor=anchor, stroke_width=0.4 if bold else 0
        )

    def lines(self, x: float, y: float, lines: Sequence[str], *, anchor: str = "ls") -> None:
        for position, line in enumerate(lines):
            self.text(x, y + position * TEXT_SIZE * LINE, line, TEXT_SIZE, anchor=anchor, colour=LIGHT.muted)

    def box(self, box: Box, kind: str | None, radius: float) -> None:
        """kind None: a frame."""
        fill, outline = LIGHT.kinds[kind][:2] if kind else (LIGHT.frame, LIGHT.border)
        corners = [box.x * SCALE, box.y * SCALE, box.right * SCALE, box.bottom * SCALE]
        self.draw.rounded_rectangle(corners, radius * SCALE, fill=fill, outline=outline, width=round(1.4 * SCALE))

    def route(self, route: Route) -> None:
        failed = route.edge.style == "failure"
        colour = LIGHT.failure if failed else LIGHT.arrow
        width, head = (3.0, 15.0) if route.strong else (1.6, 9.0)
        points = list(route.points)
        tips = [(points[-2], points[-1])] + ([(points[1], points[0])] if route.edge.style == "both" else [])
        # The line ends inside the head: a thick one would stand out beyond its tip.
        points[-1] = _towards(points[-1], points[-2], head * 0.8)
        if route.edge.style == "both":
            points[0] = _towards(points[0], points[1], head * 0.8)
        for start, end in pairwise(points):
            self.segment(start, end, colour, width, dashed=failed)
        for before, tip in tips:
            self.head(before, tip, colour, head)
        if route.label is not None:
            box = route.label
            ground = LIGHT.ground if route.strong else LIGHT.frame
            self.draw.rectangle([box.x * SCALE, box.y * SCALE, box.right * SCALE, box.bottom * SCALE], fill=ground)
            shade = LIGHT.failure if failed else LIGHT.muted
            x, anchor = (box.x + 3, "ls") if route.beside else (box.centre, "ms")
            y = box.middle + LABEL_SIZE * 0.36
            self.text(x, y, route.edge.label, LABEL_SIZE, anchor=anchor, colour=shade)

    def segment(
        self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float, *, dashed: bool
    ) -> None:
        length = math.dist(start, end)
        dash, gap = (5.0, 4.0) if dashed else (length, 0.0)
        done = 0.0
        while done < length:
            pieces = (_towards(start, end, done), _towards(start, end, min(length, done + dash)))
            scaled = [(x * SCALE, y * SCALE) for x, y in pieces]
            self.draw.line(scaled, fill=colour, width=round(width * SCALE))
            done += dash + gap

    def head(self, before: tuple[float, float], tip: tuple[float, float], colour: str, size: float) -> None:
        base = _towards(tip, before, size * 0.9)
        dx, dy = (tip[0] - base[0]) * 0.45, (tip[1] - base[1]) * 0.45
        corners = [tip, (base[0] - dy, base[1] + dx), (base[0] + dy, base[1] - dx)]
        self.draw.polygon([(x * SCALE, y * SCALE) for x, y in corners], fill=colour)


def _towards(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    """The point at this distance from start on the way to end."""
    length = math.dist(start, end)
    part = distance / length if length else 0.0
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part
