"""Stage `report`: the stages' results as the tables of doc/benchmarks.md.

    python -m benchmarks.gpu report RESULTS [RESULTS ...] [--write doc/benchmarks.md]

RESULTS are the JSON files that the stages left, of one machine. Without --write the tables are printed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.gpu.resnet9 import GOAL
from benchmarks.gpu.stage import Row

BEGIN, END = "<!-- measured on a GPU: begin -->", "<!-- measured on a GPU: end -->"
STAGES = ("resnet9", "informer", "nnunet", "oom")
UNMEASURED = "Not measured: no GPU was at hand."


def write(results: Sequence[Path], target: Path | None) -> str:
    """The tables of all stages; with `target` also put between its two marks. SystemExit where these are missing."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in results]
    tables = text(found)
    if target is not None:
        before = target.read_text(encoding="utf-8")
        if before.count(BEGIN) != 1 or before.count(END) != 1:
            raise SystemExit(f"{target}: needs the lines {BEGIN} and {END} once, between which the tables go")
        head, rest = before.split(BEGIN)
        target.write_text(f"{head}{BEGIN}\n\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return tables


def text(found: Iterable[Row]) -> str:
    """Markdown of results by stage; a stage that left none says that it is unmeasured."""
    by_stage: dict[str, list[Row]] = {}
    machines: list[str] = []
    for result in found:
        by_stage.setdefault(result["stage"], []).extend(result["rows"])
        machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
        machine += " (tiny: says nothing of performance)" if result["tiny"] else ""
        if machine not in machines:
            machines.append(machine)
    makers = {"resnet9": _resnet9, "informer": _informer, "nnunet": _nnunet, "oom": _oom}
    parts = [f"Machine: {line}." for line in machines]
    for stage in STAGES:
        rows = by_stage.get(stage, [])
        lines = makers[stage]([row for row in rows if row["kind"] != "unmeasured"])
        missing = [f"Not measured: {row['what']}." for row in rows if row["kind"] == "unmeasured"]
        parts.append("\n".join([f"### {_TITLES[stage]}", "", *(lines if rows else [UNMEASURED]), *missing]))
    return "\n\n".join(parts) + "\n"


_TITLES = {
    "resnet9": "ResNet-9 on CIFAR-10",
    "informer": "Informer beside the public code",
    "nnunet": "nnU-Net, stock and ours",
    "oom": "Out of memory inside a training",
}


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
    ]


def _resnet9(rows: Sequence[Row]) -> list[str]:
    budgets: dict[int, list[Row]] = {}
    for row in rows:
        if row["kind"] == "accuracy":
            budgets.setdefault(row["epochs"], []).append(row)
    body = []
    for epochs, seeds in sorted(budgets.items()):
        reached = [row["seconds_to_goal"] for row in seeds if row["seconds_to_goal"] is not None]
        to_goal = f"{statistics.mean(reached):.1f} ({len(reached)} of {len(seeds)})" if reached else "never"
        mean = [statistics.mean(row[name] for row in seeds) for name in ("seconds", "val", "test")]
        body.append((epochs, len(seeds), f"{mean[0]:.1f}", to_goal, f"{mean[1]:.4f}", f"{mean[2]:.4f}"))
    head = ("epochs", "seeds", "s of training", f"s to {GOAL:.0%} validation (seeds)", "validation", "test")
    speed = [row for row in rows if row["kind"] == "speed"]
    places = [(row["images"], row["threads"], row["images_a_second"]) for row in speed]
    return _table(head, body) + _table(("images lie in", "CPU threads", "images/s"), places)


def _informer(rows: Sequence[Row]) -> list[str]:
    cells: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in rows:
        cells.setdefault((row["code"], row["attention"], row["precision"]), {})[row["length"]] = row
    lengths = sorted({row["length"] for row in rows})
    body = [(*key, *(_cell(found.get(length)) for length in lengths)) for key, found in cells.items()]
    return _table(("code", "attention", "precision", *(f"{n}: ms (MiB)" for n in lengths)), body)


def _cell(row: Row | None) -> str:
    if row is None:
        return "unmeasured"
    if "seconds" not in row:
        return "out of memory"
    return f"{1000 * row['seconds']:.1f}" + (f" ({row['mib']})" if "mib" in row else "")


def _nnunet(rows: Sequence[Row]) -> list[str]:
    head = ("code", "epochs", "s an epoch", "s of the first", "Dice of fold 0", "cases")
    names = ("code", "epochs", "seconds_an_epoch", "first_epoch", "dice", "cases")
    return _table(head, [[row[name] for name in names] for row in rows])


def _oom(rows: Sequence[Row]) -> list[str]:
    head = (
        "precision",
        "clipping",
        "batch asked",
        "trained",
        "validation",
        "of a training begun with that batch",
        "finite",
    )
    names = ("precision", "grad_clip", "asked", "trained", "val", "val_of_that_batch", "finite")
    return _table(head, [[row[name] for name in names] for row in rows])
