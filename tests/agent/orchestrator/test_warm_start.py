"""--warm-start: from a real finished study into a new one's first rounds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.api import Outcome, tune
from agent.api.replay import replay_round
from agent.errors import UsageError
from tests.agent.orchestrator.conftest import Lab

STEPS = Path(__file__).parents[2] / "programs" / "steps.yaml"


def study(lab: Lab, **changes: Any) -> Outcome:
    fields = {"trainer": str(STEPS), "data": {}, "auto_train": False} | changes
    return tune(lab.options(**fields), say=lab.lines.append)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def decision(lab: Lab, number: int) -> Any:
    return read(next((lab.root / "demo").glob(f"round_{number}_*/tuning_decision_*")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished round of four candidates, really trained."""
    lab = Lab(tmp_path_factory.mktemp("trained"), [])
    study(lab, study="earlier", candidates=4, auto_train=True)
    return lab.root / "earlier"


@pytest.fixture
def earlier(lab: Lab, trained: Path) -> Path:
    return shutil.copytree(trained, lab.root / "earlier")


def best_of(folder: Path) -> list[Any]:
    entries = read(next(folder.glob("round_1_*")) / "round.json")["candidates"]
    return sorted(entries, key=lambda entry: -entry["value"])


def with_ranges(lab: Lab, **parameters: dict[str, Any]) -> Path:
    """A reference of the program with other ranges, choices or further parameters."""
    main(["init", "--task", "other", "--trainer", str(STEPS), "--output-dir", str(lab.root)])
    raw = read(lab.root / "other" / "hyperparameter_reference.json")
    for name, changes in parameters.items():
        raw["parameters"][name] = raw["parameters"].get(name, {}) | changes
    path = lab.root / "reference.json"
    path.write_text(json.dumps(raw))
    return path


def test_the_best_settings_join_the_first_rounds_after_the_default(lab: Lab, earlier: Path) -> None:
    before = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
    study(lab, warm_start=(earlier,), candidates=2)
    first = decision(lab, 1)["candidates"]
    best = [entry for entry in best_of(earlier) if entry["source"] != "default"]
    assert [c["source"] for c in first] == ["default", f"warm_start:earlier/round_1/{best[0]['name']}"]
    assert first[1]["key"] == best[0]["key"] and first[1]["values"] == best[0]["values"]
    recorded = read(lab.root / "demo" / "warm_start.json")
    assert [s["values"] for s in recorded["starts"]] == [entry["values"] for entry in best[:3]]
    assert recorded["studies"][0]["rounds"] == 1 and lab.said("--warm-start earlier: 3 settings are tried")
    # It was only read.
    assert {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()} == before
    folder = next((lab.root / "demo").glob("round_1_*"))
    assert replay_round(folder).identical


def test_what_is_left_joins_later_rounds_and_then_others_propose(lab: Lab, earlier: Path) -> None:
    summary = lab.root / "val_summary.json"
    summary.write_text('{"score": 0.3}')
    study(lab, warm_start=(earlier,))
    for _ in range(4):
        # The same call again is fine.
        study(lab, warm_start=(earlier,), val_summary=summary)
    sources = [decision(lab, number)["candidates"][0]["source"].partition("/")[0] for number in range(1, 6)]
    assert sources[:4] == ["default", *["warm_start:earlier"] * 3] and sources[4] in ("optuna_tpe", "random_startup")
    assert len({decision(lab, number)["candidates"][0]["key"] for number in range(1, 6)}) == 5
    text = next((lab.root / "demo").glob("round_5_*")) / "step1_hp_autotuning_input.txt"
    assert "(warm_start): score" in text.read_text() and "earlier" not in text.read_text()


