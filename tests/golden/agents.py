"""Golden studies with language models, whose answers stand in a script."""

from __future__ import annotations

import json
from typing import Any

from tests.golden.local import HERE, formula, round_folder
from tests.golden.world import World


def script(world: World, *replies: dict[str, Any]) -> tuple[str, ...]:
    """The options of a study whose models answer so."""
    path = world.put("script.json", json.dumps({"replies": list(replies)}, indent=1))
    return ("--provider", "scripted", str(path))


def candidate(**values: float) -> dict[str, Any]:
    changes = [{"parameter": name, "value": value, "reason": "nearer to the best"} for name, value in values.items()]
    return {"changes": changes, "expected_effect": "a higher score", "confidence": 0.5}


def tuner(*candidates: dict[str, Any], role: str = "autotuner") -> dict[str, Any]:
    return {"role": role, "json": {"diagnosis": "x is too high", "candidates": list(candidates)}}


def checker(**verdicts: str) -> dict[str, Any]:
    """c00="": it passes; else what the checker finds of x."""
    made = [
        {
            "candidate": name,
            "verdict": "block" if said else "ok",
            "finding": said,
            "parameter": "x" if said else "none",
        }
        for name, said in verdicts.items()
    ]
    return {"role": "checker", "json": {"verdicts": made}}


def analyst(overall: str) -> dict[str, Any]:
    return {"role": "analyst", "json": {"overall": overall, "trials": [], "keywords": ["slow start"]}}


def judge(*names: str) -> dict[str, Any]:
    said = [{"candidate": name, "verdict": "accept", "reason": "it costs nothing"} for name in names]
    return {"role": "judge", "json": {"verdicts": said}}


def talk(role: str, text: str) -> dict[str, Any]:
    usage = {"input_tokens": 900, "output_tokens": 40, "cached_tokens": 300}
    return {"role": role, "text": text, "usage": usage}


# -- one model proposes ---------------------------------------------------------------------------------------------


def llm(world: World) -> None:
    """In round 2 a candidate leaves its range and is repaired; in round 3 one is blocked, and the analyst fails."""
    answers = script(
        world,
        analyst("The score rises to the end."),
        tuner(candidate(x=3.0), candidate(x=0.4375, width=20)),
        checker(c01=""),
        tuner(candidate(x=0.4)),
        checker(c00=""),
        judge("c00"),
        {"role": "analyst", "error": "LLMUnavailable", "message": "overloaded"},
        tuner(candidate(x=0.375), candidate(x=0.3125)),
        checker(c00="0.375 was tried nearly so in round 2", c01=""),
        tuner(candidate(x=0.34375)),
        checker(c00=""),
        analyst("It goes on."),
        tuner(candidate(width=64)),
        checker(c00=""),
    )
    options = ("--proposer", "llm", "--candidates", "2", "--confirm", "never", "--folds", "0,1", "--seeds", "0,1")
    caps = ("--max-llm-tokens", "400000")
    world.tune(*formula(world), *HERE, *options, *answers, *caps, "--max-rounds", "2")


def llm_on(world: World) -> None:
    world.call("replay", round_folder(world, 2))
    world.tune("--auto-train")
    world.call("replay", round_folder(world, 3))
    world.tune("--auto-train", "--proposer", "hybrid", "--llm-warmup", "2", "--llm-share", "0.5")
    world.call("replay", round_folder(world, 4))


# -- a panel --------------------------------------------------------------------------------------------------------


def panel(world: World) -> None:
    answers = script(
        world,
        *(talk("consultant_a", f"Lower x, for the {n}. time.") for n in (1, 2, 3, 4)),
        talk("consultant_b", "A greater width is worth a trial."),
        {"role": "consultant_b", "error": "LLMRefusal", "message": "I would rather not"},
        *(talk("consultant_b", f"Width once more, {n}.") for n in (3, 4)),
        tuner(candidate(x=0.375), role="supervisor"),
        tuner(candidate(x=0.25, width=32), role="supervisor"),
    )
    options = ("--proposer", "panel", "--consult-turns", "2", "--no-critique", "--no-analyst", "--confirm", "never")
    world.tune(*formula(world), *HERE, *options, *answers, "--max-rounds", "2")


def panel_on(world: World) -> None:
    world.call("replay", round_folder(world, 2))
    world.tune("--auto-train")
    world.call("replay", round_folder(world, 3))
    world.tune("--auto-train")  # the script has no further answer


# -- a planner ------------------------------------------------------------------------------------------------------


def plans(step: str, *candidates: dict[str, Any]) -> dict[str, Any]:
    said = {"step": step, "plan": f"go {step}", "reason": "the numbers say so", "candidates": list(candidates)}
    return {"role": "planner", "json": said}


def stop(world: World) -> None:
    answers = script(
        world,
        plans("small", candidate(x=0.4375)),
        plans("stop"),
        plans("medium", candidate(width=32)),
        plans("small", candidate(width=48)),
        plans("small", candidate(x=0.3125)),
    )
    options = ("--proposer", "planner", "--no-critique", "--no-analyst", "--confirm", "never", "--patience", "3")
    world.tune(*formula(world), *HERE, *options, *answers, "--max-rounds", "4")


def stop_on(world: World) -> None:
    world.tick()
    world.call("replay", round_folder(world, 2))
    world.call("replay", round_folder(world, 3, "stop"))
    world.tune("--auto-train")
    world.tune("--auto-train")
