"""Where everything of a graph stands: a ring of frames, in each of them its nodes in rows, and the arrows between.

Layered: the deciding steps stand above, the running ones below them in the opposite direction, so that the round can
be seen going round. Pure. Lengths are in pixels, y points down; text widths are estimated high, because the viewer's
font is not known.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.report.graph.model import Edge, Graph, Node, Step

MARGIN, TITLE = 36.0, 78.0
COLUMN_GAP, LANE_GAP = 58.0, 62.0
FRAME_WIDTH, PADDING, GUTTER = 236.0, 18.0, 62.0
NODE_WIDTH, HALF_NODE, PAIR_GAP, ROW_GAP = 200.0, 136.0, 76.0, 40.0
NAME_SIZE, TEXT_SIZE, STEP_SIZE, LABEL_SIZE, TITLE_SIZE = 14.0, 12.0, 17.0, 11.5, 23.0
LINE = 1.35
"""Line height over font size."""
WIDE = 0.58
"""Mean width of a character over its size; DejaVu Sans, a wide one, has 0.56 on these texts."""


@dataclass(frozen=True)
class Box:
    """A rectangle: upper left corner, width and height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        return self.x + self.w

    @property
    def bottom(self) -> float:
        return self.y + self.h

    @property
    def centre(self) -> float:
        return self.x + self.w / 2

    @property
    def middle(self) -> float:
        return self.y + self.h / 2

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def holds(self, other: Box) -> bool:
        return self.x <= other.x and self.y <= other.y and other.right <= self.right and other.bottom <= self.bottom


@dataclass(frozen=True, kw_only=True)
class Route:
    """An arrow's polyline, from its source to its target, and where its label stands."""

    edge: Edge
    points: tuple[tuple[float, float], ...]
    label: Box | None = None
    strong: bool = False
    """Between steps, rather than inside one."""
    beside: bool = False
    """Whether the label begins at its box's left end, beside the line, instead of being centred."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    width: float
    height: float
    frames: Mapping[str, Box]
    nodes: Mapping[str, Box]
    routes: Sequence[Route]
    notes: Box
    """Where the notes stand, a line each or wrapped."""

    @property
    def labels(self) -> list[Box]:
        return [route.label for route in self.routes if route.label is not None]


def lay_out(graph: Graph) -> Layout:
    """The positions of everything. Deterministic."""
    widths = [_frame_width(step) for step in graph.decide]
    inner = max(sum(widths) + COLUMN_GAP * (len(widths) - 1), 1060.0)
    gap = (inner - sum(widths)) / max(1, len(widths) - 1)
    frames: dict[str, Box] = {}
    top, height = TITLE + MARGIN, max(_frame_height(step, w) for step, w in zip(graph.decide, widths, strict=True))
    x = MARGIN
    for step, width in zip(graph.decide, widths, strict=True):
        frames[step.id] = Box(x, top, width, height)
        x += width + gap
    top += height + LANE_GAP
    frames |= _lane(tuple(reversed(graph.run)), MARGIN, top, inner, COLUMN_GAP)
    top += frames[graph.run[0].id].h + LANE_GAP
    width = frames[graph.run[0].id].w
    end = (width + COLUMN_GAP) * len(graph.end) - COLUMN_GAP
    frames |= _lane(graph.end, MARGIN, top, end, COLUMN_GAP)
    bottom = frames[graph.end[0].id].bottom
    nodes: dict[str, Box] = {}
    routes: list[Route] = []
    for step in graph.steps:
        inside = _place(step, frames[step.id])
        nodes |= inside
        routes += _inner_routes(step, inside)
    routes += [_outer_route(edge, frames[edge.source], frames[edge.target]) for edge in graph.edges]
    notes = Box(MARGIN + end + COLUMN_GAP, top, inner - end - COLUMN_GAP, bottom - top)
    return Layout(
        width=inner + 2 * MARGIN, height=bottom + MARGIN, frames=frames, nodes=nodes, routes=routes, notes=notes
    )


def text_width(text: str, size: float) -> float:
    return len(text) * WIDE * size


def wrapped(text: str, size: float, width: float) -> list[str]:
    """The text in lines that fit the width; a word that does not is cut."""
    return textwrap.wrap(text, max(4, int(width / (WIDE * size))))


def fitted(text: str, size: float, width: float) -> str:
    """The text, cut with an ellipsis where it is wider than this."""
    room = max(1, int(width / (WIDE * size)))
    return text if len(text) <= room else text[: room - 1] + "…"


def head_height(step: Step, width: float) -> float:
    """Of a frame's name and what its step does."""
    lines = len(wrapped(step.does, TEXT_SIZE, width - 2 * PADDING))
    return STEP_SIZE * LINE + lines * TEXT_SIZE * LINE + 6


def _node_width(row: Sequence[Node], frame: float) -> float:
    """frame: width of the step's frame; infinite while it follows from its nodes."""
    return HALF_NODE if len(row) > 1 else min(NODE_WIDTH, frame - 2 * PADDING)


def _row_width(row: Sequence[Node], frame: float = math.inf) -> float:
    return len(row) * _node_width(row, frame) + (len(row) - 1) * PAIR_GAP


def _row_height(row: Sequence[Node], frame: float) -> float:
    lines = max(len(wrapped(node.does, TEXT_SIZE, _node_width(row, frame) - 20)) for node in row)
    return NAME_SIZE * LINE + lines * TEXT_SIZE * LINE + 18


