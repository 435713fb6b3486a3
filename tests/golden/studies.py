"""The golden studies: how each gets into the state that is packed, and how it goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.golden import agents, local, slurm
from tests.golden.world import World


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One study."""

    state: str
    """What a person would say of it."""
    begin: Callable[[World], None]
    """From nothing to that state."""
    go_on: Callable[[World], None]
    """To the end of its round and of one more."""


GOLDEN: dict[str, Golden] = {
    "local_finished": Golden(
        state="two rounds on this machine, all that was asked for", begin=local.finished, go_on=local.finished_on
    ),
    "local_budgets": Golden(
        state="two objectives, a limit, budgets, replicates and a confirmation each round, on this machine",
        begin=local.budgets,
        go_on=local.budgets_on,
    ),
    "local_older": Golden(
        state="begun and confirmed by a version before verdicts, places and journaled requests",
        begin=local.older,
        go_on=local.older_on,
    ),
    "local_edited": Golden(
        state="a person edited the reference after round 1", begin=local.edited, go_on=local.edited_on
    ),
    "local_warm": Golden(
        state="begun with what another study beside it has found; one round", begin=local.warm, go_on=local.warm_on
    ),
    "manual_moved": Golden(
        state="moved away and back, with rendered scripts of which none was run",
        begin=local.moved,
        go_on=local.moved_on,
    ),
    "manual_waits": Golden(
        state="scripts of round 1 are rendered, and a person has run one of two rows",
        begin=local.manual,
        go_on=local.manual_on,
    ),
    "slurm_open": Golden(
        state="round 1 in the queue: rows that ended well, failed and began again, were cancelled, wait",
        begin=slurm.open_round,
        go_on=slurm.open_round_on,
    ),
    "slurm_doubt": Golden(
        state="an intent without a submission: sbatch's answer was lost", begin=slurm.doubt, go_on=slurm.doubt_on
    ),
    "slurm_wave": Golden(
        state="a wave of retries, half of it handed over when the queue was full",
        begin=slurm.wave,
        go_on=slurm.wave_on,
    ),
    "slurm_confirm": Golden(
        state="the confirmation after the last round is in the queue", begin=slurm.confirm, go_on=slurm.confirm_on
    ),
    "slurm_rungs": Golden(
        state="rung 1 of round 1 is closed, rung 2 in the queue", begin=slurm.rungs, go_on=slurm.rungs_on
    ),
    "slurm_paused": Golden(
        state="paused: three arrays in a row started not one row", begin=slurm.paused, go_on=slurm.paused_on
    ),
    "slurm_quorum": Golden(
        state="two of four rows have ended, and three are a quorum", begin=slurm.quorum, go_on=slurm.quorum_on
    ),
    "slurm_nothing": Golden(
        state="paused: round 1 closed without a measurement", begin=slurm.nothing, go_on=slurm.nothing_on
    ),
    "slurm_halted": Golden(
        state="a person cancelled the whole of round 1", begin=slurm.halted, go_on=slurm.halted_on
    ),
    "slurm_prepared": Golden(
        state="the data is being prepared, and the array waits behind it",
        begin=slurm.prepared,
        go_on=slurm.prepared_on,
    ),
    "agents_llm": Golden(
        state="an analyst, an autotuner, a checker and a judge, scripted; two rounds",
        begin=agents.llm,
        go_on=agents.llm_on,
    ),
    "agents_panel": Golden(
        state="a panel, of which one consultant failed; two rounds", begin=agents.panel, go_on=agents.panel_on
    ),
    "agents_stop": Golden(state="a planner ended the study before round 3", begin=agents.stop, go_on=agents.stop_on),
}
