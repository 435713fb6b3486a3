"""Metrics against scikit-learn's."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.resnet9.metrics import Tally, macro_f1, per_class

pytestmark = pytest.mark.train


@pytest.mark.parametrize("absent", [None, 2])
def test_against_scikit_learn(absent: int | None) -> None:
    from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 4, generator=generator)
    labels = torch.randint(0, 4, (200,), generator=generator)
    if absent is not None:
        labels[labels == absent] = 0
        logits[:, absent] = -1e3
    tally = Tally(4, torch.device("cpu"))
    for start in range(0, 200, 64):
        tally.add(logits[start : start + 64], labels[start : start + 64])
    predicted = logits.argmax(1)
    numbers = tally.numbers("val")
    assert numbers["val_accuracy"] == pytest.approx((predicted == labels).float().mean().item())
    assert numbers["val_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert numbers["val_loss"] == pytest.approx(
        log_loss(labels, logits.double().softmax(1), labels=range(4)), rel=1e-5
    )
    found = per_class(tally.confusion, ["a", "b", "c", "d"])
    if absent is None:
        columns = precision_recall_fscore_support(labels, predicted)
        for k, name in enumerate("abcd"):
            assert [found[name][key] for key in ("precision", "recall", "f1", "support")] == [
                pytest.approx(column[k]) for column in columns
            ]
    else:
        nothing = {"accuracy": None, "precision": None, "recall": None, "f1": None, "support": 0.0}
        assert found["c"] == nothing


def test_a_class_predicted_but_never_true_counts_zero() -> None:
    confusion = torch.tensor([[3, 1], [0, 0]])
    assert macro_f1(confusion) == pytest.approx((6 / 7 + 0) / 2)
    row = per_class(confusion, ["x", "y"])["y"]
    assert (row["recall"], row["precision"], row["f1"]) == (None, 0.0, 0.0)


def test_a_broken_loss_is_not_hidden() -> None:
    tally = Tally(2, torch.device("cpu"))
    tally.add(torch.tensor([[math.nan, 0.0]]), torch.tensor([0]))
    assert math.isnan(tally.numbers("train")["train_loss"])
