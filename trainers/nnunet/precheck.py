"""All that is seen of nnU-Net's data without nnU-Net, asked on the login node before anything is submitted.

Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainers.contract import DataProblem, Value
from trainers.nnunet.labels import Labels, read_labels
from trainers.nnunet.raw import cases, refuse_files
from trainers.nnunet.splits import refuse_splits
from trainers.nnunet.where import Dataset, locate

FINGERPRINT = "dataset_fingerprint.json"
"""Written by nnU-Net once it has read every raw file."""


def check(task: str, data: Mapping[str, Value], values: Mapping[str, Value], *, folds: int) -> None:
    """Raise DataProblem where the preparation or a training would: dataset.json, the raw files, the split.

    Raw files that nnU-Net has read already are not looked at again.
    """
    dataset = locate(task, data, os.environ)
    labels_of(dataset)
    if dataset.raw is not None and not (dataset.preprocessed / FINGERPRINT).exists():
        refuse_files(dataset.raw, dataset.description())
    if dataset.splits_file.exists():
        refuse_splits(dataset, folds)
    elif folds > (count := len(cases(dataset))):
        raise DataProblem(
            f"{dataset.name} has {count} training cases, too few for {folds} folds; "
            + (f"give --folds 0-{count - 1}" if count > 1 else "folds need at least 2")
        )


def labels_of(dataset: Dataset) -> Labels:
    """The labels of its dataset.json. Raises DataProblem."""
    return read_labels(dataset.description(), (dataset.raw or dataset.preprocessed) / "dataset.json")
