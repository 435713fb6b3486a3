"""Golden studies on this machine: its local queue, or a person who runs the scripts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.golden.cluster import evaluate, leave_claim, leave_result
from tests.golden.world import World
from trainers.layout import RoundFiles

#: A trainer whose trials are the world's: the score is a parabola of x, better with width.
FORMULA = """\
name: formula
description: A parabola that is worth more with a greater width.
command: ["sh", "formula.sh", "{out}", "{x}", "{width}"]
parameters:
  x: {type: float, low: 0.0, high: 1.0, default: 0.5, group: optimizer, description: Where the parabola is read}
  width: {type: int, low: 8, high: 64, default: 16, group: model, impact: medium, description: Of the network}
constraints: []
pass_values: [arguments]
objective: {metric: score, direction: maximize}
summary: summary.json
seeds: [0]
stop_grace_s: 5
"""
HERE = ("--launcher", "local", "--auto-train")


def formula(world: World, more: str = "") -> tuple[str, ...]:
    """The options that begin a study of the formula. more: lines of its description."""
    world.put("formula.sh", "exit 1\n")
    return ("--trainer", str(world.put("formula.yaml", FORMULA + more)))


def round_folder(world: World, number: int, kind: str = "round") -> Path:
    """The newest folder of a round."""
    return sorted(world.study.glob(f"{kind}_{number}_*"))[-1]


def change_json(path: Path, **changes: Any) -> None:
    """Write fields of a JSON file anew, as a person or an earlier version has them; None: not there."""
    fields = json.loads(path.read_text()) | changes
    left = {name: value for name, value in fields.items() if value is not None or name not in changes}
    path.write_text(json.dumps(left, indent=2) + "\n")


# -- finished -------------------------------------------------------------------------------------------------------


def finished(world: World) -> None:
    options = ("--candidates", "2", "--confirm", "never", "--seeds", "0,1", "--max-rounds", "2")
    world.tune(*formula(world), *HERE, *options)


def finished_on(world: World) -> None:
    """In round 3 a row is lost, one crashes and one is refused by its settings."""
    world.cluster.plan(t3_0_1="node", t3_1_1="crash", t3_2_1="bad")
    world.tune("--auto-train")
    world.tune("--auto-train", "--confirm", "final", "--confirm-seeds", "2")


# -- objectives and budgets -----------------------------------------------------------------------------------------


def budgets(world: World) -> None:
    options = (
        "--candidates",
        "2",
        "--folds",
        "0,1",
        "--confirm",
        "round",
        "--confirm-seeds",
        "2",
        "--replicates",
        "2",
    )
    more = ("--also", "seconds:minimize", "--limit", "seconds<=12", "--max-cpu-hours", "1", "--max-hours", "2")
    rules = world.put("rules.yaml", "min_gain: 0.001\nz: 1.0\ncorrection: none\n")
    more += ("--profile", str(world.put("profile.yaml", "time: 3\n")))
    world.tune(*formula(world), *HERE, *options, *more, "--rules", rules, "--max-rounds", "2")


def budgets_on(world: World) -> None:
    world.tune("--auto-train")
    world.tune("--auto-train", "--force-round", "2")
    world.wait(7200)
    world.tune("--auto-train")


# -- of an earlier version ------------------------------------------------------------------------------------------


def older(world: World) -> None:
    """What versions before verdicts left, and before the journal knew places and what an intent asks for."""
    world.tune(*formula(world), *HERE, "--candidates", "3", "--seeds", "0,1", "--confirm-seeds", "2")
    closed, confirmed = round_folder(world, 1) / "round.json", round_folder(world, 1, "confirm") / "round.json"
    entries = json.loads(closed.read_text())["candidates"]
    for entry in entries:
        del entry["verdict"], entry["judgement"]
    change_json(closed, acceptance=None, candidates=entries)
    gain = json.loads(confirmed.read_text())["gain"]
    for name in ("df", "own_error", "critical"):
        del gain[name]
    change_json(confirmed, purpose=None, base=None, values=None, noise=None, gain=gain)
    change_json(world.study / "incumbent.json", judgement=None, schema_version=1)
    change_json(world.study / "settings.json", max_attempts=7)
    journal = world.study / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    kept = [line for line in lines if line["event"] not in ("placed", "charge", "refund")]
    for number, line in enumerate(kept, 1):
        line["seq"] = number
        for name in ("items", "cluster", "limit_s", "runs", "gpus", "cpus") if line["event"] == "intent" else ():
            del line[name]
    journal.write_text("".join(json.dumps(line) + "\n" for line in kept))


def older_on(world: World) -> None:
    world.tune("--auto-train")
    world.tune("--auto-train", "--max-rounds", "2", "--candidates", "2", "--confirm", "never")


# -- edited by a person ---------------------------------------------------------------------------------------------


def edited(world: World) -> None:
    world.tune(*formula(world), *HERE, "--candidates", "2", "--confirm", "never")
    path = world.study / "hyperparameter_reference.json"
    raw = json.loads(path.read_text())
    raw["parameters"]["x"]["active_value"] = 0.375
    raw["parameters"]["width"]["high"] = 48
    path.write_text(json.dumps(raw, indent=4))


def edited_on(world: World) -> None:
    world.tune("--auto-train")
    world.tune("--auto-train")
    world.call("reference", "restore", "--study", world.study, "1")
    world.tune("--auto-train")


# -- from another study ---------------------------------------------------------------------------------------------


def warm(world: World) -> None:
    """Begun with what another study found, and with the settings of its best."""
    place = ("--task", "demo", "--output-dir", str(world.base))
    options = ("--candidates", "3", "--confirm", "never")
    world.call("tune", *place, "--study", "first", *formula(world), *HERE, *options)
    world.tune(*formula(world), *HERE, *options, "--warm-start", world.base / "first")


def warm_on(world: World) -> None:
    world.tune("--auto-train")
    world.tune("--auto-train")


# -- by hand --------------------------------------------------------------------------------------------------------


def by_hand(world: World, number: int, rows: tuple[int, ...], *, evaluated: bool = False) -> None:
    """A person runs scripts of a round."""
    files = RoundFiles(round_folder(world, number))
    for row in rows:
        task, host = f"process:{world.place.host}:4000003", world.place.host
        leave_claim(files, row, attempt=1, task=task, host=host, at=world.clock.now, end="")
        world.wait(30)
        leave_result(files, row, attempt=1, task=task, host=host, at=world.clock.now, end="")
    if evaluated:
        evaluate(files)


def manual(world: World) -> None:
    world.tune(*formula(world), "--slurm", "--candidates", "2", "--confirm", "never")
    by_hand(world, 1, (0,))


def manual_on(world: World) -> None:
    world.tick()
    world.tune("--slurm")
    by_hand(world, 1, (1,), evaluated=True)
    world.tune("--slurm", "--candidates", "1")
    summary = world.put("brought.json", '{"score": 0.875}\n')
    world.tune("--val-summary", summary)
    world.call("submit", "--study", world.study)
    world.tick()


# -- moved ----------------------------------------------------------------------------------------------------------


def moved(world: World) -> None:
    """Rendered for a person, and nothing of it was run when the folder was moved away and back."""
    world.tune(*formula(world), "--slurm", "--candidates", "2", "--confirm", "never")
    world.study.rename(world.base / "away")
    world.call("status", "--study", world.base / "away")
    world.call("tick", "--study", world.base / "away")
    (world.base / "away").rename(world.study)


def moved_on(world: World) -> None:
    world.tick()
    by_hand(world, 1, (0, 1), evaluated=True)
    shutil.copytree(world.study, world.base / "copy")
    world.call("tick", "--study", world.base / "copy")
    world.tune("--slurm")
    by_hand(world, 2, (0, 1), evaluated=True)
    world.call("collect", "--study", world.study)