def _gutters(step: Step) -> tuple[float, float]:
    """Room at the left for arrows back up, at the right for arrows that skip a row."""
    rows = _row_of(step)
    back = any(rows[edge.target] < rows[edge.source] - 1 for edge in step.edges)
    skip = any(rows[edge.target] > rows[edge.source] + 1 for edge in step.edges)
    # Two adjacent rows have arrows both ways without a gutter; where one gutter is needed, both keep it centred.
    return (GUTTER, GUTTER) if back or skip else (0.0, 0.0)


def _row_of(step: Step) -> dict[str, int]:
    return {node.id: position for position, row in enumerate(step.rows) for node in row}


def _frame_width(step: Step) -> float:
    inner = max((_row_width(row) for row in step.rows), default=0.0)
    return max(FRAME_WIDTH, inner + sum(_gutters(step)) + 2 * PADDING)


def _body_height(step: Step, frame: float) -> float:
    return sum(_row_height(row, frame) for row in step.rows) + ROW_GAP * max(0, len(step.rows) - 1)


def _frame_height(step: Step, width: float) -> float:
    body = _body_height(step, width) + 14 if step.rows else 0.0
    return PADDING + head_height(step, width) + body + PADDING


def _lane(steps: Sequence[Step], x: float, y: float, width: float, gap: float) -> dict[str, Box]:
    """Frames of the same size, side by side."""
    each = (width - gap * (len(steps) - 1)) / len(steps)
    height = max(_frame_height(step, each) for step in steps)
    return {step.id: Box(x + position * (each + gap), y, each, height) for position, step in enumerate(steps)}


def _place(step: Step, frame: Box) -> dict[str, Box]:
    """The nodes of a step, centred in what its head leaves of the frame."""
    top = frame.y + PADDING + head_height(step, frame.w)
    y = top + max(14.0, (frame.bottom - PADDING - top - _body_height(step, frame.w)) / 2)
    placed = {}
    for row in step.rows:
        width, height = _node_width(row, frame.w), _row_height(row, frame.w)
        x = frame.centre - _row_width(row, frame.w) / 2
        for node in row:
            placed[node.id] = Box(x, y, width, height)
            x += width + PAIR_GAP
        y += height + ROW_GAP
    return placed


def _inner_routes(step: Step, nodes: Mapping[str, Box]) -> list[Route]:
    rows = _row_of(step)
    pairs = [frozenset((edge.source, edge.target)) for edge in step.edges]
    routes = []
    for edge, pair in zip(step.edges, pairs, strict=True):
        source, target = nodes[edge.source], nodes[edge.target]
        distance = rows[edge.target] - rows[edge.source]
        if distance == 0:
            routes.append(_sideways(edge, source, target))
        elif abs(distance) == 1:
            shift = 0.25 * NODE_WIDTH * (1 if distance > 0 else -1) if pairs.count(pair) > 1 else 0.0
            routes.append(_vertical(edge, source, target, shift))
        else:
            routes.append(_around(edge, source, target, right=distance > 0))
    return routes


def _label(edge: Edge, x: float, y: float, *, centred: bool) -> Box | None:
    """A label's box with its middle at y; x is its centre, or its left end."""
    if not edge.label:
        return None
    width, height = text_width(edge.label, LABEL_SIZE) + 6, LABEL_SIZE + 5
    return Box(x - width / 2 if centred else x, y - height / 2, width, height)


def _sideways(edge: Edge, source: Box, target: Box) -> Route:
    y = source.middle
    label = _label(edge, (source.right + target.x) / 2, y - 12, centred=True)
    return Route(edge=edge, points=((source.right, y), (target.x, y)), label=label)


def _vertical(edge: Edge, source: Box, target: Box, shift: float) -> Route:
    """Straight between two rows, where both boxes reach; `shift` parts two opposite arrows."""
    x = (max(source.x, target.x) + min(source.right, target.right)) / 2 + shift
    start, end = (source.bottom, target.y) if target.y > source.y else (source.y, target.bottom)
    return Route(
        edge=edge,
        points=((x, start), (x, end)),
        label=_label(edge, x + 6, (start + end) / 2, centred=False),
        beside=True,
    )


def _around(edge: Edge, source: Box, target: Box, *, right: bool) -> Route:
    """Over the gutter beside the rows in between."""
    offset = GUTTER * 0.55
    start, end = (source.right, target.right) if right else (source.x, target.x)
    x = max(start, end) + offset if right else min(start, end) - offset
    # The ends keep off the middle, where an arrow of the other direction may arrive.
    y1, y2 = source.middle + (6 if right else -6), target.middle + (-6 if right else 6)
    return Route(
        edge=edge,
        points=((start, y1), (x, y1), (x, y2), (end, y2)),
        label=_label(edge, x, (y1 + y2) / 2, centred=True),
    )


def _outer_route(edge: Edge, source: Box, target: Box) -> Route:
    """Between two frames: sideways in a lane, else straight up or down where both reach."""
    if source.y < target.bottom and target.y < source.bottom:
        y = (max(source.y, target.y) + min(source.bottom, target.bottom)) / 2
        start, end = (source.right, target.x) if target.x > source.x else (source.x, target.right)
        label = _label(edge, (start + end) / 2, y - 14, centred=True)
        return Route(edge=edge, points=((start, y), (end, y)), label=label, strong=True)
    x = (max(source.x, target.x) + min(source.right, target.right)) / 2
    start, end = (source.bottom, target.y) if target.y > source.y else (source.y, target.bottom)
    label = _label(edge, x + 10, (start + end) / 2, centred=False)
    return Route(edge=edge, points=((x, start), (x, end)), label=label, strong=True, beside=True)