def test_nothing_is_clamped_and_what_does_not_fit_is_left_out_with_its_reason(lab: Lab, earlier: Path) -> None:
    best = [entry for entry in best_of(earlier) if entry["source"] != "default"]
    low = best[0]["values"]["width"]
    extra = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.25, "description": "New here"}
    fits = [entry for entry in best if entry["values"]["width"] < low]
    hp_ref = with_ranges(lab, width={"high": low - 1, "default": 8}, momentum=extra)
    study(lab, warm_start=(earlier,), hp_ref=hp_ref, candidates=4, trainer=reading_references(lab))
    recorded = read(lab.root / "demo" / "warm_start.json")
    assert recorded["left_out"][0]["source"] == f"warm_start:earlier/round_1/{best[0]['name']}"
    assert f"width = {low} (allowed: an integer from 8 to {low - 1})" in recorded["left_out"][0]["why"]
    assert recorded["starts"][0]["values"] == {**fits[0]["values"], "momentum": 0.25}
    assert recorded["starts"][0]["details"]["notes"] == ["momentum: had no value there, so has this study's"]


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda lab, earlier: {"warm_start": (lab.root / "nope",)}, "no such folder; studies beside it: earlier"),
        (lambda lab, earlier: {"warm_start": (lab.root,)}, r"is no study \(it has no study.yaml\)"),
        (lambda lab, earlier: {"warm_start": (begun(lab),)}, "has no finished round to learn from"),
        (lambda lab, earlier: {"warm_start": (earlier, copied(earlier))}, "two studies are called earlier"),
        (lambda lab, earlier: {"warm_start": (earlier,), "trainer": minimizing(lab)}, "its objective is to max"),
        (
            lambda lab, one: {"warm_start": (one,), "hp_ref": with_ranges(lab, x={"low": 0.49, "high": 0.5})},
            "no setting of these studies can be tried here",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_refused_and_leaves_nothing(
    lab: Lab, earlier: Path, choose: Any, message: str
) -> None:
    options = choose(lab, earlier)
    with pytest.raises(UsageError, match=message):
        study(lab, **options)
    assert not (lab.root / "demo").exists()


def test_it_is_for_new_studies(lab: Lab, earlier: Path) -> None:
    study(lab)
    with pytest.raises(UsageError, match=r"--warm-start is for new studies: .*demo began with none"):
        study(lab, warm_start=(earlier,))


def begun(lab: Lab) -> Path:
    main(["init", "--task", "begun", "--trainer", str(STEPS), "--output-dir", str(lab.root)])
    return lab.root / "begun"


def copied(earlier: Path) -> Path:
    """The same study in another folder."""
    target = earlier.parent / "elsewhere" / "earlier"
    target.parent.mkdir()
    target.symlink_to(earlier)
    return target


def reading_references(lab: Lab) -> str:
    """The program as one that reads its reference, and so takes parameters that its YAML does not name."""
    path = lab.root / "steps.yaml"
    text = STEPS.read_text().replace("steps.sh", str(STEPS.with_suffix(".sh")))
    path.write_text(text.replace("pass_values: [arguments]", "pass_values: [arguments, reference]"))
    return str(path)


def minimizing(lab: Lab) -> str:
    """The program with the other direction."""
    path = lab.root / "steps.yaml"
    path.write_text(
        STEPS.read_text().replace("maximize", "minimize").replace("steps.sh", str(STEPS.with_suffix(".sh")))
    )
    return str(path)


def test_another_trainers_settings_are_taken_over_and_the_difference_is_told(
    lab: Lab, earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lab.root / "steeper.yaml"
    text = STEPS.read_text().replace("name: steps", "name: steeper").replace("  kind:", "  sort:")
    path.write_text(text.replace("{kind}", "{sort}").replace("steps.sh", str(STEPS.with_suffix(".sh"))))
    command = ["tune", "--task", "demo", "--trainer", str(path), "--output-dir", str(lab.root), "--candidates", "2"]
    assert main([*command, "--warm-start", str(earlier)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--warm-start earlier: 3 settings are tried after the default (trainer: steps there, steeper here)" in said
    assert "sort: had no value there, so has this study's" in said and "kind: unknown here" in said
    assert decision(lab, 1)["candidates"][1]["values"]["sort"] == "mlp"
