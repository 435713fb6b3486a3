"""The drawing of a round: what is in it, where it stands, and what each format makes of it."""

from __future__ import annotations

import builtins
import itertools
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from agent.errors import UsageError
from agent.names import PROPOSERS
from agent.report.graph import (
    Graph,
    Node,
    Step,
    Workflow,
    lay_out,
    to_mermaid,
    to_png,
    to_svg,
    workflow_graph,
)
from agent.report.graph.layout import Box, text_width
from agent.report.graph.palette import DARK, LIGHT, Palette

GOLDEN = Path(__file__).parents[2] / "golden" / "graph"
HOSTILE = '<script>alert("1")</script> & \x00\x1b[31m `x` #quot; ]] -->\n|"end'

WORKFLOWS = [
    Workflow(
        proposer=proposer, analyst=analyst, researcher=researcher, critique=critique, confirm=confirm, candidates=k
    )
    for proposer in PROPOSERS
    for analyst, researcher, critique, confirm in itertools.product((True, False), repeat=4)
    for k in (1, 100)
] + [Workflow(proposer="hybrid", candidates=27, rungs=4), Workflow(proposer="bayes", models=True)]


def name(workflow: Workflow) -> str:
    parts = ("analyst", "researcher", "critique", "confirm")
    parts += ("rungs",) if workflow.rungs > 1 else ()
    return "-".join([workflow.proposer, str(workflow.candidates), *(p for p in parts if getattr(workflow, p))])


def golden(proposer: str) -> Graph:
    return workflow_graph(Workflow(proposer=proposer, candidates=8, rows=5))


@pytest.mark.parametrize("proposer", PROPOSERS)
@pytest.mark.parametrize(("suffix", "make"), [("mmd", to_mermaid), ("svg", to_svg)])
def test_golden(proposer: str, suffix: str, make: Any) -> None:
    """ROUNDTABLE_UPDATE_GOLDEN=1 writes them anew; look at the drawings before they are committed."""
    path, text = GOLDEN / f"{proposer}.{suffix}", make(golden(proposer))
    if os.environ.get("ROUNDTABLE_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=name)
def test_nothing_overlaps(workflow: Workflow) -> None:
    graph = workflow_graph(workflow)
    layout = lay_out(graph)
    everything = Box(0, 0, layout.width, layout.height)
    assert layout.frames.keys() == {step.id for step in graph.steps}
    assert layout.nodes.keys() == {node.id for node in graph.nodes}
    for boxes in (layout.frames, layout.nodes):
        assert not [pair for pair in itertools.combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]
    for label in layout.labels:
        assert everything.holds(label)
        assert not any(label.overlaps(node) for node in layout.nodes.values())
    assert not [pair for pair in itertools.combinations(layout.labels, 2) if pair[0].overlaps(pair[1])]
    for route in layout.routes:
        if route.strong and route.label is not None:
            assert not any(route.label.overlaps(frame) for frame in layout.frames.values())
    assert all(everything.holds(frame) for frame in layout.frames.values())
    assert not any(layout.notes.overlaps(frame) for frame in layout.frames.values())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=name)
def test_nodes_stand_in_their_step_and_arrows_end_at_their_ends(workflow: Workflow) -> None:
    graph = workflow_graph(workflow)
    layout = lay_out(graph)
    for step in graph.steps:
        nodes = [node for row in step.rows for node in row]
        assert all(layout.frames[step.id].holds(layout.nodes[node.id]) for node in nodes)
        for edge in step.edges:
            assert {edge.source, edge.target} <= {node.id for node in nodes}
    for route in layout.routes:
        boxes = layout.frames if route.strong else layout.nodes
        for place, point in ((route.edge.source, route.points[0]), (route.edge.target, route.points[-1])):
            assert _on_border(boxes[place], point), f"{route.edge} begins or ends away from {place}"
        if not route.strong:
            others = [box for id_, box in layout.nodes.items() if id_ not in (route.edge.source, route.edge.target)]
            assert not any(_crosses(a, b, box) for a, b in itertools.pairwise(route.points) for box in others)


def _on_border(box: Box, point: tuple[float, float]) -> bool:
    x, y = point
    across, along = (pytest.approx(v) for v in (x, y))
    return (across in (box.x, box.right) and box.y <= y <= box.bottom) or (
        along in (box.y, box.bottom) and box.x <= x <= box.right
    )


def _crosses(a: tuple[float, float], b: tuple[float, float], box: Box) -> bool:
    """Whether an upright or level stretch runs through a box."""
    left, right, top, bottom = min(a[0], b[0]), max(a[0], b[0]), min(a[1], b[1]), max(a[1], b[1])
    return left < box.right and box.x < right and top < box.bottom and box.y < bottom


