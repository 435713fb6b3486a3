"""Attention against plain loops over queries and keys, its limits, and that a causal one never looks ahead."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.informer.attention import (
    Attention,
    active_count,
    flash_attention,
    full_attention,
    prob_attention,
    sample_keys,
    sparsity,
)

pytestmark = pytest.mark.train
CPU = torch.device("cpu")


def qkv(length: int = 13, seen: int | None = None, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = (length, seen or length, seen or length)
    q, k, v = (torch.randn(2, 3, size, 4, dtype=torch.float64, generator=generator) for size in lengths)
    return q, k, v


def plain_row(q: Tensor, k: Tensor, v: Tensor, i: int, *, causal: bool) -> Tensor:
    """One query's attention, written out: q (d,), k and v (s, d)."""
    last = i + 1 if causal else len(k)
    weights = [
        math.exp(sum(float(a * b) for a, b in zip(q, k[j], strict=True)) / math.sqrt(len(q))) for j in range(last)
    ]
    return sum((w * v[j] for j, w in enumerate(weights)), torch.zeros_like(v[0])) / sum(weights)


def plain(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    out = torch.empty(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                out[b, h, i] = plain_row(q[b, h, i], k[b, h], v[b, h], i, causal=causal)
    return out


def plain_sparsity(q: Tensor, k: Tensor, sampled: Tensor, *, causal: bool) -> Tensor:
    out = torch.empty(q.shape[:-1], dtype=q.dtype)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                scores = [
                    sum(float(x * y) for x, y in zip(q[b, h, i], k[b, h, j], strict=True)) / math.sqrt(q.shape[-1])
                    for j in sampled.tolist()
                    if not causal or j <= i
                ]
                out[b, h, i] = max(scores) - sum(scores) / len(scores)
    return out


@pytest.mark.parametrize("attend", [full_attention, flash_attention])
@pytest.mark.parametrize(("seen", "causal"), [(13, False), (13, True), (7, False)])
def test_full_and_flash_equal_the_formula(attend: object, seen: int, causal: bool) -> None:
    q, k, v = qkv(13, seen)
    torch.testing.assert_close(attend(q, k, v, causal=causal), plain(q, k, v, causal=causal))  # type: ignore[operator]


@pytest.mark.parametrize("causal", [False, True])
def test_probsparse_with_every_query_active_is_full_attention(causal: bool) -> None:
    q, k, v = qkv()
    assert active_count(13, 5) == 13
    found = prob_attention(q, k, v, causal=causal, factor=5, train=True)
    torch.testing.assert_close(found, full_attention(q, k, v, causal=causal))


@pytest.mark.parametrize("causal", [False, True])
def test_the_measure_is_the_papers_over_the_sampled_keys(causal: bool) -> None:
    q, k, _ = qkv()
    sampled = sample_keys(5, 13, train=False, device=CPU)
    torch.testing.assert_close(sparsity(q, k, sampled, causal=causal), plain_sparsity(q, k, sampled, causal=causal))
    everything = torch.arange(13)
    exact = (q @ k.transpose(-2, -1) / 2).amax(-1) - (q @ k.transpose(-2, -1) / 2).mean(-1)
    torch.testing.assert_close(sparsity(q, k, everything, causal=False), exact)


@pytest.mark.parametrize("causal", [False, True])
def test_active_queries_attend_and_lazy_ones_get_the_mean(causal: bool) -> None:
    q, k, v = qkv(20)
    count = active_count(20, 1)
    assert count == 3
    sampled = sample_keys(count, 20, train=False, device=CPU)
    measure = plain_sparsity(q, k, sampled, causal=causal)
    found = prob_attention(q, k, v, causal=causal, factor=1, train=False)
    attended = plain(q, k, v, causal=causal)
    for b in range(2):
        for h in range(3):
            active = set(measure[b, h].topk(count).indices.tolist())
            for i in range(20):
                mean = v[b, h, : i + 1].mean(0) if causal else v[b, h].mean(0)
                torch.testing.assert_close(found[b, h, i], attended[b, h, i] if i in active else mean)


def test_a_query_far_from_uniform_is_the_one_chosen() -> None:
    q, k, v = qkv(20)
    q = q * 0.01
    q[:, :, 7] *= 1000
    found = prob_attention(q, k, v, causal=False, factor=1, train=False)
    torch.testing.assert_close(found[:, :, 7], full_attention(q, k, v, causal=False)[:, :, 7])


@pytest.mark.parametrize(
    ("length", "factor", "count"), [(96, 5, 25), (48, 5, 20), (720, 5, 35), (10, 5, 10), (1, 3, 1), (2, 1, 1)]
)
def test_how_many_stay_active(length: int, factor: int, count: int) -> None:
    assert active_count(length, factor) == count  # c times ln L rounded up, never above L


def test_sampled_keys_differ_while_training_and_not_in_evaluation() -> None:
    torch.manual_seed(0)
    drawn = [sample_keys(5, 40, train=True, device=CPU).tolist() for _ in range(20)]
    assert len({tuple(keys) for keys in drawn}) > 10
    assert all(len(set(keys)) == 5 and 0 in keys and keys == sorted(keys) for keys in drawn)
    assert len(set().union(*drawn)) > 25  # no key is out of reach
    fixed = [sample_keys(5, 40, train=False, device=CPU).tolist() for _ in range(3)]
    assert fixed[0] == fixed[1] == fixed[2]
    torch.manual_seed(0)
    assert sample_keys(5, 40, train=True, device=CPU).tolist() == drawn[0]  # the step's seed decides


@pytest.mark.parametrize("kind", ["full", "flash", "prob"])
def test_causal_attention_never_sees_what_comes_later(kind: str) -> None:
    """prob with every query active; with lazy ones their mean of what they see is checked above."""
    torch.manual_seed(0)
    attention = Attention(kind=kind, d_model=8, heads=2, factor=9, dropout=0.0, causal=True).eval()
    x = torch.randn(2, 16, 8)
    changed = x.clone()
    changed[:, 10:] += torch.randn(2, 6, 8)
    before, after = attention(x, x), attention(changed, changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_causal_probsparse_mixes_no_later_value_into_any_position() -> None:
    """Values alone are changed, so the same queries stay active: no output before the change may move."""
    q, k, v = qkv(20)
    later = v.clone()
    later[:, :, 12:] += 5
    before, after = (prob_attention(q, k, it, causal=True, factor=1, train=False) for it in (v, later))
    torch.testing.assert_close(before[:, :, :12], after[:, :, :12])
    assert (before[:, :, 12:] != after[:, :, 12:]).all()


@pytest.mark.parametrize("kind", ["prob", "full", "flash"])
def test_dropout_and_gradients_reach_every_kind(kind: str) -> None:
    torch.manual_seed(0)
    attention = Attention(kind=kind, d_model=8, heads=2, factor=1, dropout=0.5, causal=False)
    x = torch.randn(2, 16, 8)
    attention.train()
    assert not torch.allclose(attention(x, x), attention(x, x))
    attention(x, x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in attention.parameters())
    assert attention.query.weight.grad is not None and attention.query.weight.grad.abs().sum() > 0
    attention.eval()
    torch.testing.assert_close(attention(x, x), attention(x, x))
