"""Golden studies on a SLURM cluster."""

from __future__ import annotations

from agent.resources import shipped_policy
from tests.golden.local import formula, round_folder
from tests.golden.world import World
from tests.nnunet_files import write_dataset

SBATCH = ("--launcher", "sbatch", "--auto-train", "--confirm", "never")
PROFILE = "partition: gpu\ntime: 30\nmem: 2G\nmax_mem: 8G\nsetup:\n  - module load golden\n"


def begin(world: World, *words: str, seconds: float, more: str = "") -> None:
    """Begin a study, and leave it alone after so many seconds. more: lines of its trainer's description."""
    profile = world.put("profile.yaml", PROFILE)
    world.tune(*formula(world, more), *SBATCH, "--profile", profile, *words, interrupt_s=seconds)


def look(world: World, times: int, *, every_s: float = 240.0) -> None:
    """Cron ticks."""
    for _ in range(times):
        world.wait(every_s)
        world.tick()


def closes(world: World, number: int, kind: str = "round") -> None:
    """Cron ticks until a round is closed."""
    world.tick(until=f"{kind}_{number}_*/round.json", every_s=150.0)


# -- a round in the queue -------------------------------------------------------------------------------------------


def open_round(world: World) -> None:
    """Row 0 ended well, rows 1 and 3 failed and were started again (1 has ended, 3 waits), a person cancelled 2."""
    world.cluster.plan(t1_1_1="node", t1_3_1="memory", t1_3_2="waits")
    begin(world, "--candidates", "2", "--seeds", "0,1", "--max-rounds", "2", seconds=200)
    world.call("cancel", "--study", world.study, "--rows", "2", "--yes")
    look(world, 9)


def open_round_on(world: World) -> None:
    world.cluster.plan(t1_3_2="")
    closes(world, 1)
    closes(world, 2)
    world.tick()


# -- submissions in doubt -------------------------------------------------------------------------------------------


def doubt(world: World) -> None:
    world.cluster.answer("lost")
    begin(world, "--candidates", "2", "--max-rounds", "2", seconds=30)


def doubt_on(world: World) -> None:
    """The training is found and adopted; of the evaluation nothing is found, and it is submitted again. Round 2 is
    refused once."""
    world.cluster.answer("dropped", "", "refused")
    closes(world, 1)
    closes(world, 2)


# -- waves of retries -----------------------------------------------------------------------------------------------


def wave(world: World) -> None:
    """Rows 1 and 3 failed in two ways, so that their retries are two arrays: the queue took the first one alone."""
    world.cluster.plan(t1_1_1="node", t1_3_1="memory")
    world.cluster.answer("", "", "", "full")
    begin(world, "--candidates", "2", "--seeds", "0,1", "--max-rounds", "2", seconds=30)
    look(world, 4)


def wave_on(world: World) -> None:
    world.cluster.answer("full")
    world.cluster.plan(t1_3_2="memory", t2_0_1="bad", t2_1_1="crash")
    closes(world, 1)
    closes(world, 2)


# -- confirmation, rungs --------------------------------------------------------------------------------------------


def confirm(world: World) -> None:
    begin(world, "--candidates", "3", "--confirm", "final", "--confirm-seeds", "2", seconds=30)
    world.tick(until="confirm_1_*/manifest.json", every_s=150.0)
    look(world, 2, every_s=90.0)


def confirm_on(world: World) -> None:
    closes(world, 1, "confirm")
    world.tune("--auto-train", "--candidates", "2", "--confirm", "never")


def rungs(world: World) -> None:
    """Of five candidates three go on to rung 2, whose first row fails."""
    world.cluster.plan(r12_0_1="node")
    options = ("--rungs", "3", "--eta", "2", "--candidates", "5", "--max-rounds", "2")
    begin(world, *options, seconds=30, more="epochs: 8\nfolds: [0, 1]\n")
    world.tick(until="rung2_1_*/manifest.json", every_s=150.0)
    look(world, 2, every_s=90.0)


def rungs_on(world: World) -> None:
    closes(world, 1, "rung2")
    closes(world, 1)
    closes(world, 2)


# -- paused and cancelled -------------------------------------------------------------------------------------------


