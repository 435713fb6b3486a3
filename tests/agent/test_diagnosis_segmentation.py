"""What is said of segmentations: weak and absent classes with their case counts, worst cases, nnU-Net's curves."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from agent import diagnosis
from agent.diagnosis.epochs import parse_epochs
from agent.diagnosis.parts import absent_class_finding, weak_class_finding, worst_case_finding


def entry(dice: float | None, cases: int = 20, std: float = 0.05) -> dict[str, float | None]:
    return {"Dice": dice, "IoU": None, "Dice_std": std, "cases": float(cases)}


GOOD = {f"organ{k}": entry(0.9) for k in range(6)}


def test_a_weak_class_tells_its_cases_and_how_it_stands_to_the_accepted_round() -> None:
    flag = weak_class_finding(
        {"c00": GOOD | {"gland": entry(0.5)}},
        {"c00": GOOD | {"gland": entry(0.45)}},
        metric=None,
        direction="maximize",
        accepted=GOOD | {"gland": entry(0.6)},
    )
    assert flag is not None
    (weak,) = flag.evidence["classes"]
    assert weak["class"] == "gland" and weak["cases"] == 20
    assert weak["change"] == pytest.approx(0.05) and weak["against_accepted"] == pytest.approx(-0.1)
    assert "gland (0.5 over 20 cases, better by 0.05, -0.1 against the accepted 0.6)" in flag.text


def test_a_class_of_two_scattered_cases_is_not_called_weak() -> None:
    few = {"c00": GOOD | {"gland": entry(0.5, cases=2, std=0.3)}}
    assert weak_class_finding(few, {}, metric="Dice", direction="maximize") is None
    many = {"c00": GOOD | {"gland": entry(0.5, cases=100, std=0.3)}}
    assert weak_class_finding(many, {}, metric="Dice", direction="maximize") is not None


def test_a_class_without_a_case_is_absent_not_weak() -> None:
    classes = {"c00": GOOD | {"gland": entry(None, cases=0)}}
    assert weak_class_finding(classes, {}, metric="Dice", direction="maximize") is None
    flag = absent_class_finding(classes)
    assert flag is not None and flag.evidence == {"classes": ["gland"], "count": 1}
    assert absent_class_finding({"c00": GOOD}) is None
    one = {"c00": classes["c00"], "c01": GOOD | {"gland": entry(0.9, cases=1)}}
    assert absent_class_finding(one) is None


def cases(**odd: float | None) -> list[dict[str, Any]]:
    values: dict[str, float | None] = {f"case{k}": 0.85 + 0.005 * (k % 5) for k in range(12)} | odd
    return [{"case": name, "fold": k % 5, "Dice": {"a": v, "b": v}} for k, (name, v) in enumerate(values.items())]


def test_the_worst_cases_are_those_that_every_candidate_fails_on() -> None:
    flag = worst_case_finding({"c00": cases(case3=0.2), "c01": cases(case3=0.3)}, metric="Dice")
    assert flag is not None
    assert flag.evidence["cases"] == [{"case": "case3", "fold": 3, "value": 0.25}]
    assert flag.text.startswith("Dice of 1 of 12 cases is far below the median")
    # A model may read the text: names of cases often hold the data set's.
    assert "case3" not in flag.text and "0.25 (fold 3)" in flag.text


def test_cases_without_any_class_and_few_cases_are_left_out() -> None:
    assert worst_case_finding({"c00": cases(case3=None)}, metric="Dice") is None
    assert worst_case_finding({"c00": cases(case3=0.2)[:7]}, metric="Dice") is None
    assert worst_case_finding({}, metric="Dice") is None
    assert worst_case_finding({"c00": [{"case": "x"}, {"case": 3, "Dice": {"a": 1.0}}] * 9}, metric="Dice") is None


def curve(start: float, end: float, epochs: float) -> Callable[[int], float]:
    return lambda epoch: start + (end - start) * (1 - math.exp(-epoch / epochs))


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (curve(0.2, -0.85, 10), curve(0.2, -0.8, 10), None),
        (curve(0.2, -0.95, 10), lambda e: curve(0.2, -0.7, 8)(e) + 0.01 * max(0, e - 20), "overfitting"),
        (curve(0.2, 0.19, 10), curve(0.22, 0.2, 10), "underfitting"),
        (curve(0.2, -0.2, 40), curve(0.2, -0.15, 40), "still_improving"),
    ],
    ids=["good", "overfitting", "underfitting", "short"],
)
def test_nnunets_losses_are_read_although_they_are_negative(
    train: Callable[[int], float], val: Callable[[int], float], expected: str | None
) -> None:
    noise = random.Random(0)
    lines = ["epoch,train_loss,val_loss,val_pseudo_dice,lr,seconds"]
    lines += [
        f"{e},{train(e) + noise.gauss(0, 0.01)},{val(e) + noise.gauss(0, 0.01)},{0.5 - val(e) / 2},0.01,1.0"
        for e in range(1, 61)
    ]
    result = {"metrics": {"Dice": 0.8}, "directions": {"Dice": "maximize"}}
    found = diagnosis.analyse_trial(parse_epochs("\n".join(lines) + "\n", name="m"), result)
    names = [flag["name"] for flag in found["flags"]]
    judged = [name for name in names if name in ("overfitting", "underfitting", "still_improving", "diverged")]
    assert judged == ([expected] if expected else [])
