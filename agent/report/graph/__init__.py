"""The drawing of a round: who does what in which step, from a study's settings, as Mermaid, SVG or PNG.

Pure apart from `to_png`, which writes its file. Standard library only, apart from vl-convert in `to_png`.
"""

from agent.report.graph.layout import Layout, lay_out
from agent.report.graph.mermaid import to_mermaid
from agent.report.graph.model import Edge, Graph, Node, Step, Workflow, workflow_graph
from agent.report.graph.png import to_png
from agent.report.graph.svg import to_svg

__all__ = [
    "Edge",
    "Graph",
    "Layout",
    "Node",
    "Step",
    "Workflow",
    "lay_out",
    "to_mermaid",
    "to_png",
    "to_svg",
    "workflow_graph",
]
