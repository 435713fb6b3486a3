"""What of a reference nnU-Net can do, and what the data set leaves of it. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainers.contract import BadConfig, Value
from trainers.fit import Fit, Ruling, Space
from trainers.nnunet.config import CHOICES, FURTHER, NUMBERS, Config
from trainers.nnunet.labels import Labels, is_flat
from trainers.nnunet.plans import configured
from trainers.nnunet.precheck import labels_of
from trainers.nnunet.prepare import read_plans
from trainers.nnunet.where import Dataset, locate
from trainers.settings import misfits


def fit(
    space: Space, *, task: str, data: Mapping[str, Value] | None, folds: int, description: str | None = None
) -> Fit:
    """As `trainers.fit` describes. Raises DataProblem.

    Reasons say "its" of the data set: they reach language models, which are not to learn its name.
    """
    refused = misfits(space, Config, trainer="nnunet", choices=CHOICES, numbers=NUMBERS, further=FURTHER)
    ruling = Ruling(space)
    if data is None or refused:
        return ruling.fit(refused)
    dataset = locate(task, data, os.environ)
    _class_weights(ruling, labels_of(dataset))
    flat = is_flat(dataset.description())
    if flat:
        reason = f"its images are pictures ({dataset.description()['file_ending']}), which have no third axis"
        ruling.only("configuration", lambda value: value == "2d", reason, 'train it as 2d: active_value "2d"')
    asked = space["configuration"]
    if flat or asked.value == "2d" or (asked.tuned and "2d" in asked.choices):
        reason = "patches of the configuration 2d have the axes 0 and 1"
        ruling.only("mirroring", lambda value: "2" not in str(value), reason, "name 0 and 1 alone, or all")
    _planned(ruling, space, dataset)
    return ruling.fit(refused)


def _class_weights(ruling: Ruling, labels: Labels) -> None:
    if labels.regions:
        reason = "its labels are regions, whose loss is binary and weighs no classes"
        for name in ("class_weight_power", "boosted_class"):
            ruling.only(name, lambda value: value == 0, reason, "set it to 0")
        return
    highest = labels.values[-1]
    reason = f"its labels are 1 to {highest}"
    ruling.at_most("boosted_class", highest, reason, "give one of them, or 0 for none")


def _planned(ruling: Ruling, space: Space, dataset: Dataset) -> None:
    """What the network's plans leave, where nnU-Net has made them already."""
    values = {name: asked.value for name, asked in space.items()}
    values |= {name: limit.value for name, limit in ruling.limits.items() if limit.value is not None}
    plans = read_plans(dataset, str(values["plans"]))
    if plans is None:
        return

    def refusal(**changed: Value) -> str:
        try:
            configured(plans, Config.from_values({**values, **changed}))
        except BadConfig as error:
            return str(error).removeprefix("nnunet: ")
        return ""

    if first := refusal():
        name = first.split()[0]
        asked = space[name if name in space else "configuration"]
        ruling.refuse(name if name in space else "configuration", asked.place, asked.value, first)
        return
    for name, reason in (("configuration", "nnU-Net planned none of the others for it"), ("patch_size", "")):
        refusals = {choice: text for choice in space[name].choices if (text := refusal(**{name: choice}))}
        if refusals:
            ruling.leave_out(name, tuple(refusals), reason or next(iter(refusals.values())))
