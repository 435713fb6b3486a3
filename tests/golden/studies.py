"""The golden studies: how each gets into the state that is packed, and how it goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.golden.world import World

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


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One study."""

    state: str
    """What a person would say of it."""
    begin: Callable[[World], None]
    """From nothing to that state."""
    go_on: Callable[[World], None]
    """To the end of its round and of one more."""


def formula(world: World) -> tuple[str, ...]:
    """The options of a study of the formula."""
    world.put("formula.sh", "exit 1\n")
    return ("--trainer", str(world.put("formula.yaml", FORMULA)))


# -- finished, on this machine --------------------------------------------------------------------------------------


def _local_begin(world: World) -> None:
    trainer = formula(world)
    options = ("--launcher", "local", "--auto-train", "--candidates", "2", "--confirm", "never", "--seeds", "0,1")
    world.tune(*trainer, *options, "--max-rounds", "2")


def _local_on(world: World) -> None:
    world.tune("--auto-train", "--max-rounds", "1")
    world.tune("--auto-train", "--max-rounds", "1", "--confirm", "final", "--confirm-seeds", "2")


# -- a round in the queue of SLURM ----------------------------------------------------------------------------------


def _slurm_begin(world: World) -> None:
    """Row 0 ended well, rows 1 and 3 failed and were started again (1 has ended, 3 waits), a person cancelled 2."""
    trainer = formula(world)
    world.cluster.plan(t1_1_1="node", t1_3_1="memory", t1_3_2="waits")
    profile = world.put("profile.yaml", "partition: gpu\ntime: 30\nmem: 2G\nsetup:\n  - module load golden\n")
    options = ("--launcher", "sbatch", "--auto-train", "--candidates", "2", "--confirm", "never", "--seeds", "0,1")
    world.tune(*trainer, *options, "--profile", profile, "--max-rounds", "2", interrupt_s=200)
    world.call("cancel", "--study", world.study, "--rows", "2", "--yes")
    for _ in range(9):
        world.wait(240)
        world.tick()


def _slurm_on(world: World) -> None:
    world.cluster.plan(t1_3_2="")
    world.tick(until="round_1_*/round.json")
    world.tick(until="round_2_*/round.json")
    world.tick()


GOLDEN: dict[str, Golden] = {
    "local_finished": Golden(
        state="two rounds on this machine, all that was asked for", begin=_local_begin, go_on=_local_on
    ),
    "slurm_open": Golden(
        state="round 1 in the queue: rows that ended well, failed and began again, were cancelled, wait",
        begin=_slurm_begin,
        go_on=_slurm_on,
    ),
}


def replies(world: World, *given: dict[str, object]) -> str:
    """A script of answers beside the study."""
    return str(world.put("script.json", json.dumps({"replies": list(given)}, indent=1)))