@pytest.mark.parametrize(
    ("workflow", "there", "absent"),
    [
        (
            Workflow(proposer="bayes"),
            {"heuristics", "bayes", "rules"},
            {"analyst", "autotuner", "repair", "fallback"},
        ),
        (Workflow(proposer="llm"), {"autotuner", "critique", "repair", "fallback", "analyst"}, {"supervisor"}),
        (Workflow(proposer="bayes", candidates=9, rungs=3), {"rungs", "archive"}, {"autotuner"}),
        (Workflow(proposer="panel"), {"consultant_a", "consultant_b", "supervisor", "bayes"}, {"autotuner"}),
        (Workflow(proposer="hybrid", critique=False), {"autotuner", "bayes", "repair", "judge"}, {"critique"}),
        (Workflow(proposer="hybrid", judge=False), {"autotuner"}, {"judge"}),
        (Workflow(proposer="bayes", models=True), {"analyst", "researcher", "judge"}, {"critique", "repair"}),
        (Workflow(proposer="llm", analyst=False, researcher=False), {"heuristics"}, {"analyst", "researcher"}),
    ],
)
def test_who_works_in_a_round(workflow: Workflow, there: set[str], absent: set[str]) -> None:
    ids = {node.id for node in workflow_graph(workflow).nodes}
    assert there <= ids
    assert not absent & ids


def test_the_round_is_a_ring() -> None:
    graph = golden("hybrid")
    follows = {edge.source: edge.target for edge in graph.edges if edge.label != "after the last round"}
    seen, step = [], "analyse"
    while step not in seen:
        seen.append(step)
        step = follows[step]
    assert step == "analyse"
    assert seen == ["analyse", "propose", "check", "apply", "render", "submit", "train", "collect", "assess"]
    assert ("assess", "confirm") in {(edge.source, edge.target) for edge in graph.edges}


def test_settings_are_said() -> None:
    text = to_mermaid(workflow_graph(Workflow(proposer="panel", turns=3, candidates=7, confirm_seeds=4, rows=6)))
    assert all(said in text for said in ("3 turns", "7 candidates x 6 trials", "4 fresh seeds"))
    text = to_mermaid(workflow_graph(Workflow(share=0.25, warmup=9, auto_train=False)))
    assert all(said in text for said in ("25%, once 9 are scored", "75% of the candidates", "for a person to submit"))


def test_an_unknown_proposer_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'bayse': must be one of bayes, gp, llm, panel, hybrid"):
        Workflow(proposer="bayse")


def hostile() -> Graph:
    node = Node(id="x", name=HOSTILE, does=HOSTILE, kind="model")
    one = Step(id="one", name=HOSTILE, does=HOSTILE, rows=[[node]])
    run, end = Step(id="two", name="two", does=HOSTILE), Step(id="three", name="three", does="")
    return Graph(title=HOSTILE, subtitle=HOSTILE, decide=[one], run=[run], end=[end], notes=[HOSTILE])


@pytest.mark.parametrize("graph", [golden("panel"), hostile()], ids=["panel", "hostile"])
def test_svg_is_xml_that_loads_and_runs_nothing(graph: Graph) -> None:
    text = to_svg(graph)
    root = ElementTree.fromstring(text)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "style", "defs", "marker", "path", "rect", "g", "text", "polyline"}
    assert not re.findall(r"(?:href|src|on\w+)\s*=", text.replace(HOSTILE, ""))
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#plain", "#strong", "#failure"}
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in text
    shown = [element.text or "" for element in root.iter() if element.tag.endswith("}text")]
    assert all(character.isprintable() for line in shown for character in line)


def test_hostile_names_stay_text_in_mermaid() -> None:
    lines = to_mermaid(hostile()).splitlines()
    node = next(line for line in lines if line.lstrip().startswith('x["'))
    assert node.count('"') == 2
    assert "#lt;script#gt;" in node and "#35;quot;" in node
    assert "<script" not in "".join(lines[3:])


def test_a_long_title_leaves_the_legend_room() -> None:
    graph = workflow_graph(Workflow(proposer="bayes", title="A round of " + "x" * 100))
    root = ElementTree.fromstring(to_svg(graph))
    title = next(element for element in root.iter() if element.get("class") == "title")
    assert title.text is not None and title.text.endswith("…")
    assert text_width(title.text, 23.0) < lay_out(graph).width - 300


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(palette: Palette) -> None:
    grounds = [palette.ground, palette.frame, *(kind[0] for kind in palette.kinds.values())]
    assert min(_contrast(text, ground) for text in (palette.text, palette.muted) for ground in grounds) >= 6
    assert _contrast(palette.failure, palette.frame) >= 6
    assert all(_contrast(ground, text) >= 6 for ground, _, text in palette.kinds.values())


@pytest.mark.parametrize("proposer", PROPOSERS)
def test_png(proposer: str, tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    path = tmp_path / "round.png"
    path.write_bytes(b"old")
    to_png(golden(proposer), path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    layout = lay_out(golden(proposer))
    with Image.open(path) as image:
        # The renderer cuts to whole pixels.
        assert image.size == (int(2 * layout.width), int(2 * layout.height))
        colours = {f"#{r:02x}{g:02x}{b:02x}": n for n, (r, g, b) in image.convert("RGB").getcolors(2**24)}
    kinds = [LIGHT.kinds[kind][0] for kind in golden(proposer).kinds if kind != "rules"]
    assert {LIGHT.ground, LIGHT.frame, LIGHT.arrow, LIGHT.text, *kinds} <= colours.keys()
    assert colours[LIGHT.ground] < 0.7 * image.size[0] * image.size[1]
    assert list(tmp_path.iterdir()) == [path]


def test_png_without_its_renderer_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "vl_convert":
            raise ModuleNotFoundError("No module named 'vl_convert'", name="vl_convert")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"uvw run --extra graph"):
        to_png(golden("llm"), tmp_path / "round.png")
    assert not list(tmp_path.iterdir())
