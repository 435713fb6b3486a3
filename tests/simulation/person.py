"""A person at a shell: what they do to a study, through the product's functions, and how they mend what stops it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.errors import LaunchError, RoundtableError, StudyBusy
from agent.orchestrator import Tools, steer, tick
from agent.orchestrator.engine import named_problems
from agent.orchestrator.training import cancel, circuit_breaker
from agent.store.requests import ask_to_cancel
from agent.store.store import Store

if TYPE_CHECKING:
    from tests.simulation.world import World


def act(world: World, what: str) -> None:
    """Do it. Errors of the product's tree are what a person reads; anything else is a fault."""
    world.befallen[f"person {what}"] += 1
    ACTS[what](world)


def _edit(world: World) -> None:
    """Another active value in the study's reference, by an editor that knows nothing of Roundtable."""
    path = world.root / "hyperparameter_reference.json"
    if not path.exists():
        return
    try:
        raw = json.loads(path.read_text())
    except ValueError:
        return  # broken by the person themselves, and not mended yet
    y = raw["parameters"]["y"]
    y["active_value"] = y.get("active_value", y["default"]) % 64 + 1
    path.write_text(json.dumps(raw, indent=2) + "\n")


def _break_reference(world: World) -> None:
    path = world.root / "hyperparameter_reference.json"
    text = path.read_text()
    if text.endswith("}\n"):
        world.backup = text
        path.write_text(text[:-30])


def _cancel(world: World, whole: bool) -> None:
    """`roundtable cancel`: as agent.api.steer does it, with the simulated tools."""

    def look(store: Store, tools: Tools) -> None:
        with named_problems():
            paths, _ = steer.open_round(store, None)
            rows = None if whole else (int(2 * world.cluster.chance("cancels", world.number)),)
            target = cancel.find_target(store, tools, paths, rows)
        if target.empty:
            return
        request = ask_to_cancel(store, paths, rows)
        world.asked.append((request.path, request.folder))
        try:
            world.under_lease(lambda fresh, _: cancel.obey(fresh, tools))
        except StudyBusy:
            cancel.stop(tools, target, rows)

    world.without_lease(look)


def _retry(world: World, rows: tuple[int, ...] | None = None) -> None:
    world.under_lease(lambda store, tools: steer.retry_rows(store, tools, rows=rows, failed=rows is None))


def _collect(world: World) -> None:
    world.under_lease(lambda store, tools: steer.collect_round(store, tools))


def _force(world: World) -> None:
    """`tune --force-round` of a round that is there."""

    def force(store: Store, tools: Tools) -> None:
        numbers = [paths.number for paths in store.closed()]
        if numbers:
            chosen = numbers[int(len(numbers) * world.cluster.chance("forces", world.number))]
            tick(store, tools, force=chosen)

    world.under_lease(force)


def _tick(world: World) -> None:
    world.under_lease(lambda store, tools: tick(store, tools))


def _delete_round(world: World) -> None:
    """The newest closed round's folder is somewhere else until the person is told of it."""
    closed = world.read(lambda store: store.closed())
    if closed and world.hidden is None:
        world.hidden = (closed[-1].root, world.root.parent / "hidden")
        shutil.move(*world.hidden)


def _delete_settings(world: World) -> None:
    (world.root / "settings.json").unlink(missing_ok=True)


def _stop(world: World) -> None:
    """The controller ends; a new one begins at the next look."""
    world.forget()


ACTS: Mapping[str, Callable[[World], None]] = {
    "edit": _edit,
    "break_reference": _break_reference,
    "cancel_row": lambda world: _cancel(world, whole=False),
    "cancel_round": lambda world: _cancel(world, whole=True),
    "retry": _retry,
    "retry_row": lambda world: _retry(world, (0,)),
    "collect": _collect,
    "force": _force,
    "tick": _tick,
    "delete_round": _delete_round,
    "delete_settings": _delete_settings,
    "stop": _stop,
}


# -- mending -------------------------------------------------------------------------------------------------------


def mend(world: World, error: RoundtableError) -> str:
    """What a person does about an error of a look, so that the study goes on; what is wrong if nobody can."""
    name = type(error).__name__
    if "left no fitting summary" in str(error):
        # Three evaluations failed, and no further one is started: the round is run again.
        world.attempt(lambda: world.under_lease(lambda store, tools: tick(store, tools, force=_open_number(store))))
        return ""
    if isinstance(error, (LaunchError, StudyBusy)) or name in ("StorageError", "ClockWentBack"):
        return ""  # passes by itself
    if name in ("StudyPaused", "NothingLearnt", "TrialsCrashed"):
        world.attempt(lambda: world.under_lease(lambda s, _: circuit_breaker.resume(s, by="simulation")))
    elif name == "RoundCancelled":
        again = world.cluster.chance("goes on", world.number) < 0.6
        world.attempt(lambda: _retry(world) if again else _collect(world))
    elif name == "BudgetExceeded":
        world.attempt(lambda: world.under_lease(_more_hours))
    elif name == "InvalidReference" and "break_reference" in world.acts:
        world.attempt(lambda: world.under_lease(_put_back))
        if world.backup and not _whole(world):
            (world.root / "hyperparameter_reference.json").write_text(world.backup)
    elif name == "InvalidStudy" and world.hidden is not None:
        shutil.move(world.hidden[1], world.hidden[0])
        world.hidden = None
    elif name == "InputChanged" and {"edit", "break_reference"} & world.acts:
        return ""
    else:
        return f"{name}: {error}"
    return ""


def _open_number(store: Store) -> int:
    return steer.open_round(store, None)[0].number


def _more_hours(store: Store, tools: Tools) -> None:
    store.put_settings(replace(store.settings(), max_gpu_hours=None))


def _whole(world: World) -> bool:
    return (world.root / "hyperparameter_reference.json").read_text().endswith("}\n")


def _put_back(store: Store, tools: Tools) -> None:
    found = store.versions.last_written()
    if found is not None:
        store.versions.put_back(found, lambda old, new: "")
