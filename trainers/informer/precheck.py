"""What can be refused before a study begins, without PyTorch: asked on the login node through trainers.registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainers.contract import DataProblem, Value
from trainers.informer.options import Options, Rows, chosen_columns, split_rows
from trainers.informer.suggest import only
from trainers.informer.table import Table, read_table

CHECKED_BYTES = 64 * 2**20
"""Larger files are read by the tasks alone: a second for every 10 MB is too long for a command."""


def check(task: str, data: Mapping[str, Value], values: Mapping[str, Value], *, folds: int) -> Sequence[str]:
    """Raise DataProblem where the training would; else say what in the data a person should look at.

    values: the hyperparameters that train first.
    """
    options = Options.read(task, data)
    if not is_looked_into(options):
        return ()
    table, parts = read_series(options, fold=0, folds=folds)
    check_variation(table, parts["train"])
    seq_len = values.get("seq_len")
    if isinstance(seq_len, int):
        check_window(parts, seq_len, options.pred_len)
    return [f"{table.path}: {line}" for line in table.told]


def is_looked_into(options: Options) -> bool:
    """Whether the file is read before a study begins: not where it is yet to be downloaded, or is very large."""
    if not options.path.exists():
        return not options.download
    return options.path.stat().st_size <= CHECKED_BYTES


def read_series(options: Options, *, fold: int, folds: int) -> tuple[Table, dict[str, Rows]]:
    """The table that the options name, with its input columns only, and its parts. Raises DataProblem."""
    table = read_table(
        options.path,
        date=options.date,
        wanted=options.columns,
        frequency=options.frequency,
        fill=options.fill,
        form=options.form,
    )
    try:
        names, _ = chosen_columns(options, list(table.columns))
        for name in set(table.columns) - set(names):
            del table.columns[name]
        return table, split_rows(options, len(table), table.frequency, fold=fold, folds=folds)
    except DataProblem as error:
        raise DataProblem(f"{options.path}: {error}") from None


def check_variation(table: Table, train: Rows) -> None:
    """Refuse columns that cannot be scaled by what they vary in training. Raises DataProblem."""
    constant = [
        name
        for name, values in table.columns.items()
        if min(values[train.first : train.last]) == max(values[train.first : train.last])
    ]
    if constant:
        rest = [name for name in table.columns if name not in constant]
        raise DataProblem(
            f"{table.path}: {', '.join(constant)} never changes in the {len(train)} training rows (scale 0); "
            + (f"leave it out with {only(rest)}" if rest else "there is nothing to learn from it")
        )


def check_window(parts: Mapping[str, Rows], seq_len: int, pred_len: int) -> None:
    """Refuse a window longer than the training part. Raises DataProblem."""
    if not parts["train"].starts(seq_len, pred_len):
        raise DataProblem(
            f"a window of seq_len = {seq_len} and pred_len = {pred_len} needs {seq_len + pred_len} rows, training "
            f"has {len(parts['train'])}; use more rows, or a smaller seq_len or pred_len"
        )