def no_start(world: World, attempts: int) -> None:
    """Neither row of round 1 begins, so often."""
    rows = {f"t1_{row}_{attempt}": "start" for row in (0, 1) for attempt in range(1, attempts + 1)}
    world.cluster.plan(**rows)


def paused(world: World) -> None:
    """Three arrays start not one row, and the policy would go on."""
    no_start(world, 6)
    text = (
        shipped_policy()
        .read_text()
        .replace("launch_fail: {action: retry, limit: 2", "launch_fail: {action: retry, limit: 7")
    )
    policy = world.put("policy.yaml", text.replace("max_attempts: 4", "max_attempts: 9"))
    begin(world, "--candidates", "2", "--max-rounds", "2", "--policy", str(policy), seconds=30)
    look(world, 7)


def paused_on(world: World) -> None:
    """Three more, then rows start; and of round 2 the cluster refuses ten submissions."""
    world.tick()
    world.tune("--auto-train", "--resume", "--max-rounds", "2", interrupt_s=60)
    look(world, 6)
    world.tune("--auto-train", "--resume", "--max-rounds", "2", interrupt_s=60)
    world.cluster.answer(*["refused"] * 10)
    closes(world, 1)
    look(world, 11)
    world.tune("--auto-train", "--resume")


def nothing(world: World) -> None:
    """Round 1 closed on nothing: no row of it began, as often as the policy tries."""
    no_start(world, 3)
    begin(world, "--candidates", "2", "--max-rounds", "2", seconds=30)
    look(world, 7)


def nothing_on(world: World) -> None:
    world.tick()
    world.tune("--auto-train", interrupt_s=60)
    closes(world, 2)
    world.tick()


def halted(world: World) -> None:
    begin(world, "--candidates", "2", "--max-rounds", "2", seconds=300)
    world.call("cancel", "--study", world.study, "--yes")
    look(world, 1)


def halted_on(world: World) -> None:
    world.tick()
    world.call("retry", "--study", world.study, "--rows", "0")
    closes(world, 1)
    world.tick()
    number = world.cluster.state["next_job"] - 2
    world.wait(200)
    world.cluster.run("scancel", [str(number)])  # past Roundtable
    look(world, 3)
    world.call("collect", "--study", world.study)
    look(world, 6)
    assert (round_folder(world, 2) / "round.json").exists()


# -- stragglers -----------------------------------------------------------------------------------------------------


def quorum(world: World) -> None:
    """Half of the rows are enough: rows 1 and 2 failed in two ways and run once more, rows 0 and 3 have ended."""
    world.cluster.plan(t1_1_1="node", t1_2_1="memory", t1_2_2="waits")
    policy = world.put("policy.yaml", shipped_policy().read_text().replace("quorum: 1.0", "quorum: 0.75"))
    options = ("--candidates", "2", "--seeds", "0,1", "--max-rounds", "2", "--policy", str(policy))
    begin(world, *options, "--requeue-on-timeout", "--parallel", "3", "--seed", "3", seconds=30)
    look(world, 5)


def quorum_on(world: World) -> None:
    """Row 1 ends, so that three of four are there; row 2 is stopped."""
    closes(world, 1)
    closes(world, 2)


# -- prepared data --------------------------------------------------------------------------------------------------


def prepared(world: World) -> None:
    profile = world.put("profile.yaml", PROFILE + "gpus: 1\n")
    folders = ("--data", f"raw={data(world)}", "--data", f"preprocessed={world.base}/preprocessed")
    options = ("--trainer", "nnunet", "--folds", "0", "--epochs", "2", "--candidates", "2", "--max-rounds", "2")
    world.call("tune", "--task", "Dataset321_Organs", "--study", "demo", "--output-dir", world.base,
               *options, *folders, *SBATCH, "--profile", profile, interrupt_s=300)  # fmt: skip


def data(world: World) -> str:
    """A data set of nnU-Net's layout, which is made where the study is unpacked, and not packed."""
    folder = world.folder / "raw"
    if not folder.exists():
        write_dataset(folder)
    return str(folder)


def prepared_on(world: World) -> None:
    data(world)
    closes(world, 1)
    closes(world, 2)
