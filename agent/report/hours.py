"""GPU-hours and CPU-hours of a study: spent, committed, capped, and the rows that accounting does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.budget import RESOURCES, Balance, standing, unit
from agent.launch.states import compact
from agent.store.events import Charged, OverBudget, SettingsGiven, Submitted
from agent.store.store import Store
from agent.store.study import Settings


def hours(store: Store) -> dict[str, Any]:
    """{"gpu": {"spent", "committed", "unknown_rows", "cap", "left"}, "cpu": ..., ...}, JSON-ready.

    committed: the most that rows may take which are not accounted for (running, or unknown); unknown_rows: rows that
    had no time limit and are in neither sum; left: null without a cap. unaccounted: rows of rounds that are over, at
    their declared charge: {"name", "folder", "rows"}. paused: why the next submission was refused, or null.
    """
    ledger = store.ledger()
    settings = store.settings() if store.driven() else Settings()
    view: dict[str, Any] = {}
    caps = {"gpu": settings.max_gpu_hours, "cpu": settings.max_cpu_hours}
    for resource in RESOURCES:
        now, cap = ledger.balance(resource), caps[resource]
        view[resource] = {
            "spent": round(now.spent, 6),
            "committed": round(now.committed, 6),
            "unknown_rows": now.unknown,
            "cap": cap,
            "left": None if cap is None else round(max(0.0, cap - now.total), 6),
        }
    going = store.going()
    folders = {charged.name: charged.folder for charged in store.journal.of(Charged)}
    waiting = [(name, rows) for name, rows in ledger.unaccounted().items() if folders[name] not in going]
    first = next(store.journal.of(Submitted), None)
    last = store.journal.last(OverBudget, Charged, SettingsGiven)
    return view | {
        "unaccounted": [{"name": name, "folder": folders[name], "rows": list(rows)} for name, rows in waiting],
        "first_submission": first.at.isoformat() if first is not None else None,
        "max_hours": settings.max_hours,
        "paused": last.message if isinstance(last, OverBudget) else None,
    }


def hours_lines(view: Mapping[str, Any]) -> list[str]:
    """What `hours` says, for a person; nothing where nothing was submitted and nothing is capped."""
    told = []
    for resource in RESOURCES:
        one = view[resource]
        now = Balance(spent=one["spent"], committed=one["committed"], unknown=one["unknown_rows"])
        # CPU-hours of a study that uses GPUs matter to nobody who did not cap them.
        used = now.total > 0 and (resource == "gpu" or not view["gpu"]["spent"] + view["gpu"]["committed"])
        if used or one["cap"] is not None:
            told.append(f"{unit(resource)}: {standing(now, one['cap'])}")
    if rows := sum(len(entry["rows"]) for entry in view["unaccounted"]):
        told.append(f"{rows} tasks that ended are not accounted for and count as declared (`collect` asks again):")
        told += [f"  {entry['name']}: {compact(entry['rows'])}" for entry in view["unaccounted"]]
    return [*told, view["paused"]] if view["paused"] else told
