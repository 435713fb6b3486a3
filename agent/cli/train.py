"""`roundtable train`: one training by hand, outside any study, in the training environment's python."""

from __future__ import annotations

import argparse
import sys

from agent.api.by_hand import ByHand, train_by_hand
from agent.errors import UsageError


def run(parsed: argparse.Namespace) -> int:
    data = dict(parsed.data)
    if len(data) < len(parsed.data):
        raise UsageError("--data: a key stands twice")
    return train_by_hand(
        ByHand(
            trainer=parsed.trainer,
            task=parsed.task,
            hp_ref=parsed.hp_ref,
            out=parsed.out,
            fold=parsed.fold,
            fold_count=parsed.fold_count,
            seed=parsed.seed,
            epochs=parsed.epochs,
            data=data,
            profile=parsed.profile,
            gpus=parsed.gpus,
        ),
        say=_say,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
