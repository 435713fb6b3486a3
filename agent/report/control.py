"""How a study is driven, told from its files alone: who, last look, next look, stop requested, paused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.pasteable import roundtable
from agent.store import control
from agent.store.events import Paused, Resumed
from agent.store.store import Store


def control_view(store: Store) -> dict[str, Any]:
    """JSON-ready: `controller` (controller.json), `successor` (its SLURM job), `stop`, `paused`; None for each that
    there is not."""
    beat = control.heartbeat(store.paths.controller)
    over = beat.get("generation") if beat is not None and beat.get("state") == "ended" else None
    # One that ended before its first look has said so in its heartbeat alone.
    behind = [one.submitted for one in control.unended(store) if one.began is None and one.generation != over]
    waiting = [made.job_id for made in behind if made is not None]
    pause = store.journal.last(Paused, Resumed)
    return {
        "controller": beat,
        "successor": waiting[-1] if waiting else None,
        "stop": control.stop_request(store.paths.stop),
        "paused": {"reason": pause.reason, "at": pause.at.isoformat()} if isinstance(pause, Paused) else None,
    }


def control_lines(view: Mapping[str, Any], *, now: datetime, study: Path) -> Iterator[str]:
    """What a person reads; nothing for a study that nobody drives unattended. study: its folder."""
    beat = view["controller"]
    kind = beat["kind"] if beat is not None and "kind" in beat else "foreground"
    again = roundtable("start", "--study", study, "--controller", kind)
    if beat is not None:
        yield f"controller: {_who(beat)}{_looks(beat, now)}"
        if beat.get("trouble"):
            yield f"controller: in trouble, and trying again: {beat['trouble']}"
    if view["successor"] is not None:
        running = beat is not None and beat.get("state") == "running"
        # Nothing here asks the scheduler: a job that was cancelled before it began leaves no word.
        behind = "goes on when it ends" if running else "was submitted and has not begun"
        yield f"controller: SLURM job {view['successor']} {behind} (`squeue -j {view['successor']}` shows it)"
    if (stop := view["stop"]) is not None:
        yield f"stop requested by {stop.get('by', 'somebody')}; `{again}` withdraws it"
    if (paused := view["paused"]) is not None:
        yield f"paused since {_clock(paused['at'])}: {paused['reason']}; mend the cause, then call with --resume"


def _who(beat: Mapping[str, Any]) -> str:
    if beat.get("kind") == "cron":
        return f"cron on {beat.get('host')}"
    where = f"SLURM job {beat['job_id']}" if beat.get("job_id") else f"process {beat.get('pid')}"
    return f"{where} on {beat.get('host')}, generation {beat.get('generation')}"


def _looks(beat: Mapping[str, Any], now: datetime) -> str:
    if beat.get("state") == "ended":
        return f", ended {_clock(beat.get('at'))}: {beat.get('reason')}"
    looked = f", last look {_clock(beat.get('at'))}"
    if (due := beat.get("next_at")) is None:
        return looked if beat.get("kind") == "cron" else f"{looked}, in a look"
    late = (now - datetime.fromisoformat(due)).total_seconds()
    # A look itself may take minutes where language models are asked.
    missed = f", overdue by {late / 60:.0f} min: is it still there?" if late > 600 else ""
    return f"{looked}, next {_clock(due)}{missed}"


def _clock(at: Any) -> str:
    """A time of the journal as people read it."""
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S} UTC" if isinstance(at, str) else "at an unknown time"
