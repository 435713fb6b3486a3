"""Attention: full, flash (one fused kernel) and ProbSparse.

Shapes: queries (b, h, l, d), keys and values (b, h, s, d); each function returns (b, h, l, d). A causal query i sees
the keys 0 .. i, and needs l = s.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def full_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float = 0.0) -> Tensor:
    """Softmax(Q K' / sqrt(d)) V (Vaswani et al. 2017, equation 1)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if causal:
        scores = scores.masked_fill(_later(q.shape[-2], q.device), -torch.inf)
    return functional.dropout(scores.softmax(-1), dropout) @ v


def flash_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float = 0.0) -> Tensor:
    """What full attention computes, by PyTorch's fused kernel, which never holds the l x s scores (Dao 2022)."""
    return functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)


def active_count(length: int, factor: int) -> int:
    """c ln L, rounded up and between 1 and L: how many keys are sampled, and how many queries stay active."""
    return max(1, min(length, factor * math.ceil(math.log(max(length, 2)))))


def sample_keys(count: int, length: int, *, train: bool, device: torch.device) -> Tensor:
    """`count` different positions below `length`, ascending, (count,). Position 0, which every query sees, is in it.

    While training they are drawn on the device from its generator, which each step seeds: a copy from the CPU would
    wait for the GPU in every layer. In evaluation always the same are taken, so that a forecast depends on its window
    alone.
    """
    return (
        _with_first(torch.randperm(length - 1, device=device), count) if train else _fixed_keys(count, length, device)
    )


@functools.lru_cache(maxsize=64)
def _fixed_keys(count: int, length: int, device: torch.device) -> Tensor:
    """Those of the evaluation, kept on the device; as many as there are lengths in a model's layers."""
    with torch.inference_mode(False):
        drawn = torch.randperm(length - 1, generator=torch.Generator().manual_seed(length))
        return _with_first(drawn, count).to(device)


def _with_first(drawn: Tensor, count: int) -> Tensor:
    """Position 0 and the first count - 1 of a permutation of the others, ascending."""
    return functional.pad(1 + drawn[: count - 1], (1, 0)).sort().values


def sparsity(q: Tensor, k: Tensor, sampled: Tensor, *, causal: bool) -> Tensor:
    """The max-mean measurement of each query over the sampled keys: (b, h, l).

    Zhou et al. 2021, equation 4 and Algorithm 1 (lines 3 to 5): the largest minus the mean of q k' / sqrt(d). It is
    large for a query whose attention is far from uniform. A causal query is measured on the keys that it sees.
    """
    scores = q @ k[..., sampled, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
    if not causal:
        return scores.amax(-1) - scores.mean(-1)
    hidden = sampled > torch.arange(q.shape[-2], device=q.device)[:, None]
    largest = scores.masked_fill(hidden, -torch.inf).amax(-1)
    return largest - scores.masked_fill(hidden, 0.0).sum(-1) / (~hidden).sum(-1)


def prob_attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, factor: int, train: bool, dropout: float = 0.0
) -> Tensor:
    """ProbSparse self-attention (Zhou et al. 2021, equation 3 and Algorithm 1).

    c ln s sampled keys measure the queries; the c ln l most unlike uniform ones attend to all keys. The others'
    attention is nearly uniform, so they get the mean of the values (causal: of those that they see). Time and memory
    grow as l ln s. The paper's algorithm scores one sample of keys for all queries, as here; the authors' published
    code draws one for each query.

    Which queries are active is decided by comparing all of them, so with `causal` an output never contains later
    values, but later queries may decide whether it is attended or averaged.
    """
    length, seen = q.shape[-2], k.shape[-2]
    with torch.no_grad():  # only chooses
        sampled = sample_keys(active_count(seen, factor), seen, train=train, device=q.device)
        count = active_count(length, factor)
        active = sparsity(q, k, sampled, causal=causal).topk(count, dim=-1, sorted=False).indices
    lazy = _causal_mean(v) if causal else v.mean(-2, keepdim=True).expand(*v.shape[:2], length, v.shape[-1])
    scores = _rows(q, active) @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if causal:
        scores = scores.masked_fill(_later(length, q.device)[active], -torch.inf)
    attended = functional.dropout(scores.softmax(-1), dropout) @ v
    place = active[..., None].expand(*active.shape, v.shape[-1])
    return lazy.to(attended.dtype).scatter(-2, place, attended)


def _rows(x: Tensor, chosen: Tensor) -> Tensor:
    """The chosen rows (b, h, u) of x (b, h, l, d)."""
    return x.gather(-2, chosen[..., None].expand(*chosen.shape, x.shape[-1]))


def _causal_mean(v: Tensor) -> Tensor:
    counts = torch.arange(1, v.shape[-2] + 1, device=v.device, dtype=torch.float32)
    return v.cumsum(-2, dtype=torch.float32) / counts[:, None]


def _later(length: int, device: torch.device) -> Tensor:
    """(l, l), true where the key is later than the query."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


class Attention(nn.Module):
    """Several heads of one kind of attention, between linear layers.

    kind: prob, full or flash. Cross-attention never uses prob: its queries look elsewhere than at themselves.
    """

    def __init__(self, *, kind: str, d_model: int, heads: int, factor: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.kind, self.heads, self.factor, self.dropout, self.causal = kind, heads, factor, dropout, causal
        self.query, self.key, self.value, self.out = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """x (b, l, d_model) attends to source (b, s, d_model); returns (b, l, d_model)."""
        q, k, v = (
            layer(it).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, it in ((self.query, x), (self.key, source), (self.value, source))
        )
        dropout = self.dropout if self.training else 0.0
        if self.kind == "prob":
            mixed = prob_attention(
                q, k, v, causal=self.causal, factor=self.factor, train=self.training, dropout=dropout
            )
        else:
            attend = flash_attention if self.kind == "flash" else full_attention
            mixed = attend(q, k, v, causal=self.causal, dropout=dropout)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result
