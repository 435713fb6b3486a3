"""A graph as PNG: the SVG in its light colours, drawn by vl-convert (resvg) on the dense screens of today's scale."""

from __future__ import annotations

from pathlib import Path

from agent.errors import UsageError
from agent.report.graph.model import Graph
from agent.report.graph.svg import to_svg
from trainers.files import write_atomic

SCALE = 2
"""Pixels for each of the layout's."""


def to_png(graph: Graph, path: Path) -> None:
    """Write the drawing, replacing what stands at `path`. Raises UsageError without vl-convert, and OSError."""
    try:
        import vl_convert
    except ModuleNotFoundError as error:
        if error.name != "vl_convert":
            raise
        raise UsageError(
            "a PNG needs vl-convert, which is not installed: `./uvw run --extra graph ...` or "
            "`pip install 'roundtable[graph]'`, or write .svg or .mmd"
        ) from error
    write_atomic(path, vl_convert.svg_to_png(to_svg(graph), scale=SCALE))
