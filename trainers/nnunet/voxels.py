"""How many voxels each label has in a case, counted once per data set and kept beside the preprocessed data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from trainers.files import FileProblem, read_json_object, write_json

NAME = "roundtable_voxels.json"


def count_voxels(preprocessed: Path, cases: Iterable[str], reader: Any, ending: str) -> Counter[int]:
    """label -> voxels in these cases, from gt_segmentations. reader: nnU-Net's. Raises OSError, RuntimeError."""
    path = preprocessed / NAME
    try:
        known: dict[str, Any] = dict(read_json_object(path))
    except FileProblem:
        known = {}
    cases = list(cases)
    missing = [case for case in cases if case not in known]
    for case in missing:
        labels, _ = reader.read_seg(str(preprocessed / "gt_segmentations" / f"{case}{ending}"))
        values, counts = np.unique(labels, return_counts=True)
        known[case] = {str(int(v)): int(n) for v, n in zip(values, counts, strict=True)}
    if missing:
        write_json(path, known)  # folds that count at the same time write what agrees; the last one stays
    total: Counter[int] = Counter()
    for case in cases:
        total.update({int(label): int(number) for label, number in known[case].items()})
    return total
