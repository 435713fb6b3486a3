"""`roundtable train`: one training by hand, outside any study, in the training environment's python."""

from __future__ import annotations

import argparse

from agent.api.by_hand import ByHand, train_by_hand
from agent.cli.common import say_at_once
from agent.cli.options import record_of


def run(parsed: argparse.Namespace) -> int:
    return train_by_hand(record_of(ByHand, parsed), say=say_at_once)
