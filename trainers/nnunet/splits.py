"""splits_final.json: which cases each fold trains and validates on. Standard library only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from trainers.contract import DataProblem
from trainers.files import FileProblem, read_bounded
from trainers.nnunet.raw import cases
from trainers.nnunet.where import Dataset, refuse_mark

LIMIT = 64 * 2**20
PARTS = ("train", "val")


def read_splits(dataset: Dataset) -> list[dict[str, list[str]]]:
    """The folds: {"train": [case], "val": [case]} each. Raises DataProblem naming the fold and what is wrong."""
    path = dataset.splits_file
    refuse_mark(path)
    try:
        found: Any = json.loads(read_bounded(path, LIMIT))
    except (FileProblem, ValueError) as error:
        raise DataProblem(f"{path}: cannot be read: {str(error).removeprefix(f'{path}: ')}") from error
    if not isinstance(found, list) or not found:
        what = "one object" if isinstance(found, dict) else "an empty list" if found == [] else type(found).__name__
        example = '[{"train": [...], "val": [...]}]'
        raise DataProblem(f"{path}: is {what}; it must be a list of folds, such as {example}")
    for number, fold in enumerate(found):
        if not isinstance(fold, dict) or not fold.keys() >= set(PARTS):
            raise DataProblem(f"{path}: fold {number} must be an object with train and val (a list of objects)")
        for part in PARTS:
            names = fold[part] if isinstance(fold[part], list) else [fold[part]]
            strange = [name for name in names if not isinstance(name, str)]
            if strange or names is not fold[part]:
                raise DataProblem(
                    f"{path}: {part} of fold {number} must be a list of case names in quotes; it has "
                    f"{json.dumps((strange or names)[0])[:80]}"
                )
    return found


def refuse_splits(dataset: Dataset, folds: int) -> None:
    """Raise DataProblem where the split has too few folds, or one that cannot be trained or judged."""
    splits, path = read_splits(dataset), dataset.splits_file
    if folds > len(splits):
        raise DataProblem(
            f"{path} has {len(splits)} folds (0 to {len(splits) - 1}), but the study trains fold "
            f"{folds - 1}: give --folds 0-{len(splits) - 1}, or another split file"
        )
    known = set(cases(dataset))
    ending = str(dataset.description()["file_ending"])
    seen: dict[tuple[frozenset[str], frozenset[str]], int] = {}
    for number, fold in enumerate(splits[:folds]):
        for part, names in fold.items():
            if part not in PARTS and isinstance(names, list) and (both := _both(names, fold["train"] + fold["val"])):
                raise DataProblem(
                    f"{path}: {part} of fold {number} holds {_some(both)}, which the fold trains or validates on "
                    f"(nnU-Net reads train and val alone); take them out of {part} or of the other parts"
                )
        _refuse_fold(f"{path}: fold {number}", fold, known, ending)
        pair = frozenset(fold["train"]), frozenset(fold["val"])
        if pair in seen:
            raise DataProblem(
                f"{path}: fold {number} is the same as fold {seen[pair]}: their mean would count one measurement "
                "twice; give each fold cases of its own in val, or train fewer with --folds"
            )
        seen[pair] = number


def _refuse_fold(where: str, fold: dict[str, list[str]], known: set[str], ending: str) -> None:
    if empty := [part for part in PARTS if not fold[part]]:
        raise DataProblem(f"{where} has an empty part: {' and '.join(empty)} must name cases")
    if strangers := sorted((set(fold["train"]) | set(fold["val"])) - known):
        if all(name.removesuffix(ending) in known for name in strangers):
            raise DataProblem(
                f"{where} has unknown cases {_some(strangers)}: a case is named without {ending}, such as "
                f"{strangers[0].removesuffix(ending)}"
            )
        raise DataProblem(f"{where} has unknown cases {_some(strangers)}: it belongs to another data set")
    if both := _both(fold["train"], fold["val"]):
        raise DataProblem(f"{where} trains and validates on {_some(both)}; name each case in one part")
    for part in PARTS:
        if twice := sorted(name for name, count in Counter(fold[part]).items() if count > 1):
            raise DataProblem(f"{where} names {_some(twice)} twice in {part}")


def _both(one: Iterable[object], other: Iterable[object]) -> list[str]:
    texts = ({name for name in names if isinstance(name, str)} for names in (one, other))
    return sorted(set.intersection(*texts))


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
