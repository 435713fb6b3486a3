"""`roundtable train`: one training by hand, outside any study, in the training environment's python."""

from __future__ import annotations

import argparse

from agent.api.by_hand import ByHand, train_by_hand


def run(parsed: argparse.Namespace) -> int:
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
            data=dict(parsed.data),
            profile=parsed.profile,
            gpus=parsed.gpus,
        )
    )
